"""Runs steps on this machine: the front's side. It makes the pipes, orders the run from the broker, and reads.

The process writes straight into the front's pipes; a guard starts it, watches it and ends what is left of it. Output is read
as fast as `emit` takes it and no faster, so memory stays bounded whatever a command prints. When the leader has ended,
whatever still holds its output open gets `drain` seconds; then all that is left is killed, what the run left behind is
collected, and the run is over. A guard that was told to kill and says nothing for `patience` seconds has hung: the run is
given up as one whose end is not known.
"""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

import anyio

from cmdhttp.execution.local.limit_errors import limit_error
from cmdhttp.execution.local.lines import Lines
from cmdhttp.execution.local.link import BrokerGone, Link
from cmdhttp.execution.local.readiness import Readiness
from cmdhttp.execution.local.run_errors import BY, GUARD_LOST, GUARD_SILENT, NO_BROKER, refused, spawn_error
from cmdhttp.execution.local.wire import Message, close_all, memory_file, receive, send
from cmdhttp.execution.model import (
    Collected,
    Emit,
    Exited,
    LeftOut,
    LeftOutMore,
    Output,
    RunContext,
    Started,
    Stop,
    Stopped,
    Stream,
)
from cmdhttp.plan.digest import step_digest
from cmdhttp.plan.model import Step

