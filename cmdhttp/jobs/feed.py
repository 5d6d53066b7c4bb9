"""The newest events of one live job, and who waits for the next.

The events are kept within a budget of bytes, and told one at a time, so that no reader holds any that the feed has let go.
All who wait have the same patience, so they run out of it in the order in which they came, and one timer does for them all.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.state import Job, Numbered, Output

_KEPT_BYTES = 1 << 20
_KEPT_EVENTS = 512

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
    """The newest events of one live job. Who waits for more than `silence` seconds, if it is given, is told so."""

    def __init__(self, job: Job, *, silence: float | None = None) -> None:
        self.job = job
        self._kept: deque[Told] = deque()
        self.size = 0
        self.closed = False
        self.followers = 0
        self.printed: Printed | None = None
        self._waiting = _Waiting(silence)
        self._end: anyio.Event | None = None

    @property
    def over(self) -> bool:
        """Whether no event will come any more."""
        return self.closed or self.job.state.terminal

    def publish(self, job: Job, event: Numbered, data: bytes = b"") -> None:
        """Tell every reader. `job` is the job after the event."""
        self.job = job
        self._kept.append(Told(event=event, data=data, shared=True))
        self.size += len(data)
        while len(self._kept) > _KEPT_EVENTS or (self.size > _KEPT_BYTES and len(self._kept) > 1):
            self.size -= len(self._kept.popleft().data)
        self.wake()
        if job.state.terminal:
            self.wake_for_end()

    def wake(self) -> None:
        self._waiting.wake()

    def wake_for_end(self) -> None:
        if self._end is not None:
            self._end.set()
            self._end = None

    async def news(self) -> bool:
        """Wait for the next event; returns False if there was none for as long as the silence may be."""
        waiter = self._waiting.join()
        try:
            return await waiter
        finally:
            self._waiting.leave(waiter)

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


class _Waiting:
    """Those who wait, by the moment when their patience ends. The timer runs as long as anybody waits."""

    def __init__(self, patience: float | None) -> None:
        self._patience = patience
        self._until: dict[asyncio.Future[bool], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def join(self) -> asyncio.Future[bool]:
        """Return what will be True with the next `wake`, or False when the patience has ended."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._until[waiter] = until = loop.time() + (self._patience or 0)
        if self._patience is not None and self._timer is None:
            self._timer = loop.call_at(until, self._run_out)
        return waiter

    def leave(self, waiter: asyncio.Future[bool]) -> None:
        if self._until.pop(waiter, None) is not None and not self._until:
            self._rest()

    def wake(self) -> None:
        woken, self._until = self._until, {}
        self._rest()
        for waiter in woken:
            _tell(waiter, news=True)

    def _run_out(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._until:
            waiter, until = next(iter(self._until.items()))
            if until > now:
                self._timer = loop.call_at(until, self._run_out)
                return
            del self._until[waiter]
            _tell(waiter, news=False)
        self._timer = None

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _tell(waiter: asyncio.Future[bool], *, news: bool) -> None:
    if not waiter.done():
        waiter.set_result(news)
