"""One run on an SSH channel of its own: on a host whose guard is the one in sh, or that can have none.

Such a command gets TERM, a grace, then KILL, and the run ends when the host reports the end of the process that its sshd
started. That says nothing of what this process may have daemonised, so no stop is ever confirmed here, but for one before
the command was sent. A channel that ends without a report is `lost`, never success.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import asyncssh
from anyio.abc import TaskGroup

from cmdhttp.execution.model import Emit, Exited, RunError, RunErrorCode, Started, Stop, Stopped, Stream
from cmdhttp.execution.ssh.failures import connection_lost
from cmdhttp.execution.ssh.remote import lines
from cmdhttp.execution.ssh.session import RunSession
from cmdhttp.plan.remote import posix_line

_SLICE = 64 * 1024
_AFTER_KILL = 2.0
_YOUNG = 0.5
_SETTLE = 0.3
_IN_FLIGHT = 8 * 1024 * 1024
_SIGNAL_WITHIN = 2.0
_NOT_STARTED = {126: "could not execute the program", 127: "could not find the program"}
_GUARD_SIGNALS = {"TERM": "TERM", "KILL": "USR1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: between TERM and KILL, and for output after the exit."""

    kill_grace: float
    drain: float


@dataclass(slots=True, kw_only=True)
class Run:
    """Follows a command whose channel is open to its end.

    `alone` says that no other channel may be opened on the connection, which then is closed in place of a KILL.
    """

    connection: asyncssh.SSHClientConnection
    session: RunSession
    alone: bool
    stdin: bytes = field(repr=False)
    started: Started
    emit: Emit
    stop: Stop
    patience: Patience
    _signalled: bool = field(init=False, default=False)
    _given_up: bool = field(init=False, default=False)
    _printed: bool = field(init=False, default=False)
    _waited: float = field(init=False, default=0.0)
    _drain_until: float | None = field(init=False, default=None)

    async def to_end(self) -> Exited:
        """Return how it ended. Raises what `emit` raises, as it is, and nothing else but cancellation."""
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey_stop)
                try:
                    await self._follow(tasks)
                except Exception as exc:  # noqa: BLE001 - raised below, where the task group does not wrap it
                    failure = exc
                tasks.cancel_scope.cancel()
        finally:
            await self._let_go()
        if failure is not None:
            raise failure
        return self._end()

    async def _follow(self, tasks: TaskGroup) -> None:
        await self.emit(self.started)
        tasks.start_soon(self._feed)
        await self._pump()

    async def _feed(self) -> None:
        for start in range(0, len(self.stdin), _SLICE):
            if not await self.session.write(self.stdin[start : start + _SLICE]):
                return
        self.session.write_eof()

    async def _pump(self) -> None:
        """Hand on output until the channel closes, the drain after the exit is over, or the run was given up."""
        while not self._given_up and not self._drained():
            output = self.session.take()
            if output is not None:
                self._printed = self._printed or output.stream is Stream.STDOUT
                await self.emit(output)
            elif self.session.closed:
                return
            else:
                await self._await_news()

    async def _await_news(self) -> None:
        since = anyio.current_time()
        exited = self.session.exited
        with anyio.move_on_after(self.patience.drain - self._waited if exited else float("inf")):
            await self.session.news()
        if exited:
            self._waited += anyio.current_time() - since

    def _drained(self) -> bool:
        """Say whether a background child, and not the command, must be what keeps the channel open.

        Time that `emit` took does not count, so a slow receiver loses nothing that the command wrote. Against a child
        that writes faster than `emit` takes: no more than `_IN_FLIGHT` bytes can have been under way at the exit.
        """
        if not self.session.exited:
            return False
        now = anyio.current_time()
        self._drain_until = self._drain_until or now + self.patience.drain
        late = now >= self._drain_until
        return self._waited >= self.patience.drain or (late and self.session.received_since_exit > _IN_FLIGHT)

    # Ending.

    async def _obey_stop(self) -> None:
        await self.stop.wait()
        for name, seconds in self._signals():
            if self.session.over.is_set():
                return
            self._signalled = True
            await self._signal(name)
            with anyio.move_on_after(seconds):
                await self.session.over.wait()
        if not self.session.over.is_set():
            self._given_up = True
            self.session.nudge()

    def _signals(self) -> Iterator[tuple[str, float]]:
        """Yield each signal to send, with how long to wait for its effect.

        sshd swallows a TERM that comes before it has turned into the program, so a young run gets a second one.
        """
        grace = self.patience.kill_grace
        if self.session.guard is None and anyio.current_time() < (self.session.requested_at or 0.0) + _YOUNG:
            early = min(_SETTLE, grace)
            grace -= early
            yield "TERM", early
        yield "TERM", grace
        yield "KILL", _AFTER_KILL

    async def _signal(self, name: str) -> None:
        """Signal the command: by its guard, which takes signals also where sshd passes none on, or by sshd."""
        guard = self.session.guard
        by_sshd = name if guard is None else _GUARD_SIGNALS[name]  # a KILL would kill the guard and not the command
        if guard is None or self.alone:
            self.session.signal(by_sshd)
            if self.alone and name == "KILL":
                self.connection.close()  # a guard ends with its connection
            return
        line = posix_line(lines.signal(_GUARD_SIGNALS[name], guard))
        with anyio.move_on_after(_SIGNAL_WITHIN), suppress(asyncssh.Error, OSError):
            sent = RunSession(may_start=lambda: True)
            await self.connection.create_session(lambda: sent, line, encoding=None)
            await sent.over.wait()
            sent.close()
            return
        self.session.signal(by_sshd)

    async def _let_go(self) -> None:
        """Leave nothing of ours on the connection; a command that is still there is killed if the host permits."""
        if not self.session.over.is_set():
            with anyio.move_on_after(_SIGNAL_WITHIN, shield=True):
                await self._signal("KILL")
        self.session.close()

    def _end(self) -> Exited:
        session = self.session
        if session.exited:
            return Exited(
                exit_code=session.exit_code,
                signal=session.exit_signal,
                stopped=Stopped.UNCONFIRMED if self._signalled else None,
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
        said = _NOT_STARTED.get(self.session.exit_code or 0)
        if said is None or self._printed or self._signalled:
            return None
        return RunError(
            code=RunErrorCode.SPAWN_FAILED,
            detail=f"The host's shell {said} (exit status {self.session.exit_code}).",
            hint="Check that the program exists on the host and that the account may execute it.",
        )
