"""Live answers: events as SSE or NDJSON, or the bytes of one output stream.

Headers leave at once, a heartbeat follows every silence, nothing is compressed or buffered, and when the client goes the
stream ends without touching the job (that is the business of whoever passed `on_gone`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Self, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from cmdhttp.api.connection import Connection, connection_of
from cmdhttp.api.encoders import Media, encode_event
from cmdhttp.api.wire import event_document, heartbeat_document, interrupted_document
from cmdhttp.auth.principal import Principal
from cmdhttp.job_access import JobAccess
from cmdhttp.jobs.feed import Told
from cmdhttp.jobs.hub import Pieces
from cmdhttp.jobs.state import Finished

STREAM_HEADERS = {
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}

_log = logging.getLogger("cmdhttp.api")
_REST = "rest"
_ASKED = ("headers", "path", "raw_path", "query_string")
"""What a request may fill with 32 KiB, the credential among it: not to be kept for as long as a stream."""
_ENCODED_BYTES = 1 << 20
_ENTRY_BYTES = 1000

T = TypeVar("T")
OnGone = Callable[[], Awaitable[None]]


class StreamResponse:
    """An ASGI answer that sends chunks as they come until they end or the client goes.

    As an application it sends the head and leaves the rest in the scope, for `Streaming` to send when the frames of the router
    are gone, which would otherwise stay in memory for as long as the stream.
    """

    def __init__(
        self,
        chunks: Pieces[bytes],
        *,
        media: str,
        headers: dict[str, str] | None = None,
        status: int = 200,
        on_gone: OnGone | None = None,
    ) -> None:
        self._rest = Rest(chunks, on_gone)
        self._headers = {"content-type": media, **STREAM_HEADERS, **(headers or {})}
        self._status = status

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        scope["state"][_REST] = self._rest
        raw = [(name.encode(), value.encode("latin-1")) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": self._status, "headers": raw})


class Rest:
    """What a route leaves to be sent after the head."""

    __slots__ = ("_chunks", "_on_gone")

    def __init__(self, chunks: Pieces[bytes], on_gone: OnGone | None) -> None:
        self._chunks = chunks
        self._on_gone = on_gone

    async def send(self, connection: Connection, send: Send) -> None:
        """Send it all, and close its source. When the client goes, what is under way is cancelled, and nothing else."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an answer is sent by a task")
        gone = True
        connection.tell(task.cancel)
        try:
            if not connection.lost:
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    del chunk  # while it waits for the next, it holds none
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                gone = False
        except asyncio.CancelledError:
            if not connection.lost or task.uncancel():
                raise  # somebody else wants this task to end
        finally:
            connection.forget()
            await self._chunks.aclose()
        if gone and self._on_gone is not None:
            await self._on_gone()


class Streaming:
    """The outermost application: it sends what a route has left in the scope, when nothing of the routing is in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        inner = {**scope, "state": {**scope["state"]}}
        await self._app(inner, receive, send)
        rest, request_id = inner["state"].get(_REST), inner["state"].get("request_id")
        del inner
        if rest is None:
            return
        for name in _ASKED:
            scope.pop(name, None)
        try:
            await rest.send(connection_of(scope), send)
        except Exception:  # noqa: BLE001 - the caller has a cut answer; this is the one place that logs why
            _log.exception("request %s failed", request_id)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What all streams of events share."""

    jobs: JobAccess
    now: Callable[[], float]
    encoded: Encoded = field(default_factory=Encoded)


class EventChunks:
    """Encoded events; a heartbeat for each silence (None), and `interrupted` if they end before `finished`.

    They end so when the service drains, or when the caller may read them no longer. While it waits for the next event it holds
    none.
    """

    __slots__ = ("_ended", "_job_id", "_last_seq", "_media", "_principal", "_telling", "_told")

    def __init__(
        self,
        telling: Telling,
        told: Pieces[Told | None],
        *,
        principal: Principal,
        job_id: str,
        media: Media,
        last_seq: int,
    ) -> None:
        self._telling = telling
        self._told = told
        self._principal = principal
        self._job_id = job_id
        self._media = media
        self._last_seq = last_seq
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            told = await self._told.__anext__()
        except StopAsyncIteration:
            if self._ended or await self._telling.jobs.followed_to_the_end(self._principal, self._job_id):
                raise
            self._ended = True
            document = interrupted_document(self._job_id, now=self._telling.now(), last_seq=self._last_seq)
            return encode_event(document, self._media)
        if told is None:
            return encode_event(heartbeat_document(self._job_id, now=self._telling.now()), self._media)
        self._last_seq, self._ended = told.event.seq, isinstance(told.event, Finished)
        return self._telling.encoded.get(told, self._media) or await self._encode(told)

    async def aclose(self) -> None:
        await self._told.aclose()

    async def _encode(self, told: Told) -> bytes:
        job = await self._telling.jobs.now(self._job_id) if self._ended else None
        document = event_document(told.event, job=job, job_id=self._job_id, data=told.data)
        chunk = encode_event(document, self._media)
        self._telling.encoded.keep(told, self._media, chunk)
        return chunk


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
