"""Owns every run. One task group holds them all, so none can outlive the service unseen.

A job is on disk before it is told of, and marked on disk before a run of it may start, in one commit where there is a place
for the run at once; a cancel is over only when the executor has seen the end or has said that it cannot. After a kill of the
service, `recover` gives every job that was under way its one true end, and lets what only waited wait on. A stop leaves what
waits to the next life too.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from cmdhttp.clock import Clock
from cmdhttp.errors import StoreFailed, Unavailable
from cmdhttp.execution.model import Executor, Order, RunContext, RunError, Stop, StopReason
from cmdhttp.execution.unsupported import UnsupportedExecutor
from cmdhttp.jobs.artefacts import Keeper
from cmdhttp.jobs.database import no_room
from cmdhttp.jobs.door import Door
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import IdempotencyKey, Journal, Replay
from cmdhttp.jobs.live import LiveJob
from cmdhttp.jobs.permit import Permits
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.run import StepRun
from cmdhttp.jobs.settling import CUT_OFF, NOT_STARTED, Settler
from cmdhttp.jobs.standing import tell_places
from cmdhttp.jobs.state import Accepted, Job, OnDisconnect
from cmdhttp.jobs.ticket import Claim, Place, Ticket
from cmdhttp.jobs.waiting import Waiting, kept_order
from cmdhttp.plan.model import LocalTarget, Plan, SshTarget, Step, UnsupportedTarget

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

_log = logging.getLogger("cmdhttp.jobs")
_RETRY_AFTER = 5
_AT_ONCE = 20
"""Waiting jobs that are held against a new policy without a pause."""

OnEnd = Callable[[Job], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    local: Executor
    ssh: Executor
    unsupported: Executor = field(default_factory=UnsupportedExecutor)

    def for_step(self, step: Step) -> Executor:
        match step.target:
            case LocalTarget():
                return self.local
            case SshTarget():
                return self.ssh
            case UnsupportedTarget():
                return self.unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Revived:
    """What a job that waited in an earlier life is to run now."""

    plan: Plan
    order: Order


Revive = Callable[[Job, Waiting], Awaitable[Revived | RunError]]
"""Says what a job that waited in an earlier life may run now, or why it may not."""


class Supervisor:
    """Accepts jobs, runs them, ends them."""

    def __init__(
        self,
        *,
        journal: Journal,
        hub: Hub,
        executors: Executors,
        clock: Clock,
        door: Door,
        permits: Permits,
        on_end: OnEnd,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_wait` is told how many seconds a job has waited, when its first run starts."""
        self._journal = journal
        self._hub = hub
        self._executors = executors
        self._clock = clock
        self.door = door
        self._permits = permits
        self._on_end = on_end
        self._on_wait = on_wait
        self.settler = Settler(
            journal=journal,
            hub=hub,
            clock=clock,
            goes_on=lambda: self.accepting,
        )
        self._live: dict[str, LiveJob] = {}
        self._revived: list[LiveJob] = []
        self._group: TaskGroup | None = None
        self._arriving = 0
        self.accepting = False

    async def serve(self, *, until: anyio.Event, drain: float) -> None:
        """Run jobs until `until` is set; then give them `drain` seconds, end the rest, and return with none left.

        What only waits is left as it is, for the next life, if it may be kept.
        """
        async with anyio.create_task_group() as group:
            self._group = group
            for live in self._revived:
                live.begin(group)
            self._revived.clear()
            self.accepting = True
            group.start_soon(self._tell_places, until)
            await until.wait()
            self.accepting = False
            self._leave_waiting()
            with anyio.move_on_after(drain):
                await self._idle()
            self._leave_waiting()
            for live in list(self._live.values()):
                live.halt(StopReason.SHUTDOWN)
            await self._idle()
        self._group = None

    @contextmanager
    def admit(self, principal: str, plan: Plan) -> Iterator[Ticket]:
        """Let a job in that is about to be submitted; if it is not, it has cost nothing. Raises TooMany or Unavailable."""
        if not self.accepting or self._group is None:
            raise Unavailable("The service is stopping; nothing has run.", retry_after=_RETRY_AFTER)
        ticket = self.door.enter(_claim(principal, plan))
        self._arriving += 1
        try:
            yield ticket
        finally:
            self._arriving -= 1
            if ticket.holder is None:
                self.door.turn_away(ticket)

    async def submit(
        self, ticket: Ticket, job: Job, plan: Plan, order: Order, key: IdempotencyKey | None
    ) -> Replay | None:
        """Keep the job and start it. Returns a Replay, and does nothing, if the key was used before.

        `order` is what was asked, for whoever checks the plan's steps once more.
        The ticket comes from `admit`. Raises Unavailable if the job cannot be put on disk; nothing runs then.
        """
        live = self._live[job.id] = self._new(ticket, job, plan, order)
        at_once = live.take_places()
        replay: Replay | None = None
        kept = False
        try:
            accepted = Accepted(seq=1, ts=job.created_at, job=job)
            spent = self.door.spent(ticket)
            waits = None if at_once or job.on_disconnect is OnDisconnect.CANCEL else kept_order(job, order, plan)
            with anyio.CancelScope(shield=True):  # else it could be kept, and nothing would run it
                replay = await live.recorder.accept(accepted, key, dispatched=at_once, order=waits, spent=spent)
            kept, live.kept = replay is None, waits is not None
        except (OSError, sqlite3.Error) as error:
            _log.error("the journal cannot be written: %s", error)
            if isinstance(error, sqlite3.Error) and not no_room(error, free=self._journal.room.free):
                raise StoreFailed from error
            raise Unavailable("The job cannot be recorded; nothing has run.", retry_after=_RETRY_AFTER) from error
        finally:
            if kept and self._group is not None:
                live.begin(self._group)
            else:
                ticket.holder = None
                self._forget(live)
        return replay

    async def cancel(self, job_id: str, *, reason: StopReason, wait: float) -> None:
        """Ask a job to stop and wait up to `wait` seconds for its end. A job that has ended stays as it is."""
        live = self._live.get(job_id)
        if live is None:
            return
        live.halt(reason)
        with anyio.move_on_after(wait):
            await live.done.wait()

    def queue_place(self, job_id: str) -> Place | None:
        """Return where a job stands among those that have started nothing; None if it has started or ended."""
        live = self._live.get(job_id)
        return self.door.admission.place(live.ticket) if live else None

    def queue_places(self, job_ids: Iterable[str]) -> dict[str, Place]:
        """Return the same of several jobs, without those that have started or ended."""
        lives = [live for job_id in job_ids if (live := self._live.get(job_id)) is not None]
        places = self.door.admission.places([live.ticket for live in lives])
        return {live.job_id: place for live, place in zip(lives, places, strict=True) if place is not None}

    @property
    def queued(self) -> int:
        """How many jobs have started nothing yet."""
        return self.door.admission.queued

    @property
    def running(self) -> int:
        """How many jobs have started and not ended."""
        return self.door.admission.started

    async def policy_changed(self) -> None:
        """Start what the new limits allow, and end what waits and may not run any more."""
        self.door.policy_changed()
        for number, live in enumerate(list(self._live.values())):
            if not number % _AT_ONCE:
                await anyio.lowlevel.checkpoint()
            if (error := self._refused(live)) is not None:
                live.refuse(error)

    async def recover(self, revive: Revive) -> tuple[int, int]:
        """Give what an earlier life left under way its end, and a place in the queue to what waited, in the order of before.

        Returns how many got an end and how many wait.
        """
        self.door.restore(await self._journal.spent())
        waiting = await self._journal.waiting()
        known = {job.id for job, _ in waiting}
        unfinished, damaged = await self._journal.unfinished()
        left = [job for job in unfinished if job.id not in known]
        async with anyio.create_task_group() as group:  # many commits at once are one
            for job in left:
                group.start_soon(self._end_recovered, job, CUT_OFF, NOT_STARTED)
            for job_id in damaged:
                group.start_soon(self._end_damaged, job_id)
        found = await _all_revived(revive, waiting)
        async with anyio.create_task_group() as group:
            for job, _ in waiting:
                if isinstance(now := found[job.id], RunError):
                    group.start_soon(self._end_recovered, job, now, now)
                else:
                    self._take_over(job, now)
        return len(left) + len(damaged) + len(waiting) - len(self._revived), len(self._revived)

    def _take_over(self, job: Job, revived: Revived) -> None:
        ticket = self.door.enter_again(_claim(job.principal, revived.plan))
        live = self._live[job.id] = self._new(ticket, job, revived.plan, revived.order)
        live.take_over()
        live.kept = True
        self._revived.append(live)

    async def _tell_places(self, until: anyio.Event) -> None:
        """Tell followers of jobs that wait where these stand, until a stop."""
        async with anyio.create_task_group() as group:
            group.start_soon(partial(tell_places, self._live.values, self.door.admission, may=self._has_room))
            await until.wait()
            group.cancel_scope.cancel()

    def _has_room(self) -> bool:
        return not self._journal.room.trouble

    async def _end_recovered(self, job: Job, cut_off: RunError, not_started: RunError) -> None:
        await self._on_end(await self.settler.end(job, cut_off=cut_off, not_started=not_started))

    async def _end_damaged(self, job_id: str) -> None:
        job = await self._journal.lose(job_id, now=self._clock.now())
        if job is not None:
            await self._on_end(job)

    def _leave_waiting(self) -> None:
        """Let go of what waits and will be found on disk."""
        for live in list(self._live.values()):
            if live.kept and live.leave():
                self._forget(live)

    def _refused(self, live: LiveJob) -> RunError | None:
        """Why a job that waits may not run any more on any of its hosts."""
        if live.ticket.started or live.done.is_set():
            return None
        first = None
        for step in live.plan.steps:
            found = self._permits.renew(live.order, step)
            if not isinstance(found, RunError):
                return None
            first = first or found
        return first

    def _new(self, ticket: Ticket, job: Job, plan: Plan, order: Order) -> LiveJob:
        since = self._clock.monotonic() - max(self._clock.now() - job.created_at, 0.0)
        recorder = Recorder(
            job=job,
            journal=self._journal,
            feed=self._hub.open(job),
            now=self._clock.now,
            elapsed=lambda: self._clock.monotonic() - since,
            # What becomes of the runs is then read from the disk; until it is they shall do no more.
            on_failure=lambda: live.halt(StopReason.SHUTDOWN),
            batch=plan.batch,
        )

        def make_run(step: Step, at_once: bool) -> StepRun:  # noqa: FBT001 - a callback
            if live.untouched:
                self._on_wait(self._clock.monotonic() - since)
            return self._make_run(job, plan, order, step, recorder, at_once=at_once)

        live = LiveJob(
            plan=plan,
            order=order,
            recorder=recorder,
            ticket=ticket,
            admission=self.door.admission,
            monotonic=self._clock.monotonic,
            make_run=make_run,
            on_over=self._over,
        )
        return live

    def _make_run(
        self, job: Job, plan: Plan, order: Order, step: Step, recorder: Recorder, *, at_once: bool
    ) -> StepRun:
        """Return the run of a step; one that has waited is held against the policy in force once more."""
        renewed = (order, step) if at_once else self._permits.renew(order, step)
        refusal = renewed if isinstance(renewed, RunError) else None
        if not isinstance(renewed, RunError):
            order, step = renewed
        return StepRun(
            step=step,
            stop=Stop(),
            recorder=recorder,
            executor=self._executors.for_step(step),
            context=RunContext(job_id=job.id, order=order),
            success_codes=plan.success_codes,
            monotonic=self._clock.monotonic,
            keeper=Keeper(store=self._journal.artefacts, job_id=job.id, run=step.run),
            refusal=refusal,
            renew=self._permits.renew,
        )

    async def _idle(self) -> None:
        while self._live or self._arriving:
            if not self._live:
                await anyio.sleep(0.01)
                continue
            await next(iter(self._live.values())).done.wait()

    async def _over(self, live: LiveJob) -> None:
        """Every run of a job has its end, or what it did cannot be recorded."""
        told = True
        try:
            if live.failure is not None:
                _log.error("the records of job %s could not be written", live.job_id, exc_info=live.failure)
                told = await self.settler.close_from_disk(live)
        finally:
            self._forget(live)
        if told:
            await self._on_end(live.recorder.job)

    def _forget(self, live: LiveJob) -> None:
        if live.ticket.holder is not None:  # else whoever has let it in turns it away
            self.door.admission.leave(live.ticket, now=self._clock.monotonic())
        live.recorder.quiet()
        self._live.pop(live.job_id, None)
        self._hub.close(live.job_id)
        live.done.set()


async def _all_revived(revive: Revive, waiting: Iterable[tuple[Job, Waiting]]) -> dict[str, Revived | RunError]:
    """Decide on all at once: each decision is a record that has to be on disk, and many of them are one write."""
    found: dict[str, Revived | RunError] = {}

    async def decide(job: Job, asked: Waiting) -> None:
        found[job.id] = await revive(job, asked)

    async with anyio.create_task_group() as group:
        for job, asked in waiting:
            group.start_soon(decide, job, asked)
    return found


def _claim(principal: str, plan: Plan) -> Claim:
    return Claim(
        principal=principal,
        command=plan.command,
        hosts=tuple(step.host for step in plan.steps),
        max_parallel=plan.max_parallel if len(plan.steps) > 1 else 1,
        batch=plan.batch,
    )
