"""The end of a job that nothing runs any more: after a kill of the service, or when its records could not be written.

A run whose end was seen gets that end, if all that it printed is there; one whose end nobody saw is lost; one that never
started has not run. There is one writer of that end, so no job gets two.
"""

import logging
import sqlite3
from collections.abc import Callable

import anyio
from anyio import to_thread

from cmdhttp.clock import Clock
from cmdhttp.errors import RecordDamaged
from cmdhttp.execution.model import RunError, RunErrorCode
from cmdhttp.jobs.database import no_room
from cmdhttp.jobs.feed import Feed
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.live import LiveJob
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.state import EMPTY, Job, Run, RunEnded, State, Tally

_log = logging.getLogger("cmdhttp.jobs")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0

NOT_STARTED = RunError(
    code=RunErrorCode.SERVICE_RESTARTED,
    detail="The service stopped before this run was started; nothing has run.",
    hint="It is safe to call again.",
)
CUT_OFF = RunError(
    code=RunErrorCode.SERVICE_RESTARTED,
    detail="The service stopped while this run was under way; its end was not seen.",
    hint="Look at the host before you call again.",
)


class Settler:
    """Writes such ends."""

    def __init__(
        self,
        *,
        journal: Journal,
        hub: Hub,
        clock: Clock,
        goes_on: Callable[[], bool],
    ) -> None:
        """`goes_on`: no stop of the service has been asked for."""
        self._journal = journal
        self._hub = hub
        self._clock = clock
        self.make_room: Callable[[], bool] = lambda: False
        """Frees a little of a full disk for the end of a job, or says that it cannot; it blocks."""
        self._goes_on = goes_on

    async def end(self, job: Job, *, cut_off: RunError, not_started: RunError) -> Job:
        """End a job that an earlier life of the service has left under way or waiting."""
        recorder = self._recorder(job, now=self._clock.now)
        return await self._settle(recorder, cut_off=cut_off, not_started=not_started)

    async def close_from_disk(self, live: LiveJob) -> bool:
        """The journal refused a record: everything is stopped by now, so end the job as far as the disk knows it.

        Runs whose end was seen get that end, if all that they printed is there. A disk that is full stays so for a while;
        this tries again until it can or the service stops. Until then nobody is told of any end. Returns whether it could.
        """
        pause, at, elapsed = _FIRST_PAUSE, self._clock.now(), live.recorder.elapsed
        while (error := await self._closed_from_disk(live, at=at, elapsed=elapsed)) is not None:
            if no_room(error, free=self._journal.room.free) and await to_thread.run_sync(self.make_room):
                continue
            if not self._goes_on():
                _log.error("job %s stays open until the next start", live.job_id)
                return False
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return True

    async def _closed_from_disk(self, live: LiveJob, *, at: float, elapsed: float | None) -> Exception | None:
        error = RunError(
            code=RunErrorCode.RECORD_FAILED,
            detail="The service could not write the job's records, so the run was stopped.",
            hint="Look at the free space of the data folder.",
        )
        try:
            for step in live.plan.steps:
                await self._journal.close_output(live.job_id, step.run)
            try:
                job = await self._journal.get(live.job_id)
            except RecordDamaged:
                job = await self._journal.lose(live.job_id, now=at)
            if job is not None and not job.state.terminal:
                recorder = self._recorder(job, now=lambda: at, elapsed=lambda: elapsed)
                job = await self._settle(recorder, cut_off=error, not_started=error, live=live)
            live.recorder.job = job or live.recorder.job
        except (OSError, sqlite3.Error) as failed:
            return failed
        return None

    def _recorder(
        self, job: Job, *, now: Callable[[], float], elapsed: Callable[[], float | None] = lambda: None
    ) -> Recorder:
        feed = self._hub.live_feed(job.id) or Feed(job)
        return Recorder(job=job, journal=self._journal, feed=feed, now=now, elapsed=elapsed)

    async def _settle(
        self, recorder: Recorder, *, cut_off: RunError, not_started: RunError, live: LiveJob | None = None
    ) -> Job:
        """End a job that nothing runs any more; `live` knows of ends that were seen."""
        try:
            return await self._settle_with(recorder, live, cut_off=cut_off, not_started=not_started)
        finally:
            recorder.quiet()

    async def _settle_with(
        self, recorder: Recorder, live: LiveJob | None, *, cut_off: RunError, not_started: RunError
    ) -> Job:
        job = recorder.job
        for index, run in enumerate(job.runs):
            if run.state is State.RUNNING:
                await self._settle_cut_off(recorder, index, live, cut_off)
        seen = live.seen if live else {}
        unstarted = [(index, run) for index, run in enumerate(job.runs) if run.state is State.QUEUED]
        if unstarted:
            await recorder.runs_ended(
                seen.get(index) or _ended(index, run, State.FAILED, not_started, (EMPTY, EMPTY))
                for index, run in unstarted
            )
        if not recorder.job.state.terminal:
            await recorder.finished()
        return recorder.job

    async def _settle_cut_off(self, recorder: Recorder, index: int, live: LiveJob | None, error: RunError) -> None:
        job_id = recorder.job.id
        await recorder.surplus(index)
        sums = await self._journal.measure(job_id, index)
        ended = live.seen_end(index, sums) if live else None
        if ended is None:
            await to_thread.run_sync(self._journal.artefacts.drop, job_id, index)  # no record names them
            ended = _ended(index, recorder.job.runs[index], State.LOST, error, sums)
        await recorder.runs_ended([ended])


def _ended(index: int, run: Run, state: State, error: RunError, tallies: tuple[Tally, Tally]) -> RunEnded:
    stdout, stderr = tallies
    return RunEnded(seq=0, ts=0.0, run=index, host=run.host, state=state, error=error, stdout=stdout, stderr=stderr)
