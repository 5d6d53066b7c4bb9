"""SSH from its first use on: neither a start nor a service without SSH hosts pays for asyncssh, a quarter of all imports.

Whatever needs the executor first imports it, in a thread, so that no other call waits. That is `going_on`, a moment after the
start, if the policy has SSH hosts by then, or a call that comes earlier. If the import fails, the run ends as `spawn_failed`,
nothing has run, and the next run tries again.
"""

import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO

import anyio
from anyio import to_thread

from cmdhttp.execution.model import (
    CertificateIssued,
    Emit,
    Exited,
    Figures,
    RunContext,
    RunError,
    RunErrorCode,
    Stop,
)
from cmdhttp.plan.model import Step

if TYPE_CHECKING:
    from cmdhttp.execution.ssh import SshExecutor

_log = logging.getLogger("cmdhttp.ssh")
_LOOK_SECONDS = 2.0
"""Longer than the rush of a start, and shorter than anybody waits to make a first call."""


class SshOnFirstUse:
    """An SshExecutor that is made when it is needed; its arguments are those of SshExecutor."""

    def __init__(
        self,
        *,
        on_issue: Callable[[CertificateIssued], Awaitable[None]],
        idle: float,
        scratch: Callable[[], BinaryIO],
    ) -> None:

        def make(kind: "type[SshExecutor]") -> "SshExecutor":
            return kind(on_issue=on_issue, idle=idle, scratch=scratch)

        self._make = make
        self._executor: SshExecutor | None = None
        self._importing = anyio.Lock()

    @asynccontextmanager
    async def going_on(self, *, wanted: Callable[[], bool]) -> AsyncIterator[None]:
        """Import what SSH needs ahead of the first call, once `wanted()` is true."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._ahead, wanted)
            yield
            group.cancel_scope.cancel()

    async def _ahead(self, wanted: Callable[[], bool]) -> None:
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if wanted():
                await self._there()
                return

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation, and what `emit` raises."""
        executor = self._executor or await self._there()
        if executor is None:
            return Exited(
                error=RunError(
                    code=RunErrorCode.SPAWN_FAILED,
                    detail="The part of the service that speaks SSH cannot be loaded; nothing has run.",
                    hint="Look at the service's log. After an update of its files, start the service anew.",
                )
            )
        return await executor.run(step, context=context, emit=emit, stop=stop)

    async def _there(self) -> "SshExecutor | None":
        """Return the executor, or None if it cannot be had now."""
        async with self._importing:
            if self._executor is None:
                try:
                    self._executor = self._make(await to_thread.run_sync(_import_executor))
                except Exception:  # noqa: BLE001 - an import can raise anything, and what it says is for the admin
                    _log.exception("what speaks SSH cannot be loaded, so no run on an SSH host can start")
            return self._executor

    def figures(self) -> Figures:
        """What the pool of connections has and did."""
        return Figures() if self._executor is None else self._executor.figures()

    async def aclose(self) -> None:
        """Close every connection that is kept between runs."""
        if self._executor is not None:
            await self._executor.aclose()


def _import_executor() -> "type[SshExecutor]":
    from cmdhttp.execution.ssh import SshExecutor  # noqa: PLC0415 - to import it late is what this module is for

    gc.freeze()  # what was imported stays, and a look at it by the garbage collector would stop every call
    return SshExecutor