_READ_BYTES = 256 << 10
_END_SECONDS = 12.0
_LEADER_ENDED = frozenset({"exited", "ended"})
_COLLECTED = frozenset({"file", "omitted", "omitted_more"})
_LAST = frozenset({"ended", "failed", "refused"})
_NOTHING: Message = {}
"""What a guard says that has not spoken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """The executor of steps whose target is this machine. Times are in seconds."""

    link: Link
    kill_grace: float = 5.0
    drain: float = 2.0
    patience: float = 60.0

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation, and what `emit` raises."""
        if stop.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        try:
            lines = Lines.open()
        except OSError as error:
            return Exited(error=spawn_error(error.errno or 0))
        try:
            try:
                await self._order(step, context, lines)
            except BrokerGone:
                return Exited(error=NO_BROKER)
            except OSError as error:  # no memory or no descriptor for its stdin
                return Exited(error=spawn_error(error.errno or 0))
            run = _Run(
                lines=lines,
                emit=emit,
                stop=stop,
                kill_grace=self.kill_grace,
                drain=self.drain,
                patience=self.patience,
            )
            try:
                return _named(await run.to_end(), run.passed, step)
            finally:
                with anyio.CancelScope(shield=True):
                    await run.ended()
        finally:
            lines.close()

    async def aclose(self) -> None:
        """Nothing is kept between runs."""

    async def _order(self, step: Step, context: RunContext, lines: "Lines") -> None:
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
class _Run:
    """One run, from the order to its end, in one task: news of the guard and output are taken as they come."""

    lines: Lines
    emit: Emit
    stop: Stop
    kill_grace: float
    drain: float
    patience: float
    passed: str | None = None
    """The limit that ended the run."""
    _readiness: Readiness = field(default_factory=Readiness)
    _signalled: bool = False
    _over: bool = False
    _give_up: float | None = None
    """When the guard, which was told to kill, has been silent for too long."""
    _silent: bool = False
    _collecting: bool = False
    """Nothing of the run is there any more, and the guard is handing over what it left."""
    _file: int | None = None
    """The file that came with the last news, open until the next."""

    async def to_end(self) -> Exited:
        with self.stop.calling(self._end_on_request):
            news = await self._hear()
            if news is None:
                return self._lost()
            if "refused" in news:
                return Exited(error=refused(news["refused"], news["hint"]))
            if "failed" in news:
                return Exited(error=spawn_error(news["failed"], on=news["on"], why=news["why"]))
            await self.emit(Started(pid=news["started"]))
            return self._verdict(await self._read_to_end())

    async def ended(self) -> None:
        """Return once nothing is left of the run, whatever made this side give it up."""
        try:
            if self._over:
                return
            self._say("kill")
            with anyio.move_on_after(_END_SECONDS):
                while not self._over:
                    await self._hear()
        finally:
            self._close_file()

    async def _read_to_end(self) -> Message | None:
        """Read all output, and return what the guard says last; None if it has died.

        Once the leader has ended, output that does not come to its end is waited for a while, and then what holds it open is
        killed.
        """
        streams = {self.lines.stdout: Stream.STDOUT, self.lines.stderr: Stream.STDERR}
        last: Message | None = None
        until: float | None = None
        while streams or not self._over:
            control = () if self._over else (self.lines.control.fileno(),)
            ready = await self._readiness.wait((*streams, *control), until=until or self._give_up)
            if ready.isdisjoint(control) and self._has_hung():
                return None
            for descriptor in ready & streams.keys():
                if not await self._pass_on(descriptor, streams[descriptor]):
                    del streams[descriptor]
            if not ready.isdisjoint(control) and (news := self._receive()) is not _NOTHING:
                last = news
                if news is None or not _LEADER_ENDED.isdisjoint(news):
                    until = self._readiness.now() + self.drain
                    if self.stop.requested:
                        self._say("kill")
                else:
                    await self._take(news)
            if until is not None and (not streams or self._readiness.now() >= until):
                streams.clear()
                until = None
                self._say("kill")
        return last

    async def _pass_on(self, descriptor: int, stream: Stream) -> bool:
        """Tell of the output that is there. Returns False at its end."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return True
        if data:
            with anyio.CancelScope(shield=True):
                await self.emit(Output(stream=stream, data=data))
        return bool(data)

    async def _take(self, news: Message) -> None:
        """Tell of a file that the run left."""
        if "file" in news and self._file is not None:
            name = news["file"].encode("latin-1")
            await self.emit(Collected(name=name, descriptor=self._file, size=news["size"]))
        elif "omitted" in news:
            await self.emit(LeftOut(name=news["omitted"].encode("latin-1"), why=news["why"]))
        elif "omitted_more" in news:
            await self.emit(LeftOutMore(count=news["omitted_more"]))

    def _verdict(self, news: Message | None) -> Exited:
        if news is None:
            return self._lost()
        status, left = news["ended"], news["left"]
        self.passed = news["passed"]
        stopped = Stopped.UNCONFIRMED if left else Stopped.CONFIRMED
        return Exited(
            exit_code=status if status is not None and status >= 0 else None,
            signal=signal_name(-status) if status is not None and status < 0 else None,
            stopped=stopped if self._signalled or left or news["by"] else None,
            error=BY.get(news["by"]),
        )

    def _lost(self) -> Exited:
        return Exited(lost=True, error=GUARD_SILENT if self._silent else GUARD_LOST)

    def _end_on_request(self) -> None:
        if self._collecting:
            return
        self._signalled = True
        self._say("term")
        asyncio.get_running_loop().call_later(self.kill_grace, self._say, "kill")

    async def _hear(self) -> Message | None:
        """What the guard says next; None once it has gone or is given up."""
        while True:
            ready = await self._readiness.wait((self.lines.control.fileno(),), until=self._give_up)
            if not ready and self._has_hung():
                return None
            news = self._receive()
            if news is not _NOTHING:
                return news

    def _has_hung(self) -> bool:
        """Whether the guard is to be waited for no longer."""
        if not self._over and self._give_up is not None and self._readiness.now() >= self._give_up:
            self._over = self._silent = True
        return self._silent

    def _receive(self) -> Message | None:
        """What the guard has said; None if it has gone, `_NOTHING` if it has not spoken."""
        try:
            received = receive(self.lines.control)
        except BlockingIOError:
            return _NOTHING
        except (OSError, ValueError):
            received = None
        if received is None:
            self._over = True
            return None
        news, descriptors = received
        if self._give_up is not None:
            self._give_up = self._readiness.now() + self.patience
        self._close_file()
        self._collecting = self._collecting or not _COLLECTED.isdisjoint(news)
        if "file" in news and descriptors:
            self._file = descriptors.pop(0)
        close_all(descriptors)
        self._over = not _LAST.isdisjoint(news)
        return news

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _say(self, what: str) -> None:
        if self._over:
            return
        with suppress(OSError):  # a guard that has gone needs to be told nothing
            send(self.lines.control, {"do": what})
        if what == "kill" and self._give_up is None:
            self._give_up = self._readiness.now() + self.patience
            self._readiness.wake()


def signal_name(number: int) -> str:
    """The name of a signal without its SIG; most real-time signals have one only in terms of the first, such as `RTMIN+6`."""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"RTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # the two that the C library keeps for itself
        return str(number)


def _named(exited: Exited, passed: str | None, step: Step) -> Exited:
    """The end with the limit that made it, if one did."""
    return exited if passed is None else replace(exited, error=limit_error(passed, asdict(step.limits)))
