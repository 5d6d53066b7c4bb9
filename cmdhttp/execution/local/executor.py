"""Runs steps on this machine: the front's side. It makes the pipes, orders the run from the broker, and reads.

The process writes straight into the front's pipes; a guard starts it, watches it and ends what is left of it. Output is read
as fast as `emit` takes it and no faster, so memory stays bounded whatever a command prints. When the leader has ended,
whatever still holds its output open gets `drain` seconds; then all that is left is killed and the run is over.
"""

import errno
import fcntl
import os
import signal
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import anyio

from cmdhttp.execution.local.limit_errors import limit_error
from cmdhttp.execution.local.link import BrokerGone, Link
from cmdhttp.execution.local.wire import Message, close_all, memory_file, pair, receive, send
from cmdhttp.execution.model import (
    Emit,
    Exited,
    Output,
    RunContext,
    RunError,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    Stream,
)
from cmdhttp.plan.digest import step_digest
from cmdhttp.plan.model import Step

_READ_BYTES = 256 << 10
_PIPE_BYTES = 256 << 10
_END_SECONDS = 12.0
_HINTS = {
    errno.ENOENT: (
        "There is no such program on this machine.",
        "Check the path in 'run', and that the package is installed.",
    ),
    errno.EACCES: (
        "The account of the run may not execute the program.",
        "Check the file's mode and the folders above it.",
    ),
    errno.ENOEXEC: ("The program is not in a format that the kernel runs.", "A script needs a '#!' line."),
    errno.E2BIG: ("The arguments and environment are too large for the kernel.", "Send long values by stdin."),
}
_BY = {
    "broker": RunError(
        code=RunErrorCode.BROKER_LOST,
        detail="The process that starts local programs died, so the run was ended.",
        hint="The service has started another one; its log says more.",
    ),
    "deadline": RunError(
        code=RunErrorCode.TIMED_OUT,
        detail="The time limit was passed without an answer from the service, so the run was ended.",
        hint="Look at the service's log: it may have hung.",
    ),
}
_GUARD_LOST = RunError(
    code=RunErrorCode.GUARD_LOST,
    detail="The process that watched the run has died; the end of the run was not seen.",
    hint="What was left of the run has been ended. Look at the service's log.",
)
_NO_BROKER = RunError(
    code=RunErrorCode.BROKER_LOST,
    detail="There is no process to start local programs; nothing has run.",
    hint="The service tries to start one; its log and /readyz say more. It is safe to call again.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """The executor of steps whose target is this machine. Times are in seconds."""

    link: Link
    kill_grace: float = 5.0
    drain: float = 2.0

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation, and what `emit` raises."""
        if stop.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        try:
            lines = _Lines.open()
        except OSError as error:
            return Exited(error=spawn_error(error.errno or 0))
        try:
            try:
                await self._order(step, context, lines)
            except BrokerGone:
                return Exited(error=_NO_BROKER)
            run = _Run(lines=lines, emit=emit, stop=stop, kill_grace=self.kill_grace, drain=self.drain)
            try:
                return _named(await run.to_end(), run.passed, step)
            finally:
                with anyio.CancelScope(shield=True):
                    await run.ended()
        finally:
            lines.close()

    async def aclose(self) -> None:
        """Nothing is kept between runs."""

    async def _order(self, step: Step, context: RunContext, lines: "_Lines") -> None:
        asked = context.order
        message = {
            "do": "run",
            "job": context.job_id,
            "run": step.run,
            "policy": asked.policy,
            "principal": asked.principal,
            "command": asked.command,
            "host": step.host,
            "params": asked.params,
            "timeout": asked.timeout,
            "step": step_digest(step),
        }
        stdin = [memory_file("stdin", step.stdin)] if step.stdin is not None else []
        try:
            await self.link.send(message, [*lines.theirs, *stdin])
        finally:
            close_all(stdin)
            lines.close_theirs()


@dataclass(slots=True, kw_only=True)
class _Lines:
    """The front's ends of a run's pipes and of its control socket, and, until they are handed over, the other ends."""

    stdout: int
    stderr: int
    control: socket.socket
    theirs: list[int]

    @classmethod
    def open(cls) -> "_Lines":
        opened: list[int] = []
        try:
            for _ in range(2):
                opened += os.pipe2(os.O_CLOEXEC)
            control, theirs = pair()
        except OSError:
            close_all(opened)
            raise
        stdout, write_out, stderr, write_err = opened
        for descriptor in (stdout, stderr):
            os.set_blocking(descriptor, False)
            with suppress(OSError):  # a smaller pipe will do where the user's share of pipe memory is used up
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        control.settimeout(0)
        return cls(stdout=stdout, stderr=stderr, control=control, theirs=[write_out, write_err, theirs.detach()])

    def close_theirs(self) -> None:
        theirs, self.theirs = self.theirs, []
        close_all(theirs)

    def close(self) -> None:
        self.close_theirs()
        close_all([self.stdout, self.stderr])
        self.control.close()


@dataclass(slots=True, kw_only=True)
class _Run:
    lines: _Lines
    emit: Emit
    stop: Stop
    kill_grace: float
    drain: float
    _signalled: bool = False
    passed: str | None = None
    """The limit that ended the run."""
    _over: bool = False

    async def to_end(self) -> Exited:
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_on_request)
            exited = await self._follow()
            group.cancel_scope.cancel()
        return exited

    async def ended(self) -> None:
        """Return once nothing is left of the run, whatever made this side give it up."""
        if self._over:
            return
        self._say("kill")
        with anyio.move_on_after(_END_SECONDS):
            while not self._over:
                await self._hear()

    async def _follow(self) -> Exited:
        news = await self._hear()
        if news is None:
            return Exited(lost=True, error=_GUARD_LOST)
        if "refused" in news:
            self._over = True
            error = RunError(code=RunErrorCode.BROKER_REFUSED, detail=_sentence(news["refused"]), hint=news["hint"])
            return Exited(error=error)
        if "failed" in news:
            self._over = True
            return Exited(error=spawn_error(news["failed"], on=news["on"], why=news["why"]))
        await self.emit(Started(pid=news["started"]))
        return self._verdict(await self._read_to_end())

    async def _read_to_end(self) -> Message | None:
        """Read all output, and return what the guard says last; None if it has died."""
        async with anyio.create_task_group() as pumps:
            pumps.start_soon(self._pump, self.lines.stdout, Stream.STDOUT)
            pumps.start_soon(self._pump, self.lines.stderr, Stream.STDERR)
            news = await self._hear()
            pumps.cancel_scope.deadline = anyio.current_time() + (0 if self.stop.requested else self.drain)
        if news is not None and "ended" not in news:
            self._say("kill")
            news = await self._hear()
        return news

    def _verdict(self, news: Message | None) -> Exited:
        if news is None:
            return Exited(lost=True, error=_GUARD_LOST)
        status, left = news["ended"], news["left"]
        self.passed = news["passed"]
        stopped = Stopped.UNCONFIRMED if left else Stopped.CONFIRMED
        return Exited(
            exit_code=status if status is not None and status >= 0 else None,
            signal=signal.Signals(-status).name.removeprefix("SIG") if status is not None and status < 0 else None,
            stopped=stopped if self._signalled or left or news["by"] else None,
            error=_BY.get(news["by"]),
        )

    async def _pump(self, descriptor: int, stream: Stream) -> None:
        while True:
            await anyio.wait_readable(descriptor)
            with suppress(BlockingIOError):
                data = os.read(descriptor, _READ_BYTES)
                if not data:
                    return
                with anyio.CancelScope(shield=True):
                    await self.emit(Output(stream=stream, data=data))

    async def _end_on_request(self) -> None:
        await self.stop.wait()
        self._signalled = True
        self._say("term")
        await anyio.sleep(self.kill_grace)
        self._say("kill")

    async def _hear(self) -> Message | None:
        """What the guard says next; None once it has gone."""
        while True:
            await anyio.wait_readable(self.lines.control)
            try:
                received = receive(self.lines.control)
            except BlockingIOError:
                continue
            except (OSError, ValueError):
                received = None
            if received is None:
                self._over = True
                return None
            close_all(received[1])
            self._over = "ended" in received[0] or "failed" in received[0] or "refused" in received[0]
            return received[0]

    def _say(self, what: str) -> None:
        with suppress(OSError):  # a guard that has gone needs to be told nothing
            send(self.lines.control, {"do": what})


def _named(exited: Exited, passed: str | None, step: Step) -> Exited:
    """The end with the limit that made it, if one did."""
    return exited if passed is None else replace(exited, error=limit_error(passed, asdict(step.limits)))


def spawn_error(number: int, *, on: str = "program", why: str = "") -> RunError:
    """Say why a process could not be started, without its arguments."""
    why = why or os.strerror(number)
    if on == "folder":
        detail, hint = (
            f"The private folder of the run could not be made: {why}.",
            "Look at the free space and the modes of the folder for runs (--runs).",
        )
    else:
        detail, hint = _HINTS.get(number, (f"The process could not be started: {why}.", ""))
    return RunError(code=RunErrorCode.SPAWN_FAILED, detail=detail, hint=hint)


def _sentence(text: str) -> str:
    return f"The broker refused the run: {text}."
