"""Runs steps on SSH hosts.

What goes over the wire is the step's argv, with its environment and `CMDHTTP_JOB_ID`: as an order to the guard of the host, or
spelled so that no login shell can read any of it as syntax. There is no terminal, no forwarding and no agent. A step that cannot
be spelled is refused before anything is connected. A run whose place is not shared gets a connection of its own, with a
certificate for its command line alone.
"""

import dataclasses
import tempfile
from collections.abc import Awaitable, Callable
from typing import BinaryIO, TypeVar

import anyio
import asyncssh

from cmdhttp.errors import BadValue
from cmdhttp.execution.model import Emit, Exited, Figures, RunContext, RunError, RunErrorCode, Started, Stop, Stopped
from cmdhttp.execution.ssh.failures import ConnectFailed, channel_refused, connection_lost, unanswered
from cmdhttp.execution.ssh.greeting import Hello
from cmdhttp.execution.ssh.guard import Guard
from cmdhttp.execution.ssh.guarded import Guarded
from cmdhttp.execution.ssh.link import Link, check_echo, new_token, shell_failed
from cmdhttp.execution.ssh.login.certificates import OnIssue
from cmdhttp.execution.ssh.login.dial import Dialed, Dialer
from cmdhttp.execution.ssh.orders import Folder, Start
from cmdhttp.execution.ssh.pool import Pool
from cmdhttp.execution.ssh.remote import lines
from cmdhttp.execution.ssh.run import Patience, Run
from cmdhttp.execution.ssh.session import WINDOW, NotStarted, RunSession
from cmdhttp.execution.ssh.transfer.files import Files, NoFiles, Way, needs_python, no_folder
from cmdhttp.execution.ssh.transfer.keeping import keeping_seconds, kept_folder
from cmdhttp.plan.model import Shell, SshTarget, Step
from cmdhttp.plan.remote import PROBES, for_job, has_files, in_folder, invocation, posix_line, remote_argv, step_line

T = TypeVar("T")


def _scratch() -> BinaryIO:
    return tempfile.TemporaryFile(buffering=0)


