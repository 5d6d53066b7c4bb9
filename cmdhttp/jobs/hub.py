"""Live follow. Any number of readers; none of them can slow a run.

A feed keeps the newest events of a live job, within a byte budget. A reader that has fallen behind it reads the journal
until it has caught up, so a slow reader costs a position and the one event that it is being sent: it takes events from the
feed one at a time, and holds none that the feed has let go. An event is published only after it is on disk.
The output of the jobs that ended last is at hand if it is short: whoever waited for the end asks for it at once. What is
followed is not removed meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field

import anyio

from cmdhttp.clock import SystemClock
from cmdhttp.execution.model import Stream
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.state import Finished, Job, Numbered, Output

_KEPT_BYTES = 1 << 20
_KEPT_EVENTS = 512
_PAGE = 32
_PIECE = 256 << 10
_RECENT_JOBS = 128

SHORT_OUTPUT = 16 << 10
"""Bytes of a job's whole output up to which it is kept at hand for a moment."""

Printed = Mapping[tuple[int, Stream], bytes]
"""All that the runs of a job have printed, by run and stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event with what a reader needs beside it: an output event's bytes, and the job as it is after the event."""

    event: Numbered
    data: bytes = field(default=b"", repr=False)
    shared: bool = False
    """Whether other readers get this very object, so that what is made of it is worth keeping."""


