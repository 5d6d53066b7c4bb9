"""Finished jobs go by age, count and bytes, the oldest first, and nothing that is still needed goes with them."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from cmdhttp.execution.model import Stream
from cmdhttp.jobs import pruning
from cmdhttp.jobs.artefacts import ArtefactStore
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import IdempotencyKey, Journal, Replay
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.output_log import OutputLog
from cmdhttp.jobs.pruning import Limits, Removed, Why
from cmdhttp.jobs.retention import Calendar, Retention
from cmdhttp.jobs.state import Job, State
from tests.support.kept import SIZE, accept, files, finished, names, new_job, rows

pytestmark = pytest.mark.anyio
NOW = 1_790_000_000.0
DAY = 86_400.0
NO_LIMITS = Limits(days=0, jobs=0, bytes=0)


class HeldClock:
    """Both readings, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = NOW, 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


class House:
    """A journal with its retention."""

    def __init__(
        self, journal: Journal, limits: Limits, clock: HeldClock | None = None, *, last: float | None = None
    ) -> None:
        self.clock = clock or HeldClock()
        self.leases = Leases(monotonic=self.clock.monotonic)
        self.reports: list[tuple[dict[Why, int], int, int]] = []
        self.retention = Retention(
            journal=journal,
            leases=self.leases,
            limits=limits,
            clock=self.clock,
            every=0.01,
            last=last,
            on_removed=self._report,
        )

    async def _report(self, removed: Removed) -> None:
        self.reports.append((dict(removed.jobs), removed.bytes, removed.orphans))


async def listed(journal: Journal) -> list[str]:
    return [job.id for job in await journal.page(Filter(principal="ann", limit=999))]


async def several(journal: Journal, count: int, *, first: float = NOW - 50 * DAY, apart: float = DAY) -> list[Job]:
    return [await finished(journal, number, at=first + number * apart) for number in range(count)]


async def test_by_age(journal: Journal, tmp_path: Path) -> None:
    """What ended longer ago than the limit goes with its files, events, hosts and row; what did not stays whole."""
    jobs = await several(journal, 5)
    house = House(journal, Limits(days=48, jobs=0, bytes=0))
    await house.retention.round()
    kept = {job.id for job in jobs[2:]}
    assert set(await listed(journal)) == files(tmp_path) == kept
    for table, column in (("events", "job"), ("job_hosts", "job"), ("jobs", "id")):
        assert names(tmp_path, f"SELECT {column} FROM {table}") == kept  # noqa: S608 - the names stand above
    assert names(tmp_path, "SELECT job FROM pruned") == set()
    assert house.reports == [({Why.AGE: 2}, 2 * SIZE, 0)]
    assert await journal.get(jobs[0].id) is None
    assert await journal.get(jobs[2].id) == jobs[2]


async def test_by_count(journal: Journal) -> None:
    """The newest stay."""
    jobs = await several(journal, 5)
    house = House(journal, Limits(days=0, jobs=2, bytes=0))
    await house.retention.round()
    assert await listed(journal) == [jobs[4].id, jobs[3].id]
    assert house.retention.stored.jobs == 2
    assert house.retention.stored.files == 2 * SIZE
    await house.retention.round()
    assert house.reports == [({Why.COUNT: 3}, 3 * SIZE, 0)]


async def test_by_bytes(journal: Journal) -> None:
    """Bytes are those of files and database together; the newest that fit stay, and with no room for any none does."""
    jobs = await several(journal, 8)
    there = await journal.database.read(pruning.stored)
    limit = there.database + 4 * SIZE
    house = House(journal, Limits(days=0, jobs=0, bytes=limit))
    for _ in range(len(jobs)):  # what a row takes in the database is an estimate, which the next round puts right
        await house.retention.round()
    left = await listed(journal)
    assert left == [job.id for job in reversed(jobs)][: len(left)]
    assert 1 <= len(left) <= 5
    assert house.retention.stored.files + house.retention.stored.database <= limit
    await House(journal, Limits(days=0, jobs=0, bytes=1)).retention.round()
    assert await listed(journal) == []


