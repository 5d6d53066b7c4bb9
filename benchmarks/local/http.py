"""The client that all contenders get: raw sockets in one process, kept alive where the server lets it, and every answer checked.

It must not be what is measured: one epoll, one read and one write a call, and no more of HTTP than the contenders speak to it
(`Content-Length`, chunks, or the end of the connection). A wrong answer ends the run; nothing is averaged over failures.
"""

import gc
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import percentile

HOST = "127.0.0.1"
_READ = 1 << 16
_PATIENCE = 30.0


class WrongAnswer(RuntimeError):
    """A contender did not answer as it must, so its figures would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: the request, what must stand in the last answer, and perhaps the second request that the first answer needs."""

    request: bytes
    holds: bytes
    then: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What some clients saw that called as fast as they were answered. Times in seconds; `client` is our own work for a call."""

    calls: int
    seconds: float
    p50: float
    p99: float
    client: float
    reconnects: int

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


def request(method: str, target: str, *, headers: dict[str, str] | None = None, body: bytes | None = None) -> bytes:
    """The bytes of a request with a JSON body or none."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Answer:
    """Takes the bytes of one answer as they come, and says when it is whole."""

    __slots__ = ("_body", "_chunked", "_end", "closes", "held")

    def __init__(self) -> None:
        self.held = b""
        self.closes = False
        self._body = -1
        self._end = -1
        self._chunked = False

    @property
    def status(self) -> int:
        return int(self.held[9:12])

    @property
    def body(self) -> bytes:
        """The body as sent: chunks keep their frames."""
        return self.held[self._body :]

    def feed(self, data: bytes) -> bool:
        """Take more bytes; returns whether the answer is whole."""
        self.held += data
        if self._body < 0 and not self._read_head():
            return False
        if self._chunked:
            return self.held.endswith(b"\r\n0\r\n\r\n")
        return 0 <= self._end <= len(self.held)

    def end(self) -> bool:
        """The connection has ended; returns whether that makes the answer whole."""
        self.closes = True
        return self._body >= 0 and self._end < 0 and not self._chunked

    def _read_head(self) -> bool:
        end = self.held.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.held[:end].lower()
        self._body = end + 4
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        self.closes = b"\r\nconnection: close" in head or head.startswith(b"http/1.0")
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if found:
            self._end = self._body + int(rest.partition(b"\r\n")[0])
        elif head[9:12] == b"204":
            self._end = self._body
        return True


def connect(port: int, *, patience: float = _PATIENCE) -> socket.socket:
    """A connection whose reads and writes give up after so many seconds."""
    found = socket.create_connection((HOST, port), timeout=patience)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def ask(port: int, sent: bytes) -> Answer:
    """Send one request on a connection of its own. Raises OSError, or WrongAnswer if the answer breaks off."""
    with connect(port) as found:
        found.sendall(sent)
        return receive(found)


def receive(connection: socket.socket) -> Answer:
    """Read one answer. Raises OSError, or WrongAnswer if it breaks off."""
    answer = Answer()
    while data := connection.recv(_READ):
        if answer.feed(data):
            return answer
    if not answer.end():
        raise WrongAnswer(f"the answer broke off: {answer.held[:500]!r}")
    return answer


def once(port: int, call: Call) -> None:
    """Make one call. Raises OSError or WrongAnswer."""
    answer = ask(port, call.request)
    if call.then is not None:
        answer = ask(port, call.then(answer.held))
    check(answer, call)


def load(port: int, call: Call, *, clients: int, seconds: float) -> Load:
    """Keep `clients` connections busy for so long; calls under way at the end are waited for. Raises WrongAnswer, OSError."""
    gc.collect()
    gc.disable()
    try:
        return _Loop(port, call, clients=clients).run(seconds)
    finally:
        gc.enable()


class _Client:
    """One connection and the call that is under way on it."""

    __slots__ = ("answer", "began", "fresh", "second", "sent", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.answer = Answer()
        self.began = 0.0
        self.second = False
        self.sent = b""
        self.fresh = True


class _Loop:
    def __init__(self, port: int, call: Call, *, clients: int) -> None:
        self._port = port
        self._call = call
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._took: list[float] = []
        self._reconnects = 0
        for _ in range(clients):
            self._add(_Client(connect(port)))

    def run(self, seconds: float) -> Load:
        start, cpu = time.perf_counter(), time.process_time()
        end = start + seconds
        try:
            for client in self._clients.values():
                self._begin(client)
            while self._clients:
                events = self._poll.poll(_PATIENCE)
                if not events:
                    raise WrongAnswer(f"{len(self._clients)} calls got no answer within {_PATIENCE:.0f} s")
                for number, _ in events:
                    self._read(self._clients[number], end)
        finally:
            for client in self._clients.values():
                client.socket.close()
            self._poll.close()
        took, cpu = sorted(self._took), time.process_time() - cpu
        return Load(
            calls=len(took),
            seconds=time.perf_counter() - start,
            p50=percentile(took, 0.5),
            p99=percentile(took, 0.99),
            client=cpu / len(took),
            reconnects=self._reconnects,
        )

    def _begin(self, client: _Client) -> None:
        client.began = time.perf_counter()
        client.second = False
        self._send(client, self._call.request)

    def _send(self, client: _Client, sent: bytes) -> None:
        client.answer = Answer()
        client.sent = sent
        client.socket.sendall(sent)

    def _read(self, client: _Client, end: float) -> None:
        try:
            data = client.socket.recv(_READ)
        except ConnectionResetError:
            data = b""
        if data:
            whole = client.answer.feed(data)
        else:
            whole = client.answer.end()
            if not whole and not client.answer.held and not client.fresh:
                self._reconnect(client)  # the server closed an idle connection just as we used it
                self._send(client, client.sent)
                return
            if not whole:
                raise WrongAnswer(f"the connection ended within an answer: {client.answer.held[:500]!r}")
        if whole:
            self._whole(client, end)

    def _whole(self, client: _Client, end: float) -> None:
        then = self._call.then
        if then is not None and not client.second:
            client.second = True
            sent = then(client.answer.held)
            self._keep(client)
            self._send(client, sent)
            return
        now = time.perf_counter()
        check(client.answer, self._call)
        self._took.append(now - client.began)
        if now >= end:
            del self._clients[client.socket.fileno()]
            client.socket.close()
            return
        self._keep(client)
        self._begin(client)

    def _keep(self, client: _Client) -> None:
        client.fresh = False
        if client.answer.closes:
            self._reconnect(client)

    def _reconnect(self, client: _Client) -> None:
        self._reconnects += 1
        del self._clients[client.socket.fileno()]
        client.socket.close()  # which takes it out of the epoll
        client.socket = connect(self._port)
        client.fresh = True
        self._add(client)

    def _add(self, client: _Client) -> None:
        self._clients[client.socket.fileno()] = client
        self._poll.register(client.socket.fileno(), select.EPOLLIN)


def check(answer: Answer, call: Call) -> None:
    """Raise WrongAnswer if it is not the answer that the call should get."""
    if answer.status not in (200, 202) or call.holds not in answer.body:
        raise WrongAnswer(f"not an answer with {call.holds!r}: {answer.held[:500]!r}")
