"""SSH connections, as runs take them: one connection serves one run for now; a pool will stand behind the same `open`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cmdhttp.execution.ssh.dial import Dialed, Dialer, close
from cmdhttp.execution.ssh.failures import ConnectFailed, at_jump
from cmdhttp.plan.model import SshTarget


class Connections:
    """Lends connections to runs."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    @asynccontextmanager
    async def open(
        self, target: SshTarget, *, only: str | None = None, job: str = "", principal: str = ""
    ) -> AsyncIterator[Dialed]:
        """Yield a connection that is logged in at `target`. Raises ConnectFailed."""
        if target.jump is None:
            dialed = await self._dialer.dial(target, only=only, job=job, principal=principal)
            try:
                yield dialed
            finally:
                await close(dialed.connection)
            return
        async with self._jump(target.jump) as jump:
            dialed = await self._dialer.dial(target, through=jump.connection, only=only, job=job, principal=principal)
            try:
                yield dialed
            finally:
                await close(dialed.connection)

    @asynccontextmanager
    async def _jump(self, target: SshTarget) -> AsyncIterator[Dialed]:
        opened = self.open(target)
        try:
            jump = await opened.__aenter__()
        except ConnectFailed as failed:
            raise at_jump(failed) from failed
        try:
            yield jump
        finally:
            await opened.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Close what is kept between runs: nothing yet."""
