"""The files of one run on a host: written before it starts, collected when it is over, by SFTP.

A session is open only while it is used: on the run's own connection, or on one more where that has no room for it or is good
for one command line alone. Its certificate, where there is one, is good for what is about to be done by SFTP, and for no command.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import asyncssh

from cmdhttp.execution.local.collecting import UNREADABLE
from cmdhttp.execution.model import Emit, LeftOut, News, RunContext, RunError, RunErrorCode, Started
from cmdhttp.execution.ssh.failures import ConnectFailed, sftp_refused
from cmdhttp.execution.ssh.orders import Folder
from cmdhttp.execution.ssh.pool import Pool
from cmdhttp.execution.ssh.transfer.collecting import Collector
from cmdhttp.execution.ssh.transfer.sftp import NoSession, Sftp, SftpBroken, sftp_on
from cmdhttp.execution.ssh.transfer.staging import NotStaged, check, stage
from cmdhttp.plan.model import SshTarget, Step

_TO_STAGE = "internal-sftp -p open,close,read,write,lstat,fstat,mkdir"
_TO_COLLECT = "internal-sftp -R"


class NoFiles(Exception):
    """The run cannot have its files, so it must not start."""

    def __init__(self, error: RunError) -> None:
        super().__init__(error.detail)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How SFTP gets to a host: on `connection` if there is one with room, else on one of its own. `patience` is in seconds."""

    pool: Pool
    target: SshTarget
    context: RunContext
    patience: float
    connection: asyncssh.SSHClientConnection | None = None

    @asynccontextmanager
    async def session(self, only: str) -> AsyncIterator[Sftp]:
        """Yield a session; a certificate made for it is good for `only`. Raises NoSession, SftpBroken, ConnectFailed."""
        async with AsyncExitStack() as stack:
            session: Sftp | None = None
            if self.connection is not None:
                with suppress(NoSession):
                    session = await stack.enter_async_context(sftp_on(self.connection, patience=self.patience))
            if session is None:
                own = self.pool.single(
                    self.target, only=only, job=self.context.job_id, principal=self.context.order.principal
                )
                dialed = await stack.enter_async_context(own)
                session = await stack.enter_async_context(sftp_on(dialed.connection, patience=self.patience))
            yield session


@dataclass(slots=True, kw_only=True)
class Files:
    """Those of one run. `emit` is where its news go, `scratch` makes a file without a name."""

    step: Step
    folder: Folder
    way: Way
    emit: Emit
    scratch: Callable[[], BinaryIO]
    started: bool = field(init=False, default=False)
    _uid: int = field(init=False, default=-1)

    async def hear(self, news: News) -> None:
        """Pass news of the run on."""
        self.started = self.started or isinstance(news, Started)
        await self.emit(news)

    async def stage(self) -> None:
        """Write what is sent, and see that what is left can be collected. Raises NoFiles, ConnectFailed."""
        try:
            async with self.way.session(_TO_STAGE) as session:
                self._uid = await check(session, self.folder)
                await stage(session, self.folder, self.step.staged)
        except (NoSession, SftpBroken):
            raise NoFiles(sftp_refused()) from None
        except NotStaged as failed:
            raise NoFiles(_not_staged(str(failed))) from None

    async def collect(self, *, lost: bool) -> None:
        """Tell what the run left, if it had started. A folder that is `lost` cannot be looked into."""
        wanted = self.step.collect
        if wanted is None or not self.started:
            return
        if lost:
            await self.emit(LeftOut(name=b"", why=UNREADABLE))
            return
        async with AsyncExitStack() as stack:
            try:
                session = await stack.enter_async_context(self.way.session(_TO_COLLECT))
            except (NoSession, SftpBroken, ConnectFailed):
                await self.emit(LeftOut(name=b"", why=UNREADABLE))
                return
            collector = Collector(
                sftp=session, emit=self.emit, scratch=self.scratch, max_bytes=wanted.max_bytes, uid=self._uid
            )
            await collector.collect(self.folder, wanted.patterns)


def no_folder(why: str) -> NoFiles:
    return NoFiles(
        RunError(
            code=RunErrorCode.SPAWN_FAILED,
            detail=f"The run's private folder could not be made on the host: {why}.",
            hint="Check that the account may make folders in /tmp, its TMPDIR or its home, and that there is room.",
        )
    )


def needs_python() -> NoFiles:
    return NoFiles(
        RunError(
            code=RunErrorCode.UNSUPPORTED,
            detail="Files of a run with a certificate for its command line alone need Python on the host, and there is none; "
            "nothing has run.",
            hint="Install python3 (3.6 or later) on the host, or give its profile another login than a certificate.",
        )
    )


def _not_staged(why: str) -> RunError:
    return RunError(
        code=RunErrorCode.SPAWN_FAILED,
        detail=f"The run's files could not be put on the host: {why}.",
        hint="Check on the host that there is room in /tmp, and that its SFTP server has no ChrootDirectory, no other umask and "
        "no other account than the command.",
    )
