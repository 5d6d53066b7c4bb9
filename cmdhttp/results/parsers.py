"""Any parser by its name, on bytes that nobody vouches for: data or an error, soon, whatever the bytes are.

Ours run in a worker thread and take no longer than their text is long; those of jc run in a process that is killed when
they are late. What comes back is checked alike.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from cmdhttp.results.builtin import BUILTIN
from cmdhttp.results.model import MAX_DATA, MAX_OUTPUT, DataErrorCode, Parsed, Unreadable, too_large
from cmdhttp.results.sandbox import Sandbox
from cmdhttp.results.strict import check_data, read_json

_AT_ONCE = 2

Parse = Callable[[bytes], Awaitable[Parsed]]


class Parsers:
    """At most two threads and two processes at the same time, whoever asks."""

    def __init__(self, library: Path | None, *, seconds: float = 2.0) -> None:
        """`library` is the folder that jc is imported from, `seconds` what one of its parsers gets for one text."""
        self._library = library
        self._seconds = seconds
        self._threads = anyio.CapacityLimiter(_AT_ONCE)
        self._processes = anyio.CapacityLimiter(_AT_ONCE)

    @asynccontextmanager
    async def open(self, name: str, *, most: int = MAX_DATA) -> AsyncIterator[Parse]:
        """Yield a parser for any number of outputs, one after the other; each may become `most` bytes of JSON."""
        if name in BUILTIN:
            yield partial(self._parse, partial(self._ours, name, most))
        elif self._library is None:
            yield partial(self._parse, _unavailable)
        else:
            sandbox = Sandbox(library=self._library, parser=name, most=most, seconds=self._seconds)
            async with self._processes, sandbox:
                yield partial(self._parse, partial(self._theirs, sandbox))

    async def _parse(self, read: Callable[[bytes], Awaitable[object]], output: bytes) -> Parsed:
        try:
            if len(output) > MAX_OUTPUT:
                raise too_large(f"stdout is over {MAX_OUTPUT} bytes")
            return Parsed(data=await read(output))
        except Unreadable as error:
            return error.parsed()

    async def _ours(self, name: str, most: int, output: bytes) -> object:
        return await to_thread.run_sync(_read_output, name, output, most, limiter=self._threads)

    async def _theirs(self, sandbox: Sandbox, output: bytes) -> object:
        reply = await sandbox.ask(_text(output).encode())
        return await to_thread.run_sync(_read_reply, reply, sandbox.most, limiter=self._threads)


async def _unavailable(_output: bytes) -> object:
    raise Unreadable(DataErrorCode.UNAVAILABLE, "the library jc, which has this parser, is not installed")


def _read_output(name: str, output: bytes, most: int) -> object:
    data = BUILTIN[name](_text(output))
    check_data(data, most=most)
    return data


def _read_reply(reply: bytes, most: int) -> object:
    match read_json(reply.decode(errors="replace")):
        case {"data": data}:
            check_data(data, most=most)
            return data
        case {"error": {"code": str(code), "detail": str(detail)}} if code in list(DataErrorCode):
            raise Unreadable(DataErrorCode(code), detail)
        case _:
            raise Unreadable(DataErrorCode.FAILED, "the parser's process gave no answer that can be read")


def _text(output: bytes) -> str:
    try:
        return output.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(DataErrorCode.NOT_UTF8, f"stdout is not UTF-8 at byte {error.start}") from None
