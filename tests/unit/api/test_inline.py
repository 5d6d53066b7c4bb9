"""How much output an answer carries, and how many jobs a page."""

from dataclasses import replace

import pytest

from cmdhttp.api.inline import MOST_RUNS, TOGETHER, longest, page_of
from cmdhttp.jobs.state import Job, Run
from tests.support.jobs import new_job


@pytest.mark.parametrize(
    ("sizes", "each", "together", "most"),
    [
        ([], 5, 100, 5),
        ([3, 0], 5, 100, 5),
        ([9, 9], 5, 100, 5),
        ([9, 9], 50, 10, 5),
        ([1, 9, 9], 50, 11, 5),
        ([9, 1, 9], 50, 12, 5),
        ([0] * 999 + [100], 50, 40, 40),
        ([100] * 10, 0, 40, 0),
        ([100] * 10, 50, 5, 0),
    ],
)
def test_the_long_ones_are_cut_alike(sizes: list[int], each: int, together: int, most: int) -> None:
    """Short streams stand whole, what they leave goes to the long ones, and no bound is passed."""
    found = longest(sizes, each=each, together=together)
    assert found == most
    assert sum(min(size, found) for size in sizes) <= together


def test_five_hundred_hosts() -> None:
    """A megabyte from each host is cut to the bound of the answer; one alone is not."""
    assert longest([1 << 20, 0] * 500, each=1 << 20) == TOGETHER // 500
    assert longest([1 << 20, 0] * 1, each=1 << 20) == 1 << 20


def job(runs: int) -> Job:
    return replace(new_job(), runs=(Run(host="h"),) * runs)


@pytest.mark.parametrize(
    ("runs", "limit", "shown"),
    [
        ([], 5, 0),
        ([1, 1, 1], 2, 2),
        ([1, 1, 1], 5, 3),
        ([MOST_RUNS, 1], 5, 1),
        ([MOST_RUNS - 1, 1, 1], 5, 2),
        ([MOST_RUNS + 1, 1], 5, 1),
    ],
)
def test_a_page_ends_early_where_runs_are_many(runs: list[int], limit: int, shown: int) -> None:
    """At least one job is on it, so that a reader always gets on."""
    jobs = [job(count) for count in runs]
    assert page_of(jobs, limit=limit) == jobs[:shown]
