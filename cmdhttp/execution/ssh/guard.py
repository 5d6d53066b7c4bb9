"""The service's end of a guard on a host: orders out, news in, over one channel that many runs share.

A guard ends what it has started when this end goes away or falls silent. What a run writes is held up by credit of its own, so
a slow taker holds up its own run alone and at most about `CREDIT` bytes a run wait here. What a host sends is read as
frames and nothing else: anything odd ends the connection.
"""

import asyncio
import os
import re
import struct
from collections.abc import Callable

import anyio
import asyncssh

from cmdhttp.execution.model import Stream
from cmdhttp.execution.ssh.greeting import LONGEST_NOISE, Greeting, Hello
from cmdhttp.execution.ssh.inbox import COST, Inbox
from cmdhttp.execution.ssh.orders import CREDIT, By, Folder, Over, Start
from cmdhttp.execution.ssh.remote.lines import SILENCE
from cmdhttp.execution.ssh.session import RunSession

STDIN_AHEAD = 256 * 1024
"""Bytes of stdin that may be on their way to a command."""
WINDOW = 4 << 20

_HEAD = struct.Struct("!IIB")
_OVER = struct.Struct("!BiIB")
_HELLO = 5
"""Bytes of a hello before the echo."""
_LONGEST_NEWS = 64 * 1024
_MOST_UNSENT = 64 << 20
_STATUSES = range(-127, 256)
_PING_EVERY = 5.0
_HEARD_WITHIN = 15.0
_MOST_ERRNO = 4095
FOLDER = re.compile(rb"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){1,20}", re.ASCII)
_STREAMS = {ord("o"): Stream.STDOUT, ord("e"): Stream.STDERR}


class GuardedRun:
    """One run on a guard. Exactly one of `failed`, `over` and `lost` is set in the end."""

    def __init__(self, guard: "Guard", number: int) -> None:
        self.inbox = Inbox()
        self.pid: int | None = None
        self.failed: tuple[int, str] | None = None
        self.over: Over | None = None
        self.lost = False
        self._guard = guard
        self._number = number
        self._reported = 0
        self._stdin_room = STDIN_AHEAD
        self._writable = anyio.Event()

    @property
    def ended(self) -> bool:
        return self.over is not None or self.failed is not None or self.lost

    def taken(self) -> None:
        """Say how much of the output that was taken has been dealt with."""
        news = self.inbox.taken - self._reported
        if news >= CREDIT // 2 and not self.ended:
            self._guard.say("C", self._number, struct.pack("!I", news))
            self._reported += news

    def sent(self, size: int) -> None:
        """Note that so many bytes of stdin are on their way."""
        self._stdin_room -= size

    async def feed(self, data: bytes) -> None:
        """Send stdin and its end, no faster than the command reads."""
        view = memoryview(data)
        while view and not self.ended:
            if self._stdin_room <= 0:
                self._writable = anyio.Event()
                await self._writable.wait()
                continue
            piece = view[: min(self._stdin_room, 1 << 16)]
            self.sent(len(piece))
            self._guard.say("I", self._number, bytes(piece))
            view = view[len(piece) :]
        if not self.ended:
            self._guard.say("E", self._number, b"")

    def stop(self, grace: float) -> None:
        """Ask for the end: TERM and KILL after `grace` seconds; KILL at once if that is 0."""
        if not self.ended:
            self._guard.say("X", self._number, struct.pack("!d", grace))

    # What the guard calls.

    def hear(self, kind: str, body: bytes) -> None:
        """Raises ValueError or struct.error for what no guard says."""
        match kind:
            case "s" if self.pid is None:
                self.pid = struct.unpack("!I", body)[0]
            case "f":
                self.failed = _errno(body), body[4:].decode()
            case "z":
                known, status, alive, by = _OVER.unpack(body)
                if status not in _STATUSES:
                    raise ValueError("no status")
                self.over = Over(status=status if known else None, alive=alive, by=By(by))
            case "c":
                room = self._stdin_room + struct.unpack("!I", body)[0]
                if not self._stdin_room < room <= STDIN_AHEAD:
                    raise ValueError("stdin that was never sent")
                self._stdin_room = room
            case _:
                raise ValueError("unknown news")
        self._wake()

    def lose(self) -> None:
        self.lost = not self.ended
        self._wake()

    def _wake(self) -> None:
        self._writable.set()
        self.inbox.ring()


