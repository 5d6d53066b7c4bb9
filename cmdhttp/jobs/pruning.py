"""What is removed, and the steps of removing it. Synchronous: the service and the command line take the same steps.

    mark     one synced commit: the job's row goes, and `pruned` names its files. From here on the job is not there.
    files    output and artefacts are removed; to remove them twice is no error
    clear    its events go, some at a time, and then the name in `pruned`

So a crash at any point leaves no job whose files are gone without its saying so, and no file that nobody names: what
`pruned` names is taken up again. A job that was called with an idempotency key and is younger than a day keeps its row, so
that a replay still finds it; it says of itself that its output is no longer kept. Only jobs that have ended are looked at,
the oldest end first.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from cmdhttp.ids import is_job_id
from cmdhttp.jobs.artefacts import ArtefactStore
from cmdhttp.jobs.output_log import OutputLog
from cmdhttp.jobs.rows import JOB
from cmdhttp.jobs.state import Job

KEY_SECONDS = 86_400.0
"""How long an idempotency key leads to its job, whatever the limits are."""

_DAY = 86_400.0
_SLICE_JOBS, _SLICE_RUNS = 32, 200
_SLICE_EVENTS = 250


class Why(StrEnum):
    AGE = "age"
    COUNT = "count"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be kept of finished jobs; 0 is no limit. `bytes` are those of output, artefacts and the database together."""

    days: float
    jobs: int
    bytes: int


