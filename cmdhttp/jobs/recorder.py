"""Everything that happens to one live job goes through its recorder: numbered, applied, written, then told.

Numbers are given and writes queued without a pause between them, so the order on disk and the order for readers are the
order of numbers. A start and output are queued and not waited for, within a bound; the end of a run is on disk after all
of them. One that could not be written is raised by what is recorded next, and `on_failure` is called at once. What a stream
brings while a write is under way becomes one event, so many small writes of a process cost few of ours. The bytes of a
stream are cut only between characters.
"""

import asyncio
import codecs
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, BinaryIO

import anyio

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.database import Queued
from cmdhttp.jobs.hub import SHORT_OUTPUT, Feed
from cmdhttp.jobs.journal import Chunk, IdempotencyKey, Journal, Replay
from cmdhttp.jobs.progress import PlaceTeller, Teller
from cmdhttp.jobs.rates import Spent
from cmdhttp.jobs.state import (
    Accepted,
    Dispatched,
    Event,
    Finished,
    Job,
    Output,
    Progress,
    RunEnded,
    Started,
    Tally,
    apply,
)
from cmdhttp.jobs.ticket import Place

_LONGEST_TAIL = 3
_SURPLUS = 256 << 10
_MOST_AHEAD = 512 << 10
"""Bytes, of all runs of a job together, that may be held or queued and not yet written."""
_LONGEST_PIECE = 256 << 10


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
        batch: int = 1,
    ) -> None:
        """`elapsed` tells the job's duration so far in seconds, if it is known; `batch` is how many runs make one."""
        self.job = job
        self._journal = journal
        self._feed = feed
        self._now = now
        self._elapsed = elapsed
        self._on_failure = on_failure
        self._teller = Teller(batch=batch)
        self._later: asyncio.TimerHandle | None = None
        self._queued: deque[tuple[Queued[None], int]] = deque()
        self._ahead = 0
        self._held: list[bytes] = []
        self._held_of = (0, Stream.STDOUT)
        self._printed: dict[tuple[int, Stream], bytes] | None = None  # None, too, once it is long
        self._printed_size = 0

    async def accept(
        self,
        accepted: Accepted,
        key: IdempotencyKey | None,
        *,
        dispatched: Iterable[int],
        order: bytes | None = None,
        spent: Iterable[Spent] = (),
    ) -> Replay | None:
        """Put a new job on disk, unless its key was used before; then say for what.

        The runs of `dispatched` are marked in the same commit as such that may start now. `order` is what to keep of the
        call until one is, `spent` what the call leaves of the rates.
        """
        job = apply(None, accepted)
        for run in dispatched:
            job = apply(job, Dispatched(ts=accepted.ts, run=run))

        def tell() -> None:
            self.job = job
            self._printed = {}
            self._feed.publish(job, accepted)

        return await self._journal.accept(accepted, job, key=key, order=order, spent=spent, on_commit=tell)

    async def dispatched(self, run: int) -> None:
        """Put on disk that the run may start now."""
        await self._record(Dispatched(ts=self._now(), run=run))

    async def started(self, make: Callable[[int, float], Started]) -> None:
        """Queue the start that `make(seq, ts)` returns."""
        self._queue(make(self.job.last_seq + 1, self._now()))
        await self._make_room()

    async def runs_ended(self, events: Iterable[RunEnded]) -> None:
        """Record ends of runs, with the next numbers and the present time in place of their own; with the last run's, the job's.

        Followers of several runs are told now and then how far the job is.
        """
        now, elapsed, after = self._now(), self._elapsed(), _After(self.job)
        for event in events:
            after.add(replace(event, seq=after.job.last_seq + 1, ts=now))
        progress = self._teller.after_end(after.job, ts=now, elapsed=elapsed or 0.0)
        if progress is not None:
            after.add(progress)
        if all(run.state.terminal for run in after.job.runs):
            self.quiet()
            after.add(Finished(seq=after.job.last_seq + 1, ts=now, duration=elapsed))
        elif progress is None and self._later is None:
            wait = self._teller.wait(elapsed or 0.0)
            self._later = asyncio.get_running_loop().call_later(wait, self._tell_progress)
        await self._written(self._write(after))

    @property
    def elapsed(self) -> float | None:
        """The job's duration so far in seconds, if it is known."""
        return self._elapsed()

    @property
    def followed(self) -> bool:
        """Whether anybody follows the job's events."""
        return self._feed.followers > 0

    def tell_place(self, teller: PlaceTeller, place: Place | None, *, waited: float) -> None:
        """Tell where a job that waits stands. An event that cannot be written was never there: nothing ends for it."""
        before = self.job
        progress = teller.tell(before, place, ts=self._now(), waited=waited)
        if progress is None:
            return
        written, after = self._append(progress), self.job

        def look(written: Queued[None]) -> None:
            if not written.cancelled() and written.exception() is not None and self.job is after:
                self.job = before

        written.add_done_callback(look)

    def quiet(self) -> None:
        """Tell no more of how far the job is."""
        if self._later is not None:
            self._later.cancel()
            self._later = None

    async def finished(self) -> None:
        """Record the end of a job whose runs have all ended."""
        await self._record(Finished(seq=self.job.last_seq + 1, ts=self._now(), duration=self._elapsed()))

    async def surplus(self, run: int) -> None:
        """Record what the log holds beyond the last output event: it was written, and the service died before the event."""
        for stream in Stream:
            known = self.job.runs[run].stdout if stream is Stream.STDOUT else self.job.runs[run].stderr
            offset = known.size
            while data := await self._journal.read_output(self.job.id, run, stream, offset=offset, size=_SURPLUS):
                await self._record(self._output(run, stream, len(data)))
                offset += len(data)

    async def output(self, run: int, stream: Stream, data: bytes) -> None:
        """Take bytes of one stream for the log and its readers; done when there is room for more."""
        self._keep(run, stream, data)
        if self._held_of != (run, stream) or sum(map(len, self._held)) >= _LONGEST_PIECE:
            self._flush()
        self._held_of = run, stream
        self._held.append(data)
        self._ahead += len(data)
        if not self._queued or self._queued[-1][0].done():
            self._flush()
        await self._make_room()

    async def tallies(self, run: int) -> tuple[Tally, Tally]:
        """Return what a run has printed to stdout and to stderr; it prints no more."""
        self._flush()
        closed = self._journal.close_output(self.job.id, run)
        closed.add_done_callback(self._look)
        if (printed := self._printed) is None:
            return await closed
        texts = [printed.get((run, stream), b"") for stream in (Stream.STDOUT, Stream.STDERR)]
        stdout, stderr = (Tally(size=len(text), sha256=sha256(text).hexdigest()) for text in texts)
        return stdout, stderr

    def scratch(self) -> BinaryIO:
        """Return an empty file beside the output, which goes when it is closed. Blocks; raises OSError."""
        return self._journal.output.scratch()

    def _tell_progress(self) -> None:
        self._later = None
        self._flush()
        if progress := self._teller.tell(self.job, ts=self._now(), elapsed=self._elapsed() or 0.0):
            self._queue(progress)

    def _keep(self, run: int, stream: Stream, data: bytes) -> None:
        if self._printed is None:
            return
        self._printed[run, stream] = self._printed.get((run, stream), b"") + data
        self._printed_size += len(data)
        if self._printed_size > SHORT_OUTPUT:
            self._printed = None

    async def _record(self, *events: Event) -> None:
        """Write events; done when they and all that was queued before them are on disk and told."""
        await self._written(self._append(*events))

    async def _written(self, written: Queued[None]) -> None:
        written.add_done_callback(_take_note)  # if an earlier write has failed, that is what is raised
        with anyio.CancelScope(shield=True):
            while self._queued:
                await self._oldest()
            await written

    async def _make_room(self) -> None:
        """Wait until no more than the bound is not written; let go of what is. Raises OSError or sqlite3.Error."""
        while self._queued and (self._ahead > _MOST_AHEAD or self._queued[0][0].done()):
            with anyio.CancelScope(shield=True):
                await self._oldest()

    async def _oldest(self) -> None:
        written, size = self._queued.popleft()
        self._ahead -= size
        await written

    def _flush(self) -> None:
        """Queue the bytes that are held, as one event."""
        if not self._held:
            return
        (run, stream), data, self._held = self._held_of, b"".join(self._held), []
        event = self._output(run, stream, len(data))
        self._queue(event, Chunk(run=run, stream=stream, offset=event.offset, data=data))

    def _output(self, run: int, stream: Stream, size: int) -> Output:
        """Return the next event, for so many bytes after those that are known."""
        before = self.job.runs[run]
        return Output(
            seq=self.job.last_seq + 1,
            ts=self._now(),
            run=run,
            host=before.host,
            stream=stream,
            offset=(before.stdout if stream is Stream.STDOUT else before.stderr).size,
            size=size,
        )

    def _queue(self, event: Started | Output | Progress, chunk: Chunk | None = None) -> None:
        written = self._append(event, chunk=chunk)
        written.add_done_callback(self._look)
        self._queued.append((written, len(chunk.data) if chunk else 0))

    def _look(self, written: Queued[Any]) -> None:
        """Go on after a write: with what came in the meantime, or, if it failed, with no more."""
        if written.cancelled():
            return
        if written.exception() is not None:
            self._on_failure()
        elif not self._queued or written is self._queued[-1][0]:
            self._flush()

    def _append(self, *events: Event, chunk: Chunk | None = None) -> Queued[None]:
        after = _After(self.job)
        for event in events:
            after.add(event)
        return self._write(after, chunk)

    def _write(self, after: "_After", chunk: Chunk | None = None) -> Queued[None]:
        self.job = after.job

        def tell() -> None:
            if after.job.state.terminal:
                self._feed.printed = self._printed
            for job, event in after.steps:
                if isinstance(event, Dispatched):
                    self._feed.job = job
                else:
                    self._feed.publish(job, event, chunk.data if chunk else b"")

        return self._journal.append(after.job, *(event for _, event in after.steps), chunk=chunk, on_commit=tell)


class _After:
    """Events that follow each other, each with the job as it is after it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.steps: list[tuple[Job, Event]] = []

    def add(self, event: Event) -> None:
        self.job = apply(self.job, event)
        self.steps.append((self.job, event))


def _take_note(written: Queued[Any]) -> None:
    """Else a failure that nobody waits for any more would be logged as one that nobody has seen."""
    if not written.cancelled():
        written.exception()


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
