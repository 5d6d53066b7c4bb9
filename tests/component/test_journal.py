"""The journal on a real disk."""

import errno
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cmdhttp.errors import ConfigError
from cmdhttp.execution.model import Stream
from cmdhttp.ids import job_id
from cmdhttp.jobs.journal import Chunk, IdempotencyKey, Journal, Replay
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.state import (
    Accepted,
    Dispatched,
    Event,
    Finished,
    Job,
    OnDisconnect,
    Output,
    Progress,
    Run,
    RunEnded,
    Started,
    State,
    apply,
)

pytestmark = pytest.mark.anyio
KEY = IdempotencyKey(principal="p", key="k", digest="d")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def new_job(number: int, *, principal: str = "p", command: str = "c", hosts: tuple[str, ...] = ("h",)) -> Job:
    return Job(
        id=job_id(unix_ms=number * 1000, entropy=bytes(10)),
        command=command,
        principal=principal,
        credential="k",
        created_at=float(number),
        policy="sha256:0",
        params={"x": [1, "é"]},
        labels=("l",),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=tuple(Run(host=host) for host in hosts),
    )


async def accept(journal: Journal, job: Job, *, key: IdempotencyKey | None = None) -> Job | Replay:
    accepted = Accepted(seq=1, ts=1.0, job=job)
    after = apply(None, accepted)
    told: list[int] = []
    replay = await journal.accept(accepted, after, key=key, on_commit=lambda: told.append(1))
    assert told == ([] if replay else [1])
    return replay or after


async def new(journal: Journal, number: int = 1) -> Job:
    job = await accept(journal, new_job(number))
    assert isinstance(job, Job)
    return job


def output(job: Job, data: bytes) -> tuple[Output, Chunk]:
    offset = job.runs[0].stdout.size
    event = Output(seq=job.last_seq + 1, ts=2.0, run=0, host="h", stream=Stream.STDOUT, offset=offset, size=len(data))
    return event, Chunk(run=0, stream=Stream.STDOUT, offset=offset, data=data)


async def keep(journal: Journal, job: Job, event: Event, chunk: Chunk | None = None) -> Job:
    after = apply(job, event)
    await journal.append(after, event, chunk=chunk)
    return after


async def end(journal: Journal, job: Job) -> Job:
    job = await keep(journal, job, Dispatched(ts=2.0, run=0))
    job = await keep(journal, job, RunEnded(seq=job.last_seq + 1, ts=3.0, run=0, host="h", state=State.SUCCEEDED))
    return await keep(journal, job, Finished(seq=job.last_seq + 1, ts=4.0))


async def test_a_whole_life(journal: Journal, tmp_path: Path) -> None:
    """A job is read back as it was after each event, and after the journal was opened again."""
    job = await new(journal)
    assert await journal.get(job.id) == job
    job = await keep(journal, job, Dispatched(ts=2.0, run=0))
    assert await journal.get(job.id) == job
    job = await keep(journal, job, *output(job, b"abc"))
    assert await journal.get(job.id) == job
    job = await keep(journal, job, RunEnded(seq=3, ts=3.0, run=0, host="h", state=State.FAILED, exit_code=1))
    job = await keep(journal, job, Finished(seq=4, ts=4.0, duration=1.5))
    again = Journal(tmp_path)
    try:
        assert await again.get(job.id) == job
        events = await again.events(job.id, after=0, limit=100)
        assert [event.seq for event in events] == [1, 2, 3, 4]
        assert await again.events(job.id, after=1, limit=2) == events[1:3]
        assert await again.read_output(job.id, 0, Stream.STDOUT, offset=1, size=9) == b"bc"
    finally:
        again.close()


async def test_what_is_not_there(journal: Journal) -> None:
    """Unknown jobs and outputs are nothing, not errors."""
    assert await journal.get("job_x") is None
    assert await journal.events("job_x", after=0, limit=9) == []
    assert await journal.read_output("job_0123456789", 0, Stream.STDERR, offset=0, size=9) == b""


