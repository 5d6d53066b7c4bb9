"""What is kept of an output that is over its limit: the beginning as it came, and the end.

The end waits in a file without a name until the run is over, so memory stays bounded whatever a run prints, and nothing is
left of it after a kill. Each stream keeps its own end: much on one does not push out the last words on the other. What was
left out is marked by a line where it is missing, so that no two halves of lines are read as one.
"""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from cmdhttp.execution.model import Stream

_PIECE = 256 << 10
_LONGEST_REST = 3


@dataclass(slots=True, kw_only=True)
class Ends:
    """The ends of both streams of one run: at most `room` bytes together, which is over 0. All calls block.

    `scratch` makes an empty file that goes when it is closed. The streams may be taken on two threads at a time.
    """

    room: int
    scratch: Callable[[], BinaryIO]
    _taken: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    _file: BinaryIO | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, stream: Stream, data: bytes) -> None:
        """Take what follows on a stream after its beginning. Raises OSError."""
        with self._lock:
            file = self._file = self._file or self.scratch()
        left = memoryview(data)[-self.room :]
        place = self._taken[stream] + len(data) - len(left)
        self._taken[stream] += len(data)
        while left:
            at = place % self.room
            done = os.pwrite(file.fileno(), left[: self.room - at], self._base(stream) + at)
            left, place = left[done:], place + done

    @property
    def full(self) -> bool:
        """Whether anything is left out."""
        return sum(self._taken.values()) > self.room

    def pieces(self, stream: Stream) -> Iterator[bytes]:
        """Yield what is kept of a stream's end, after a line that says how much is missing before it. Raises OSError."""
        start = self._start(stream)
        if start > 0:
            yield mark(start)
        while start < self._taken[stream]:
            piece = self._read(stream, start, _PIECE)
            yield piece
            start += len(piece)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _start(self, stream: Stream) -> int:
        """How much of what was taken comes before what is kept. No character is cut."""
        taken = self._taken[stream]
        other = sum(self._taken.values()) - taken
        first = stream is Stream.STDOUT
        share = max(self.room - other, self.room // 2 if first else self.room - self.room // 2)
        start = max(taken - share, 0)
        most = min(start + _LONGEST_REST, taken) if start else 0
        while start < most and self._read(stream, start, 1)[0] & 0xC0 == 0x80:  # noqa: PLR2004 - goes on a character of UTF-8
            start += 1
        return start

    def _read(self, stream: Stream, start: int, size: int) -> bytes:
        if self._file is None:
            return b""
        at = start % self.room
        size = min(size, self.room - at, self._taken[stream] - start)
        data = os.pread(self._file.fileno(), size, self._base(stream) + at)
        if not data:
            raise OSError("the end of the output is gone")
        return data

    def _base(self, stream: Stream) -> int:
        return 0 if stream is Stream.STDOUT else self.room


def mark(count: int) -> bytes:
    """The line that stands for bytes that were left out."""
    return b"\n[cmdhttp: %d bytes left out here]\n" % count
