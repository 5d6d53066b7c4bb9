"""The ASGI applications: the API behind its gate, and the operations listener."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cmdhttp.api.encoders import encode_json
from cmdhttp.api.gate import Gate
from cmdhttp.api.problems import handle
from cmdhttp.api.routes import Api
from cmdhttp.audit.log import AuditLog
from cmdhttp.auth.principal import Authenticator
from cmdhttp.errors import CmdHttpError

Check = Callable[[], Awaitable[str]]
"""Returns an empty text if all is well, else what is wrong."""


def api_app(api: Api, *, authenticator: Authenticator, audit: AuditLog) -> ASGIApp:
    """Return the application that callers reach."""
    handlers = {CmdHttpError: handle, HTTPException: handle, Exception: handle}
    app = Starlette(routes=api.routes(), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Gate(app, authenticator=authenticator, audit=audit)


def ops_app(checks: dict[str, Check]) -> ASGIApp:
    """Return the application for health checks. It needs no credential, so it tells nothing but health."""

    async def healthz(_request: Request) -> Response:
        return Response(encode_json({"status": "ok"}), media_type="application/json")

    async def readyz(_request: Request) -> Response:
        failing = {name: wrong for name, check in checks.items() if (wrong := await check())}
        document = {"status": "failing" if failing else "ok", "checks": list(checks), "failing": failing}
        return Response(encode_json(document), 503 if failing else 200, media_type="application/json")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