async def test_told_in_order_and_only_when_on_disk(journal: Journal, tmp_path: Path) -> None:
    """`on_commit` comes in the order of the numbers, and each event is then there for any other reader."""
    job = await keep(journal, await new(journal), Dispatched(ts=2.0, run=0))
    told: list[tuple[int, int]] = []
    reader = sqlite3.connect(tmp_path / "jobs.sqlite3")

    def tell(seq: int) -> Callable[[], None]:
        def note() -> None:
            on_disk = reader.execute("SELECT max(seq) FROM events WHERE job = ?", (job.id,)).fetchone()[0]
            told.append((seq, on_disk))

        return note

    waiting = []
    for _ in range(100):
        event, chunk = output(job, b"x")
        job = apply(job, event)
        waiting.append(journal.append(job, event, chunk=chunk, on_commit=tell(event.seq)))
    for one in waiting:
        await one
    reader.close()
    assert [seq for seq, _ in told] == list(range(2, 102))
    assert all(on_disk >= seq for seq, on_disk in told)


async def test_many_commits_are_one(journal: Journal, tmp_path: Path) -> None:
    """Work that waits while the writer is busy is committed together."""
    commits: list[int] = []
    sizes: list[int] = []
    real = journal._database.write
    await real(
        lambda db: db.set_trace_callback(lambda sql: commits.append(1) if sql == "COMMIT" else None), durable=False
    )
    blocked = real(lambda db: db.execute("SELECT 1").fetchone(), durable=False)
    futures = [real(lambda _db: sizes.append(1), durable=True) for _ in range(200)]
    for future in (blocked, *futures):
        await future
    assert len(sizes) == 200
    assert len(commits) < 100


async def test_a_gap_is_refused(journal: Journal) -> None:
    """An event after one that was not written is refused, and none of it stays."""
    job = await keep(journal, await new(journal), Dispatched(ts=2.0, run=0))
    event, chunk = output(job, b"abc")
    skipped = replace(event, seq=event.seq + 1)
    with pytest.raises(OSError, match="event 3 cannot follow event 1"):
        await journal.append(job, skipped, chunk=chunk)
    assert await journal.get(job.id) == job
    assert await journal.read_output(job.id, 0, Stream.STDOUT, offset=0, size=9) == b""
    assert (await keep(journal, job, event, chunk)).last_seq == 2


