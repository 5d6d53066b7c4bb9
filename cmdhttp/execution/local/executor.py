"""Runs steps on this machine.

Output is read as fast as `emit` takes it and no faster, so memory stays bounded whatever a command prints. When the leader
has ended, whatever still holds its output open gets `drain` seconds; then the whole group is killed and the run is over.
"""

import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass

import anyio
from anyio import to_thread

from cmdhttp.execution.local.limit_errors import limit_error
from cmdhttp.execution.local.limits import named
from cmdhttp.execution.local.process import Process, prepare_and_start, remove_folder, spawn_error
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
from cmdhttp.plan.model import LocalTarget, Step

_READ_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """The executor of steps whose target is this machine. Times are in seconds."""

    kill_grace: float = 5.0
    drain: float = 2.0

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation, and what `emit` raises."""
        if stop.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        if (refusal := _cannot_keep(step)) is not None:
            return Exited(error=refusal)
        try:
            with anyio.CancelScope(shield=True):
                process = await to_thread.run_sync(prepare_and_start, step, context)
        except OSError as error:
            return Exited(error=spawn_error(error))
        run = _Run(process=process, emit=emit, stop=stop, kill_grace=self.kill_grace, drain=self.drain)
        try:
            await run.to_end()
        finally:
            with anyio.CancelScope(shield=True):
                status, used = await to_thread.run_sync(process.reap)
                await to_thread.run_sync(remove_folder, context.folder)
        limits = asdict(step.limits)
        passed = None if run.signalled else named(status, limits, used=used)
        return Exited(
            exit_code=status if status >= 0 else None,
            signal=signal.Signals(-status).name.removeprefix("SIG") if status < 0 else None,
            stopped=Stopped.CONFIRMED if run.signalled else None,
            error=limit_error(passed, limits) if passed else None,
        )

    async def aclose(self) -> None:
        """Nothing is kept between runs."""


def _cannot_keep(step: Step) -> RunError | None:
    """Whether the step asks for an account or isolation that this executor does not give: it never runs without."""
    target = step.target
    if not isinstance(target, LocalTarget) or (target.account is None and not target.isolated):
        return None
    what = "'as' on local" if target.account is not None else "'isolation'"
    return RunError(code=RunErrorCode.UNSUPPORTED, detail=f"This version cannot do {what}; nothing has run.")


@dataclass(slots=True, kw_only=True)
class _Run:
    process: Process
    emit: Emit
    stop: Stop
    kill_grace: float
    drain: float
    signalled: bool = False

    async def to_end(self) -> None:
        await self.emit(Started(pid=self.process.popen.pid))
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_on_request)
            async with anyio.create_task_group() as pumps:
                pumps.start_soon(self._pump, self.process.stdout, Stream.STDOUT)
                pumps.start_soon(self._pump, self.process.stderr, Stream.STDERR)
                await self.process.wait()
                pumps.cancel_scope.deadline = anyio.current_time() + self.drain
            group.cancel_scope.cancel()

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
        self.signalled = True
        self.process.signal_group(signal.SIGTERM)
        await anyio.sleep(self.kill_grace)
        self.process.signal_group(signal.SIGKILL)
