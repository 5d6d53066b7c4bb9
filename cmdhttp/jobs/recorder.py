"""Everything that happens to one live job goes through its recorder: numbered, applied, written, then told.

Numbers are given and writes queued without a pause between them, so the order on disk and the order for readers are the
order of numbers. The bytes of a stream are cut only between characters.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import anyio

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.hub import Feed
from cmdhttp.jobs.journal import Chunk, IdempotencyKey, Journal, Replay
from cmdhttp.jobs.state import Accepted, Dispatched, Event, Job, Numbered, Output, RunEnded, Tally, apply

_LONGEST_TAIL = 3
_SURPLUS = 256 << 10


class Recorder:
    """The one writer of a live job."""

    def __init__(self, *, job: Job, journal: Journal, feed: Feed, now: Callable[[], float]) -> None:
        self.job = job
        self._journal = journal
        self._feed = feed
        self._now = now

    async def accept(self, accepted: Accepted, key: IdempotencyKey | None) -> Replay | None:
        """Put a new job on disk, unless its key was used before; then say for what."""
        job = apply(None, accepted)

        def tell() -> None:
            self.job = job
            self._feed.publish(job, accepted)

        return await self._journal.accept(accepted, job, key=key, on_commit=tell)

    async def dispatched(self, run: int) -> None:
        """Put on disk that the run may start now."""
        await self._record(Dispatched(ts=self._now(), run=run))

    async def record(self, make: Callable[[int, float], Numbered]) -> None:
        """Record the event that `make(seq, ts)` returns; done when it is on disk and told."""
        await self._record(make(self.job.last_seq + 1, self._now()))

    async def record_event(self, event: RunEnded) -> None:
        """Record an event, with the next number and the present time in place of its own."""
        await self.record(lambda seq, ts: replace(event, seq=seq, ts=ts))

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
        """Keep bytes of one stream; done when they are in the log and told."""
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
        await self._record(event, Chunk(run=run, stream=stream, offset=offset, data=data))

    def scratch(self) -> BinaryIO:
        """Return an empty file beside the output, which goes when it is closed. Blocks; raises OSError."""
        return self._journal.output.scratch()

    async def tallies(self, run: int) -> tuple[Tally, Tally]:
        return await self._journal.close_output(self.job.id, run)

    async def _record(self, event: Event, chunk: Chunk | None = None) -> None:
        self.job = job = apply(self.job, event)

        def tell() -> None:
            if isinstance(event, Dispatched):
                self._feed.job = job
                self._feed.wake()
            else:
                self._feed.publish(job, event, chunk.data if chunk else b"")

        with anyio.CancelScope(shield=True):
            await self._journal.append(job, event, chunk=chunk, on_commit=tell)


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