@pytest.mark.parametrize("written", [0, 2])
async def test_a_full_disk(journal: Journal, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """Output that cannot be written raises, leaves no part of itself, tells nobody and harms no other job."""
    job = await keep(journal, await new(journal, 1), Dispatched(ts=2.0, run=0))
    job = await keep(journal, job, *output(job, b"first"))
    real, calls, told = os.write, list[int](), list[int]()

    def full(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if written and len(calls) == 1:
            return real(descriptor, data[:written])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    event, chunk = output(job, b"second")
    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.jobs.output_log.os.write", full)
        failing = journal.append(apply(job, event), event, chunk=chunk, on_commit=lambda: told.append(1))
        other = await new(journal, 2)
        with pytest.raises(OSError, match="No space left"):
            await failing
    assert told == []
    assert await journal.get(other.id) == other
    assert await journal.get(job.id) == job
    assert await journal.read_output(job.id, 0, Stream.STDOUT, offset=0, size=99) == b"first"
    after = await keep(journal, job, event, chunk)
    assert after.last_seq == event.seq
    assert await journal.read_output(job.id, 0, Stream.STDOUT, offset=0, size=99) == b"firstsecond"
    await journal.close_output(job.id, 0)


async def test_a_key_used_before(journal: Journal) -> None:
    """A key leads to its first job, says whether the request was the same, and keeps no second job."""
    job = await accept(journal, new_job(1), key=KEY)
    assert isinstance(job, Job)
    assert await accept(journal, new_job(2), key=KEY) == Replay(job_id=job.id, same=True)
    assert await accept(journal, new_job(3), key=replace(KEY, digest="e")) == Replay(job_id=job.id, same=False)
    assert await journal.replay(KEY) == Replay(job_id=job.id, same=True)
    assert await journal.replay(replace(KEY, principal="q")) is None
    assert await journal.get(new_job(2).id) is None
    assert isinstance(await accept(journal, new_job(4), key=replace(KEY, principal="q")), Job)


async def test_one_of_many_at_once(journal: Journal) -> None:
    """Of calls with one key at one moment exactly one becomes a job."""
    results: list[Job | Replay] = []

    async def one(number: int) -> None:
        results.append(await accept(journal, new_job(number), key=KEY))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    jobs = [result for result in results if isinstance(result, Job)]
    assert len(jobs) == 1
    assert {result.job_id for result in results if isinstance(result, Replay)} == {jobs[0].id}


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(principal="p", limit=9), [6, 5, 3, 2, 1]),
        (Filter(principal="q", limit=9), [4]),
        (Filter(principal="r", limit=9), []),
        (Filter(principal="p", limit=2), [6, 5]),
        (Filter(principal="p", limit=2, before=new_job(5).id), [3, 2]),
        (Filter(principal="p", limit=9, command="d"), [3]),
        (Filter(principal="p", limit=9, host="h2"), [2]),
        (Filter(principal="p", limit=9, since=2.0, until=5.0), [3, 2]),
        (Filter(principal="p", limit=9, states=(State.SUCCEEDED,)), [6]),
        (Filter(principal="p", limit=9, states=(State.QUEUED, State.SUCCEEDED), command="c", host="h"), [6, 5, 2, 1]),
        (Filter(principal="p' OR 1=1 --", limit=9), []),
    ],
)
async def test_lists(journal: Journal, wanted: Filter, numbers: list[int]) -> None:
    """A list holds the caller's own jobs only, newest first, that pass every filter."""
    await accept(journal, new_job(1))
    await accept(journal, new_job(2, hosts=("h", "h2", "h2")))
    await accept(journal, new_job(3, command="d"))
    await accept(journal, new_job(4, principal="q"))
    await accept(journal, new_job(5))
    await end(journal, await new(journal, 6))
    assert [int(job.created_at) for job in await journal.page(wanted)] == numbers


