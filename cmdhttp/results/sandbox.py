"""One parser of jc in a process of its own, which can be killed where a thread cannot.

Its regular expressions can be held up for hours by a few kilobytes made for it, and Python gives up no lock while one
runs: in a thread of ours that would stop the service. The process has an environment made from nothing and little memory,
writes to no file, starts no other (unless the account is root's, which Linux lets), and is killed when an answer is late.
"""

import resource
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from cmdhttp.results.child import LENGTH, READY
from cmdhttp.results.library import ENVIRONMENT, child_command
from cmdhttp.results.model import DataErrorCode, Unreadable

_LIMITS = {
    resource.RLIMIT_AS: 512 << 20,
    resource.RLIMIT_CPU: 20,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}
_START_SECONDS = 5.0
_ENVELOPE = 1024
"""Bytes of a reply beside the data in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    process: Process
    requests: ByteSendStream
    replies: BufferedByteReceiveStream


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """Asks one parser about one text after the other. `most` is in bytes of data, `seconds` for each text.

    The process is started by the first text, and anew after a text over which it was lost.
    """

    library: Path
    parser: str
    most: int
    seconds: float
    _child: _Child | None = field(default=None, init=False)

    async def ask(self, text: bytes) -> bytes:
        """Return the reply as JSON, not yet trusted. Raises Unreadable if there is none."""
        try:
            child = self._child or await self._start()
            with anyio.fail_after(self.seconds):
                await child.requests.send(LENGTH.pack(len(text)) + text)
                return await self._receive(child)
        except TimeoutError:
            raise await self._lost(DataErrorCode.TIMED_OUT, "the parser took too long") from None
        except (OSError, anyio.IncompleteRead):
            raise await self._lost(DataErrorCode.FAILED, "the parser's process ended without an answer") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def _start(self) -> _Child:
        command = child_command(self.library, self.parser, str(self.most))
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=ENVIRONMENT, cwd="/"
            )
        requests, replies = cast("ByteSendStream", process.stdin), cast("ByteReceiveStream", process.stdout)
        child = _Child(process=process, requests=requests, replies=BufferedByteReceiveStream(replies))
        self._child = child
        with anyio.fail_after(_START_SECONDS):
            greeting = await self._receive(child)
        if greeting != READY:
            raise await self._lost(DataErrorCode.UNAVAILABLE, "the parser could not be loaded")
        for limit, most in _LIMITS.items():
            resource.prlimit(process.pid, limit, (most, most))
        return child

    async def _receive(self, child: _Child) -> bytes:
        (size,) = LENGTH.unpack(await child.replies.receive_exactly(LENGTH.size))
        if size > self.most + _ENVELOPE:
            raise OSError("no parser gives such a reply")
        return await child.replies.receive_exactly(size)

    async def _lost(self, code: DataErrorCode, detail: str) -> Unreadable:
        await self._end()
        return Unreadable(code, detail)

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with anyio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    child.process.kill()
                await child.process.aclose()