async def test_nothing_that_has_not_ended_goes(journal: Journal, tmp_path: Path) -> None:
    """A queued and a running job stay, however old, and count for nothing."""
    queued = await accept(journal, new_job(1, at=NOW - 900 * DAY))
    await several(journal, 3)
    await House(journal, Limits(days=1, jobs=1, bytes=1)).retention.round()
    assert await listed(journal) == [queued.id]
    assert names(tmp_path, "SELECT job FROM job_hosts") == {queued.id}


async def test_no_limits(journal: Journal) -> None:
    """Zeros keep all."""
    jobs = await several(journal, 3, first=0.0)
    await House(journal, NO_LIMITS).retention.round()
    assert len(await listed(journal)) == len(jobs)


async def test_more_than_one_slice(journal: Journal, tmp_path: Path) -> None:
    """Many jobs go in one round, and none of a job on many hosts is left."""
    await several(journal, 150, apart=1.0)
    await finished(journal, 999, at=NOW - 60 * DAY, hosts=250)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))
    await house.retention.round()
    assert (await listed(journal), files(tmp_path), names(tmp_path, "SELECT job FROM events")) == ([], set(), set())
    assert names(tmp_path, "SELECT job FROM job_hosts") == set()
    assert house.reports == [({Why.AGE: 151}, 400 * SIZE, 0)]


async def test_a_young_key_keeps_its_job(journal: Journal, tmp_path: Path) -> None:
    """Within 24 hours of the call the output goes and the job stays for replays; after that both go, and so does the key."""
    job = await finished(journal, 1, at=NOW - 3600, key="k")
    other = await finished(journal, 2, at=NOW - 3600)
    house = House(journal, Limits(days=0.01, jobs=0, bytes=0))
    await house.retention.round()
    key = IdempotencyKey(principal="ann", key="k", digest="d")
    assert await journal.replay(key) == Replay(job_id=job.id, same=True)
    left = await journal.get(job.id)
    assert left is not None
    assert (left.state, left.output_kept, left.runs[0].stdout.size) == (State.SUCCEEDED, False, 3)
    assert await journal.get(other.id) is None
    assert files(tmp_path) == set()
    assert names(tmp_path, "SELECT job FROM events") == set()
    await house.retention.round()
    assert house.reports == [({Why.AGE: 2}, 2 * SIZE, 0)]
    await House(journal, Limits(days=0, jobs=0, bytes=1)).retention.round()
    assert await listed(journal) == [job.id]
    house.clock.wall += 24 * 3600
    house.clock.steady += 24 * 3600
    await house.retention.round()
    assert await journal.replay(key) is None
    assert await listed(journal) == []


async def test_young_keys_do_not_cost_newer_jobs_their_output(journal: Journal) -> None:
    """A job that keeps its row for its key has had its turn: the newest, as many as may be kept, keep their output."""
    count, most = 70, 3  # more than two slices
    jobs = [await finished(journal, number, at=NOW - 3600 + number, key=f"k{number}") for number in range(count)]
    house = House(journal, Limits(days=0, jobs=most, bytes=0))
    newest = [job.id for job in reversed(jobs[-most:])]
    for _ in range(2):
        await house.retention.round()
        page = await journal.page(Filter(principal="ann", limit=999))
        assert [job.id for job in page if job.output_kept] == newest
    assert house.reports == [({Why.COUNT: count - most}, (count - most) * SIZE, 0)]
    house.clock.wall, house.clock.steady = NOW + DAY, DAY
    await house.retention.round()
    assert await listed(journal) == newest


async def test_a_key_without_a_limit_of_age(journal: Journal) -> None:
    """Keys go with their jobs, however these come to go."""
    await finished(journal, 1, at=NOW - 30 * 3600, key="k")
    await House(journal, Limits(days=0, jobs=0, bytes=1)).retention.round()
    assert await journal.replay(IdempotencyKey(principal="ann", key="k", digest="d")) is None


async def test_links_in_place_of_what_goes(journal: Journal, tmp_path: Path) -> None:
    """A link goes in place of what it stands for, keeps no other job, and nothing behind it is touched."""
    first, second = await several(journal, 2)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept")
    folder = journal.artefacts._path(first.id, 0, 0).parent.parent
    shutil.rmtree(folder)
    folder.symlink_to(victim)
    output = journal.output.path(first.id, 0, Stream.STDOUT)
    output.unlink()
    output.symlink_to(victim / "file")
    await House(journal, Limits(days=1, jobs=0, bytes=0)).retention.round()
    assert await listed(journal) == []
    assert names(tmp_path, "SELECT job FROM pruned") == set()
    assert not folder.is_symlink()
    assert not output.is_symlink()
    assert (victim / "file").read_text() == "kept"
    assert await journal.get(second.id) is None