async def test_unfinished(journal: Journal) -> None:
    """What has no end is found after a restart, oldest first."""
    first = await new(journal, 1)
    await end(journal, await new(journal, 2))
    third = await keep(journal, await new(journal, 3), Dispatched(ts=2.0, run=0))
    assert await journal.unfinished() == ([first, third], [])


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    """A database of a newer version is refused, and so is a file that is none."""
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db, db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ConfigError, match="version 99"):
        Journal(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "jobs.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="cannot be used"):
        Journal(other)


async def test_the_runs_of_several_are_marked_one_by_one(journal: Journal) -> None:
    """The row of a job on several hosts is written at its end; until then marks and events say the rest."""
    made = await accept(journal, new_job(1, hosts=("a", "b", "c")))
    assert isinstance(made, Job)
    for event in (
        Dispatched(ts=2.0, run=1),
        Started(seq=2, ts=3.0, run=1, host="b", argv=("x",)),
        RunEnded(seq=3, ts=4.0, run=1, host="b", state=State.SUCCEEDED),
        Progress(seq=4, ts=4.0, done=1, total=3, failed=0, batch=1, batches=1),
        Dispatched(ts=5.0, run=2),
    ):
        made = await keep(journal, made, event)
        assert await journal.get(made.id) == made
    (listed,) = await journal.page(Filter(principal=made.principal, limit=9, states=[State.RUNNING]))
    assert (listed.id, listed.last_seq) == (made.id, 1)
    for run in (0, 2):
        made = await keep(journal, made, RunEnded(seq=made.last_seq + 1, ts=6.0, run=run, host="h", state=State.FAILED))
    made = await keep(journal, made, Finished(seq=made.last_seq + 1, ts=7.0))
    (listed,) = await journal.page(Filter(principal=made.principal, limit=9))
    assert listed == made == await journal.get(made.id)
    assert await journal._database.read(lambda db: db.execute("SELECT * FROM dispatched").fetchall()) == []


async def test_a_failed_commit_leaves_no_gap_and_no_block(journal: Journal) -> None:
    """When a whole commit fails, as on a full disk, the same event can be written once more."""
    job = await new(journal)
    dispatched = apply(job, Dispatched(ts=1.0, run=0))
    ended = RunEnded(seq=2, ts=2.0, run=0, host="h", state=State.LOST)
    after = apply(dispatched, ended)
    parent = "CREATE TABLE parent (id INTEGER PRIMARY KEY)"
    child = "CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    await journal._database.write(lambda db: (db.execute(parent), db.execute(child)), durable=False)
    gate = threading.Event()
    held = journal._database.write(lambda _db: gate.wait(5), durable=False)
    await anyio.sleep(0.05)
    refused = journal.append(after, ended)
    broken = journal._database.write(lambda db: db.execute("INSERT INTO child VALUES (7)"), durable=False)
    gate.set()
    await held
    for future in (refused, broken):
        with pytest.raises(sqlite3.IntegrityError):
            await future
    assert [event.seq for event in await journal.events(job.id, after=0, limit=9)] == [1]
    await journal.append(after, ended)
    assert [event.seq for event in await journal.events(job.id, after=0, limit=9)] == [1, 2]


async def test_what_must_survive_a_power_cut_is_synced_before_it_is_told(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acceptance and dispatch are committed in full; all else is told without a sync, and synced when nothing more comes."""
    monkeypatch.setattr("cmdhttp.jobs.database._QUIET_SECONDS", 0.2)
    statements: list[str] = []
    await journal._database.write(lambda db: db.set_trace_callback(statements.append), durable=False)

    def level() -> str:
        levels = [text for text in statements if text.startswith("PRAGMA synchronous")]
        return levels[-1].rpartition("=")[2] if levels else "NORMAL"

    job = await new(journal)
    assert level() == "FULL"
    job = await keep(journal, job, Dispatched(ts=2.0, run=0))
    assert level() == "FULL"
    job = await keep(journal, job, *output(job, b"abc"))
    job = await keep(journal, job, RunEnded(seq=3, ts=3.0, run=0, host="h", state=State.SUCCEEDED))
    job = await keep(journal, job, Finished(seq=4, ts=4.0))
    assert level() == "NORMAL"
    assert not any("user_version=" in text for text in statements)
    with anyio.fail_after(3):
        while not any("user_version=" in text for text in statements):
            await anyio.sleep(0.01)
    assert level() == "FULL"
    assert await journal.get(job.id) == job


async def test_work_that_never_pauses_is_synced_too(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of output cannot put off the sync of what else was told."""
    monkeypatch.setattr("cmdhttp.jobs.database._QUIET_SECONDS", 60.0)
    monkeypatch.setattr("cmdhttp.jobs.database._MOST_UNSYNCED", 5)
    statements: list[str] = []
    await journal._database.write(lambda db: db.set_trace_callback(statements.append), durable=False)
    for _ in range(12):
        await journal._database.write(lambda db: db.execute("SELECT 1"), durable=False)
    assert 1 <= sum("user_version=" in text for text in statements) <= 2


async def test_events_of_one_record_are_all_or_none(journal: Journal) -> None:
    """Of two events that belong together neither stands alone."""
    job = await keep(journal, await new(journal), Dispatched(ts=2.0, run=0))
    ended = RunEnded(seq=2, ts=3.0, run=0, host="h", state=State.SUCCEEDED)
    finished = Finished(seq=3, ts=4.0)
    after = apply(apply(job, ended), finished)
    with pytest.raises(OSError, match="event 4 cannot follow event 2"):
        await journal.append(after, ended, replace(finished, seq=4))
    assert await journal.get(job.id) == job
    assert len(await journal.events(job.id, after=0, limit=9)) == 1
    await journal.append(after, ended, finished)
    assert await journal.get(job.id) == after
    assert [event.seq for event in await journal.events(job.id, after=0, limit=9)] == [1, 2, 3]


async def test_a_damaged_row_of_several_hosts(journal: Journal) -> None:
    """While it is open and when it has ended it is what marks and events say; without them it is lost, on all its hosts."""
    hosts = ("a", "b", "c")
    other = await accept(journal, new_job(1, hosts=("a", "d")))
    made = await accept(journal, new_job(2, hosts=hosts))
    assert isinstance(made, Job)
    assert isinstance(other, Job)
    for event in (
        Dispatched(ts=2.0, run=1),
        Started(seq=2, ts=3.0, run=1, host="b", argv=("x",)),
        Dispatched(ts=3.0, run=2),
    ):
        made = await keep(journal, made, event)
    whole = "SELECT body FROM jobs WHERE id = ?"
    (body,) = await journal._database.read(lambda db: db.execute(whole, (made.id,)).fetchone())
    await damage(journal, "UPDATE jobs SET body = x'00' WHERE id = ?", made.id)
    assert await journal.get(made.id) == made
    assert await journal.unfinished() == ([other, made], [])
    await damage(journal, "UPDATE jobs SET body = ?2 WHERE id = ?1", made.id, body)
    await damage(journal, "UPDATE events SET kind = 'Progress' WHERE job = ? AND seq = 2", made.id)
    assert await journal.unfinished() == ([other], [made.id])
    await damage(journal, "UPDATE jobs SET body = x'00' WHERE id = ?", made.id)
    lost = await journal.lose(made.id, now=9.0)
    assert lost is not None
    assert (lost.state, lost.damaged, lost.finished_at) == (State.LOST, True, 9.0)
    assert [(run.host, run.state) for run in lost.runs] == [(host, State.LOST) for host in hosts]
    assert await journal.get(made.id) == lost
    assert await journal.lose(made.id, now=10.0) is None, "it has its end"
    assert await journal.unfinished() == ([other], [])
    for wanted in (
        Filter(principal="p", limit=9, host="c", states=[State.LOST]),
        Filter(principal="p", limit=9, host="b"),
        Filter(principal=None, limit=1),
    ):
        assert await journal.page(wanted) == [lost]
    left = "SELECT job FROM dispatched UNION ALL SELECT job FROM waiting"
    assert await journal._database.read(lambda db: db.execute(left).fetchall()) == []


async def test_an_event_that_is_not_readable_of_a_row_that_is(journal: Journal) -> None:
    """What ended keeps its end; the rest is lost, the job is not told as anything else, and its row is written anew."""
    made = await accept(journal, new_job(2, hosts=("a", "b")))
    assert isinstance(made, Job)
    for event in (Dispatched(ts=2.0, run=0), Started(seq=2, ts=3.0, run=0, host="a", argv=("x",))):
        made = await keep(journal, made, event)
    await damage(journal, "DELETE FROM events WHERE job = ? AND seq = 2", made.id)
    await damage(journal, "INSERT INTO events VALUES (?, 3, 'Started', '{}')", made.id)
    assert await journal.unfinished() == ([], [made.id])
    lost = await journal.lose(made.id, now=9.0)
    assert lost is not None
    assert (lost.state, lost.params, lost.output_kept) == (State.FAILED, {"x": [1, "é"]}, False)
    assert [run.state for run in lost.runs] == [State.LOST, State.LOST]
    assert await journal.get(made.id) == lost


async def damage(journal: Journal, statement: str, *values: object) -> None:
    changed = await journal._database.write(lambda db: db.execute(statement, values).rowcount, durable=False)
    assert changed > 0
