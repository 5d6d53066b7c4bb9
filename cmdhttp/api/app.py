"""The ASGI applications: the API behind its gate, and the operations listener."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmdhttp.api.encoders import encode_json
from cmdhttp.api.gate import Gate
from cmdhttp.api.problems import handle
from cmdhttp.api.routes import Api
from cmdhttp.api.streams import Streaming
from cmdhttp.audit.tally import Tally
from cmdhttp.auth.principal import Authenticator
from cmdhttp.errors import CmdHttpError
from cmdhttp.telemetry.metrics import CONTENT_TYPE, Metrics

_NOT_ROUTED = "none"

Check = Callable[[], Awaitable[str]]
"""Returns an empty text if all is well, else what is wrong."""


def api_app(api: Api, *, authenticator: Authenticator, failures: Tally, metrics: Metrics) -> ASGIApp:
    """Return the application that callers reach."""
    handlers = {CmdHttpError: handle, HTTPException: handle, Exception: handle}
    app = Starlette(routes=api.routes(), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Streaming(Counted(Gate(app, authenticator=authenticator, failures=failures), metrics=metrics))


class Counted:
    """Counts every answer by the template of its route and its status, at the moment when its head is sent."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")  # the router puts it there; what was not routed has none
                template = route.path if isinstance(route, Route) else _NOT_ROUTED
                self._metrics.answered(route=template, status=message["status"])
            await send(message)

        await self._app(scope, receive, count_and_send)


def ops_app(checks: dict[str, Check], *, facts: Callable[[], Mapping[str, object]], metrics: Metrics) -> ASGIApp:
    """Return the application for those who run the service. It needs no credential, so it tells nothing of calls.

    `facts` stand in the answer of `/readyz` beside what is checked.
    """

    async def healthz(_request: Request) -> Response:
        return Response(encode_json({"status": "ok"}), media_type="application/json")

    async def readyz(_request: Request) -> Response:
        failing = {name: wrong for name, check in checks.items() if (wrong := await check())}
        document = {"status": "failing" if failing else "ok", "checks": list(checks), "failing": failing, **facts()}
        return Response(encode_json(document), 503 if failing else 200, media_type="application/json")

    async def counts(_request: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", counts)])
