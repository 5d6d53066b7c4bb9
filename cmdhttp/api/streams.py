"""Live answers: events as SSE or NDJSON, or the bytes of one output stream.

Headers leave at once, a heartbeat follows every silence, nothing is compressed or buffered, and when the client goes the
stream ends without touching the job (that is the business of whoever passed `on_gone`).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import TypeVar

import anyio
from starlette.types import Receive, Scope, Send

from cmdhttp.api.encoders import Media, encode_event
from cmdhttp.api.wire import event_document, heartbeat_document, interrupted_document
from cmdhttp.jobs.hub import Told
from cmdhttp.jobs.state import Finished, Job

STREAM_HEADERS = {
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}

T = TypeVar("T")
OnGone = Callable[[], Awaitable[None]]


class StreamResponse:
    """An ASGI answer that sends chunks as they come until they end or the client goes."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes],
        *,
        media: str,
        headers: dict[str, str] | None = None,
        status: int = 200,
        on_gone: OnGone | None = None,
    ) -> None:
        self._chunks = chunks
        self._headers = {"content-type": media, **STREAM_HEADERS, **(headers or {})}
        self._status = status
        self._on_gone = on_gone

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        gone = True
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope)
            raw = [(name.encode(), value.encode("latin-1")) for name, value in self._headers.items()]
            await send({"type": "http.response.start", "status": self._status, "headers": raw})
            try:
                async with aclosing(self._chunks) as chunks:
                    async for chunk in chunks:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                gone = False
            except OSError:
                pass  # the connection broke while sending: the client has gone
            group.cancel_scope.cancel()
        if gone and self._on_gone is not None:
            await self._on_gone()


async def until_gone_or(receive: Receive, work: Coroutine[object, object, T], *, wait: float) -> tuple[bool, T | None]:
    """Do `work` for up to `wait` seconds unless the client goes first.

    Returns whether the client went, and what the work returned, if it did.
    """
    async with asyncio.TaskGroup() as group:
        gone, done = group.create_task(_gone(receive)), group.create_task(work)
        await asyncio.wait((gone, done), timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        done.cancel()
    return not gone.cancelled(), None if done.cancelled() else done.result()


async def event_chunks(
    told: AsyncGenerator[Told | None],
    *,
    job_id: str,
    media: Media,
    last_seq: int,
    now: Callable[[], float],
    job: Callable[[], Awaitable[Job]],
) -> AsyncGenerator[bytes]:
    """Encode events; a heartbeat for each silence (None), and `interrupted` if they end before `finished`."""
    ended = False
    async with aclosing(told):
        async for item in told:
            if item is None:
                yield encode_event(heartbeat_document(job_id, now=now()), media)
                continue
            last_seq = item.event.seq
            ended = isinstance(item.event, Finished)
            document = event_document(item.event, job=await job() if ended else None, job_id=job_id, data=item.data)
            yield encode_event(document, media)
    if not ended and not (await job()).state.terminal:
        yield encode_event(interrupted_document(job_id, now=now(), last_seq=last_seq), media)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    await _gone(receive)
    scope.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
