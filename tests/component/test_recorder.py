"""The records of a live job on a real disk: what is queued, what is told, what is at hand, and what a failure does."""

import asyncio
import errno
import gc
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from cmdhttp.jobs.feed import SHORT_OUTPUT
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.state import Accepted, RunEnded, State
from tests.support.recording import ERR, OUT, Live

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    opened = Live(tmp_path)
    await opened.accept()
    yield opened
    opened.journal.close()


def fail_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cmdhttp.jobs.output_log.os.write", full)


async def test_acceptance_and_dispatch_are_one(live: Live) -> None:
    """Once a job is told of, its runs that start at once are marked on disk as such that may have started."""
    kept = await live.journal.get(live.job.id)
    assert kept is not None
    assert (kept.state, kept.runs[0].state, kept.last_seq) == (State.RUNNING, State.RUNNING, 1)
    assert live.hub.live(live.job.id) == kept
    events = await live.journal.events(live.job.id, after=0, limit=9)
    assert [event.job.state for event in events if isinstance(event, Accepted)] == [State.QUEUED]


async def test_a_call_that_goes_well_waits_for_the_disk_twice(live: Live) -> None:
    """Start and output are not waited for; the end comes after them, and with it the job's."""
    gate = live.block()
    with anyio.fail_after(3):
        await live.start()
        await live.recorder.output(0, OUT, b"hello\n")
    assert live.feed.job.last_seq == 1
    gate.set()
    await live.end()
    assert live.feed.job == live.recorder.job == await live.journal.get(live.job.id)
    assert (live.feed.job.state, live.feed.job.duration) == (State.SUCCEEDED, 0.5)
    events = await live.journal.events(live.job.id, after=0, limit=9)
    assert [type(event).__name__ for event in events] == ["Accepted", "Started", "Output", "RunEnded", "Finished"]
    assert live.feed.job.runs[0].stdout.sha256 == hashlib.sha256(b"hello\n").hexdigest()


async def test_small_writes_become_few_events_in_their_order(live: Live) -> None:
    """What comes while a write is under way is one event for each turn of a stream, told as soon as the write is done."""
    await live.start()
    gate = live.block()
    await live.recorder.output(0, OUT, b"a")
    for _ in range(100):
        await live.recorder.output(0, OUT, b"b")
    await live.recorder.output(0, ERR, b"c")
    await live.recorder.output(0, ERR, b"d")
    await live.recorder.output(0, OUT, b"e")
    gate.set()
    with anyio.fail_after(3):
        while live.feed.job.runs[0].stdout.size < 102:
            await live.feed.news()
    found = await live.outputs()
    assert found[-3:] in (
        [(OUT, 0, 101), (ERR, 0, 2), (OUT, 101, 1)],
        [(OUT, 1, 100), (ERR, 0, 2), (OUT, 101, 1)],
    )
    assert await live.stored() == b"a" + 100 * b"b" + b"e"
    assert await live.stored(ERR) == b"cd"
    await live.end()


async def test_output_waits_for_the_disk_within_a_bound(live: Live) -> None:
    """A process that prints faster than the disk takes it is held up, and nothing is lost."""
    await live.start()
    gate = live.block()
    piece, taken = bytes(100_000), list[int]()

    async def flood() -> None:
        for number in range(20):
            await live.recorder.output(0, OUT, piece)
            taken.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(flood)
        await anyio.sleep(0.2)
        assert 4 <= len(taken) <= 6
        gate.set()
    await live.end()
    assert live.feed.job.runs[0].stdout.size == len(await live.stored()) == 2_000_000
    assert live.feed.job.runs[0].stdout.sha256 == hashlib.sha256(20 * piece).hexdigest()


