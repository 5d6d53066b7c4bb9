"""How much one JSON answer carries, however many runs its jobs have.

Of output there is a bound for each stream and one for all of them together. If all do not fit, the long ones are cut, all
at the same length, and the short ones stand whole: most hosts say the same few lines, and one says a thousand. A list of
jobs ends early where their runs are many; its cursor leads on.
"""

from collections.abc import Iterable
from itertools import accumulate

from cmdhttp.jobs.state import Job

TOGETHER = 8 << 20
"""Bytes of output in one answer, over both streams of all runs."""

MOST_RUNS = 5000
"""Runs that one page of jobs shows."""


def longest(sizes: Iterable[int], *, each: int, together: int = TOGETHER) -> int:
    """Return how many bytes of each stream an answer may carry. `sizes` are the streams' own, in any order."""
    left = together
    shorter_first = sorted(min(size, each) for size in sizes)
    for index, size in enumerate(shorter_first):
        share = left // (len(shorter_first) - index)
        if size > share:
            return share
        left -= size
    return each


def page_of(jobs: list[Job], *, limit: int) -> list[Job]:
    """Return the first jobs, at most `limit`, and of those as many as have no more than `MOST_RUNS`, but one at least."""
    fit = sum(runs <= MOST_RUNS for runs in accumulate(len(job.runs) for job in jobs))
    return jobs[: min(limit, max(fit, 1))]
