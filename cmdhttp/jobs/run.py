"""One run of a job: it waits for its place, keeps to its limits, and ends in exactly one verdict."""

from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import anyio
from anyio import to_thread

from cmdhttp.execution.model import (
    LIMITS,
    Executor,
    Exited,
    Output,
    RunContext,
    RunError,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.jobs import state
from cmdhttp.jobs.ends import Ends
from cmdhttp.jobs.recorder import Recorder, Splitter
from cmdhttp.jobs.state import RunEnded, State
from cmdhttp.plan.model import Step

_STOPPED: dict[StopReason, tuple[State, RunErrorCode, str]] = {
    StopReason.TIMEOUT: (State.TIMED_OUT, RunErrorCode.TIMED_OUT, "The time limit was reached."),
    StopReason.OUTPUT_LIMIT: (State.FAILED, RunErrorCode.OUTPUT_LIMIT, "The output limit was reached."),
    StopReason.CANCEL: (State.CANCELED, RunErrorCode.CANCELED, "The job was canceled."),
    StopReason.DISCONNECT: (State.CANCELED, RunErrorCode.CANCELED, "The caller went away and had asked for a cancel."),
    StopReason.SHUTDOWN: (State.CANCELED, RunErrorCode.SERVICE_STOPPED, "The service was stopped."),
}


@dataclass(slots=True, kw_only=True)
class StepRun:
    """Runs one step and records what happens."""

    step: Step
    stop: Stop
    recorder: Recorder
    executor: Executor
    context: RunContext
    success_codes: Collection[int]
    monotonic: Callable[[], float]
    _splitters: dict[Stream, Splitter] = field(init=False)
    _left: int = field(init=False)
    _ends: Ends | None = field(init=False, default=None)
    _written: dict[Stream, int] = field(init=False)

    def __post_init__(self) -> None:
        self._splitters = {stream: Splitter() for stream in Stream}
        self._left = self.step.output_limit
        self._written = dict.fromkeys(Stream, 0)
        if self.step.keep_ends:
            self._left //= 2
            self._ends = Ends(room=self.step.output_limit - self._left, scratch=self.recorder.scratch)

    async def to_end(self, *, limiters: tuple[anyio.CapacityLimiter, ...]) -> None:
        """Wait for a place in every limiter, run, and record the verdict. Raises OSError or sqlite3.Error if it cannot."""
        async with AsyncExitStack() as places:
            if self._ends is not None:
                places.callback(self._ends.close)
            await self._take_places(places, limiters)
            if self.stop.requested:
                await self._record_end(Exited(stopped=Stopped.CONFIRMED), duration=None)
                return
            await self.recorder.dispatched(self.step.run)
            since = self.monotonic()
            exited = await self._execute()
            await self._record_end(exited, duration=self.monotonic() - since)

    async def _take_places(self, places: AsyncExitStack, limiters: tuple[anyio.CapacityLimiter, ...]) -> None:
        """Return with all places, or as soon as a stop is requested."""
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await self.stop.wait()
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            for limiter in limiters:
                await places.enter_async_context(limiter)
            group.cancel_scope.cancel()

    async def _execute(self) -> Exited:
        async with anyio.create_task_group() as group:

            async def time_out() -> None:
                await anyio.sleep(self.step.timeout)
                self.stop.request(StopReason.TIMEOUT)

            group.start_soon(time_out)
            exited = await self.executor.run(self.step, context=self.context, emit=self._emit, stop=self.stop)
            group.cancel_scope.cancel()
        return exited

    async def _emit(self, news: Started | Output) -> None:
        step = self.step
        if isinstance(news, Output):
            await self._keep(news)
            return
        await self.recorder.record(
            lambda seq, ts: state.Started(
                seq=seq,
                ts=ts,
                run=step.run,
                host=step.host,
                argv=step.shown_argv,
                pid=news.pid,
                remote_id=news.remote_id,
            )
        )

    async def _keep(self, output: Output) -> None:
        self._written[output.stream] += len(output.data)
        data = output.data[: self._left]
        self._left -= len(data)
        rest = output.data[len(data) :]
        if rest and self._ends is None:
            self.stop.request(StopReason.OUTPUT_LIMIT)
        if told := self._splitters[output.stream].feed(data):
            await self.recorder.output(self.step.run, output.stream, told)
        if rest and self._ends is not None:
            rest = self._splitters[output.stream].rest() + rest
            await to_thread.run_sync(self._ends.take, output.stream, rest)

    async def _keep_end(self, stream: Stream, ends: Ends) -> None:
        """Put the end of a stream behind its beginning."""
        pieces = ends.pieces(stream)
        while piece := await to_thread.run_sync(next, pieces, b""):
            if told := self._splitters[stream].feed(piece):
                await self.recorder.output(self.step.run, stream, told)

    async def _record_end(self, exited: Exited, *, duration: float | None) -> None:
        for stream, splitter in self._splitters.items():
            if self._ends is not None:
                await self._keep_end(stream, self._ends)
            if rest := splitter.rest():
                await self.recorder.output(self.step.run, stream, rest)
        stdout, stderr = await self.recorder.tallies(self.step.run)
        left_out = self._ends is not None and self._ends.full
        if left_out:
            stdout = replace(stdout, written=self._written[Stream.STDOUT])
            stderr = replace(stderr, written=self._written[Stream.STDERR])
        verdict, error = judge(exited, self.stop.reason, self.success_codes)
        await self.recorder.record_event(
            RunEnded(
                seq=0,
                ts=0.0,
                run=self.step.run,
                host=self.step.host,
                state=verdict,
                duration=duration,
                exit_code=exited.exit_code,
                signal=exited.signal,
                stopped=exited.stopped,
                error=error,
                stdout=stdout,
                stderr=stderr,
                truncated=left_out or self.stop.reason is StopReason.OUTPUT_LIMIT,
            )
        )


def judge(exited: Exited, reason: StopReason | None, success_codes: Collection[int]) -> tuple[State, RunError | None]:
    """Return the state of a run, and why it is not the state of a process that ended by itself. Pure."""
    if exited.lost:
        return State.LOST, exited.error
    if exited.error is not None and exited.error.code in LIMITS:
        return State.FAILED, exited.error
    if exited.stopped is not None and reason is not None:
        verdict, code, detail = _STOPPED[reason]
        hint = "" if exited.stopped is Stopped.CONFIRMED else "It is not known whether the process has ended."
        return verdict, RunError(code=code, detail=detail, hint=hint)
    if exited.error is not None:
        return State.FAILED, exited.error
    return (State.SUCCEEDED if exited.exit_code in success_codes else State.FAILED), None
