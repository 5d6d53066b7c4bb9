"""One job that has not ended: which of its runs are under way, and the end of those that never were.

Only a run that is under way costs a task and memory of its own, so a job on hundreds of hosts is no dearer than the runs
that it has at the same time. What may start next is decided without a pause whenever a run ends, a place is given or the
job is halted; so no two of these meet halfway.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from cmdhttp.execution.model import Exited, RunError, RunErrorCode, Stopped, StopReason
from cmdhttp.jobs.places import Places
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.rollout import Rollout
from cmdhttp.jobs.run import StepRun, judge
from cmdhttp.jobs.state import EMPTY, Kept, RunEnded, State
from cmdhttp.plan.model import Plan, Step

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

_NOT_FAILED = (State.SUCCEEDED, State.CANCELED)


class LiveJob:
    """Starts the runs of one job as its plan and the places allow, and ends those that never start."""

    def __init__(
        self,
        *,
        job_id: str,
        plan: Plan,
        recorder: Recorder,
        places: Places,
        make_run: Callable[[Step], StepRun],
        on_over: Callable[["LiveJob"], Awaitable[None]],
    ) -> None:
        """`on_over` is awaited once, when every run has its end or `failure` says why one of them has none."""
        self.job_id = job_id
        self.plan = plan
        self.recorder = recorder
        self.failure: Exception | None = None
        self.kept = False
        """Whether the next life of the service finds on disk what this job is to do, for as long as it waits."""
        self.done = anyio.Event()
        self._places = places
        self._make_run = make_run
        self._on_over = on_over
        several = len(plan.steps) > 1
        self._rollout = Rollout(
            total=len(plan.steps),
            max_parallel=min(plan.max_parallel, places.most_for_several) if several else 1,
            batch=plan.batch,
            max_failures=plan.max_failures,
        )
        self._running: dict[int, StepRun] = {}
        self._halted: StopReason | None = None
        self._group: TaskGroup | None = None
        self._closing = False

    @property
    def waits(self) -> bool:
        """Whether no run of it has started or is about to."""
        return self.recorder.job.state is State.QUEUED and not self._running

    def take_places(self) -> list[int]:
        """Take the places that are free, for the runs that come first; returns which."""
        while self._rollout.room and self._places.take(self):
            self._place_next()
        return list(self._running)

    def let_go(self) -> None:
        """Give back the places of a job that was not accepted."""
        self._halted = StopReason.SHUTDOWN
        for _ in range(len(self._running)):
            self._places.give_back(self)
        self._running.clear()

    def begin(self, group: "TaskGroup") -> None:
        """Start what has its place, which is on disk already, and then all the rest in its turn."""
        self._group = group
        for run in self._running:
            group.start_soon(self._to_end, run, True)  # noqa: FBT003 - start_soon takes no keywords
        self._advance()

    def halt(self, reason: StopReason) -> None:
        """End what is under way and start no more; the first reason stays."""
        self._halted = self._halted or reason
        for run in list(self._running.values()):
            run.stop.request(reason)
        self._advance()

    def leave(self) -> bool:
        """Start nothing any more and leave the job as it is, if it has begun to wait and does nothing else."""
        if self._group is None or self._closing or self._halted is not None or not self.waits:
            return False
        self._closing = True
        self._places.withdraw(self)
        return True

    def place_given(self) -> None:
        """Start the next run in the place that was waited for."""
        self._start_next()
        self._advance()

    @property
    def _stopped(self) -> bool:
        return self._halted is not None or self._rollout.failed_too_often

    def _place_next(self) -> int:
        run = self._rollout.started
        self._rollout = self._rollout.start()
        self._running[run] = self._make_run(self.plan.steps[run])
        return run

    def _start_next(self) -> None:
        if self._group is not None:
            self._group.start_soon(self._to_end, self._place_next(), False)  # noqa: FBT003 - start_soon takes no keywords

    def _advance(self) -> None:
        """Start what may start now, wait for a place for what comes next, or close."""
        if self._group is None or self._closing:
            return
        if not self._stopped:
            while self._rollout.room and self._places.take(self):
                self._start_next()
            if self._rollout.room:
                self._places.wait(self)
                return
        if self._stopped:
            self._places.withdraw(self)
        if not self._running:
            self._closing = True
            self._group.start_soon(self._close)

    async def _to_end(self, index: int, dispatched: bool) -> None:  # noqa: FBT001 - start_soon takes no keywords
        state = State.LOST
        try:
            state = await self._running[index].to_end(dispatched=dispatched)
        except Exception as error:  # noqa: BLE001 - a job whose records fail must not take the others with it
            self.failure = self.failure or error
        del self._running[index]
        self._rollout = self._rollout.end(failed=state not in _NOT_FAILED)
        if self.failure is not None:
            self.halt(StopReason.SHUTDOWN)
        if self._stopped:
            self._places.withdraw(self)
        self._places.give_back(self)
        if self._running or self._closing or (self._rollout.room and not self._stopped):
            self._advance()
            return
        self._closing = True
        await self._close()

    async def _close(self) -> None:
        try:
            if self.failure is None:
                await self._end_unstarted()
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = error
        await self._on_over(self)

    async def _end_unstarted(self) -> None:
        """Record the end of every run that never started, all at once."""
        if self._rollout.started == self._rollout.total:
            return
        verdict, error, stopped = self._why_unstarted()
        await self.recorder.runs_ended(
            RunEnded(
                seq=0,
                ts=0.0,
                run=step.run,
                host=step.host,
                state=verdict,
                error=error,
                stopped=stopped,
                stdout=EMPTY,
                stderr=EMPTY,
                kept=Kept() if step.collect is not None else None,
            )
            for step in self.plan.steps[self._rollout.started :]
        )

    def _why_unstarted(self) -> tuple[State, RunError | None, Stopped | None]:
        if self._halted is not None:
            verdict, error = judge(Exited(stopped=Stopped.CONFIRMED), self._halted, frozenset())
            return verdict, error, Stopped.CONFIRMED
        most, failed = self._rollout.max_failures, self._rollout.failed
        error = RunError(
            code=RunErrorCode.MAX_FAILURES,
            detail=f"{failed} of {self._rollout.total} runs had failed, and the policy allows {most}; nothing has run here.",
            hint="Look at the runs that failed, then call again for the hosts that are left.",
        )
        return State.CANCELED, error, None
