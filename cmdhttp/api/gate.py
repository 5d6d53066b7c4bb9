"""The one place where a request is let in, before anything is routed. Plain ASGI.

It gives every request an id, refuses a request that could be read in two ways (repeated headers, odd paths), and
authenticates. A route that is added later cannot forget it.
"""

import logging
import secrets

from starlette.types import ASGIApp, Receive, Scope, Send

from cmdhttp.api.problems import problem_response
from cmdhttp.audit.tally import Tally
from cmdhttp.auth.principal import Authenticator, Evidence
from cmdhttp.errors import CmdHttpError, RequestError, Unauthenticated

_log = logging.getLogger("cmdhttp.api")
_ONCE = frozenset(
    {
        b"host",
        b"authorization",
        b"content-type",
        b"content-length",
        b"transfer-encoding",
        b"idempotency-key",
        b"x-idempotency-key",
        b"last-event-id",
    }
)
_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 32 << 10


class Gate:
    """Wraps the API; `scope["state"]` gets `request_id` and `principal`."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, failures: Tally) -> None:
        self._app = app
        self._authenticator = authenticator
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = "req_" + secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        client = scope.get("client")
        try:
            check_request(scope)
            evidence = Evidence(
                authorization=[value for name, value in scope["headers"] if name == b"authorization"],
                source=client[0] if client else None,
            )
            state["principal"] = self._authenticator.authenticate(evidence)
        except CmdHttpError as error:
            if isinstance(error, Unauthenticated):
                source = client[0] if client else None
                await self._failures.note("", lambda: {"request": request_id, "source": source})
            response = problem_response(error, request_id=request_id, instance=scope["path"])
            await response(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception:  # noqa: BLE001 - the caller has its answer, or a cut one; this is the one place that logs it
            _log.exception("request %s failed", request_id)


def check_request(scope: Scope) -> None:
    """Raise RequestError for a request that two readers could understand in two ways."""
    headers = scope["headers"]
    if len(headers) > _MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > _MAX_HEADER_BYTES:
        raise RequestError("The request has too many headers.")
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in _ONCE:
            raise RequestError(f"The header '{name.decode('latin-1')}' is given twice.")
        seen.add(name)
    if b"content-length" in seen and b"transfer-encoding" in seen:
        raise RequestError("The request has both Content-Length and Transfer-Encoding.")
    if b"host" not in seen and scope.get("http_version") == "1.1":
        raise RequestError("The request has no Host header.")
    if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in headers):
        raise RequestError("The only Transfer-Encoding that is taken is chunked.")
    raw = scope.get("raw_path", b"").partition(b"?")[0]
    if b"%" in raw or b"//" in raw or b"\\" in raw or b"/./" in raw or b"/../" in raw or raw.endswith((b"/.", b"/..")):
        raise RequestError("The path is not in its plain form.", hint="Send it without escapes, '//' or dot segments.")