class Feed:
    """The newest events of one live job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._kept: deque[Told] = deque()
        self._bytes = 0
        self.closed = False
        self.followers = 0
        self.printed: Printed | None = None
        self._waiting: set[asyncio.Future[bool]] = set()
        self._end: anyio.Event | None = None

    def publish(self, job: Job, event: Numbered, data: bytes = b"") -> None:
        """Tell every reader. `job` is the job after the event."""
        self.job = job
        self._kept.append(Told(event=event, data=data, shared=True))
        self._bytes += len(data)
        while len(self._kept) > _KEPT_EVENTS or (self._bytes > _KEPT_BYTES and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft().data)
        self.wake()
        if job.state.terminal:
            self.wake_for_end()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Count one more who follows the events, for the length of the block."""
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            _tell(waiter, news=True)

    def wake_for_end(self) -> None:
        if self._end is not None:
            self._end.set()
            self._end = None

    async def news(self, *, within: float | None = None) -> bool:
        """Wait for the next event, up to so many seconds; returns whether there is news.

        A future and a timer are all that a reader costs here; a cancel scope for each would be several times that.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting.add(waiter)
        timer = None if within is None else loop.call_later(within, lambda: _tell(waiter, news=False))
        try:
            return await waiter
        finally:
            self._waiting.discard(waiter)
            if timer is not None:
                timer.cancel()

    async def end(self) -> None:
        """Wait for the last event, or for `wake_for_end`."""
        if self._end is None:
            self._end = anyio.Event()
        await self._end.wait()

    def next_after(self, after: int) -> Told | None:
        """Return the event after a number, or None if there is none yet or it is no longer kept."""
        first = self._kept[0].event.seq if self._kept else 0
        place = after + 1 - first
        return self._kept[place] if self._kept and 0 <= place < len(self._kept) else None

    def output_at(self, run: int, stream: Stream, offset: int) -> bytes | None:
        """Return bytes of one stream from an offset on, as many as one event has, or None if they are not kept."""
        for told in reversed(self._kept):
            event = told.event
            if isinstance(event, Output) and (event.run, event.stream) == (run, stream) and event.offset <= offset:
                return told.data[offset - event.offset :] or None
        return None


def _tell(waiter: asyncio.Future[bool], *, news: bool) -> None:
    if not waiter.done():
        waiter.set_result(news)


class Hub:
    """The feeds of all live jobs, and the way to follow any job."""

    def __init__(self, journal: Journal, leases: Leases | None = None) -> None:
        self._journal = journal
        self.leases = leases or Leases(monotonic=SystemClock().monotonic)
        self._feeds: dict[str, Feed] = {}
        self._recent: dict[str, Printed] = {}
        self.draining = False

    def open(self, job: Job) -> Feed:
        feed = self._feeds[job.id] = Feed(job)
        return feed

    def close(self, job_id: str) -> None:
        """Forget a job that has ended; whoever follows it has the feed and reads on to the end."""
        feed = self._feeds.pop(job_id, None)
        if feed is not None:
            feed.closed = True
            feed.wake()
            feed.wake_for_end()
            if feed.printed is not None:
                self._recent[job_id] = feed.printed
                if len(self._recent) > _RECENT_JOBS:
                    del self._recent[next(iter(self._recent))]

    def drain(self) -> None:
        """Make every reader stop at its next wait."""
        self.draining = True
        for feed in self._feeds.values():
            feed.wake()
            feed.wake_for_end()

    def live(self, job_id: str) -> Job | None:
        feed = self._feeds.get(job_id)
        return feed.job if feed else None

    def printed(self, job_id: str) -> Printed | None:
        """Return all that a job has printed, if it has just ended and that is at hand."""
        feed = self._feeds.get(job_id)
        return feed.printed if feed else self._recent.get(job_id)

    def live_feed(self, job_id: str) -> Feed | None:
        return self._feeds.get(job_id)

    async def finished(self, job_id: str) -> Job | None:
        """Wait until the job has ended or the service drains; return it as it is then."""
        feed = self._feeds.get(job_id)
        while feed is not None and not (feed.job.state.terminal or feed.closed or self.draining):
            await feed.end()
        return feed.job if feed else await self._journal.get(job_id)

    async def follow(self, job_id: str, *, after: int, silence: float) -> AsyncGenerator[Told | None]:
        """Yield every event with a number over `after`, in order, none twice, until `Finished` or until the service drains.

        None comes after every `silence` seconds without an event.
        """
        feed = self._feeds.get(job_id)
        with self.leases.hold(job_id), feed.followed() if feed else nullcontext():
            while True:
                told = feed.next_after(after) if feed else None
                if told is not None:
                    after, last = told.event.seq, isinstance(told.event, Finished)
                    yield told
                    if last:
                        return
                elif feed is None or feed.job.last_seq > after:
                    start = after
                    async with aclosing(self._logged(job_id, after=after)) as logged:
                        async for each in logged:
                            after = each.event.seq
                            yield each
                            if isinstance(each.event, Finished):
                                return
                            del each
                    if after == start:
                        return
                elif feed.job.state.terminal or feed.closed or self.draining:
                    return
                elif not await feed.news(within=silence):
                    yield None

    async def _logged(self, job_id: str, *, after: int) -> AsyncGenerator[Told]:
        """Yield a page of events from the journal."""
        for event in await self._journal.events(job_id, after=after, limit=_PAGE):
            yield Told(event=event, data=await self._data(job_id, event))

    async def follow_output(self, job_id: str, run: int, stream: Stream, *, offset: int) -> AsyncGenerator[bytes]:
        """Yield the bytes of one stream from an offset on, until its run has ended or the service drains."""
        with self.leases.hold(job_id):
            async with aclosing(self._follow_output(job_id, run, stream, offset=offset)) as chunks:
                async for data in chunks:
                    yield data

    async def _follow_output(self, job_id: str, run: int, stream: Stream, *, offset: int) -> AsyncGenerator[bytes]:
        feed = self._feeds.get(job_id)
        while True:
            job = feed.job if feed else await self._journal.get(job_id)
            if job is None:
                return
            state = job.runs[run]
            size = (state.stdout if stream is Stream.STDOUT else state.stderr).size
            if offset < size:
                data = feed.output_at(run, stream, offset) if feed else None
                data = data or await self._journal.read_output(
                    job_id, run, stream, offset=offset, size=min(_PIECE, size - offset)
                )
                if not data:
                    return
                yield data
                offset += len(data)
            elif feed is None or state.state.terminal or feed.closed or self.draining:
                return
            else:
                await feed.news()

    async def _data(self, job_id: str, event: Numbered) -> bytes:
        if not isinstance(event, Output):
            return b""
        return await self._journal.read_output(
            job_id, event.run, Stream(event.stream), offset=event.offset, size=event.size
        )
