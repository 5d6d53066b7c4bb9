"""One command on one SSH channel: its output in order of arrival, its end, and a way to write to it and to signal it.

At most about 6 MiB of output wait here and in the channel's window together, whatever the host sends and however
slowly it is taken; beyond that the host has to wait. asyncssh calls in from the event loop, one run takes.
"""

from collections.abc import Callable

import anyio
import asyncssh

from cmdhttp.execution.model import Output, Stream
from cmdhttp.execution.ssh.greeting import Greeting
from cmdhttp.execution.ssh.inbox import Inbox

WINDOW = 2 << 20
"""Bytes that the host may send ahead of what was taken out of asyncssh."""

_HIGH = 4 << 20
_LOW = 2 << 20
# asyncssh grants a whole window with the first packet that it hands over after a pause, so what is taken between the two
# marks must be no less than a window: else its own buffer grows with each pause.
_LONGEST_SIGNAL = 16
_LONGEST_ID = 10


class NotStarted(Exception):
    """The run was stopped before its command was sent."""


class RunSession(asyncssh.SSHClientSession[bytes]):
    """The callbacks of a channel. `may_start` is asked at the last moment before the command goes out.

    With a `token` the command is run by the guard in sh: both streams begin with its greeting, and `guard` is its process id.
    """

    def __init__(self, *, may_start: Callable[[], bool], token: str | None = None) -> None:
        self.requested_at: float | None = None
        self.exit_code: int | None = None
        self.exit_signal: str | None = None
        self.exited = False
        self.received_since_exit = 0
        self.closed = False
        self.over = anyio.Event()
        self.guard: int | None = None
        self._greetings = {stream: Greeting(token) for stream in Stream} if token else {}
        self._may_start = may_start
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._inbox = Inbox()
        self._paused = False
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
        if stream in self._greetings:
            data = self._greet(stream, data)
        if not data:
            return
        self._inbox.put(stream, data)
        if self.exited:
            self.received_since_exit += len(data)
        if self._inbox.waiting >= _HIGH and self._channel is not None:
            self._paused = True
            self._channel.pause_reading()

    def _greet(self, stream: Stream, data: bytes) -> bytes:
        greeting = self._greetings[stream]
        before = greeting.said
        try:
            data = greeting.feed(data)
        except ValueError:
            self.close()
            return b""
        if before is None and greeting.said is not None and stream is Stream.STDOUT:
            self.greeted(greeting.said)
        return data

    def greeted(self, said: bytes) -> None:
        """Take in what the guard in sh said on stdout."""
        self._greetings.pop(Stream.STDOUT, None)
        digits = said[1:]
        self.guard = int(digits) if digits.isdigit() and len(digits) <= _LONGEST_ID else None
        self._inbox.ring()

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
        self._inbox.ring()

    def pause_writing(self) -> None:
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        self._writable.set()

    def _exited(self) -> None:
        self.exited = True
        self.over.set()
        self._inbox.ring()

    # What the run calls.

    def take(self) -> Output | None:
        """Return the next piece of output, or None if there is none right now."""
        piece = self._inbox.take()
        if self._paused and self._inbox.waiting <= _LOW and self._channel is not None:
            self._paused = False
            self._channel.resume_reading()
        return piece

    async def news(self) -> None:
        """Wait for output, for the exit, for the end of the channel, or for `nudge`."""
        await self._inbox.news()

    def nudge(self) -> None:
        self._inbox.ring()

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
