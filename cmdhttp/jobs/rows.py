"""The rows of jobs and of their events, read as jobs.

A row that cannot be read is the trouble of its own job. If the job's events are whole, the job is what they say: they hold
all that the row does. Else a job without an end can only be given one: it is lost. Of such a job no more is shown than what
the columns of its row say, and what cannot be read stays as it is. The log names each damaged record once.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from pydantic import TypeAdapter

from cmdhttp.errors import RecordDamaged
from cmdhttp.execution.model import RunError, RunErrorCode
from cmdhttp.jobs.listing import OPEN, Filter, list_query
from cmdhttp.jobs.state import (
    Accepted,
    Dispatched,
    Finished,
    Job,
    Numbered,
    OnDisconnect,
    Output,
    Progress,
    Run,
    RunEnded,
    Started,
    State,
    UnknownTransition,
    apply,
    verdict,
)

_log = logging.getLogger("cmdhttp.jobs")
_MOST_NAMED = 10_000

JOB: TypeAdapter[Job] = TypeAdapter(Job)
KINDS: dict[str, TypeAdapter[Numbered]] = {
    kind.__name__: TypeAdapter(kind) for kind in (Accepted, Started, Output, RunEnded, Progress, Finished)
}

_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, UnknownTransition)
"""What reading a record raises that was not written so."""

_LOST = RunError(
    code=RunErrorCode.RECORD_DAMAGED,
    detail="What the service has kept of this job cannot be read: it may have run, and how it ended is not known.",
    hint="Look at the host before you call again.",
)

_HOSTS = """
WITH RECURSIVE known (host) AS (
    SELECT min(host) FROM job_hosts WHERE principal = ?1
    UNION ALL SELECT (SELECT min(host) FROM job_hosts WHERE principal = ?1 AND host > known.host) FROM known
    WHERE known.host IS NOT NULL)
SELECT host FROM known WHERE EXISTS (
    SELECT 1 FROM job_hosts AS entry
    WHERE principal = ?1 AND entry.host = known.host AND command = ?2 AND state = ?3 AND job = ?4)
