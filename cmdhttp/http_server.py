"""How HTTP is served: uvicorn on sockets that are bound before the loop runs, with bounds that hold before anyone is known."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cmdhttp.api.connection import Connection
from cmdhttp.errors import ConfigError

_HEADER_SECONDS = 5.0
_MESSAGE_SECONDS = 30.0
_HEAD_BYTES = 32 << 10
_HEAD_FIELDS = 100
_PIPELINED = 8
_CLOSE_SECONDS = 5
_BACKLOG = 2048
_HIGHEST_PORT = 65535


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds that hold before anyone is authenticated.

    The head of a request has 5 s and 32 KiB, trailers included; the whole request has 30 s, whether or not its body is
    read. Silence, a trickle, an endless header, or a crowd of requests behind one that is still answered closes the
    connection. Beside what uvicorn has it holds no dict of its own: there is one of these for each follower.
    """

    __slots__ = ("_bytes", "_connection", "_deadline", "_fields", "_served")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection = Connection()
        self._served: RequestResponseCycle | None = None
        self._fields = self._bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._give(_HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._served is not None and not self._served.response_complete:
            # uvicorn tells the newest request alone, and the one before it may still be being answered
            self._served.disconnected = True
            self._served.message_event.set()
        super().connection_lost(exc)
        self._connection.lose()

    def on_message_begin(self) -> None:
        """Raise ValueError, which stops the parser, if too many wait already; each is some kB, for as long as a stream."""
        if len(self.pipeline) >= _PIPELINED:
            self.transport.abort()
            raise ValueError("too many requests on one connection")
        self._fields = self._bytes = 0
        self._give(_HEADER_SECONDS)
        super().on_message_begin()
        self._connection.put_into(self.scope["state"])

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(name + value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._give(_MESSAGE_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_timer()
        super().on_message_complete()
        self.url, self.headers = b"", []  # the scope has them

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _give(self, seconds: float) -> None:
        self._stop_timer()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _count(self, data: bytes) -> None:
        """Raise ValueError over a bound; the parser then answers 400 and closes."""
        self._bytes += len(data)
        if self._bytes > _HEAD_BYTES or self._fields > _HEAD_FIELDS:
            raise ValueError("the head of the request is too large")


class HttpServer(uvicorn.Server):
    """A server that leaves signals to us and serves a socket that is bound already. `keep_alive` is in seconds."""

    def __init__(self, app: ASGIApp, *, socket: socket.socket, keep_alive: int) -> None:
        super().__init__(_config(app, keep_alive=keep_alive))
        self._socket = socket

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_told(self) -> None:
        await self.serve(sockets=[self._socket])


def _config(app: ASGIApp, *, keep_alive: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        backlog=_BACKLOG,
    )


@contextmanager
def listener(address: str, *, flag: str) -> Iterator[socket.socket]:
    """Bind and listen on `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`."""
    hint = f"Write {flag} HOST:PORT, like 127.0.0.1:8080, or {flag} unix:/path."
    try:
        bound = _unix(address.removeprefix("unix:")) if address.startswith("unix:") else bind_tcp(address)
        bound.listen(_BACKLOG)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            hint = f"Stop what listens there, or choose another address with {flag}."
        raise ConfigError(f"cannot listen on {address} ({flag}): {reason}", hint=hint) from error
    with bound:
        yield bound


def bind_tcp(address: str) -> socket.socket:
    """Return a socket that is bound to `HOST:PORT` or `[IPV6]:PORT`. Raises OSError, or ValueError for another form."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not host or int(port) > _HIGHEST_PORT:
        raise ValueError("not an address")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it an answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), int(port)))
    except BaseException:
        listener.close()
        raise
    return listener


def _unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if Path(path).is_socket():
            Path(path).unlink()
        listener.bind(path)
        Path(path).chmod(0o660)
    except BaseException:
        listener.close()
        raise
    return listener
