"""When followers are told how far a job is: with the end of a run of several, and when it moves in the queue; not often.

The first end is told at once and the last one too; between them at most one event comes every half second, and what is
known then is never older than that. So the events of a job do not double with this, and a display of it does not stand still.
A job that waits tells its position only while somebody follows it, once a second at most, and less often the longer it has
waited: the events are kept, and a job that waits for hours must not have thousands.
"""

from dataclasses import dataclass, field

from cmdhttp.jobs.state import Job, Progress
from cmdhttp.jobs.ticket import Place

PAUSE = 0.5  # seconds
PLACE_PAUSE, _LONGEST_PLACE_PAUSE = 1.0, 60.0
"""Seconds; a tenth of what a job has waited lies between them."""


@dataclass(slots=True, kw_only=True)
class Teller:
    """Knows what was told last. `batch`: runs a batch."""

    batch: int
    _told: int = field(default=0, init=False)
    _next: float = field(default=float("-inf"), init=False)

    def after_end(self, job: Job, *, ts: float, elapsed: float) -> Progress | None:
        """Return what to tell with a run's end, or None if it is too soon for more. `job` is as it is after that."""
        if len(job.runs) == 1:
            return None
        ended = all(run.state.terminal for run in job.runs)
        return self.tell(job, ts=ts, elapsed=elapsed) if ended or elapsed >= self._next else None

    def wait(self, elapsed: float) -> float:
        """How many seconds it is too soon for more."""
        return max(self._next - elapsed, 0.0)

    def tell(self, job: Job, *, ts: float, elapsed: float) -> Progress | None:
        """Return what to tell as the job's next event, or None if it was told. `elapsed` in seconds, from any start."""
        over = [run.state.terminal for run in job.runs]
        done = sum(over)
        if done == self._told:
            return None
        self._told, self._next = done, elapsed + PAUSE
        at = over.index(False) if done < len(over) else len(over) - 1
        return Progress(
            seq=job.last_seq + 1,
            ts=ts,
            done=done,
            total=len(over),
            failed=sum(run.failed for run in job.runs),
            batch=at // self.batch + 1,
            batches=-(-len(over) // self.batch),
        )


@dataclass(slots=True, kw_only=True)
class PlaceTeller:
    """Knows which place of a job that waits was told last. `batch`: runs a batch."""

    batch: int
    due: float = 0.0
    """After how many seconds of waiting the next may be told."""
    _told: Place | None = field(default=None, init=False)

    def tell(self, job: Job, place: Place | None, *, ts: float, waited: float) -> Progress | None:
        """Return what to tell as the job's next event, or None if nothing has changed. `waited` in seconds, in this life."""
        self.due = waited + min(max(PLACE_PAUSE, waited / 10), _LONGEST_PLACE_PAUSE)
        if place is None or place.position is None or place == self._told:
            return None
        self._told = place
        return Progress(
            seq=job.last_seq + 1,
            ts=ts,
            done=0,
            total=len(job.runs),
            failed=0,
            batch=1,
            batches=-(-len(job.runs) // self.batch),
            position=place.position,
            waits=place.reason,
        )
