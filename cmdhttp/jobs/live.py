"""One job that has not ended: which of its runs are under way, and the end of those that never were.

Only a run that is under way costs a task and memory of its own, so a job on hundreds of hosts is no dearer than the runs
that it has at the same time. The admission says which of them may start; what may come next is decided without a pause
whenever a run ends, a place is given or the job is halted, so no two of these meet halfway.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from cmdhttp.execution.model import Exited, Order, RunError, RunErrorCode, Stopped, StopReason
from cmdhttp.jobs.admission import Admission
from cmdhttp.jobs.progress import PlaceTeller
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.rollout import Rollout
from cmdhttp.jobs.run import StepRun, judge
from cmdhttp.jobs.state import EMPTY, Kept, RunEnded, State, Tally
from cmdhttp.jobs.ticket import Place, Ticket
from cmdhttp.plan.model import Plan, Step

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

_NOT_FAILED = (State.SUCCEEDED, State.CANCELED)


class LiveJob:
    """Starts the runs of one job as its plan and the places allow, and ends those that never start."""

    def __init__(
        self,
        *,
        plan: Plan,
        order: Order,
        recorder: Recorder,
        ticket: Ticket,
        admission: Admission,
        monotonic: Callable[[], float],
        make_run: Callable[[Step, bool], StepRun],
        on_over: Callable[["LiveJob"], Awaitable[None]],
    ) -> None:
        """`make_run` is told whether the run has its place from the start.

        `on_over` is awaited once, when every run has its end or `failure` says why one of them has none.
        """
        self.job_id = recorder.job.id
        self.plan = plan
        self.order = order
        self.recorder = recorder
        self.failure: Exception | None = None
        self.seen: dict[int, RunEnded] = {}
        """Ends of runs that are known and could not be recorded, without the sums of the output."""
        self.kept = False
        """Whether the next life of the service finds on disk what this job is to do, for as long as it waits."""
        self.done = anyio.Event()
        self.ticket = ticket
        self._admission = admission
        self._monotonic = monotonic
        self._make_run = make_run
        self._on_over = on_over
        several = len(plan.steps) > 1
        self._rollout = Rollout(
            total=len(plan.steps),
            max_parallel=min(plan.max_parallel, admission.most_for_several) if several else 1,
            batch=plan.batch,
            max_failures=plan.max_failures,
        )
        self._unstarted = dict.fromkeys(range(len(plan.steps)))
        self._running: dict[int, StepRun] = {}
        self._at_once: frozenset[int] = frozenset()
        self._halted: StopReason | None = None
        self._refused: RunError | None = None
        self._group: TaskGroup | None = None
        self._closing = False
        self._places = PlaceTeller(batch=plan.batch)
        self._since = monotonic()

    @property
    def untouched(self) -> bool:
        """Whether none of its runs has ever had a place."""
        return not self._rollout.started

    def place_due(self) -> float | None:
        """When followers of a job that waits were to be told where it stands, in seconds of waiting; None: not now."""
        if self._group is None or self._closing or self._stopped or not self.untouched or not self.recorder.followed:
            return None
        return self._places.due if self._places.due <= self._waited else None

    def tell_place(self, place: Place | None) -> None:
        """Tell followers where the job stands, if that has changed."""
        self.recorder.tell_place(self._places, place, waited=self._waited)

    @property
    def _waited(self) -> float:
        """Seconds since this life of the service knows of the job."""
        return self._monotonic() - self._since

    def take_places(self) -> list[int]:
        """Take the places that the job's ticket has, for the first runs; returns which. More may be given from now on."""
        for run in self.ticket.held:
            self._place(run, at_once=True)
        self._at_once = frozenset(self._running)
        self.ticket.holder = self
        return list(self._running)

    def take_over(self) -> None:
        """Take the places that the ticket has, for a job that is on disk already: none of its runs is marked there."""
        self.ticket.holder = self
        for run in self.ticket.held:
            self.place_given(run)

    def begin(self, group: "TaskGroup") -> None:
        """Start what has its place, which is on disk already for the first ones, and then all the rest in its turn."""
        self._group = group
        for run in self._running:
            group.start_soon(self._to_end, run, run in self._at_once)
        self._close_if_over()

    def seen_end(self, run: int, sums: tuple[Tally, Tally]) -> RunEnded | None:
        """Return the end of a run that could not be recorded, if it was seen and `sums` are of all that the run printed."""
        ended, known = self.seen.get(run), self.recorder.job.runs[run]
        whole = [tally.size for tally in sums] == [known.stdout.size, known.stderr.size]
        return ended.with_sums(*sums) if ended is not None and whole else None

    def halt(self, reason: StopReason) -> None:
        """End what is under way and start no more; the first reason stays."""
        self._halted = self._halted or reason
        for run in list(self._running.values()):
            run.stop.request(reason)
        self._close_if_over()

    def refuse(self, error: RunError) -> None:
        """Start no more runs, because of the error; those under way go on."""
        self._refused = self._refused or error
        self._close_if_over()

    def leave(self) -> bool:
        """Start nothing any more and leave the job as it is, if it has begun to wait and does nothing else."""
        if self._group is None or self._closing or self._stopped or self.ticket.started:
            return False
        self._closing = True
        self._admission.withdraw(self.ticket)
        return True

    def place_given(self, run: int) -> None:
        """Start a run in its place; before the job is on disk it only has it."""
        self._place(run, at_once=False)
        if self._group is not None:
            self._group.start_soon(self._to_end, run, False)  # noqa: FBT003 - start_soon takes no keywords

    @property
    def _stopped(self) -> bool:
        return self._halted is not None or self._refused is not None or self._rollout.failed_too_often

    def _place(self, run: int, *, at_once: bool) -> None:
        self._running[run] = self._make_run(self.plan.steps[run], at_once)
        self._rollout = self._rollout.start()
        del self._unstarted[run]
        if self._halted is not None:
            self._running[run].stop.request(self._halted)

    def _close_if_over(self) -> None:
        """Let go of what is waited for, if no more may start; close, if nothing is under way or waited for."""
        if self._stopped:
            self._admission.withdraw(self.ticket)
        if self._group is None or self._closing or self._running or self.ticket.waits:
            return
        self._closing = True
        self._group.start_soon(self._close)

    async def _to_end(self, index: int, dispatched: bool) -> None:  # noqa: FBT001 - start_soon takes no keywords
        state = State.LOST
        try:
            state = await self._running[index].to_end(dispatched=dispatched)
        except Exception as error:  # noqa: BLE001 - a job whose records fail must not take the others with it
            self.failure = self.failure or error
            if (seen := self._running[index].seen) is not None:
                self.seen[index] = seen
        del self._running[index]
        self._rollout = self._rollout.end(failed=state not in _NOT_FAILED)
        if self.failure is not None:
            self.halt(StopReason.SHUTDOWN)
        self._give_back(index)
        if self._running or self._closing or self.ticket.waits:
            return
        self._closing = True
        await self._close()

    def _give_back(self, run: int) -> None:
        """Give back the place of a run that has ended, and say how many more may start."""
        rollout, most = self._rollout, 0 if self._stopped else self._rollout.room
        if self._stopped:
            self._admission.withdraw(self.ticket)
        self._admission.give_back(self.ticket, run, upto=rollout.border, most=most, now=self._monotonic())

    async def _close(self) -> None:
        try:
            if self.failure is None:
                await self._end_unstarted()
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = error
        await self._on_over(self)

    async def _end_unstarted(self) -> None:
        """Record the end of every run that never started, all at once."""
        if not self._unstarted:
            return
        verdict, error, stopped = self._why_unstarted()
        ends = {
            step.run: RunEnded(
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
            for step in (self.plan.steps[run] for run in self._unstarted)
        }
        if self._halted is not StopReason.SHUTDOWN:  # that may be our own answer to a record that failed
            self.seen |= ends
        await self.recorder.runs_ended(ends.values())

    def _why_unstarted(self) -> tuple[State, RunError | None, Stopped | None]:
        if self._halted is not None:
            verdict, error = judge(Exited(stopped=Stopped.CONFIRMED), self._halted, frozenset())
            return verdict, error, Stopped.CONFIRMED
        if self._refused is not None:
            return State.FAILED, self._refused, None
        most, failed = self._rollout.max_failures, self._rollout.failed
        error = RunError(
            code=RunErrorCode.MAX_FAILURES,
            detail=f"{failed} of {self._rollout.total} runs had failed, and the policy allows {most}; nothing has run here.",
            hint="Look at the runs that failed, then call again for the hosts that are left.",
        )
        return State.CANCELED, error, None