"""
"""The hosts of a job whose row does not tell: a look-up for each host of its principal, and not a walk through all jobs."""


class Rows:
    """Reads them. Calls block; they belong on the journal's threads."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def get(self, db: sqlite3.Connection, job_id: str) -> Job | None:
        """Return the job as its row and the events after it say. Raises RecordDamaged."""
        row = db.execute("SELECT id, principal, state, body FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            return None
        job = self._read(db, *row)
        if job.state.terminal:
            return job
        try:
            job = _dispatched(job, _marked(db, job_id))
            for event in _events(db, job_id, after=job.last_seq, limit=-1):
                job = apply(job, event)
        except _UNREADABLE as error:
            raise self._damaged(db, job_id) from error
        return job

    def get_if_whole(self, db: sqlite3.Connection, job_id: str) -> Job | None:
        """Return a job; None, too, if its record is damaged, so that it keeps no other from its end."""
        with suppress(RecordDamaged):
            return self.get(db, job_id)
        return None

    def page(self, db: sqlite3.Connection, wanted: Filter) -> tuple[list[Job], str | None]:
        """Return the jobs of a page that can be read, and where to go on if some could not and more may come."""
        query, values = list_query(wanted)
        rows = db.execute(query, values).fetchall()
        jobs: list[Job] = []
        for row in rows:
            with suppress(RecordDamaged):
                jobs.append(self._read(db, *row))
        return jobs, rows[-1][0] if len(jobs) < len(rows) == wanted.limit else None

    def events(self, db: sqlite3.Connection, job_id: str, *, after: int, limit: int) -> list[Numbered]:
        """Return up to `limit` events with a number over `after`, in order. Raises RecordDamaged."""
        try:
            return list(_events(db, job_id, after=after, limit=limit))
        except _UNREADABLE as error:
            raise self._damaged(db, job_id) from error

    def name(self, job_id: str) -> None:
        """Tell the log that a record is damaged, once."""
        if job_id in self._named or len(self._named) > _MOST_NAMED:
            return
        self._named.add(job_id)
        if len(self._named) > _MOST_NAMED:
            _log.error("the records of more than %d jobs are damaged; the others are not named", _MOST_NAMED)
        else:
            _log.error("the record of job %s in the job database is damaged", job_id)

    def _read(self, db: sqlite3.Connection, job_id: str, principal: str, state: str, body: bytes) -> Job:
        job = _parsed(job_id, principal, state, body)
        if job is not None:
            return job
        self.name(job_id)
        job = _from_events(db, job_id, principal, state)
        if job is None and state == State.LOST:
            job = _of_columns(db, job_id, hosts_in=state)
        if job is None:
            raise RecordDamaged(principal)
        return job

    def _damaged(self, db: sqlite3.Connection, job_id: str) -> RecordDamaged:
        self.name(job_id)
        row = db.execute("SELECT principal FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return RecordDamaged(row[0] if row else "")


def lose(db: sqlite3.Connection, job_id: str, *, now: float, size: int) -> Job | None:
    """End a job without an end whose record is damaged, which has files of `size` bytes; None if there is none such."""
    row = db.execute(
        "SELECT principal, state, body FROM jobs WHERE id = ? AND finished_at IS NULL", (job_id,)
    ).fetchone()
    if row is None:
        return None
    known = _parsed(job_id, *row)
    db.execute("UPDATE jobs SET state = ?, size = ?, finished_at = ? WHERE id = ?", (State.LOST, size, now, job_id))
    if known is None:
        job = _of_columns(db, job_id, hosts_in=OPEN)
    else:
        job = _ended(known, now=now)
        db.execute("UPDATE jobs SET state = ?, body = ? WHERE id = ?", (job.state, JOB.dump_json(job), job_id))
    close_hosts(db, job)
    db.execute("DELETE FROM dispatched WHERE job = ?", (job_id,))
    return job


def close_hosts(db: sqlite3.Connection, job: Job) -> None:
    """Let lists by host find a job that has ended."""
    hosts = {(job.state, job.principal, run.host, job.command, OPEN, job.id) for run in job.runs}
    db.executemany(
        "UPDATE job_hosts SET state = ? WHERE principal = ? AND host = ? AND command = ? AND state = ? AND job = ?",
        hosts,
    )


def _parsed(job_id: str, principal: str, state: str, body: bytes) -> Job | None:
    """Read the job that a row holds; None if that is not what its columns say."""
    try:
        job = JOB.validate_json(body)
        agrees = (job.id, job.principal, job.state.terminal) == (job_id, principal, State(state).terminal)
    except _UNREADABLE:
        return None
    return job if agrees and job.runs else None


def _events(db: sqlite3.Connection, job_id: str, *, after: int, limit: int) -> Iterator[Numbered]:
    rows = db.execute(
        "SELECT seq, kind, body FROM events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?", (job_id, after, limit)
    )
    for number, (seq, kind, body) in enumerate(rows, after + 1):
        event = KINDS[kind].validate_json(body)
        if not number == seq == event.seq:
            raise ValueError("an event is missing, or is not the one that belongs there")
        yield event


def _marked(db: sqlite3.Connection, job_id: str) -> list[int]:
    return [run for (run,) in db.execute("SELECT run FROM dispatched WHERE job = ?", (job_id,))]


def _from_events(db: sqlite3.Connection, job_id: str, principal: str, state: str) -> Job | None:
    """Return the job as its events alone say, which have to lead to the state of its column; None if they do not."""
    if db.execute("SELECT 1 FROM jobs WHERE id = ? AND whole = 1", (job_id,)).fetchone() is None:
        return None
    try:
        job = _retold(_events(db, job_id, after=0, limit=-1))
        marked = [0] if len(job.runs) == 1 and state == State.RUNNING else _marked(db, job_id)
        job = _dispatched(job, marked)
    except _UNREADABLE:
        return None
    return job if (job.id, job.principal, job.state) == (job_id, principal, state) else None


def _retold(events: Iterable[Numbered]) -> Job:
    """Apply a job's events from the first on. That a run may start has none: it follows from the run's next one."""
    job: Job | None = None
    for event in events:
        if job is not None and isinstance(event, Started | Output | RunEnded):
            job = _dispatched(job, [event.run])
        job = apply(job, event)
    if job is None:
        raise ValueError("there are no events")
    return job


def _dispatched(job: Job, runs: Iterable[int]) -> Job:
    for run in runs:
        if not job.state.terminal and job.runs[run].state is State.QUEUED:
            job = apply(job, Dispatched(ts=job.created_at, run=run))
    return job


def _of_columns(db: sqlite3.Connection, job_id: str, *, hosts_in: str) -> Job:
    """Return a lost job as far as the columns of its row tell. `hosts_in` is the state in which `job_hosts` has it."""
    principal, command, created_at, finished_at = db.execute(
        "SELECT principal, command, created_at, finished_at FROM jobs WHERE id = ?", (job_id,)
    ).fetchone()
    hosts = [host for (host,) in db.execute(_HOSTS, (principal, command, hosts_in, job_id))]
    job = Job(
        id=job_id,
        command=command,
        principal=principal,
        credential="",
        created_at=created_at,
        policy="",
        params={},
        labels=(),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=tuple(Run(host=host) for host in hosts or [""]),
    )
    return replace(_ended(job, now=finished_at), state=State.LOST)


def _ended(job: Job, *, now: float) -> Job:
    """Return the job with each run lost that has no end; its events and what it printed are not told any more."""
    runs = tuple(
        run if run.state.terminal else replace(run, state=State.LOST, finished_at=now, error=_LOST, truncated=True)
        for run in job.runs
    )
    return replace(job, state=verdict(runs), finished_at=now, runs=runs, output_kept=False)