async def test_what_is_read_stays(journal: Journal, tmp_path: Path) -> None:
    """A follower of events or of output holds its job; others go past it; when they have ended it goes."""
    first, second, third = await several(journal, 3)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))
    hub = Hub(journal, house.leases)
    async with (
        aclosing(hub.follow(first.id, after=0)) as events,
        aclosing(hub.follow_output(second.id, 0, Stream.STDOUT, offset=0)) as output,
    ):
        told = await anext(events)
        assert told is not None
        assert await anext(output) == b"abc"
        await house.retention.round()
        assert set(await listed(journal)) == {first.id, second.id} == files(tmp_path)
        rest = [each.event.seq async for each in events if each is not None]
        assert [told.event.seq, *rest] == list(range(1, first.last_seq + 1))
    await house.retention.round()
    assert await listed(journal) == []
    assert await journal.get(third.id) is None


async def test_what_was_just_asked_for_stays_a_minute(journal: Journal) -> None:
    """Between the question for a job and the reading of its output there is time."""
    (job,) = await several(journal, 1)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))
    assert house.leases.ask(job.id)
    await house.retention.round()
    assert await listed(journal) == [job.id]
    house.clock.steady += 61
    await house.retention.round()
    assert await listed(journal) == []


async def test_files_without_a_job_go(journal: Journal, tmp_path: Path) -> None:
    """What a power cut left without a row goes once it is an hour old; what is younger, or not ours, stays."""
    (job,) = await several(journal, 1, first=NOW)
    lost, young = new_job(7, at=NOW - DAY).id, new_job(8, at=NOW - DAY).id
    folder = tmp_path / "output" / lost[4:9]
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").touch()
    for owner in (lost, young):
        (folder / f"{owner}.0.stdout").write_text("x")
    artefacts = tmp_path / "artefacts" / lost[4:9] / lost / "0"
    artefacts.mkdir(parents=True)
    (artefacts / "000").touch()
    for path in (folder / "notes.txt", folder / f"{lost}.0.stdout", artefacts.parent):
        os.utime(path, (NOW - 2 * DAY, NOW - 2 * DAY))
    os.utime(folder / f"{young}.0.stdout", (NOW, NOW))
    house = House(journal, NO_LIMITS)
    await house.retention.round()
    assert files(tmp_path) == {job.id, young}
    assert (folder / "notes.txt").exists()
    assert house.reports == [({}, 0, 2)]
    os.utime(folder / f"{young}.0.stdout", (NOW - 2 * DAY, NOW - 2 * DAY))
    await house.retention.round()
    assert files(tmp_path) == {job.id, young}, "the next look is tomorrow's"
    house.clock.steady += DAY
    await house.retention.round()
    assert files(tmp_path) == {job.id}


