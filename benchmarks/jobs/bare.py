"""The peer of followers: a bare ASGI application on uvicorn that sends the same lines to everybody who asks.

It has no policy, no job and no journal; each event is encoded once. What it costs is the server's own part.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

_PAUSE = 0.05
_LINES = int(os.environ.get("BENCH_LINES", "0"))
_events: list[bytes] = []
_news = asyncio.Event()
_tasks: list[asyncio.Task[None]] = []

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


async def _tick() -> None:
    global _news  # noqa: PLW0603 - one job is all that it knows
    for seq in range(1, _LINES + 3):
        kind = "accepted" if seq == 1 else "finished" if seq == _LINES + 2 else "output"
        text = f'{{"type":"{kind}","job_id":"bare","seq":{seq},"run":0,"stream":"stdout","text":"line {seq}\\n"}}\n'
        _events.append(text.encode())
        _news.set()
        _news = asyncio.Event()
        await asyncio.sleep(_PAUSE)


async def application(scope: Mapping[str, Any], _receive: object, send: Send) -> None:
    """`/events` is the stream; the first who asks starts it. Everything else is an empty answer."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
    if scope["path"] == "/events":
        if not _tasks:
            _tasks.append(asyncio.create_task(_tick()))
        sent = 0
        while sent < _LINES + 2:
            while sent >= len(_events):
                await _news.wait()
            await send({"type": "http.response.body", "body": _events[sent], "more_body": True})
            sent += 1
    await send({"type": "http.response.body", "body": b"", "more_body": False})
