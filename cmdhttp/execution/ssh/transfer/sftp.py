"""A client of SFTP, version 3: the few requests that files of a run need, and nothing that a hostile server could drive.

A packet has at most 256 KiB, a request gets its answer in time, and no more requests are under way than a few: so whatever a
server sends, memory stays bounded and every call ends. An answer that does not fit its request ends the session. The
library's own client takes packets of 4 MiB, which hold 350,000 names, and logs paths; hence this one.
Source: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for the size of packets.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import IntEnum

import anyio
import asyncssh

from cmdhttp.execution.ssh.login.wire import Reader, string, uint32, uint64

PIECE = 32 * 1024
"""Bytes that every server takes and gives in one packet."""
AHEAD = 32
"""Requests under way at once."""
_LONGEST_PACKET = 256 * 1024
_LONGEST_NAME = 255
_HEAD = 4
_VERSION = 3
_READ, _WRITE, _CREATE, _NEW = 0x01, 0x02, 0x08, 0x20
_LINKS = re.compile(rb"[-a-zA-Z?][-rwxsStT]{9}\S?\s+(\d{1,9})\s")
_OK, _EOF = 0, 1
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_MORE = 0x01, 0x02, 0x04, 0x08, 0x80000000
_WINDOW = 2 << 20


class _Kind(IntEnum):
    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    OPENDIR = 11
    READDIR = 12
    MKDIR = 14
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105


class SftpError(Exception):
    """The server refused a request; `status` is its number for why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class SftpBroken(Exception):
    """The session is over: the server fell silent, went away, or does not speak SFTP as it should."""


class NoSession(Exception):
    """The host opened no session on this connection; another one may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Of a file or folder, each None if the server does not say it."""

    size: int | None
    uid: int | None
    mode: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a listing says of one name. `links` is how many names the file has, None if that cannot be read."""

    name: bytes
    attributes: Attributes
    links: int | None


class Sftp(asyncssh.SSHClientSession[bytes]):
    """A session. Every call may raise SftpError, or SftpBroken, after which there are no more. `patience` is in seconds."""

    def __init__(self, *, patience: float) -> None:
        self.opened = False
        self.closed = False
        self.ready = anyio.Event()
        self._patience = patience
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._inbox = bytearray()
        self._waiting: dict[int, asyncio.Future[tuple[int, Reader]]] = {}
        self._last = 0
        self._greeted = False

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.opened = True
        self._channel = chan

    def session_started(self) -> None:
        self._write(_Kind.INIT, uint32(_VERSION))

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self.closed or datatype is not None:
            return
        self._inbox += data
        try:
            while (size := self._whole()) is not None:
                packet = bytes(self._inbox[_HEAD : _HEAD + size])
                del self._inbox[: _HEAD + size]
                self._take(packet)
        except ValueError:
            self.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._end()

    def close(self) -> None:
        """End the session."""
        if self._channel is not None and not self.closed:
            self._channel.abort()
        self._end()

    def _end(self) -> None:
        self.closed = True
        self._inbox.clear()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SftpBroken())
                answer.exception()  # it may be that nobody waits for it any more
        self._waiting.clear()
        self.ready.set()

    def _whole(self) -> int | None:
        """The size of the next packet if all of it is there."""
        if len(self._inbox) < _HEAD:
            return None
        size = int.from_bytes(self._inbox[:_HEAD], "big")
        if not 1 <= size <= _LONGEST_PACKET:
            raise ValueError("a packet of a size that none has")
        return size if len(self._inbox) >= _HEAD + size else None

    def _take(self, packet: bytes) -> None:
        reader = Reader(packet, 1)
        if not self._greeted:
            if packet[0] != _Kind.VERSION or _number(reader) < _VERSION:
                raise ValueError("not a greeting")
            self._greeted = True
            self.ready.set()
            return
        answer = self._waiting.pop(_number(reader), None)
        if answer is None:
            raise ValueError("an answer to nothing")
        if not answer.done():
            answer.set_result((packet[0], reader))

    # Requests.

    def _send(self, kind: _Kind, body: bytes) -> "asyncio.Future[tuple[int, Reader]]":
        answer: asyncio.Future[tuple[int, Reader]] = asyncio.get_running_loop().create_future()
        if self.closed:
            raise SftpBroken
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._waiting[self._last] = answer
        self._write(kind, uint32(self._last) + body)
        return answer

    def _write(self, kind: _Kind, body: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(uint32(len(body) + 1) + bytes([kind]) + body)

    async def _answer(self, answer: "asyncio.Future[tuple[int, Reader]]", wanted: _Kind) -> Reader:
        with anyio.move_on_after(self._patience):
            kind, reader = await answer
            with self._reading():
                status = _number(reader) if kind == _Kind.STATUS else _OK
                if kind != wanted and (kind != _Kind.STATUS or status == _OK):
                    raise ValueError("not an answer to this")
            if status != _OK:
                raise SftpError(status)
            return reader
        self.close()
        raise SftpBroken

    async def _ask(self, kind: _Kind, *fields: bytes, wanted: _Kind = _Kind.STATUS) -> Reader:
        return await self._answer(self._send(kind, b"".join(fields)), wanted)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is no sound answer ends the session."""
        try:
            yield
        except ValueError:
            self.close()
            raise SftpBroken from None

    async def mkdir(self, path: bytes, *, mode: int) -> None:
        """Make a folder; one that is there is an error."""
        await self._ask(_Kind.MKDIR, string(path), uint32(_HAS_MODE), uint32(mode))

    async def create(self, path: bytes, *, mode: int) -> bytes:
        """Return the handle of a new file, to write and to read; one that is there is an error."""
        flags = _READ | _WRITE | _CREATE | _NEW
        return await self._handle(_Kind.OPEN, string(path), uint32(flags), uint32(_HAS_MODE), uint32(mode))

    async def open(self, path: bytes) -> bytes:
        """Return the handle of a file to read. A server follows a link here."""
        return await self._handle(_Kind.OPEN, string(path), uint32(_READ), uint32(0))

    async def close_handle(self, handle: bytes) -> None:
        await self._ask(_Kind.CLOSE, string(handle))

    def drop_handle(self, handle: bytes) -> None:
        """Close a handle from which was only read, without waiting for it."""
        if not self.closed:
            self._send(_Kind.CLOSE, string(handle))

    async def lstat(self, path: bytes) -> Attributes:
        """Return what is known of a name, not of what it links to."""
        return await self._attributes(_Kind.LSTAT, path)

    async def fstat(self, handle: bytes) -> Attributes:
        return await self._attributes(_Kind.FSTAT, handle)

    async def write(self, handle: bytes, data: bytes) -> None:
        """Write all of `data` from the beginning of a file."""
        under_way: deque[asyncio.Future[tuple[int, Reader]]] = deque()
        for start in range(0, len(data), PIECE):
            if len(under_way) == AHEAD:
                await self._answer(under_way.popleft(), _Kind.STATUS)
            piece = data[start : start + PIECE]
            under_way.append(self._send(_Kind.WRITE, string(handle) + uint64(start) + string(piece)))
        while under_way:
            await self._answer(under_way.popleft(), _Kind.STATUS)

    async def read(self, handle: bytes, *, size: int) -> AsyncGenerator[bytes]:
        """Yield the first `size` bytes of a file in pieces, or as many as there are."""
        under_way: deque[tuple[int, int, asyncio.Future[tuple[int, Reader]]]] = deque()
        ahead = 0
        while ahead < size or under_way:
            while ahead < size and len(under_way) < AHEAD:
                length = min(PIECE, size - ahead)
                under_way.append((ahead, length, self._ask_for(handle, ahead, length)))
                ahead += length
            start, length, answer = under_way.popleft()
            while length:
                data = await self._data(answer, length)
                if not data:
                    return
                yield data
                start, length = start + len(data), length - len(data)
                if length:
                    answer = self._ask_for(handle, start, length)

    def _ask_for(self, handle: bytes, start: int, length: int) -> "asyncio.Future[tuple[int, Reader]]":
        return self._send(_Kind.READ, string(handle) + uint64(start) + uint32(length))

    async def _data(self, answer: "asyncio.Future[tuple[int, Reader]]", length: int) -> bytes:
        """Return some bytes, no more than were asked for; none at the end of the file."""
        try:
            reader = await self._answer(answer, _Kind.DATA)
        except SftpError as error:
            if error.status == _EOF:
                return b""
            raise
        with self._reading():
            data = reader.string()
            if not 0 < len(data) <= length:
                raise ValueError("more or less than was asked for")
        return data

    async def opendir(self, path: bytes) -> bytes:
        return await self._handle(_Kind.OPENDIR, string(path))

    async def readdir(self, handle: bytes) -> list[Entry]:
        """Return the next names of a folder, which never are paths; none at its end."""
        try:
            reader = await self._ask(_Kind.READDIR, string(handle), wanted=_Kind.NAME)
        except SftpError as error:
            if error.status == _EOF:
                return []
            raise
        with self._reading():
            entries = [_entry(reader) for _ in range(_number(reader))]
            if not entries:
                raise ValueError("neither names nor the end")
        return entries

    async def _handle(self, kind: _Kind, *fields: bytes) -> bytes:
        reader = await self._ask(kind, *fields, wanted=_Kind.HANDLE)
        with self._reading():
            return reader.string()

    async def _attributes(self, kind: _Kind, of: bytes) -> Attributes:
        reader = await self._ask(kind, string(of), wanted=_Kind.ATTRS)
        with self._reading():
            return _attributes(reader)


