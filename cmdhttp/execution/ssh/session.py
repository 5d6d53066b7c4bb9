"""One command on one SSH channel: its output in order of arrival, its end, and a way to write to it and to signal it.

At most about 1 MiB of output waits here and in the channel's window together, whatever the host sends and however
slowly it is taken; beyond that the host has to wait. asyncssh calls in from the event loop, one run takes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import asyncssh

from cmdhttp.execution.model import Output, Stream

WINDOW = 256 * 1024
"""Bytes that the host may send ahead of what was taken out of asyncssh."""

_PIECE = 256 * 1024
_HIGH = 512 * 1024
_LOW = 256 * 1024
_PIECE_COST = 200
_LONGEST_SIGNAL = 16


class NotStarted(Exception):
    """The run was stopped before its command was sent."""


@dataclass(slots=True)
class _Piece:
    stream: Stream
    data: bytearray = field(default_factory=bytearray)

    @property
    def cost(self) -> int:
        return len(self.data) + _PIECE_COST


class RunSession(asyncssh.SSHClientSession[bytes]):
    """The callbacks of a channel. `may_start` is asked at the last moment before the command goes out."""

    def __init__(self, *, may_start: Callable[[], bool]) -> None:
        self.requested_at: float | None = None
        self.exit_code: int | None = None
        self.exit_signal: str | None = None
        self.exited = False
        self.received_since_exit = 0
        self.closed = False
        self.over = anyio.Event()
        self._may_start = may_start
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._pieces: deque[_Piece] = deque()
        self._waiting = 0
        self._paused = False
        self._news = anyio.Event()
        self._writable = anyio.Event()
        self._writable.set()

    @property
    def requested(self) -> bool:
        return self.requested_at is not None

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Take the open channel. asyncssh sends the command right after this, without a pause in between."""
        if not self._may_start():
            chan.abort()
            raise NotStarted
        self._channel = chan
        self.requested_at = anyio.current_time()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        stream = Stream.STDERR if datatype == asyncssh.EXTENDED_DATA_STDERR else Stream.STDOUT
        if not self._pieces or self._pieces[-1].stream is not stream or len(self._pieces[-1].data) >= _PIECE:
            self._pieces.append(_Piece(stream))
            self._waiting += _PIECE_COST
        self._pieces[-1].data += data
        self._waiting += len(data)
        if self.exited:
            self.received_since_exit += len(data)
        if self._waiting >= _HIGH and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status
        self._exited()

    def exit_signal_received(self, signal: str, *_details: object) -> None:
        name = signal.removeprefix("SIG")
        self.exit_signal = name if name.isalnum() and len(name) <= _LONGEST_SIGNAL else "UNKNOWN"
        self._exited()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True
        self.over.set()
        self._news.set()

    def pause_writing(self) -> None:
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        self._writable.set()

    def _exited(self) -> None:
        self.exited = True
        self.over.set()
        self._news.set()

    # What the run calls.

    def take(self) -> Output | None:
        """Return the next piece of output, or None if there is none right now."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._waiting -= piece.cost
        if self._paused and self._waiting <= _LOW and self._channel is not None:
            self._paused = False
            self._channel.resume_reading()
        return Output(stream=piece.stream, data=bytes(piece.data))

    async def news(self) -> None:
        """Wait for output, for the exit, for the end of the channel, or for `nudge`."""
        await self._news.wait()
        self._news = anyio.Event()

    def nudge(self) -> None:
        self._news.set()

    async def write(self, data: bytes) -> bool:
        """Write to the command's stdin once it has room; False when nobody reads any more."""
        await self._writable.wait()
        if self._channel is None or self._channel.is_closing():
            return False
        self._channel.write(data)
        return True

    def write_eof(self) -> None:
        if self._channel is not None:
            self._channel.write_eof()

    def signal(self, name: str) -> None:
        """Ask the host to signal the command. Many hosts refuse that, and none says so."""
        if self._channel is not None and not self.closed:
            self._channel.send_signal(name)

    def close(self) -> None:
        """Close the channel at once and drop what is still on its way."""
        if self._channel is not None and not self.closed:
            self._channel.abort()
