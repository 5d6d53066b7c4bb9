"""Everything that happens to one live job goes through its recorder: numbered, applied, written, then told.

Numbers are given and writes queued without a pause between them, so the order on disk and the order for readers are the
order of numbers. A start and output are queued and not waited for, within a bound; the end of a run is on disk after all
of them. One that could not be written is raised by what is recorded next, and `on_failure` is called at once. The bytes of
a stream are cut only between characters.
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import anyio

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.database import Queued
from cmdhttp.jobs.hub import SHORT_OUTPUT, Feed
from cmdhttp.jobs.journal import Chunk, IdempotencyKey, Journal, Replay
from cmdhttp.jobs.state import Accepted, Dispatched, Event, Finished, Job, Output, RunEnded, Started, Tally, apply

_LONGEST_TAIL = 3
_SURPLUS = 256 << 10
_MOST_AHEAD = 1 << 20
"""Bytes, of all runs of a job together, that may be queued and not yet written."""


class Recorder:
    """The one writer of a live job."""

    def __init__(
        self,
        *,
        job: Job,
        journal: Journal,
        feed: Feed,
        now: Callable[[], float],
        elapsed: Callable[[], float | None] = lambda: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """`elapsed` tells the job's duration so far in seconds, if it is known."""
        self.job = job
        self._journal = journal
        self._feed = feed
        self._now = now
        self._elapsed = elapsed
        self._on_failure = on_failure
        self._queued: deque[tuple[Queued[None], int]] = deque()
        self._ahead = 0
        self._printed: dict[tuple[int, Stream], bytes] | None = None  # None, too, once it is long

    async def accept(
        self, accepted: Accepted, key: IdempotencyKey | None, *, dispatched: Iterable[int]
    ) -> Replay | None:
        """Put a new job on disk, unless its key was used before; then say for what.

        The runs of `dispatched` are marked in the same commit as such that may start now.
        """
        job = apply(None, accepted)
        for run in dispatched:
            job = apply(job, Dispatched(ts=accepted.ts, run=run))

        def tell() -> None:
            self.job = job
            self._printed = {}
            self._feed.publish(job, accepted)

        return await self._journal.accept(accepted, job, key=key, on_commit=tell)

    async def dispatched(self, run: int) -> None:
        """Put on disk that the run may start now."""
        await self._record(Dispatched(ts=self._now(), run=run))

    async def started(self, make: Callable[[int, float], Started]) -> None:
        """Queue the start that `make(seq, ts)` returns."""
        await self._queue(make(self.job.last_seq + 1, self._now()))

    async def run_ended(self, event: RunEnded) -> None:
        """Record a run's end, with the next number and the present time in place of its own; with the last run's, the job's."""
        ended = replace(event, seq=self.job.last_seq + 1, ts=self._now())
        others = (run for index, run in enumerate(self.job.runs) if index != event.run)
        if all(run.state.terminal for run in others):
            await self._record(ended, Finished(seq=ended.seq + 1, ts=ended.ts, duration=self._elapsed()))
        else:
            await self._record(ended)

    async def finished(self) -> None:
        """Record the end of a job whose runs have all ended."""
        await self._record(Finished(seq=self.job.last_seq + 1, ts=self._now(), duration=self._elapsed()))

    async def surplus(self, run: int) -> None:
        """Record what the log holds beyond the last output event: it was written, and the service died before the event."""
        for stream in Stream:
            known = self.job.runs[run].stdout if stream is Stream.STDOUT else self.job.runs[run].stderr
            offset = known.size
            while data := await self._journal.read_output(self.job.id, run, stream, offset=offset, size=_SURPLUS):
                event = Output(
                    seq=self.job.last_seq + 1,
                    ts=self._now(),
                    run=run,
                    host=self.job.runs[run].host,
                    stream=stream,
                    offset=offset,
                    size=len(data),
                )
                await self._record(event)
                offset += len(data)

    async def output(self, run: int, stream: Stream, data: bytes) -> None:
        """Queue bytes of one stream for the log and its readers; done when there is room for more."""
        before = self.job.runs[run]
        offset = before.stdout.size if stream is Stream.STDOUT else before.stderr.size
        event = Output(
            seq=self.job.last_seq + 1,
            ts=self._now(),
            run=run,
            host=before.host,
            stream=stream,
            offset=offset,
            size=len(data),
        )
        self._keep(run, stream, data)
        await self._queue(event, Chunk(run=run, stream=stream, offset=offset, data=data))

    async def tallies(self, run: int) -> tuple[Tally, Tally]:
        """Return what a run has printed to stdout and to stderr; it prints no more."""
        closed = self._journal.close_output(self.job.id, run)
        closed.add_done_callback(self._look)
        if (printed := self._printed) is None:
            return await closed
        texts = [printed.get((run, stream), b"") for stream in (Stream.STDOUT, Stream.STDERR)]
        stdout, stderr = (Tally(size=len(text), sha256=sha256(text).hexdigest()) for text in texts)
        return stdout, stderr

    def _keep(self, run: int, stream: Stream, data: bytes) -> None:
        if self._printed is None:
            return
        self._printed[run, stream] = self._printed.get((run, stream), b"") + data
        if sum(map(len, self._printed.values())) > SHORT_OUTPUT:
            self._printed = None

    async def _record(self, *events: Event) -> None:
        """Write events; done when they and all that was queued before them are on disk and told."""
        written = self._append(*events)
        with anyio.CancelScope(shield=True):
            await self._written(most_ahead=0)
            await written

    async def _queue(self, event: Event, chunk: Chunk | None = None) -> None:
        size = len(chunk.data) if chunk else 0
        written = self._append(event, chunk=chunk)
        written.add_done_callback(self._look)
        self._queued.append((written, size))
        self._ahead += size
        if self._ahead > _MOST_AHEAD or self._queued[0][0].done():
            with anyio.CancelScope(shield=True):
                await self._written(most_ahead=_MOST_AHEAD)

    async def _written(self, *, most_ahead: int) -> None:
        """Let go of what is written; wait until no more than so many bytes are not. Raises OSError or sqlite3.Error."""
        while self._queued and (most_ahead == 0 or self._ahead > most_ahead or self._queued[0][0].done()):
            written, size = self._queued.popleft()
            self._ahead -= size
            await written

    def _look(self, written: Queued[Any]) -> None:
        if not written.cancelled() and written.exception() is not None:
            self._on_failure()

    def _append(self, *events: Event, chunk: Chunk | None = None) -> Queued[None]:
        after: list[tuple[Job, Event]] = []
        for event in events:
            self.job = apply(self.job, event)
            after.append((self.job, event))

        def tell() -> None:
            if self.job.state.terminal:
                self._feed.printed = self._printed
            for job, event in after:
                if isinstance(event, Dispatched):
                    self._feed.job = job
                else:
                    self._feed.publish(job, event, chunk.data if chunk else b"")

        return self._journal.append(self.job, *events, chunk=chunk, on_commit=tell)


@dataclass(slots=True)
class Splitter:
    """Cuts the bytes of one stream between characters: what may be the start of one waits for its rest."""

    _held: bytes = field(default=b"", repr=False)

    def feed(self, data: bytes) -> bytes:
        """Return what can be told now. Bytes that are no UTF-8 pass through as they are."""
        data = self._held + data
        held = _open_tail(data)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def rest(self) -> bytes:
        """Return what is still held, at the end of the stream."""
        held, self._held = self._held, b""
        return held


def _open_tail(data: bytes) -> int:
    """Count the bytes at the end that begin a character and do not finish it."""
    for length in range(1, min(_LONGEST_TAIL, len(data)) + 1):
        byte = data[-length]
        if byte & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            continue
        tail = data[-length:]
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(tail)
        except UnicodeDecodeError:
            return 0
        return length if text == "" else 0
    return 0