async def test_a_file_that_cannot_go_is_tried_again(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails in the middle leaves the job marked, readable by nobody, and the next round ends the work."""
    (job,) = await several(journal, 1)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.jobs.pruning.remove_files", fail)
        await house.retention.round()
    assert await journal.get(job.id) is None
    assert files(tmp_path) == {job.id} == names(tmp_path, "SELECT job FROM pruned")
    await house.retention.round()
    assert files(tmp_path) == set() == names(tmp_path, "SELECT job FROM pruned")
    assert house.leases.ask(job.id)


async def test_a_file_that_never_goes_keeps_no_other(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job whose files cannot be removed, round after round, is said, and all others go."""
    jobs = await several(journal, 80, apart=DAY / 100)
    stuck = jobs[3].id
    house = House(journal, Limits(days=1, jobs=0, bytes=0))
    remove = pruning.remove_files

    def fail(output: OutputLog, artefacts: ArtefactStore, job: str, runs: int) -> None:
        if job == stuck:
            raise PermissionError(1, "Operation not permitted")
        remove(output, artefacts, job, runs)

    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.jobs.pruning.remove_files", fail)
        for _ in range(2):
            await house.retention.round()
            assert files(tmp_path) == {stuck} == names(tmp_path, "SELECT job FROM pruned")
    await house.retention.round()
    assert files(tmp_path) == set() == names(tmp_path, "SELECT job FROM pruned")


async def test_a_mark_that_cannot_be_written(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that takes no write nothing goes, and the jobs can be asked for as before."""
    (job,) = await several(journal, 1)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))

    def full(*_args: object, **_more: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.jobs.pruning.mark", full)
        with pytest.raises(sqlite3.OperationalError):
            await house.retention.round()
    assert await journal.get(job.id) == job
    assert house.leases.ask(job.id)


async def test_a_damaged_row_goes_like_others(journal: Journal, tmp_path: Path) -> None:
    """A job that cannot be read is removed with all that is known of it, and keeps no other."""
    jobs = await several(journal, 3)
    with rows(tmp_path) as db:
        db.execute("UPDATE jobs SET body = x'00' WHERE id = ?", (jobs[0].id,))
        db.commit()
    await House(journal, Limits(days=1, jobs=0, bytes=0)).retention.round()
    for table, column in (("events", "job"), ("job_hosts", "job"), ("jobs", "id"), ("pruned", "job")):
        assert names(tmp_path, f"SELECT {column} FROM {table}") == set()  # noqa: S608 - the names stand above
    assert files(tmp_path) == set()


async def test_the_watch_goes_on_after_a_failure(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round that fails is not the last."""
    await several(journal, 1)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))
    real, calls = pruning.mark, list[int]()

    def once(*args: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("cmdhttp.jobs.pruning.mark", once)
    async with anyio.create_task_group() as group:
        group.start_soon(house.retention.watch)
        with anyio.fail_after(10):
            while await listed(journal):
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def test_the_writer_is_free_between_slices(tmp_path: Path) -> None:
    """While hundreds of jobs go, a write that comes meanwhile is done before they are all gone."""
    journal = Journal(tmp_path)
    await several(journal, 300, apart=1.0)
    house = House(journal, Limits(days=1, jobs=0, bytes=0))
    left: list[int] = []

    def count(db: sqlite3.Connection) -> None:
        left.append(db.execute("SELECT count(*) FROM jobs").fetchone()[0])

    async with anyio.create_task_group() as group:
        group.start_soon(house.retention.round)
        while not left or left[-1] > 0:
            await journal.database.write(count, durable=False)
            await anyio.lowlevel.checkpoint()
    steps = sorted(set(left), reverse=True)
    assert len(steps) >= 4
    assert max(before - after for before, after in pairwise(steps)) <= 4 * 32
    journal.close()


async def test_the_database_shrinks(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is freed beyond the spare is given back to the disk."""
    monkeypatch.setattr("cmdhttp.jobs.retention._SPARE_PAGES", 4)
    await several(journal, 300, apart=1.0)

    def pages(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA page_count").fetchone()[0])

    before = await journal.database.read(pages)
    await House(journal, Limits(days=1, jobs=0, bytes=0)).retention.round()
    assert await journal.database.read(pages) < before / 2


def test_a_clock_that_jumps() -> None:
    """A jump forward is believed after an hour, one that is taken back is never; a jump back is followed at once."""
    clock = HeldClock()
    calendar = Calendar(clock)

    def move(*, wall: float, steady: float) -> float:
        clock.wall += wall
        clock.steady += steady
        return calendar.now() - NOW

    assert move(wall=60, steady=60) == 60
    assert move(wall=40 * DAY, steady=0) == 60
    assert move(wall=600, steady=600) == 660
    assert move(wall=-40 * DAY, steady=0) == 660
    assert move(wall=40 * DAY, steady=0) == 660
    assert move(wall=3000, steady=3000) == 3660
    assert move(wall=600, steady=600) == 40 * DAY + 4260
    assert move(wall=-50 * DAY, steady=0) == -10 * DAY + 4260


@pytest.mark.parametrize("jump", [3600.0, DAY, 400 * DAY])
async def test_a_clock_that_is_ahead_at_the_start(journal: Journal, jump: float) -> None:
    """It makes no job old and no key late, before it has been so for an hour; one that is behind keeps more."""
    for number in range(3):
        await finished(journal, number, at=NOW - 3600 * number - 2, key=f"k{number}")
    last = await journal.last_written()
    assert last == NOW - 1
    clock = HeldClock()
    clock.wall = NOW + jump
    key = IdempotencyKey(principal="ann", key="k2", digest="d")
    by_age, by_size = Limits(days=0.2, jobs=0, bytes=0), Limits(days=0, jobs=0, bytes=1)
    houses = [House(journal, limits, clock, last=last) for limits in (by_age, by_size)]
    for house in houses:
        for _ in range(2):
            await house.retention.round()
            assert len(await listed(journal)) == 3
            clock.wall, clock.steady = clock.wall + 1000, clock.steady + 1000
        assert await journal.replay(key) is not None
    clock.wall -= jump
    await houses[0].retention.round()
    assert len(await listed(journal)) == 3, "it was set right"
    clock.wall, clock.steady = clock.wall + 30 * DAY, clock.steady + 30 * DAY
    await houses[0].retention.round()
    assert await listed(journal) == []


async def test_when_jobs_were_last_written(journal: Journal) -> None:
    """The newest acceptance or end, whichever is later; nothing, in a new folder."""
    assert await journal.last_written() is None
    await accept(journal, new_job(1, at=NOW - 5))
    assert await journal.last_written() == NOW - 5
    await finished(journal, 2, at=NOW - 60)
    assert await journal.last_written() == NOW - 5
    await finished(journal, 3, at=NOW)
    assert await journal.last_written() == NOW + 1


CRASHES = (
    "before the mark",
    "after the mark",
    "among the files",
    "after the files",
    "among the events",
    "before the end",
)
_CHILD = """
import os, signal, sys, sqlite3
from pathlib import Path
from cmdhttp.cli.prune import Wanted, run_prune
from cmdhttp.jobs import pruning
from cmdhttp.jobs.artefacts import ArtefactStore
from cmdhttp.jobs.artefacts import ArtefactStore

def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(real):
    def both(*args, **more):
        real(*args, **more)
        die()
    return both

at = sys.argv[2]
pruning._SLICE_EVENTS = 7
if at == "before the mark":
    pruning.mark = then_die(pruning.mark)  # in the transaction, before its commit
elif at == "after the mark":
    pruning.remove_files = die
elif at == "among the files":
    ArtefactStore.drop_all = die
elif at == "after the files":
    pruning.clear = die
elif at == "among the events":
    pruning.clear = then_die(pruning.clear)
elif at == "before the end":
    pruning.give_back = die
run_prune({}, Wanted(data=sys.argv[1], older_than="1d", keep_jobs=None, keep_bytes=None, dry_run=False, as_json=True))
"""


@pytest.mark.parametrize("at", CRASHES)
async def test_a_kill_at_any_step(tmp_path: Path, at: str) -> None:
    """Wherever it is killed, each job that is there has all that it says, each file is named, and the next removal ends it."""
    journal = Journal(tmp_path)
    old = [await finished(journal, number, at=NOW - number * DAY, hosts=2) for number in range(3)]
    young = await finished(journal, 9, at=time.time())
    keyed = await finished(journal, 10, at=time.time(), key="k")
    journal.close()
    command = [sys.executable, "-c", _CHILD, str(tmp_path), at]
    assert subprocess.run(command, capture_output=True, check=False, timeout=15).returncode == -signal.SIGKILL
    there = names(tmp_path, "SELECT id FROM jobs WHERE whole")
    named = there | names(tmp_path, "SELECT job FROM pruned")
    assert there <= files(tmp_path) <= named
    assert names(tmp_path, "SELECT job FROM events") <= named
    with rows(tmp_path) as db:
        for job in there:
            last, count = db.execute("SELECT max(seq), count(*) FROM events WHERE job = ?", (job,)).fetchone()
            assert last == count > 1
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert ({job.id for job in old} <= there) == (at == "before the mark")
    again = Journal(tmp_path)
    house = House(again, Limits(days=1, jobs=0, bytes=0))
    house.clock.wall = time.time()
    house.retention._calendar = Calendar(house.clock)
    await house.retention.round()
    again.close()
    assert files(tmp_path) == {young.id, keyed.id} == names(tmp_path, "SELECT id FROM jobs")
    assert names(tmp_path, "SELECT job FROM events") == {young.id, keyed.id}
    with rows(tmp_path) as db:
        assert db.execute("SELECT jobs, bytes FROM kept").fetchone() == (2, 2 * SIZE)
