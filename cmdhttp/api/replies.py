"""Answers of one form that several routes give: JSON, stored bytes, the end of a job that is waited for."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cmdhttp.api.encoders import encode_json
from cmdhttp.api.query import byte_range
from cmdhttp.api.streams import StreamResponse, until_gone_or
from cmdhttp.auth.principal import Principal
from cmdhttp.job_access import JobAccess
from cmdhttp.jobs.state import Job

_READ = 256 << 10
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class WaitResponse:
    """Waits for the end of a job while it watches whether the caller is still there, then replies."""

    def __init__(
        self,
        jobs: JobAccess,
        job: Job,
        *,
        wait: float,
        reply: Callable[[Job], Awaitable[Response]],
        on_gone: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._jobs = jobs
        self._job = job
        self._wait = wait
        self._reply = reply
        self._on_gone = on_gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._jobs.reading(self._job):
            gone, job = await until_gone_or(receive, self._jobs.end(self._job.id), wait=self._wait)
            if gone:
                if self._on_gone is not None:
                    await self._on_gone()
                return
            response = await self._reply(job or await self._jobs.now(self._job.id))
        await response(scope, receive, send)


def stored(
    request: Request,
    read: Callable[[int, int], Awaitable[bytes]],
    lease: AbstractContextManager[None],
    *,
    size: int,
    headers: dict[str, str],
) -> StreamResponse:
    """Answer with stored bytes, or the one range of them that the request asks for; `read(offset, size)` gives some.

    The lease keeps them there until the last is sent.
    """
    span = byte_range(request.headers.get("range"), size)
    start, end = span or (0, size)
    headers = {**headers, "content-length": str(end - start)}
    if span:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    chunks = _chunks(read, lease, start=start, end=end)
    return StreamResponse(chunks, media="application/octet-stream", headers=headers, status=206 if span else 200)


async def _chunks(
    read: Callable[[int, int], Awaitable[bytes]], lease: AbstractContextManager[None], *, start: int, end: int
) -> AsyncGenerator[bytes]:
    with lease:
        while start < end:
            data = await read(start, min(_READ, end - start))
            if not data:
                return
            yield data
            start += len(data)


def principal_of(request: Request) -> Principal:
    """Return who calls, as the gate has found out."""
    principal = request.state.principal
    if not isinstance(principal, Principal):
        raise TypeError("a route was reached without the gate")
    return principal


def json_reply(document: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a document as an answer that nothing on the way may keep."""
    return Response(encode_json(document), status, {**_NO_STORE, **(headers or {})}, media_type="application/json")