_MARGIN = 2.0
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before a refused channel is asked for again: sshd counts a session until it has seen the end of its process."""


class SshExecutor:
    """The executor of steps whose target is an SSH host. All times are in seconds.

    `on_issue` is told of every certificate before it is used; if it raises OSError, there is no login. `scratch` makes a file
    without a name for what is collected, and may block.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        login_timeout: float = 10.0,
        kill_grace: float = 5.0,
        drain: float = 2.0,
        idle: float = 60.0,
        on_issue: OnIssue | None = None,
        scratch: Callable[[], BinaryIO] = _scratch,
    ) -> None:
        dialer = Dialer(connect_timeout=connect_timeout, login_timeout=login_timeout, on_issue=on_issue)
        self._pool = Pool(dialer, prepare_timeout=login_timeout, idle=idle)
        self._scratch = scratch
        self._prepare_timeout = login_timeout
        self._patience = Patience(kill_grace=kill_grace, drain=drain)

    def figures(self) -> Figures:
        """What the pool of connections has and did."""
        return self._pool.figures()

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation, and what `emit` raises."""
        if stop.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        target = step.target
        if not isinstance(target, SshTarget):
            return _not_spawned("The step is not for an SSH host.")
        call = _Call(step=for_job(step, context.job_id), target=target, context=context, emit=emit, stop=stop)
        try:
            step_line(call.step)  # whatever way it goes, it must be one that any way could go
            if not target.shared:
                return await self._single(call)
            return await self._pooled(call)
        except (ConnectFailed, NoFiles) as failed:
            return Exited(error=failed.error)
        except NotStarted:
            return Exited(stopped=Stopped.CONFIRMED)
        except BadValue as bad:
            return _not_spawned(f"The command cannot be sent: {bad.detail}.", hint=bad.hint)
        except UnicodeEncodeError:
            return _not_spawned("The command cannot be sent: a value is not valid Unicode text.")

    async def aclose(self) -> None:
        """Close every connection that is kept between runs."""
        await self._pool.aclose()

    # A connection that others use, too.

    async def _pooled(self, call: "_Call") -> Exited:
        for pause in _PAUSES:
            link = await _unless_stopped(call.stop, self._pool.take(call.target))
            try:
                if link.guard is not None:
                    return await self._guarded(call, link.guard, link.dialed, way=self._way(call, link.connection))
                ended = None if has_files(call.step) else await self._on_channel(call, link)
            finally:
                self._pool.give_back(link)
            if ended is not None:
                return ended
            if has_files(call.step):
                return await self._kept(call)
            await _unless_stopped(call.stop, anyio.sleep(pause))
        return Exited(error=channel_refused())

    def _way(self, call: "_Call", connection: asyncssh.SSHClientConnection | None) -> Way:
        return Way(
            pool=self._pool,
            target=call.target,
            context=call.context,
            patience=self._prepare_timeout,
            connection=connection,
        )

    async def _guarded(self, call: "_Call", guard: Guard, dialed: Dialed, *, way: Way) -> Exited:
        if call.stop.requested:
            raise NotStarted
        if not has_files(call.step):
            return await self._ordered(call, guard, dialed)
        folder = await self._made(call, guard)
        try:
            return await self._with_files(
                call, folder, way, lambda placed: self._ordered(placed, guard, dialed, folder=folder)
            )
        finally:
            guard.forget(folder)

    async def _made(self, call: "_Call", guard: Guard) -> Folder:
        with anyio.move_on_after(self._prepare_timeout):
            try:
                return await _unless_stopped(call.stop, guard.make_folder())
            except ConnectionError:
                raise shell_failed("The host closed the connection instead of starting a command.") from None
            except OSError as error:
                raise no_folder(f"{error.strerror} (errno {error.errno})") from None
        raise no_folder("the host did not say in time that it is there")

    async def _with_files(
        self, call: "_Call", folder: Folder, way: Way, run: "Callable[[_Call], Awaitable[Exited]]"
    ) -> Exited:
        """Run in a folder that is there: what is sent goes there before, what is left is collected at the end."""
        files = Files(step=call.step, folder=folder, way=way, emit=call.emit, scratch=self._scratch)
        await _unless_stopped(call.stop, files.stage())
        step = in_folder(call.step, work=folder.work, inputs=folder.inputs)
        exited = await run(dataclasses.replace(call, step=step, emit=files.hear))
        await files.collect(lost=exited.lost)
        return exited

    async def _ordered(self, call: "_Call", guard: Guard, dialed: Dialed, *, folder: Folder | None = None) -> Exited:
        return await Guarded(
            guard=guard,
            order=call.order(seconds=self._seconds(call), drain=self._patience.drain),
            stdin=call.step.stdin or b"",
            started=call.started(dialed),
            emit=call.emit,
            stop=call.stop,
            grace=self._patience.kill_grace,
            folder=folder,
        ).to_end()

    async def _on_channel(self, call: "_Call", link: Link) -> Exited | None:
        """Run on a channel; None if the host did not open one and another connection may do."""
        token = new_token() if call.target.shell is Shell.POSIX else None
        session = RunSession(may_start=lambda: not call.stop.requested, token=token)
        line = call.line(token, seconds=self._seconds(call))
        connection = link.connection
        opening = connection.create_session(lambda: session, line, encoding=None, window=WINDOW)
        try:
            with anyio.move_on_after(self._prepare_timeout) as limit:
                await _unless_stopped(call.stop, opening, session=session)
                if token is not None:
                    await _unless_stopped(call.stop, _greeted(session), session=session)
        except (asyncssh.Error, OSError):
            return self._refused(link, session)
        if limit.cancelled_caught and session.requested:
            return _unanswered(session, call.stop)
        if limit.cancelled_caught or (token is not None and session.guard is None and not connection.is_closed()):
            session.close()
            raise shell_failed("The host did not start in time what it was given.")
        return await self._follow(call, link.dialed, session, alone=False)

    def _refused(self, link: Link, session: RunSession) -> Exited | None:
        if session.requested and link.connection.is_closed():
            return Exited(lost=True, error=connection_lost())
        if session.requested:
            return Exited(error=channel_refused())
        if not link.connection.is_closed():
            self._pool.refused(link)
        return None

    # A connection of its own.

    async def _kept(self, call: "_Call") -> Exited:
        """Run with files where the guard is the one in sh: the folder, the files and the run each have a channel."""
        if call.target.shell is not Shell.POSIX:
            raise no_folder("such a host has none")
        order = call.context.order
        opened = self._pool.single(call.target, only=None, job=call.context.job_id, principal=order.principal)
        dialed = await _unless_stopped(call.stop, opened.__aenter__())
        try:
            collect = call.step.collect
            seconds = self._seconds(call) + keeping_seconds(None if collect is None else collect.max_bytes)
            async with kept_folder(dialed.connection, seconds=seconds, patience=self._prepare_timeout) as folder:
                link = Link(dialed=dialed, capacity=1, users=1)
                way = self._way(call, dialed.connection)
                return await self._with_files(call, folder, way, lambda placed: self._at(placed, link, folder))
        finally:
            await opened.__aexit__(None, None, None)

    async def _at(self, call: "_Call", link: Link, folder: Folder) -> Exited:
        ended = await self._on_channel(dataclasses.replace(call, within=folder.work), link)
        return ended or Exited(error=channel_refused())

    async def _single(self, call: "_Call") -> Exited:
        token = new_token() if call.target.shell is Shell.POSIX else None
        seconds = self._seconds(call)
        files = has_files(call.step)
        if token is None:
            line = call.line(None, seconds=seconds)
        else:
            there = Folder(path=token)  # the guard puts the path in its place
            step = in_folder(call.step, work=there.work, inputs=there.inputs) if files else call.step
            stdin = bool(call.step.stdin)
            alone = lines.single(token, PROBES, remote_argv(step), seconds=seconds, with_files=files, with_stdin=stdin)
            line = posix_line(alone)
        order = call.context.order
        opened = self._pool.single(call.target, only=line, job=call.context.job_id, principal=order.principal)
        dialed = await _unless_stopped(call.stop, opened.__aenter__())
        try:
            if token is None:
                return await self._unguarded(call, dialed, line)
            return await self._alone(call, dialed, line, token)
        finally:
            await opened.__aexit__(None, None, None)

    async def _unguarded(self, call: "_Call", dialed: Dialed, line: str) -> Exited:
        """Run what its login shell takes without a guard."""
        session = RunSession(may_start=lambda: not call.stop.requested, token=None)
        opening = dialed.connection.create_session(lambda: session, line, encoding=None, window=WINDOW)
        try:
            with anyio.move_on_after(self._prepare_timeout) as limit:
                await _unless_stopped(call.stop, opening, session=session)
        except (asyncssh.Error, OSError):
            if dialed.connection.is_closed():
                return Exited(lost=session.requested, error=connection_lost())
            return Exited(error=channel_refused())
        if limit.cancelled_caught and session.requested:
            return _unanswered(session, call.stop)
        if limit.cancelled_caught:
            raise shell_failed("The host did not start in time what it was given.")
        return await self._follow(call, dialed, session, alone=True)

    async def _alone(self, call: "_Call", dialed: Dialed, line: str, token: str) -> Exited:
        session = RunSession(may_start=lambda: not call.stop.requested, token=token)
        guard = Guard(token, instead=session)
        try:
            with anyio.move_on_after(self._prepare_timeout):
                opening = dialed.connection.create_session(lambda: guard, line, encoding=None, window=WINDOW)
                await _unless_stopped(call.stop, opening, session=session)
                await _unless_stopped(call.stop, guard.greeted.wait(), session=session)
        except (asyncssh.Error, OSError):
            if dialed.connection.is_closed():
                return Exited(lost=session.requested, error=connection_lost())
            return Exited(error=channel_refused())
        if guard.hello is Hello.PYTHON:
            check_echo(guard)
            if not guard.closed:
                return await self._guarded(call, guard, dialed, way=self._way(call, None))
        if guard.hello is Hello.SHELL:
            return await self._follow(call, dialed, session, alone=True)
        if guard.hello is Hello.NONE and has_files(call.step):
            raise needs_python()
        if guard.hello is None and session.requested and not guard.closed:
            return _unanswered(session, call.stop)  # the guard in sh starts the command with its greeting
        guard.close()
        raise shell_failed("The account's login shell did not start what it was given.")

    async def _follow(self, call: "_Call", dialed: Dialed, session: RunSession, *, alone: bool) -> Exited:
        return await Run(
            connection=dialed.connection,
            session=session,
            alone=alone,
            stdin=call.step.stdin or b"",
            started=call.started(dialed, pid=session.guard),
            emit=call.emit,
            stop=call.stop,
            patience=self._patience,
        ).to_end()

    def _seconds(self, call: "_Call") -> float:
        """The deadline on the host: when the service has not ended the run by then, it never will."""
        return call.step.timeout + self._patience.kill_grace + _MARGIN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """What is asked of the executor."""

    step: Step
    target: SshTarget
    context: RunContext
    emit: Emit
    stop: Stop
    within: str | None = None

    def line(self, token: str | None, *, seconds: float) -> str:
        if token is None:
            return step_line(self.step)
        argv = remote_argv(self.step)
        if self.within is not None:
            argv = lines.within(self.within, argv)
        return posix_line(lines.without_python(token, argv, seconds=seconds))

    def order(self, *, seconds: float, drain: float) -> Start:
        what = invocation(self.step)
        return Start(
            argv=tuple(word.encode() for word in what.argv),
            env=what.env,
            seconds=seconds,
            drain=drain,
            with_stdin=bool(self.step.stdin),
        )

    def started(self, dialed: Dialed, *, pid: int | None = None) -> Started:
        return Started(
            pid=pid,
            remote_id=_remote_id(self.target, dialed.connection),
            host_key=dialed.host_key,
            certificate=dialed.certificate,
        )


async def _unless_stopped(stop: Stop, doing: Awaitable[T], *, session: RunSession | None = None) -> T:
    """Return what `doing` returns. Raises NotStarted if a stop comes first and nothing was sent yet."""
    with anyio.CancelScope() as scope, stop.calling(lambda: _cancel(scope, session)):
        return await doing
    raise NotStarted


def _cancel(scope: anyio.CancelScope, session: RunSession | None) -> None:
    if session is None or not session.requested:
        scope.cancel()  # else the run that follows obeys the stop


def _unanswered(session: RunSession, stop: Stop) -> Exited:
    session.close()
    return Exited(lost=True, stopped=Stopped.UNCONFIRMED if stop.requested else None, error=unanswered())


async def _greeted(session: RunSession) -> None:
    while session.guard is None and not session.closed:
        await session.news()


def _remote_id(target: SshTarget, connection: asyncssh.SSHClientConnection) -> str:
    """Name the run as the host's sshd log does: by the local end of its connection."""
    where = _address(target.address, target.port)
    if target.jump is not None:
        return f"{where} through {_address(target.jump.address, target.jump.port)}"
    local = connection.get_extra_info("sockname")
    return where if local is None else f"{where} from {_address(local[0], local[1])}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _not_spawned(detail: str, *, hint: str = "") -> Exited:
    return Exited(error=RunError(code=RunErrorCode.SPAWN_FAILED, detail=detail, hint=hint))
