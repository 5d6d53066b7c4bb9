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

_STREAM = "stream"
_ENCODED_BYTES = 1 << 20
_ENTRY_BYTES = 1000

T = TypeVar("T")
OnGone = Callable[[], Awaitable[None]]


class StreamResponse:
    """An ASGI answer that sends chunks as they come until they end or the client goes.

    As an application it only leaves itself in the scope: `serve_left` sends it when the frames of the router are gone, which
    would otherwise stay in memory for as long as the stream.
    """

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

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        scope["state"][_STREAM] = self

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send it all."""
        gone = True
        with anyio.CancelScope() as scope:
            watch = asyncio.create_task(_until_gone(receive, scope))
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
            finally:
                watch.cancel()
        if gone and self._on_gone is not None:
            await self._on_gone()


async def serve_left(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the stream that a route has left in the scope, if any."""
    stream = scope["state"].pop(_STREAM, None)
    if isinstance(stream, StreamResponse):
        await stream.serve(receive, send)


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


class Encoded:
    """The bytes of the events that were sent last, for the other followers of the same jobs: bounded for the whole service."""

    def __init__(self, *, most: int = _ENCODED_BYTES) -> None:
        self._kept: dict[tuple[int, Media], tuple[Told, bytes]] = {}
        self._bytes = 0
        self._most = most

    def get(self, told: Told, media: Media) -> bytes | None:
        found = self._kept.get((id(told), media))
        return found[1] if found else None

    def keep(self, told: Told, media: Media, chunk: bytes) -> None:
        """Keep it if others may ask for it; the oldest go. What is kept keeps its event too, so no other has its id."""
        if not told.shared or (id(told), media) in self._kept:
            return
        self._kept[id(told), media] = told, chunk
        self._bytes += _weight(told, chunk)
        while self._bytes > self._most:
            self._bytes -= _weight(*self._kept.pop(next(iter(self._kept))))


def _weight(told: Told, chunk: bytes) -> int:
    return len(told.data) + len(chunk) + _ENTRY_BYTES


async def event_chunks(
    told: AsyncGenerator[Told | None],
    *,
    job_id: str,
    media: Media,
    last_seq: int,
    now: Callable[[], float],
    job: Callable[[], Awaitable[Job]],
    readable: Callable[[], bool],
    encoded: "Encoded | None" = None,
) -> AsyncGenerator[bytes]:
    """Encode events; a heartbeat for each silence (None), and `interrupted` if they end before `finished`.

    They end so when the service drains, or when the caller may read them no longer; `readable` says whether it may.
    """
    ended = False
    async with aclosing(told):
        async for item in told:
            if item is None:
                yield encode_event(heartbeat_document(job_id, now=now()), media)
                continue
            last_seq = item.event.seq
            ended = isinstance(item.event, Finished)
            chunk = encoded.get(item, media) if encoded else None
            if chunk is None:
                document = event_document(item.event, job=await job() if ended else None, job_id=job_id, data=item.data)
                chunk = encode_event(document, media)
                if encoded:
                    encoded.keep(item, media, chunk)
            del item  # a reader that is slow to take it holds no more than its bytes
            yield chunk
            del chunk
    if not ended and not (readable() and (await job()).state.terminal):
        yield encode_event(interrupted_document(job_id, now=now(), last_seq=last_seq), media)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    await _gone(receive)
    scope.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
