"""One run on one SSH host, from connecting to its end.

A stop before the command was sent means that nothing ran, and is confirmed. Afterwards the command gets TERM, a grace,
then KILL, and the stop is confirmed only if the host reports the end of the process that its sshd started; that says
nothing of what this process may have daemonised. A connection that ends without such a report is `lost`, never success.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import asyncssh
from anyio.abc import TaskGroup

from cmdhttp.execution.model import Emit, Exited, RunContext, RunError, RunErrorCode, Started, Stop, Stopped, Stream
from cmdhttp.execution.ssh.connections import Connections
from cmdhttp.execution.ssh.failures import ConnectFailed, channel_refused, connection_lost, unreachable
from cmdhttp.execution.ssh.session import WINDOW, NotStarted, RunSession
from cmdhttp.plan.model import SshTarget

_SLICE = 64 * 1024
_AFTER_KILL = 2.0
_YOUNG = 0.5
_SETTLE = 0.3
_IN_FLIGHT = 2 * 1024 * 1024
_NOT_STARTED = {126: "could not execute the program", 127: "could not find the program"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: between TERM and KILL, and for output after the exit."""

    kill_grace: float
    drain: float


@dataclass(slots=True, kw_only=True)
class Run:
    """Runs `line` at `target` once."""

    connections: Connections
    target: SshTarget
    line: str = field(repr=False)
    context: RunContext
    stdin: bytes = field(repr=False)
    emit: Emit
    stop: Stop
    patience: Patience
    _session: RunSession = field(init=False)
    _starting: anyio.CancelScope = field(init=False, default_factory=anyio.CancelScope)
    _signalled: bool = field(init=False, default=False)
    _given_up: bool = field(init=False, default=False)
    _printed: bool = field(init=False, default=False)
    _waited: float = field(init=False, default=0.0)
    _drain_until: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._session = RunSession(may_start=lambda: not self.stop.requested)

    async def to_end(self) -> Exited:
        """Return how it ended. Raises what `emit` raises, as it is, and nothing else but cancellation."""
        failure: Exception | None = None
        exited = Exited()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._obey_stop)
            try:
                exited = await self._attempt(tasks)
            except Exception as exc:  # noqa: BLE001 - raised below, where the task group does not wrap it
                failure = exc
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return exited

    async def _attempt(self, tasks: TaskGroup) -> Exited:
        async with AsyncExitStack() as stack:
            with self._starting:
                try:
                    dialed = await stack.enter_async_context(
                        self.connections.open(
                            self.target,
                            only=None if self.target.shared else self.line,
                            job=self.context.job_id,
                            principal=self.context.order.principal,
                        )
                    )
                except ConnectFailed as failed:
                    return Exited(error=failed.error)
                stack.callback(self._let_go)
                refused = await self._request(dialed.connection)
                if refused is not None:
                    return refused
            if self._starting.cancelled_caught:
                return self._end()
            await self.emit(
                Started(
                    remote_id=_remote_id(self.target, dialed.connection),
                    host_key=dialed.host_key,
                    certificate=dialed.certificate,
                )
            )
            tasks.start_soon(self._feed)
            await self._pump()
            return self._end()

    async def _request(self, connection: asyncssh.SSHClientConnection) -> Exited | None:
        """Open a channel and ask for the command; return how the run ended if that failed."""
        try:
            await connection.create_session(lambda: self._session, self.line, encoding=None, window=WINDOW)
        except NotStarted:
            return self._end()
        except Exception:  # noqa: BLE001 - whatever a host can make a library raise ends this run and no more
            if not connection.is_closed():
                return Exited(error=channel_refused())
            if self._session.requested:
                return self._end()
            return Exited(error=unreachable("The host closed the connection before the command was sent.").error)
        return None

    async def _feed(self) -> None:
        for start in range(0, len(self.stdin), _SLICE):
            if not await self._session.write(self.stdin[start : start + _SLICE]):
                return
        self._session.write_eof()

    async def _pump(self) -> None:
        """Hand on output until the channel closes, the drain after the exit is over, or the run was given up."""
        while not self._given_up and not self._drained():
            output = self._session.take()
            if output is not None:
                self._printed = self._printed or output.stream is Stream.STDOUT
                await self.emit(output)
            elif self._session.closed:
                return
            else:
                await self._await_news()

    async def _await_news(self) -> None:
        since = anyio.current_time()
        exited = self._session.exited
        with anyio.move_on_after(self.patience.drain - self._waited if exited else float("inf")):
            await self._session.news()
        if exited:
            self._waited += anyio.current_time() - since

    def _drained(self) -> bool:
        """Say whether a background child, and not the command, must be what keeps the channel open.

        Time that `emit` took does not count, so a slow receiver loses nothing that the command wrote. Against a child
        that writes faster than `emit` takes: no more than `_IN_FLIGHT` bytes can have been under way at the exit.
        """
        if not self._session.exited:
            return False
        now = anyio.current_time()
        self._drain_until = self._drain_until or now + self.patience.drain
        late = now >= self._drain_until
        return self._waited >= self.patience.drain or (late and self._session.received_since_exit > _IN_FLIGHT)

    async def _obey_stop(self) -> None:
        await self.stop.wait()
        if not self._session.requested:
            self._starting.cancel()
            return
        for name, seconds in self._signals():
            if self._session.over.is_set():
                return
            self._signalled = True
            self._session.signal(name)
            with anyio.move_on_after(seconds):
                await self._session.over.wait()
        if not self._session.over.is_set():
            self._given_up = True
            self._starting.cancel()
            self._session.nudge()

    def _signals(self) -> Iterator[tuple[str, float]]:
        """Yield each signal to send, with how long to wait for its effect.

        sshd swallows a TERM that comes before it has turned into the program, so a young run gets a second one.
        """
        grace = self.patience.kill_grace
        if anyio.current_time() < (self._session.requested_at or 0.0) + _YOUNG:
            early = min(_SETTLE, grace)
            grace -= early
            yield "TERM", early
        yield "TERM", grace
        yield "KILL", _AFTER_KILL

    def _let_go(self) -> None:
        """Leave nothing of ours on the connection; a command that is still there is killed if the host permits."""
        if not self._session.over.is_set():
            self._session.signal("KILL")
        self._session.close()

    def _end(self) -> Exited:
        session = self._session
        if not session.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        if session.exited:
            return Exited(
                exit_code=session.exit_code,
                signal=session.exit_signal,
                stopped=Stopped.CONFIRMED if self._signalled else None,
                error=self._start_error(),
            )
        if self._given_up:
            return Exited(stopped=Stopped.UNCONFIRMED)
        stopped = Stopped.UNCONFIRMED if self._signalled else None
        return Exited(lost=True, stopped=stopped, error=connection_lost())

    def _start_error(self) -> RunError | None:
        """Explain 126 and 127, which a shell returns for a program that it cannot start.

        A program may use these numbers itself; one that printed something certainly had started.
        """
        said = _NOT_STARTED.get(self._session.exit_code or 0)
        if said is None or self._printed or self._signalled:
            return None
        return RunError(
            code=RunErrorCode.SPAWN_FAILED,
            detail=f"The host's shell {said} (exit status {self._session.exit_code}).",
            hint="Check that the program exists on the host and that the account may execute it.",
        )


def _remote_id(target: SshTarget, connection: asyncssh.SSHClientConnection) -> str:
    """Name the run as the host's sshd log does: by the local end of its connection."""
    where = _address(target.address, target.port)
    if target.jump is not None:
        return f"{where} through {_address(target.jump.address, target.jump.port)}"
    local = connection.get_extra_info("sockname")
    return f"{where} from {_address(local[0], local[1])}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
