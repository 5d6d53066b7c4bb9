"""Who ends a stream: its source, the client that goes, or whoever stops the service; and that its source is closed each time."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message, Receive, Scope, Send

from cmdhttp.api.connection import Connection
from cmdhttp.api.streams import Rest, Streaming, StreamResponse

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Source:
    """Chunks, and then what comes for the last: an end, an error, or a wait without end. `closed` says that nothing is left."""

    def __init__(self, *chunks: bytes, then: BaseException | None = None, waits: bool = False) -> None:
        self._chunks = chunks
        self._then = then
        self._waits = waits
        self.waiting = asyncio.Event()
        self.closed = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            for chunk in self._chunks:
                yield chunk
            if self._then is not None:
                raise self._then
            if self._waits:
                self.waiting.set()
                await asyncio.get_running_loop().create_future()
        finally:
            self.closed = True


class Client:
    """What a client gets, and whether its going was told."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.got: list[Message] = []
        self.told = 0

    async def send(self, message: Message) -> None:
        self.got.append(message)

    async def on_gone(self) -> None:
        self.told += 1

    @property
    def bodies(self) -> list[tuple[bytes, bool]]:
        return [(message["body"], message["more_body"]) for message in self.got]

    def stream(self, source: Source) -> "asyncio.Task[None]":
        return asyncio.create_task(Rest(source.chunks(), self.on_gone).send(self.connection, self.send))


async def test_a_source_that_ends_ends_the_answer() -> None:
    source, client = Source(b"a", b"b"), Client()
    await client.stream(source)
    assert client.bodies == [(b"a", True), (b"b", True), (b"", False)]
    assert (source.closed, client.told) == (True, 0)
    client.connection.lose()  # a moment later it tells nobody


async def test_a_client_that_goes_ends_the_wait() -> None:
    """The source is closed, the one who has to know is told, and the task itself goes on as if nobody had cancelled it."""
    source, client = Source(b"a", waits=True), Client()
    after: list[int] = []

    async def answer() -> None:
        await Rest(source.chunks(), client.on_gone).send(client.connection, client.send)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        after.append(task.cancelling() if task else -1)

    task = asyncio.create_task(answer())
    await source.waiting.wait()
    client.connection.lose()
    await task
    assert (client.bodies, source.closed, client.told, after) == ([(b"a", True)], True, 1, [0])


async def test_to_a_client_that_has_gone_already_nothing_is_sent() -> None:
    source, client = Source(b"a", waits=True), Client()
    client.connection.lose()
    await client.stream(source)
    assert (client.got, client.told) == ([], 1)


@pytest.mark.parametrize("lost_too", [False, True])
async def test_a_service_that_stops_is_no_client_that_goes(*, lost_too: bool) -> None:
    """Whoever else cancels the task gets it cancelled, and nobody is told that the client went."""
    source, client = Source(waits=True), Client()
    task = client.stream(source)
    await source.waiting.wait()
    task.cancel()
    if lost_too:
        client.connection.lose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (source.closed, client.told) == (True, 0)


@pytest.mark.parametrize("error", [OSError("the disk"), ValueError("a defect")])
async def test_a_source_that_fails_is_no_client_that_goes(error: Exception) -> None:
    """A job that ends with its caller must not be ended by a page that cannot be read."""
    source, client = Source(b"a", then=error), Client()
    with pytest.raises(type(error)):
        await client.stream(source)
    assert (client.bodies, source.closed, client.told) == ([(b"a", True)], True, 0)


async def test_nothing_of_the_request_is_kept_while_the_stream_goes_on() -> None:
    """Neither its headers, with the credential, nor what the router made of it; the head is sent inside of the router."""
    source, client = Source(waits=True), Client()
    inner: list[Scope] = []

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        inner.append({**scope})
        scope["path_params"] = {"id": "x" * 10_000}
        scope["state"]["principal"] = object()
        await StreamResponse(source.chunks(), media="text/plain")(scope, receive, send)

    asked = {
        "headers": [(b"authorization", b"Bearer x")],
        "path": "/v1/x",
        "raw_path": b"/v1/x",
        "query_string": b"a=1",
    }
    scope: Scope = {"type": "http", "method": "GET", "state": {}, **asked}
    client.connection.put_into(scope["state"])
    task = asyncio.create_task(Streaming(routed)(scope, _never, client.send))
    await source.waiting.wait()
    assert asked.items() <= inner[0].items()
    assert [message["type"] for message in client.got] == ["http.response.start"]
    assert scope == {"type": "http", "method": "GET", "state": {"connection": client.connection}}
    client.connection.lose()
    await task


async def _never() -> Message:
    raise AssertionError("a stream does not wait for messages")