@asynccontextmanager
async def sftp_on(connection: asyncssh.SSHClientConnection, *, patience: float) -> AsyncIterator[Sftp]:
    """Open a session. Raises NoSession if the connection has no room for one, SftpBroken if the host has no SFTP."""
    session = Sftp(patience=patience)
    try:
        with anyio.move_on_after(patience):
            try:
                await connection.create_session(lambda: session, subsystem="sftp", encoding=None, window=_WINDOW)
            except (asyncssh.Error, OSError):
                if session.opened:
                    raise SftpBroken from None
                raise NoSession from None
            await session.ready.wait()
        if session.closed or not session.ready.is_set():
            raise SftpBroken
        yield session
    finally:
        session.close()


def _number(reader: Reader) -> int:
    return int.from_bytes(reader.take(4), "big")


def _entry(reader: Reader) -> Entry:
    name, shown = reader.string(), reader.string()
    if not name or len(name) > _LONGEST_NAME or b"/" in name or b"\0" in name:
        raise ValueError("not the name of a file")
    found = _LINKS.match(shown)
    return Entry(name=name, attributes=_attributes(reader), links=int(found[1]) if found else None)


def _attributes(reader: Reader) -> Attributes:
    size = uid = mode = None
    flags = _number(reader)
    if flags & _HAS_SIZE:
        size = int.from_bytes(reader.take(8), "big")
    if flags & _HAS_OWNER:
        uid = _number(reader)
        reader.take(4)
    if flags & _HAS_MODE:
        mode = _number(reader)
    if flags & _HAS_TIMES:
        reader.take(8)
    if flags & _HAS_MORE:
        for _ in range(_number(reader)):
            reader.string()
            reader.string()
    return Attributes(size=size, uid=uid, mode=mode)
