"""One request and its answer. A new connection for each, so that none is stale, and each ends with its block.

Whatever is no answer of the service is an `Unreachable`: refused and broken connections, silence, a body that ends before
its end, a redirect, a page of something in between. What the service refuses is a `Refused` with its problem document.
"""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlencode

from cmdhttp.client.address import Address, connect
from cmdhttp.client.failures import Document, Problem, Refused, Unreachable

JSON, NDJSON, BYTES = "application/json", "application/x-ndjson", "application/octet-stream"
_CONNECT_SECONDS = 10.0
_LARGEST_DOCUMENT = 256 << 20
_LARGEST_PROBLEM = 1 << 20
_PIECE = 64 << 10
_LONGEST_WAIT = 3600.0
_OK = frozenset({200, 202, 206})
_REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`path` is plain; values of `query` may be any text.

    `silence`: how many seconds may pass without a byte, and until the head of the answer is there.
    """

    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    accept: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    silence: float = 100.0


class Answer:
    """An answer of the service, to be read within its block."""

    def __init__(self, response: http.client.HTTPResponse, *, sock: Any) -> None:
        self._response = response
        self._sock = sock
        self._left = response.length
        self.status = response.status

    def close(self) -> None:
        self._response.close()

    def header(self, name: str) -> str:
        return self._response.getheader(name) or ""

    def some(self, *, within: float | None = None) -> bytes:
        """Return the next bytes as they come, none at the end. Raises Unreachable, also for an end that is too early."""
        try:
            if within is not None:
                self._sock.settimeout(max(within, 0.001))
            data = self._response.read1(_PIECE)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Cut(f"the answer was cut: {_reason(error)}") from error
        if self._left is not None:
            self._left -= len(data)
            if not data and self._left > 0:
                raise Cut(f"the answer was cut: {self._left} bytes are missing")
        return data

    def whole(self, *, limit: int = _LARGEST_DOCUMENT) -> bytes:
        data = bytearray()
        while piece := self.some():
            data += piece
            if len(data) > limit:
                raise Unreachable(f"the answer has more than {limit} bytes")
        return bytes(data)

    def document(self) -> Document:
        """Return the JSON object that the answer is. Raises Unreachable."""
        found = read_object(self.whole())
        if found is None:
            raise Unreachable("the answer is not a document of cmdhttp; is the URL that of the service?")
        return found


class Caller:
    """One service, and one principal's way to it. It is safe to use from several threads."""

    def __init__(
        self,
        address: Address,
        *,
        token: str,
        headers: Mapping[str, str],
        context: ssl.SSLContext | None,
        proxy: Address | None,
    ) -> None:
        self._address = address
        self._headers = {**headers, "Authorization": f"Bearer {token}"}
        self._context = context
        self._proxy = proxy

    @contextmanager
    def open(
        self, request: Request, *, sending: Callable[[], None] = lambda: None, sent: Callable[[], None] = lambda: None
    ) -> Iterator[Answer]:
        """Send a request and yield the answer. Raises Refused or Unreachable.

        `sending` is called at the last moment at which the service cannot have the request, `sent` once all of it has
        left. A `Cut` says that the service may have it.
        """
        try:
            connection = connect(self._address, timeout=_CONNECT_SECONDS, context=self._context, proxy=self._proxy)
        except ssl.SSLCertVerificationError as error:
            raise NotTrusted(f"the certificate of the service does not hold: {error.verify_message}") from error
        except socket.gaierror as error:
            raise (NoSuchHost if error.errno == socket.EAI_NONAME else Unreachable)(
                f"the service at {self._address.origin} cannot be reached: {_reason(error)}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the service at {self._address.origin} cannot be reached: {_reason(error)}") from error
        with closing(connection):
            sending()
            with closing(self._response(connection, request, sent)) as answer:
                if answer.status not in _OK:
                    raise _refusal(answer)
                yield answer

    def ask(self, request: Request, *, sent: Callable[[], None] = lambda: None) -> Document:
        """Return the JSON object that answers a request. Raises Refused or Unreachable."""
        with self.open(request, sent=sent) as answer:
            return answer.document()

    def _response(self, connection: http.client.HTTPConnection, request: Request, sent: Callable[[], None]) -> Answer:
        headers = {**self._headers, "Accept": request.accept, "Connection": "close", **request.headers}
        if request.body is not None:
            headers["Content-Type"] = JSON
        target = self._address.prefix + request.path + (f"?{urlencode(request.query)}" if request.query else "")
        sock = cast("Any", connection.sock)  # kept, because http.client lets go of it
        try:
            sock.settimeout(request.silence)
            # Refused before the body was read: the answer, if there is one, says why.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(request.method, target, body=request.body, headers=headers)
            sent()
            with _no_longer_than(request.silence, sock):
                response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Cut(f"no answer came: {_reason(error)}") from error
        return Answer(response, sock=sock)


@contextmanager
def _no_longer_than(seconds: float, sock: socket.socket) -> Iterator[None]:
    """Break the connection after some time. Raises TimeoutError then.

    The head of an answer that comes byte after byte, or one provisional answer after the other, would never be silent.
    """
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of TLS, too: no word of farewell that could block

    limit = threading.Timer(seconds, end)
    limit.daemon = True
    limit.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        if not over.is_set():
            raise
        raise TimeoutError from error
    finally:
        limit.cancel()
    if over.is_set():  # what was there of the head passed for all of it
        raise TimeoutError


class Cut(Unreachable):
    """The connection was there, so the service may have the request."""


class NoSuchHost(Unreachable):
    """The name means no address. Where nothing has ever been reached, that is a slip of the pen."""

    retryable = False


class NotTrusted(Unreachable):
    """The certificate does not hold. To try again would not help."""

    retryable = False


def read_object(data: bytes) -> Document | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refusal(answer: Answer) -> Refused:
    status = answer.status
    document = None
    if "json" in answer.header("Content-Type"):
        try:
            document = read_object(answer.whole(limit=_LARGEST_PROBLEM))
        except Unreachable:
            document = None
    ours = document is not None and isinstance(document.get("code"), str)
    if document is None or not ours:
        document = _stand_in(status)
    return Refused(Problem(status=status, document=document, ours=ours), retry_after=_seconds(answer))


def _stand_in(status: int) -> Document:
    detail = f"Something answered with status {status} that is not cmdhttp."
    hint = "Look at --url, and at what stands between here and the service."
    if status in _REDIRECTS or status in (401, 403):
        hint += " A tunnel that asks for its own login takes it from --header-file."
    return {"title": "Not an answer of the service", "status": status, "detail": detail, "hint": hint}


def _seconds(answer: Answer) -> float | None:
    """What Retry-After says, if it is a number."""
    text = answer.header("Retry-After").strip()
    return min(float(text), _LONGEST_WAIT) if text.isascii() and text.isdecimal() else None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it is silent"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed"
    if isinstance(error, http.client.IncompleteRead):
        return "it ended too early"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