class Guard(asyncssh.SSHClientSession[bytes]):
    """A guard, from its greeting to its end. `on_end` is called once, when it can take no more orders.

    On a host without Python the channel of a single run turns into that of the guard in sh, and `instead` takes it over.
    """

    def __init__(
        self, token: str, *, on_end: Callable[[], None] = lambda: None, instead: RunSession | None = None
    ) -> None:
        self.greeted = anyio.Event()
        self.hello: Hello | None = None
        self.echo: list[bytes] | None = None
        self.adopts = False
        self.closed = False
        self.instead = instead
        self._on_end = on_end
        self._greeting = Greeting(token)
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._runs: dict[int, GuardedRun] = {}
        self._making: dict[int, asyncio.Future[str]] = {}
        self._last = 0
        self._pings = 0
        self._strays = 0
        self._words = bytearray()
        self._complaints = 0
        self._head = b""
        self._kind = 0
        self._number = 0
        self._left = 0
        self._cost = 0
        self._body = bytearray()
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        return len(self._runs)

    async def make_folder(self) -> "Folder":
        """Have the private folder of a run made. Raises OSError with the errno of the host, ConnectionError without the guard."""
        if self.closed:
            raise ConnectionError
        self._last += 1
        number = self._last
        path = self._making[number] = asyncio.get_running_loop().create_future()
        self.say("M", number, b"")
        try:
            return Folder(number=number, path=await path)
        except asyncio.CancelledError:
            self.say("F", number, b"")
            raise
        finally:
            del self._making[number]

    def start(self, order: Start, *, stdin: bytes = b"", folder: "Folder | None" = None) -> GuardedRun:
        """Order a run. Raises ValueError for an order that no process can be given, and nothing is sent."""
        packed = order.packed(in_folder=folder is not None)
        if folder is None:
            self._last += 1
        number = self._last if folder is None else folder.number
        run = GuardedRun(self, number)
        if self.closed:
            run.lose()
            return run
        self._runs[number] = run
        parts = _frame("S", number, packed)
        if stdin and len(stdin) <= STDIN_AHEAD:
            parts += _frame("I", number, stdin) + _frame("E", number, b"")
            run.sent(len(stdin))
        self._write(parts)
        return run

    def forget(self, folder: "Folder") -> None:
        """Have the folder of a run that is over removed."""
        self.say("F", folder.number, b"")

    def say(self, kind: str, number: int, body: bytes) -> None:
        self._write(_frame(kind, number, body))

    def close(self) -> None:
        """End the guard, and with it all that it runs. The host may take its time to say that the channel is closed."""
        if self._channel is not None and not self.closed:
            self._channel.abort()
            self.connection_lost(None)

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        if self.instead is not None:
            self.instead.connection_made(chan)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self.instead is not None and (self.hello is Hello.SHELL or (datatype is not None and self.hello is None)):
            self.instead.data_received(data, datatype)
        elif datatype is not None:
            self._complaints += len(data)  # of a login shell or of the guard itself
            if self._complaints > LONGEST_NOISE:
                self.close()
        else:
            self._take_in(data)

    def exit_status_received(self, status: int) -> None:
        if self.instead is not None:
            self.instead.exit_status_received(status)

    def exit_signal_received(self, signal: str, *details: object) -> None:
        if self.instead is not None:
            self.instead.exit_signal_received(signal, *details)

    def pause_writing(self) -> None:
        if self.instead is not None:
            self.instead.pause_writing()

    def resume_writing(self) -> None:
        if self.instead is not None:
            self.instead.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.instead is not None:
            self.instead.connection_lost(exc)
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.hello is Hello.NONE:
            self.echo = bytes(self._words).split(b"\0")[:-1]
        self.greeted.set()
        for run in self._runs.values():
            run.lose()
        self._runs.clear()
        for path in self._making.values():
            if not path.done():
                path.set_exception(ConnectionError())
        self._on_end()

    def _take_in(self, data: bytes) -> None:
        try:
            if self.hello is None:
                data = self._greet(data)
            if self.hello is Hello.PYTHON:
                self._heard = asyncio.get_running_loop().time()
                self._read(data)
            elif self.hello is Hello.NONE and len(self._words) < _LONGEST_NEWS:
                self._words += data
            elif self.hello is Hello.SHELL and self.instead is not None and data:
                self.instead.data_received(data, None)
        except (KeyError, ValueError, struct.error):
            self.close()

    def _greet(self, data: bytes) -> bytes:
        """Return what follows the greeting. Raises ValueError for too much noise or a greeting that is none."""
        rest = self._greeting.feed(data)
        if self._greeting.said is None:
            return b""
        self.hello = Hello(self._greeting.said[:1])
        if self.hello is Hello.SHELL:
            if self.instead is not None:
                self.instead.greeted(self._greeting.said)
            self.greeted.set()
        elif self.hello is Hello.PYTHON:
            self._heard = asyncio.get_running_loop().time()
            self._ping()
        return rest

    def _ping(self) -> None:
        """Ping, and end it all if nothing was heard for long: a guard that stands still cannot be relied on."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._heard > _HEARD_WITHIN:
            self.close()
            return
        self._pings += 1
        self.say("P", 0, b"")
        self._timer = loop.call_later(_PING_EVERY, self._ping)

    # Frames.

    def _read(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            if self._left == 0:
                taken = min(_HEAD.size - len(self._head), end - at)
                self._head += data[at : at + taken]
                at += taken
                if len(self._head) == _HEAD.size:
                    self._begin()
                continue
            part = data[at : at + self._left] if at or self._left < end else data
            at += len(part)
            self._left -= len(part)
            self._take(part)

    def _begin(self) -> None:
        self._left, self._number, self._kind = _HEAD.unpack(self._head)
        self._head = b""
        self._cost = COST
        self._body.clear()
        if self._left == 0 if self._kind in _STREAMS else self._left > _LONGEST_NEWS:
            raise ValueError("output without a byte, or news that is too long")
        if self._left == 0:
            self._take(b"")

    def _take(self, part: bytes) -> None:
        stream = _STREAMS.get(self._kind)
        if stream is not None:
            run = self._runs.get(self._number)
            if run is None:
                raise ValueError("output of no run")
            run.inbox.put(stream, part, cost=self._cost)
            self._cost = 0
            if run.inbox.waiting > 4 * CREDIT:
                raise ValueError("output beyond its credit")
            return
        self._body += part
        if self._left == 0:
            self._news(chr(self._kind), bytes(self._body))

    def _news(self, kind: str, body: bytes) -> None:
        run = self._runs.get(self._number)
        if kind == "H":
            if self.echo is not None or len(body) < _HELLO:
                raise ValueError("one hello too many, or too short a one")
            self.adopts = body[0] == 1
            self.echo = body[_HELLO:].split(b"\0")[:-1]
            self.greeted.set()
        elif kind == "p" and self._pings > 0:
            self._pings -= 1
        elif self._number in self._making:
            self._made(kind, body, self._making[self._number])
        elif run is not None:
            run.hear(kind, body)
            if run.ended:
                del self._runs[self._number]
        else:
            self._strays += 1  # of what was called off, perhaps
            if self._strays > self._last:
                raise ValueError("news of no run")

    def _made(self, kind: str, body: bytes, path: "asyncio.Future[str]") -> None:
        if path.done():
            return
        if kind == "m" and FOLDER.fullmatch(body):
            path.set_result(body.decode())
        elif kind == "f":
            number = _errno(body)
            path.set_exception(OSError(number, os.strerror(number)))
        else:
            raise ValueError("no folder")

    def _write(self, data: bytes) -> None:
        """Send, but never more than so much to a host that reads nothing."""
        channel = self._channel
        if channel is None or self.closed or channel.is_closing():
            return
        channel.write(data)
        if channel.get_write_buffer_size() + _unsent(channel.get_connection()) > _MOST_UNSENT:
            self.close()


def _unsent(connection: "asyncssh.connection.SSHConnection") -> int:
    """Bytes that wait for TCP, whatever window the host has granted."""
    transport = connection._transport  # noqa: SLF001 - asyncssh tells of channels only
    return transport.get_write_buffer_size() if transport is not None else 0


def _errno(body: bytes) -> int:
    number = int(struct.unpack_from("!I", body)[0])
    if number > _MOST_ERRNO:
        raise ValueError("no errno")
    return number


def _frame(kind: str, number: int, body: bytes) -> bytes:
    return _HEAD.pack(len(body), number, ord(kind)) + body


assert SILENCE > 2 * _PING_EVERY  # noqa: S101 - else a guard would end what is well
