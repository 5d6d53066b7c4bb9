"""SSH connections, as runs take them: one connection serves one run for now; a pool will stand behind the same `open`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from cmdhttp.execution.ssh.dial import Dialer, close
from cmdhttp.plan.model import SshTarget


class Connections:
    """Lends connections to runs."""

    def __init__(self, *, connect_timeout: float = 5.0, login_timeout: float = 10.0) -> None:
        self._dialer = Dialer(connect_timeout=connect_timeout, login_timeout=login_timeout)

    @asynccontextmanager
    async def open(self, target: SshTarget) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Yield a connection that is logged in at `target`. Raises ConnectFailed."""
        dialed = await self._dialer.dial(target)
        try:
            yield dialed.connection
        finally:
            await close(dialed.connection)

    async def aclose(self) -> None:
        """Close what is kept between runs: nothing yet."""