def limits_on(disk: int, *, days: float, jobs: int, most: int) -> Limits:
    """Return the limits on a disk of so many bytes: a limit of bytes is never over half of it."""
    return Limits(days=days, jobs=jobs, bytes=min(most, disk // 2) if disk else most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is there: finished jobs, the bytes of their files, and those of the database that are in use."""

    jobs: int
    files: int
    database: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A job that a limit asks to remove. `size` is what its files take; a `keyed` one keeps its row."""

    id: str
    finished_at: float
    runs: int
    size: int
    why: Why
    keyed: bool


@dataclass(slots=True, kw_only=True)
class Removed:
    """What was removed: jobs by the limit that they were over, and files without a job. Times are Unix seconds.

    `emptied` is how many of the jobs keep their row.
    """

    jobs: Counter[Why] = field(default_factory=Counter)
    emptied: int = 0
    bytes: int = 0
    orphans: int = 0
    oldest: float | None = None
    newest: float | None = None

    def add(self, victims: Sequence[Victim]) -> None:
        for victim in victims:
            self.jobs[victim.why] += 1
            self.emptied += victim.keyed
            self.bytes += victim.size
            self.oldest = victim.finished_at if self.oldest is None else self.oldest
            self.newest = victim.finished_at

    def clear(self) -> None:
        self.jobs.clear()
        self.emptied = self.bytes = self.orphans = 0
        self.oldest = self.newest = None

    @property
    def total(self) -> int:
        return sum(self.jobs.values())


Place = tuple[float, str, int]
"""Where a search goes on: the end and the id of the job before, and how many of those passed keep their row for a key."""

START: Place = (float("-inf"), "", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Some victims, and where the search goes on; None: there are no more."""

    victims: tuple[Victim, ...]
    after: Place | None


def stored(db: sqlite3.Connection) -> Stored:
    jobs, files = db.execute("SELECT jobs, bytes FROM kept").fetchone()
    pages, free, page = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return Stored(jobs=jobs, files=int(files), database=(pages - free) * page)


def find(db: sqlite3.Connection, *, limits: Limits, now: float, after: Place, gone: Stored | None = None) -> Found:
    """Return the next few jobs that are over the limits.

    One that keeps its row for a key counts as gone: else a newer job would lose its output for nothing. `gone` is what is
    removed already and still there, for a search that removes nothing.
    """
    there = stored(db)
    each = there.database // there.jobs if there.jobs else 0
    finished_before, id_before, emptied = after
    jobs = there.jobs - emptied - (gone.jobs if gone else 0)
    taken = there.files + there.database - (gone.files + gone.jobs * each if gone else 0)
    victims: list[Victim] = []
    runs = 0
    rows = db.execute(
        "SELECT finished_at, id, runs, size, whole, created_at FROM jobs INDEXED BY jobs_finished"
        " WHERE finished_at IS NOT NULL AND (finished_at, id) > (?, ?) ORDER BY finished_at, id LIMIT ?",
        (finished_before, id_before, _SLICE_JOBS),
    ).fetchall()
    for finished_at, job, job_runs, size, whole, created_at in rows:
        why = _over(limits, age=now - finished_at, jobs=jobs, taken=taken)
        if why is None:
            return Found(victims=tuple(victims), after=None)
        if victims and runs + job_runs > _SLICE_RUNS:
            return Found(victims=tuple(victims), after=after)
        keyed = _has_young_key(db, job, created_at=created_at, now=now)
        jobs, emptied = jobs - 1, emptied + keyed
        after = (finished_at, job, emptied)
        if keyed and not whole:
            continue
        victims.append(Victim(id=job, finished_at=finished_at, runs=job_runs, size=size, why=why, keyed=keyed))
        runs += job_runs
        taken -= size + each
    return Found(victims=tuple(victims), after=after if len(rows) == _SLICE_JOBS else None)


def mark(db: sqlite3.Connection, victims: Sequence[Victim], *, now: float) -> list[Victim]:
    """Take the jobs away from all who look for them. Returns those that were there."""
    return [victim for victim in victims if _mark(db, victim.id, now=now)]


def remove_files(output: OutputLog, artefacts: ArtefactStore, job: str, runs: int) -> None:
    """Remove what is named in `pruned`. Raises OSError."""
    output.drop(job, runs)
    artefacts.drop_all(job)


def marked(db: sqlite3.Connection, *, after: str = "") -> list[tuple[str, int]]:
    """Return some jobs that are marked and not cleared, with the number of their runs, by id from one on."""
    return db.execute(
        "SELECT job, runs FROM pruned WHERE job > ? ORDER BY job LIMIT ?", (after, _SLICE_JOBS)
    ).fetchall()


def clear(db: sqlite3.Connection, jobs: Sequence[str]) -> bool:
    """Remove some events of jobs whose files are gone, and the names of those that have none left. True: all are done."""
    left = _SLICE_EVENTS
    for job in jobs:
        left -= db.execute(
            "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE job = ? LIMIT ?)", (job, left)
        ).rowcount
        if left <= 0:
            return False
        db.execute("DELETE FROM pruned WHERE job = ?", (job,))
    return True


def give_back(db: sqlite3.Connection, *, pages: int, spare: int) -> bool:
    """Give some free pages of the database back to the disk, if over `spare` are free. True: there may be more."""
    free = int(db.execute("PRAGMA freelist_count").fetchone()[0])
    if free <= spare:
        return False
    for _ in range(
        min(pages, free - spare)
    ):  # sqlite3 takes one step of a statement without columns, and a step is a page
        db.execute("PRAGMA incremental_vacuum(1)")
    return int(db.execute("PRAGMA freelist_count").fetchone()[0]) < free


def without_owner(db: sqlite3.Connection, owners: Sequence[str]) -> set[str]:
    """Return which of these job ids no row knows. What is no job id is not ours, and never returned."""
    return {
        owner
        for owner in set(owners)
        if is_job_id(owner)
        and db.execute(
            "SELECT 1 FROM jobs WHERE id = ?1 UNION ALL SELECT 1 FROM pruned WHERE job = ?1", (owner,)
        ).fetchone()
        is None
    }


def owner(path: Path) -> str:
    """Return the id of the job that a file of the output, or a folder of the artefacts, belongs to by its name."""
    return path.name.partition(".")[0]


def optimize(db: sqlite3.Connection) -> None:
    """Let SQLite look at what it knows of its tables, for a bounded time."""
    db.execute("PRAGMA analysis_limit=200")
    db.execute("PRAGMA optimize")


def _over(limits: Limits, *, age: float, jobs: int, taken: int) -> Why | None:
    if limits.days and age > limits.days * _DAY:
        return Why.AGE
    if limits.jobs and jobs > limits.jobs:
        return Why.COUNT
    if limits.bytes and taken > limits.bytes:
        return Why.BYTES
    return None


def _has_young_key(db: sqlite3.Connection, job: str, *, created_at: float, now: float) -> bool:
    if now - created_at > KEY_SECONDS:
        return False
    return db.execute("SELECT 1 FROM idempotency WHERE job = ?", (job,)).fetchone() is not None


def _mark(db: sqlite3.Connection, job: str, *, now: float) -> bool:
    row = db.execute(
        "SELECT body, runs, created_at, whole FROM jobs WHERE id = ? AND finished_at IS NOT NULL", (job,)
    ).fetchone()
    if row is None:
        return False
    body, runs, created_at, whole = row
    kept = _readable(body)
    keyed = _has_young_key(db, job, created_at=created_at, now=now)
    if keyed and not (whole and kept):
        return False
    db.execute("INSERT OR REPLACE INTO pruned VALUES (?, ?)", (job, runs))
    if keyed and kept:
        emptied = JOB.dump_json(replace(kept, output_kept=False))
        db.execute("UPDATE jobs SET size = 0, whole = 0, body = ? WHERE id = ?", (emptied, job))
        return True
    db.execute("DELETE FROM jobs WHERE id = ?", (job,))
    _delete_hosts(db, job, kept)
    db.execute("DELETE FROM idempotency WHERE job = ?", (job,))
    return True


def _readable(body: bytes) -> Job | None:
    """Return the job of a row, or None if the row is damaged: that must not keep it, and all after it, for ever."""
    try:
        return JOB.validate_json(body)
    except ValueError:
        return None


def _delete_hosts(db: sqlite3.Connection, job: str, kept: Job | None) -> None:
    if kept is None:
        db.execute("DELETE FROM job_hosts WHERE job = ?", (job,))  # reads the whole table
        return
    db.executemany(
        "DELETE FROM job_hosts WHERE principal = ? AND host = ? AND command = ? AND state = ? AND job = ?",
        {(kept.principal, run.host, kept.command, kept.state, job) for run in kept.runs},
    )
