"""Lists over a long history: what is read does not grow with it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jobs.history import RARE, fill, principal
from cmdhttp.jobs.database import open_database
from cmdhttp.jobs.journal import DATABASE, Journal
from cmdhttp.jobs.listing import Filter, list_query
from cmdhttp.jobs.pruning import START, Limits, find
from cmdhttp.jobs.state import Job, State

JOBS = 20_000
NEWEST = 1_790_000_000.0


pytestmark = pytest.mark.timeout(240)  # the history takes some seconds to make


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    fill(folder, jobs=JOBS, newest=NEWEST)
    return folder


@pytest.fixture
def db(history: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(history / DATABASE)) as opened:
        yield opened


def filters() -> Iterator[Filter]:
    """Every combination of filters."""
    states: tuple[tuple[State, ...], ...] = ((), (State.LOST,), (State.QUEUED, State.FAILED))
    commands, hosts, befores = (None, "service.status-3", RARE), (None, "web-3", RARE), (None, "job_7")
    spans = ((None, None), (NEWEST - 5000, None), (None, NEWEST - 100), (NEWEST - 9000.0005, NEWEST - 10.5))
    for state, command, host, before, (since, until) in product(states, commands, hosts, befores, spans):
        yield Filter(
            principal=principal(1),
            limit=51,
            before=before,
            states=state,
            command=command,
            host=host,
            since=since,
            until=until,
        )


def steps_of(db: sqlite3.Connection, query: str, values: Any) -> int:
    """Return how many thousands of steps the database's machine takes for a query: what it reads, and no time."""
    count = 0

    def note() -> int:
        nonlocal count
        count += 1
        return 0

    db.set_progress_handler(note, 1000)
    db.execute(query, values).fetchall()
    db.set_progress_handler(None, 0)
    return count


def test_no_list_scans(db: sqlite3.Connection) -> None:
    """Whatever is asked for, each table is searched by an index, and the work is that of a page, however rare what passes is."""
    for wanted in filters():
        query, values = list_query(wanted)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        scans = [text for text in plan if text.startswith("SCAN") and text not in ("SCAN page", "SCAN CONSTANT ROW")]
        assert [text for text in scans if not text.startswith("SCAN (subquery")] == [], wanted
        assert any(text.startswith("SEARCH") for text in plan)
        assert steps_of(db, query, values) < 25, wanted


def test_a_list_of_everybody_looks_at_a_page(db: sqlite3.Connection) -> None:
    """Jobs of all callers are walked down by their id: no more of them are read than the limit, wherever the page begins."""
    for wanted in filters():
        query, values = list_query(replace(wanted, principal=None, limit=200))
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
        assert [text for text in plan if not text.startswith("SEARCH jobs USING INDEX")] == [], wanted
        assert steps_of(db, query, values) < 25, wanted


def passes(job: Job, wanted: Filter) -> bool:
    return (
        job.principal == wanted.principal
        and (wanted.before is None or job.id < wanted.before)
        and (not wanted.states or job.state in wanted.states)
        and wanted.command in (None, job.command)
        and (wanted.host is None or wanted.host in {run.host for run in job.runs})
        and (wanted.since is None or job.created_at >= wanted.since)
        and (wanted.until is None or job.created_at < wanted.until)
    )


@pytest.mark.anyio
async def test_lists_are_right(tmp_path: Path) -> None:
    """A page by the indexes is the page that looking at every job gives, for every combination of filters."""
    fill(tmp_path, jobs=2000, newest=NEWEST, apart=5.3333)
    journal = Journal(tmp_path)
    every: list[Job] = []
    for number in range(3):
        every += await journal.page(Filter(principal=principal(number), limit=9999))
    assert len(every) == 2000
    every.sort(key=lambda job: job.id, reverse=True)
    found = 0
    for wanted in filters():
        page = await journal.page(wanted)
        assert page == [job for job in every if passes(job, wanted)][: wanted.limit]
        found += len(page)
    journal.close()
    assert found > 500


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("since", "until", "all_of_them"),
    [(-6.2e10, 2.5e11, True), (0.0, None, True), (2.5e11, None, False), (None, -6.2e10, False), (2e9, 1e9, False)],
)
async def test_times_that_no_job_can_have(
    tmp_path: Path, since: float | None, until: float | None, all_of_them: bool
) -> None:
    """Any year that can be written is a bound like others."""
    fill(tmp_path, jobs=30, newest=NEWEST)
    journal = Journal(tmp_path)
    for host in (None, "web-0"):
        page = await journal.page(Filter(principal=principal(0), limit=99, host=host, since=since, until=until))
        assert (page != []) == all_of_them
    journal.close()


@pytest.mark.anyio
async def test_pages_follow_each_other(history: Path) -> None:
    """Page by page each job comes once, newest first, also where a job of the last page has gone meanwhile."""
    journal = Journal(history)
    seen: list[str] = []
    before: str | None = "job_7"
    while page := await journal.page(
        Filter(principal=principal(2), limit=2000, before=before, command="service.status-5")
    ):
        seen += [job.id for job in page]
        before = seen[-1]
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == len([number for number in range(JOBS) if number % 3 == 2 and number % 20 == 5])
    journal.close()


def test_the_start_reads_what_has_not_ended(db: sqlite3.Connection) -> None:
    """Jobs without an end are found by an index that holds no others."""
    query = "SELECT id FROM jobs WHERE state IN ('queued', 'running') ORDER BY id"
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert plan == ["SCAN jobs USING INDEX jobs_open"]
    assert steps_of(db, query, ()) == 0


def test_what_is_to_go_is_found_without_a_count(db: sqlite3.Connection) -> None:
    """The search for the oldest jobs takes the work of a slice."""
    count = 0

    def note() -> int:
        nonlocal count
        count += 1
        return 0

    db.set_progress_handler(note, 1000)
    found = find(db, limits=Limits(days=0, jobs=JOBS - 10, bytes=0), now=time.time(), after=START)
    db.set_progress_handler(None, 0)
    assert len(found.victims) == 10
    assert found.after is None
    assert count < 10


@pytest.mark.anyio
async def test_opening_reads_no_history(history: Path) -> None:
    """The start opens the database and asks for what has not ended, without a look at the rest."""
    journal = Journal(history)
    reads: list[str] = []
    await journal.database.read(lambda each: each.set_trace_callback(reads.append))
    assert await journal.unfinished() == ([], [])
    journal.close()
    assert len([text for text in reads if text.startswith("SELECT")]) == 1
