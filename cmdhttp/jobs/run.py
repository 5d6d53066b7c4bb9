"""One run of a job that has its place: it keeps to its limits, and ends in exactly one verdict."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import anyio
import anyio.lowlevel
from anyio import to_thread

from cmdhttp.execution.model import (
    LIMITS,
    Collected,
    Executor,
    Exited,
    LeftOut,
    LeftOutMore,
    News,
    Output,
    RunContext,
    RunError,
    RunErrorCode,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.execution.redaction import Redactor, Rules
from cmdhttp.jobs import state
from cmdhttp.jobs.artefacts import Keeper
from cmdhttp.jobs.ends import Ends
from cmdhttp.jobs.recorder import Recorder, Splitter
from cmdhttp.jobs.state import RunEnded, State, Tally
from cmdhttp.plan.model import Step

_STOPPED: dict[StopReason, tuple[State, RunErrorCode, str]] = {
    StopReason.TIMEOUT: (State.TIMED_OUT, RunErrorCode.TIMED_OUT, "The time limit was reached."),
    StopReason.OUTPUT_LIMIT: (State.FAILED, RunErrorCode.OUTPUT_LIMIT, "The output limit was reached."),
    StopReason.CANCEL: (State.CANCELED, RunErrorCode.CANCELED, "The job was canceled."),
    StopReason.DISCONNECT: (State.CANCELED, RunErrorCode.CANCELED, "The caller went away and had asked for a cancel."),
    StopReason.SHUTDOWN: (State.CANCELED, RunErrorCode.SERVICE_STOPPED, "The service was stopped."),
}

_KEEP_ENDS = "Raise 'output: max' of the command, let it print less, or keep both ends with 'when_full: keep_ends'."
_LONG_SECRETS = 16 << 10  # bytes that take more than a moment to prepare for
_SLICE = 16 << 10
_TURN = 0.005  # seconds


@dataclass(slots=True, kw_only=True)
class StepRun:
    """Runs one step and records what happens.

    All that is kept, offsets and sums with it, is masked before. The limit at which a run is stopped counts what the process
    wrote; where both ends are kept, how much that may be counts what is masked, so no secret is cut in two.
    """

    step: Step
    stop: Stop
    recorder: Recorder
    executor: Executor
    context: RunContext
    success_codes: Collection[int]
    monotonic: Callable[[], float]
    keeper: Keeper
    refusal: RunError | None = None
    seen: RunEnded | None = field(default=None, init=False)
    """The end of the run once it is known, all that it printed is handed to the recorder, and it was not a stop of ours."""
    _splitters: dict[Stream, Splitter] = field(init=False)
    _redactors: dict[Stream, Redactor] = field(init=False)
    _rules: Rules | None = field(default=None, init=False)
    _left: int = field(init=False)
    _ends: Ends | None = field(init=False, default=None)
    _written: dict[Stream, int] = field(init=False)

    def __post_init__(self) -> None:
        self._splitters = {stream: Splitter() for stream in Stream}
        self._redactors = {}
        self._left = self.step.output_limit
        self._written = dict.fromkeys(Stream, 0)
        if self.step.keep_ends:
            self._left //= 2
            self._ends = Ends(room=self.step.output_limit - self._left, scratch=self.recorder.scratch)

    async def to_end(self, *, dispatched: bool) -> State:
        """Run, record the verdict, and return it. Raises OSError or sqlite3.Error if it cannot be recorded.

        `dispatched` says that it is on disk already that the run may start.
        """
        try:
            if self.stop.requested:
                return await self._record_end(Exited(stopped=Stopped.CONFIRMED), duration=None)
            if self.refusal is not None:
                return await self._record_end(Exited(error=self.refusal), duration=None)
            await self._prepare_redaction()
            if not dispatched:
                await self.recorder.dispatched(self.step.run)
            since = self.monotonic()
            exited = await self._execute()
            return await self._record_end(exited, duration=self.monotonic() - since)
        finally:
            if self._ends is not None:
                self._ends.close()

    async def _execute(self) -> Exited:
        limit = asyncio.get_running_loop().call_later(self.step.timeout, self.stop.request, StopReason.TIMEOUT)
        try:
            return await self.executor.run(self.step, context=self.context, emit=self._emit, stop=self.stop)
        finally:
            limit.cancel()

    async def _emit(self, news: News) -> None:
        step = self.step
        if isinstance(news, Output):
            await self._keep(news)
            return
        if isinstance(news, Collected | LeftOut):
            news = replace(news, name=self._masked_name(news.name))
        if isinstance(news, Collected | LeftOut | LeftOutMore):
            await self.keeper.take(news)
            return
        await self.recorder.started(
            lambda seq, ts: state.Started(
                seq=seq,
                ts=ts,
                run=step.run,
                host=step.host,
                argv=step.shown_argv,
                pid=news.pid,
                remote_id=news.remote_id,
                host_key=news.host_key,
                certificate=news.certificate,
            )
        )

    async def _prepare_redaction(self) -> None:
        masks, redact = self.step.masks, self.step.redact
        if not masks and not redact:
            return
        if sum(map(len, masks)) > _LONG_SECRETS:
            rules = await to_thread.run_sync(Rules.of, masks, redact)
        else:
            rules = Rules.of(masks, redact)
        self._rules = rules
        if rules is not None:
            self._redactors = {stream: Redactor(rules) for stream in Stream}

    def _masked_name(self, name: bytes) -> bytes:
        """A file's name as it is shown, which is in the job for ever: a run may have given it what no output may show."""
        if self._rules is None:
            return name
        redactor = Redactor(self._rules)
        return redactor.feed(name) + redactor.rest()

    async def _keep(self, output: Output) -> None:
        data = output.data
        self._written[output.stream] += len(data)
        if self._ends is None:
            data = data[: self._left]
            self._left -= len(data)
            if len(data) < len(output.data):
                self.stop.request(StopReason.OUTPUT_LIMIT)
        if redactor := self._redactors.get(output.stream):
            data = await self._redacted(redactor, data)
        await self._keep_masked(output.stream, data)

    async def _keep_masked(self, stream: Stream, data: bytes) -> None:
        rest = b""
        if self._ends is not None:
            data, rest = data[: self._left], data[self._left :]
            self._left -= len(data)
        if told := self._splitters[stream].feed(data):
            await self.recorder.output(self.step.run, stream, told)
        if rest and self._ends is not None:
            rest = self._splitters[stream].rest() + rest
            await to_thread.run_sync(self._ends.take, stream, rest)

    async def _keep_end(self, stream: Stream, ends: Ends) -> None:
        """Put the end of a stream behind its beginning."""
        pieces = ends.pieces(stream)
        while piece := await to_thread.run_sync(next, pieces, b""):
            if told := self._splitters[stream].feed(piece):
                await self.recorder.output(self.step.run, stream, told)

    async def _redacted(self, redactor: Redactor, data: bytes) -> bytes:
        """Mask in slices: output made to be slow to mask must not keep the other runs waiting."""
        told, since = [], self.monotonic()
        for start in range(0, len(data), _SLICE):
            if self.monotonic() - since > _TURN:
                await anyio.lowlevel.checkpoint()
                since = self.monotonic()
            told.append(redactor.feed(data[start : start + _SLICE]))
        return b"".join(told)

    async def _record_end(self, exited: Exited, *, duration: float | None) -> State:
        for stream, redactor in self._redactors.items():
            await self._keep_masked(stream, redactor.rest())
        for stream, splitter in self._splitters.items():
            if self._ends is not None:
                await self._keep_end(stream, self._ends)
            if rest := splitter.rest():
                await self.recorder.output(self.step.run, stream, rest)
        ended = self._end(exited, duration=duration)
        if exited.stopped is None or self.stop.reason is not StopReason.SHUTDOWN:
            self.seen = ended
        stdout, stderr = await self.recorder.tallies(self.step.run)
        await self.recorder.runs_ended([ended.with_sums(stdout, stderr)])
        return ended.state

    def _end(self, exited: Exited, *, duration: float | None) -> RunEnded:
        """Return the end of the run, without the sums of what is kept of its output."""
        left_out = self._ends is not None and self._ends.full
        stdout, stderr = (Tally(written=self._written[stream] if left_out else None) for stream in Stream)
        verdict, error = judge(exited, self.stop.reason, self.success_codes)
        return RunEnded(
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
            kept=self.keeper.kept if self.step.collect is not None else None,
        )


def judge(exited: Exited, reason: StopReason | None, success_codes: Collection[int]) -> tuple[State, RunError | None]:
    """Return the state of a run, and why it is not the state of a process that ended by itself. Pure."""
    if exited.lost:
        return State.LOST, exited.error
    if exited.error is not None and exited.error.code in LIMITS:
        return State.FAILED, exited.error
    if exited.stopped is not None and reason is not None:
        verdict, code, detail = _STOPPED[reason]
        hint = _KEEP_ENDS if reason is StopReason.OUTPUT_LIMIT else ""
        hint = hint if exited.stopped is Stopped.CONFIRMED else "It is not known whether the process has ended."
        return verdict, RunError(code=code, detail=detail, hint=hint)
    if exited.error is not None:
        return State.FAILED, exited.error
    return (State.SUCCEEDED if exited.exit_code in success_codes else State.FAILED), None
