"""What readers cost who stand still: their number, and never their number times the events that go past them.

All that the front holds of a reader takes part but for the server itself: the follower, the encoding, and the sending, which
here waits for a client that takes no more.
"""

import asyncio
import gc
import json
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.types import Message

from cmdhttp.api.connection import Connection
from cmdhttp.api.encoders import Media
from cmdhttp.api.streams import EventChunks, Rest, Telling
from cmdhttp.auth.principal import Principal
from cmdhttp.jobs.state import Job
from tests.support.recording import Live

pytestmark = pytest.mark.anyio
ANN = Principal(name="ann", method="token", credential="c", source=None)
READERS, STEP = 32, 32
EVENTS = READERS * STEP
PIECE = 4096
MOST_EACH = 16 << 10


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    opened = Live(tmp_path)
    await opened.accept()
    await opened.start()
    yield opened
    opened.journal.close()


class _Jobs:
    """What the encoding asks of the service."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def now(self, job_id: str) -> Job:
        job = await self._live.journal.get(job_id)
        assert job is not None
        return job


class Reader:
    """Follows the job from its first event, and takes no more after some until it is let."""

    def __init__(self, live: Live, telling: Telling, *, stops_after: int) -> None:
        told = live.hub.follow(live.job.id, after=0)
        chunks = EventChunks(telling, told, principal=ANN, job_id=live.job.id, media=Media.NDJSON, last_seq=0)
        self._stops_after = stops_after
        self.seen = self.size = 0
        self.goes_on = asyncio.Event()
        self.connection = Connection()
        self.task = asyncio.create_task(Rest(chunks, None).send(self.connection, self._send))

    @property
    def stands_still(self) -> bool:
        return self.seen == self._stops_after and not self.goes_on.is_set()

    async def _send(self, message: Message) -> None:
        if self.stands_still:
            await self.goes_on.wait()
        if message["body"]:
            document = json.loads(message["body"])
            assert document["seq"] == self.seen + 1
            self.seen += 1
            self.size += len(document.get("text", ""))

    async def go(self) -> None:
        """Hang up."""
        self.connection.lose()
        await self.task


async def stopped_readers(live: Live) -> list[Reader]:
    """Let the job print, and every reader stop at another moment of it."""
    telling = Telling(jobs=cast("Any", _Jobs(live)), now=lambda: 3.0)
    readers = [Reader(live, telling, stops_after=STEP * number + 1) for number in range(READERS)]
    for number in range(EVENTS):
        await live.printed(b"%*d" % (PIECE, number))  # each has bytes of its own
        await asyncio.sleep(0)
    while not all(reader.stands_still for reader in readers):
        await asyncio.sleep(0)
    return readers


def in_use() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_readers_that_stand_still_hold_no_events(live: Live, traced: None) -> None:
    """Thirty-two stop at 32 places of 4 MiB: what goes with them is some kB for each; one that goes on misses nothing."""
    readers = await stopped_readers(live)
    assert [reader.seen for reader in readers] == [STEP * number + 1 for number in range(READERS)]
    first, second, *others = readers
    held = in_use()
    for reader in others:
        await reader.go()
    del readers, reader, others
    assert held - in_use() < MOST_EACH * (READERS - 2)
    await live.end()
    live.hub.close(live.job.id)
    for reader in (first, second):
        reader.goes_on.set()
        await reader.task
        assert (reader.seen, reader.size) == (live.feed.job.last_seq, EVENTS * PIECE)


async def test_a_reader_that_stands_still_keeps_no_feed_of_a_job_that_has_ended(live: Live) -> None:
    """Sixteen followed jobs that end later are enough to let it go; the reader has the rest from the journal."""
    telling = Telling(jobs=cast("Any", _Jobs(live)), now=lambda: 3.0)
    reader = Reader(live, telling, stops_after=2)
    for _ in range(4):
        await live.printed(b"x")
    while not reader.stands_still:
        await asyncio.sleep(0)
    await live.end()
    live.hub.close(live.job.id)
    last, feed = live.feed.job.last_seq, weakref.ref(live.feed)
    with ExitStack() as stack:
        for number in range(16):
            stack.enter_context(live.hub.leases.hold(f"job_{number}"))
            live.hub.open(replace(live.job, id=f"job_{number}"))
            live.hub.close(f"job_{number}")
    del live.feed, live.recorder
    await live.journal.probe()  # the writer's thread holds what it wrote last
    gc.collect()
    assert feed() is None
    reader.goes_on.set()
    await reader.task
    assert reader.seen == last
