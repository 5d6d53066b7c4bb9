"""SSH hosts whose guard is forged: frames by hand, from whoever owns the account at the far end or the host itself."""

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from cmdhttp.plan.model import KeyFile, SshTarget
from cmdhttp.plan.remote import PROBES
from tests.support.sshd import make_key

HEAD = struct.Struct("!IIB")
OVER = struct.Struct("!BiIB")
_TOKEN = re.compile(r"'([0-9a-f]{32})'")
_HELLO = struct.pack("!BI", 1, 1) + b"".join(word.encode() + b"\0" for word in PROBES)

Act = Callable[["Forged", int], Coroutine[None, None, None]]


def frame(kind: str, run: int, body: bytes = b"", *, length: int | None = None) -> bytes:
    return HEAD.pack(len(body) if length is None else length, run, ord(kind)) + body


def over(run: int, *, status: int = 0, alive: int = 0, by: int = 0) -> bytes:
    return frame("z", run, OVER.pack(1, status, alive, by))


@dataclass(eq=False)
class Forged(asyncssh.SSHServerSession[bytes]):
    """A session that answers like a guard up to the first order, and then does what the test wants."""

    act: Act
    hello: bytes = _HELLO
    heard: list[str] = field(default_factory=list)
    channel: "asyncssh.SSHServerChannel[bytes] | None" = None
    task: "asyncio.Task[None] | None" = None
    writable: asyncio.Event = field(default_factory=asyncio.Event)
    _data: bytearray = field(default_factory=bytearray)
    _token: bytes = b""

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self.channel = chan
        self.writable.set()

    def exec_requested(self, command: str) -> bool:
        found = _TOKEN.search(command)
        self._token = found[1].encode() if found else b""
        return True

    def session_started(self) -> None:
        self.say(self._token + b"P\n" + frame("H", 0, self.hello))

    def say(self, data: bytes) -> None:
        if self.channel is not None and not self.channel.is_closing():
            self.channel.write(data)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes, _datatype: asyncssh.DataType) -> None:
        self._data += data
        while len(self._data) >= HEAD.size:
            length, run, kind = HEAD.unpack_from(self._data)
            if len(self._data) < HEAD.size + length:
                return
            del self._data[: HEAD.size + length]
            self.heard.append(chr(kind))
            if chr(kind) == "P":
                self.say(frame("p", 0))
            elif chr(kind) == "S":
                self.task = asyncio.get_running_loop().create_task(self.act(self, run))

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.task is not None:
            self.task.cancel()


class _Open(asyncssh.SSHServer):
    def __init__(self, session: Callable[[], Forged], connections: list[asyncssh.SSHServerConnection]) -> None:
        self._session = session
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, _username: str, _key: asyncssh.SSHKey) -> bool:
        return True

    def session_requested(self) -> Forged:
        return self._session()


@contextlib.asynccontextmanager
async def forged_host(folder: Path, act: Act, *, hello: bytes = _HELLO) -> AsyncIterator[SshTarget]:
    """Yield the target of a host that does this at every order. Whoever shows a key is let in."""
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "host_key")
    make_key(folder / "user_key")
    connections: list[asyncssh.SSHServerConnection] = []
    server = await asyncssh.create_server(
        lambda: _Open(lambda: Forged(act, hello), connections),
        "127.0.0.1",
        0,
        server_host_keys=[folder / "host_key"],
        encoding=None,
    )
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{server.get_port()} {kind} {key}\n")
    try:
        yield SshTarget(
            address="127.0.0.1",
            port=server.get_port(),
            account="somebody",
            login=KeyFile(path=str(folder / "user_key")),
            known_hosts=str(folder / "known_hosts"),
        )
    finally:
        server.close()
        for connection in connections:
            connection.abort()
