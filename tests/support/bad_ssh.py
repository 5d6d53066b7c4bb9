"""SSH servers that misbehave at a chosen stage: silent, closing, talking nonsense, or without an end.

One thread serves all of them. What comes before the encryption is written by hand; the rest is asyncssh's server with a
wrong answer in the right place. Whoever shows a key is let in, and nothing is ever executed.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import asyncssh

from tests.support.service import Remote
from tests.support.sshd import make_key

Stage = Literal["accept", "version", "login", "channel", "exec", "running"]
"""Where it goes wrong: before the version, after it, in place of an answer to the login, to the opening of a channel, to the
request for a command, or once that is granted."""

Act = Literal["silent", "close", "garbage", "endless"]

_VERSION = b"SSH-2.0-OpenSSH_9.2\r\n"
_GARBAGE = 4096
_LINE = b"x" * 70 + b"\r\n"
_PIECE = 64 * 1024


class BadServers:
    """All bad servers of a test, by name."""

    def __init__(self, folder: Path, wanted: Mapping[str, tuple[Stage, Act]]) -> None:
        self.remotes: dict[str, Remote] = {}
        self._folder = folder
        self._wanted = dict(wanted)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path, wanted: Mapping[str, tuple[Stage, Act]]) -> Iterator["BadServers"]:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "user_key"):
            make_key(folder / name)
        servers = cls(folder, wanted)
        servers._thread.start()
        try:
            if not servers._ready.wait(10):
                raise RuntimeError("the bad servers did not start")
            yield servers
        finally:
            servers._stop()

    def _stop(self) -> None:
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for name, (stage, act) in self._wanted.items():
                port = await stack.enter_async_context(_listening(self._folder, stage, act))
                self.remotes[name] = self._remote(port)
            self._ready.set()
            await self._over.wait()

    def _remote(self, port: int) -> Remote:
        kind, body, *_ = (self._folder / "host_key.pub").read_text().split()
        return Remote(
            address="127.0.0.1",
            port=port,
            account="somebody",
            key=self._folder / "user_key",
            recorded=f"[127.0.0.1]:{port} {kind} {body}\n",
        )


@contextlib.asynccontextmanager
async def _listening(folder: Path, stage: Stage, act: Act) -> AsyncIterator[int]:
    if stage in ("accept", "version"):
        greeting = _VERSION if stage == "version" else b""
        transports: list[asyncio.Transport] = []
        loop = asyncio.get_running_loop()
        raw = await loop.create_server(lambda: _ByHand(greeting, act, transports), "127.0.0.1", 0)
        try:
            yield raw.sockets[0].getsockname()[1]
        finally:
            raw.close()
            for transport in transports:
                transport.abort()
        return
    connections: list[asyncssh.SSHServerConnection] = []
    server = await asyncssh.create_server(
        lambda: _Bad(stage, act, connections), "127.0.0.1", 0, server_host_keys=[folder / "host_key"], encoding=None
    )
    try:
        yield server.get_port()
    finally:
        server.close()
        for connection in connections:
            connection.abort()


class _ByHand(asyncio.Protocol):
    """Says a greeting and misbehaves; what the client says is of no interest."""

    def __init__(self, greeting: bytes, act: Act, transports: list[asyncio.Transport]) -> None:
        self._greeting = greeting
        self._act = act
        self._transports = transports
        self._transport: asyncio.Transport | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"no stream: {transport!r}")
        self._transport = transport
        self._transports.append(transport)
        transport.write(self._greeting)
        if self._act == "garbage":
            transport.write(os.urandom(_GARBAGE))
        elif self._act == "close":
            transport.close()
        self._pour()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._pour()

    def _pour(self) -> None:
        while self._act == "endless" and not self._full and self._transport and not self._transport.is_closing():
            self._transport.write(_LINE * 100)


class _Bad(asyncssh.SSHServer):
    """Goes wrong at one stage; up to there it does what a server should."""

    def __init__(self, stage: Stage, act: Act, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._stage = stage
        self._act = act
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.append(conn)

    async def begin_auth(self, _username: str) -> bool:
        if self._stage == "login":
            await self._misbehave()
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, _username: str, _key: asyncssh.SSHKey) -> bool:
        return True

    async def session_requested(self) -> "_BadSession":
        if self._stage == "channel":
            await self._misbehave()
        return _BadSession(self)

    def at_exec(self) -> bool | None:
        """The answer to the request for a command; None leaves it without one."""
        if self._stage == "exec":
            self._break()
            return None
        return True

    async def at_run(
        self, channel: "asyncssh.SSHServerChannel[bytes]", writable: Callable[[], Awaitable[None]]
    ) -> None:
        self._break()
        while self._act == "endless" and not channel.is_closing():
            channel.write(_LINE * 100)
            channel.write_stderr(_LINE * 100)
            await writable()

    async def _misbehave(self) -> None:
        self._break()
        while self._act == "endless" and self._connection is not None and not self._connection.is_closed():
            self._connection.send_auth_banner("x" * _PIECE)
            await asyncio.sleep(0.001)
        await asyncio.Event().wait()

    def _break(self) -> None:
        if self._connection is None:
            return
        if self._act == "close":
            self._connection.abort()
        elif self._act == "garbage":
            self._connection._transport.write(os.urandom(_GARBAGE))  # type: ignore[union-attr]


class _BadSession(asyncssh.SSHServerSession[bytes]):
    def __init__(self, server: _Bad) -> None:
        self._server = server
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._channel = chan

    def exec_requested(self, _command: str) -> bool:
        return self._server.at_exec()  # type: ignore[return-value]  # None makes asyncssh leave the request unanswered

    def session_started(self) -> None:
        if self._channel is not None:
            self._task = asyncio.get_running_loop().create_task(self._server.at_run(self._channel, self._wait))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _wait(self) -> None:
        await asyncio.sleep(0)
        await self._writable.wait()