async def test_a_write_that_fails_stops_the_run_at_once(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to record anything more to learn of it, what is recorded next raises, and no end is told."""
    await live.start()
    with monkeypatch.context() as patched:
        fail_writes(patched)
        await live.recorder.output(0, OUT, b"lost")
        with anyio.fail_after(3):
            while not live.failures:
                await anyio.sleep(0.01)
        with pytest.raises(OSError, match="No space left"):
            await live.recorder.output(0, OUT, b"more")
    with pytest.raises(OSError, match="cannot follow"):
        await live.end()
    assert live.feed.job.state is State.RUNNING
    kept = await live.journal.get(live.job.id)
    assert kept is not None
    assert (kept.state, kept.runs[0].stdout.size, await live.stored()) == (State.RUNNING, 0, b"")
    assert live.hub.printed(live.job.id) is None


async def test_the_end_after_a_write_that_fails(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end never covers output that is not on disk, even if it is recorded before the failure is known.

    It is one failure and told once: that of the end itself is none that nobody has looked at.
    """
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    await live.start()
    gate = live.block()
    fail_writes(monkeypatch)
    await live.recorder.output(0, OUT, b"lost")
    threading.Timer(0.1, gate.set).start()
    with pytest.raises(OSError, match="No space left"):
        await live.end()
    assert live.feed.job.state is State.RUNNING
    assert live.hub.printed(live.job.id) is None
    await live.journal.probe()  # the writer has let go of what came before
    await live.journal.probe()
    gc.collect()
    assert unseen == []


async def test_short_output_is_at_hand_after_the_end(live: Live) -> None:
    """It is exactly what is on disk, and it is there only once the end is; 128 later jobs push it out."""
    await live.start()
    await live.recorder.output(0, OUT, b"one\n")
    await live.recorder.output(0, ERR, b"two\n")
    assert live.hub.printed(live.job.id) is None
    await live.end()
    printed = {(0, OUT): b"one\n", (0, ERR): b"two\n"}
    assert live.hub.printed(live.job.id) == printed
    live.hub.close(live.job.id)
    assert live.hub.printed(live.job.id) == printed == {(0, OUT): await live.stored(), (0, ERR): await live.stored(ERR)}
    for number in range(128):
        live.hub.open(live.job).printed = {}
        live.hub._feeds[f"other{number}"] = live.hub._feeds.pop(live.job.id)
        live.hub.close(f"other{number}")
    assert live.hub.printed(live.job.id) is None
    assert len(live.hub._recent) == 128


async def test_long_output_is_not_kept_at_hand(live: Live) -> None:
    """Over the bound, over both streams together, the log is read."""
    await live.start()
    await live.recorder.output(0, OUT, bytes(SHORT_OUTPUT))
    await live.recorder.output(0, ERR, b"x")
    await live.end()
    assert live.hub.printed(live.job.id) is None
    assert live.feed.job.runs[0].stdout.sha256 == hashlib.sha256(bytes(SHORT_OUTPUT)).hexdigest()


async def test_a_recorder_that_did_not_see_the_start_knows_no_output(live: Live) -> None:
    """Whoever ends a job from the disk has not seen what it printed, and does not claim that it was nothing."""
    await live.start()
    await live.recorder.output(0, OUT, b"seen")
    await live.recorder.tallies(0)
    await live.journal.close_output(live.job.id, 0)
    job = await live.journal.get(live.job.id)
    assert job is not None
    other = Recorder(job=job, journal=live.journal, feed=live.feed, now=lambda: 3.0)
    await other.surplus(0)
    await other.runs_ended([RunEnded(seq=0, ts=0.0, run=0, host="h0", state=State.LOST)])
    assert live.feed.job.state is State.LOST
    assert live.hub.printed(live.job.id) is None
    assert await live.stored() == b"seen"


async def test_the_job_ends_with_its_last_run(tmp_path: Path) -> None:
    """Of several runs only the last end is the job's."""
    live = Live(tmp_path, hosts=2)
    await live.accept()
    await live.start(1)
    await live.end(1)
    assert (live.feed.job.state, live.feed.job.finished_at) == (State.RUNNING, None)
    await live.start(0)
    await live.end(0)
    assert (live.feed.job.state, live.feed.job.finished_at) == (State.SUCCEEDED, 2.0)
    live.journal.close()


@pytest.mark.parametrize("late", [False, True], ids=["from the start", "after the end"])
@pytest.mark.parametrize("offset", [0, 1, 299_999, 5_000_000])
async def test_a_raw_follower_gets_every_byte_in_pieces(live: Live, *, late: bool, offset: int) -> None:
    """From memory or from the log, from any offset, never more than a piece at a time, and it stops at the end of the run."""
    data = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
    got: list[bytes] = []

    async def follow() -> None:
        got.extend([piece async for piece in live.hub.follow_output(live.job.id, 0, OUT, offset=offset)])

    async def write() -> None:
        await live.start()
        for start in range(0, len(data), 150_001):
            await live.recorder.output(0, OUT, data[start : start + 150_001])
        await live.end()
        live.hub.close(live.job.id)

    if late:
        await write()
        await follow()
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await write()
    assert b"".join(got) == data[offset:]
    assert max(map(len, got), default=0) <= 512 << 10


async def test_a_raw_follower_stops_when_the_service_drains(live: Live) -> None:
    """It gets what is there, and does not wait for more."""
    await live.start()
    await live.recorder.output(0, OUT, b"so far")
    got: list[bytes] = []
    with anyio.fail_after(3):
        async for piece in live.hub.follow_output(live.job.id, 0, OUT, offset=0):
            got.append(piece)
            live.hub.drain()
    assert got == [b"so far"]
    await live.end()
