"""Errors become RFC 9457 problem documents, once, at the edge."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cmdhttp.api.encoders import encode_json
from cmdhttp.errors import CmdHttpError, MethodNotAllowed, NotFound, RequestError, Unauthenticated

_TYPE = "urn:cmdhttp:problem:"


def problem_response(error: CmdHttpError, *, request_id: str, instance: str) -> Response:
    """Render an error. Errors of the service itself carry no detail of it."""
    document: dict[str, object] = {
        "type": _TYPE + error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "hint": error.hint,
        "request_id": request_id,
        "retryable": error.retryable,
    }
    if error.limit is not None:
        document["limit"] = error.limit
    if error.errors:
        document["errors"] = [
            {"pointer": fault.pointer, "code": fault.code, "detail": fault.detail}
            | ({"hint": fault.hint} if fault.hint else {})
            for fault in error.errors
        ]
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(encode_json(document), error.status, headers, media_type="application/problem+json")


_ROUTES_HINT = "GET /v1/commands lists what this caller may run; POST /v1/run/NAME runs it."


async def handle(request: Request, error: Exception) -> Response:
    """Starlette's hook for everything that a route raises. What is no error of ours is logged by the gate."""
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    if isinstance(error, HTTPException):
        known = _FROM_STARLETTE.get(error.status_code, RequestError)
        allowed = (error.headers or {}).get("Allow", "")
        hint = (
            f"It takes {allowed}." + (" With curl: -d '{}'." if "POST" in allowed else "") if allowed else _ROUTES_HINT
        )
        detail = "There is no such route." if known is NotFound else "The method is not one of this route."
        error = known(detail, hint=hint)
    if not isinstance(error, CmdHttpError):
        error = CmdHttpError("The service failed to answer this request.", hint="Look for the request id in its log.")
    return problem_response(error, request_id=request_id, instance=request.scope["path"])


_FROM_STARLETTE: Mapping[int, type[CmdHttpError]] = {404: NotFound, 405: MethodNotAllowed}
