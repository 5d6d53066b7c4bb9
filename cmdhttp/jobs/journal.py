"""What is on disk: jobs, their numbered events, and idempotency keys, in SQLite; output bytes and artefacts, in files.

A job's row is a snapshot; the events after the snapshot's `last_seq` complete it, and for a job on several hosts the marks of
the runs that may have started since. A start and output do not rewrite the row, and where there are several runs only the
end does: what is written for one of them does not grow with their number. That a job was accepted and that a run may start
survive a power cut once they are told of. All else survives a kill of the service once it is told of, and a power cut a
moment later: a power cut in between makes a job `lost` that had ended, which costs the caller a look at the host, and never
makes anything run again. The tables are those of `schema`.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cmdhttp.execution.model import Stream
from cmdhttp.jobs import waiting
from cmdhttp.jobs.artefacts import ArtefactStore
from cmdhttp.jobs.database import Database, Queued
from cmdhttp.jobs.listing import OPEN, Filter
from cmdhttp.jobs.output_log import OutputLog
from cmdhttp.jobs.rates import Spent
from cmdhttp.jobs.room import Room
from cmdhttp.jobs.rows import JOB, KINDS, Rows, close_hosts, lose
from cmdhttp.jobs.schema import blocks
from cmdhttp.jobs.seal import read_seal
from cmdhttp.jobs.state import (
    Accepted,
    Dispatched,
    Event,
    Job,
    Numbered,
    Output,
    Progress,
    Started,
    State,
    Tally,
)
from cmdhttp.jobs.waiting import Waiting

_log = logging.getLogger("cmdhttp.jobs")

DATABASE = "jobs.sqlite3"
"""The file's name in the data folder."""

_MOST_ENDED = 100_000

_INSERT_EVENT = """
INSERT INTO events SELECT ?1, ?2, ?3, ?4 WHERE ?2 = 1 + coalesce((SELECT max(seq) FROM events WHERE job = ?1), 0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A caller's key, and the digest of what it was used for."""

    principal: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The key was used before: for which job, and whether for the same request."""

    job_id: str
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Bytes for the output log."""

    run: int
    stream: Stream
    offset: int
    data: bytes = field(repr=False)


class Journal:
    """The records of one data folder. Every method but `close` may be called on the event loop only."""

    def __init__(self, folder: Path, *, reserve: int = 0) -> None:
        """Open or create. Raises ConfigError if the folder's database cannot be used. `reserve`: bytes, see `Room`."""
        self.room = Room(folder, reserve=reserve)
        self.output = OutputLog(folder / "output")
        self.artefacts = ArtefactStore(folder / "artefacts")
        self._database = Database(folder / DATABASE)
        self._seal = read_seal(folder)
        self._rows = Rows()

    @property
    def database(self) -> Database:
        """For what works on the rows of many jobs."""
        return self._database

    async def accept(
        self,
        accepted: Accepted,
        job: Job,
        *,
        key: IdempotencyKey | None,
        order: bytes | None = None,
        spent: Iterable[Spent] = (),
        on_commit: Callable[[], None],
    ) -> Replay | None:
        """Keep a new job, unless its key was used before; then return for what, and keep nothing.

        `order` is what to keep of the call while the job waits, `spent` what it leaves of the rates.
        """
        sealed = None if key is None else self._sealed(key)

        def work(db: sqlite3.Connection) -> Replay | None:
            if sealed is not None and (replay := _replay(db, sealed)) is not None:
                return replay
            _insert_job(db, job)
            self._insert(db, job.id, accepted)
            if order is not None:
                waiting.keep(db, job.id, order)
            if sealed is not None:
                values = (sealed.principal, sealed.key, sealed.digest, job.id)
                db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?)", values)
            rows = [(each.name, each.debt, each.at) for each in spent]
            db.executemany("INSERT OR REPLACE INTO rates VALUES (?, ?, ?)", rows)
            return None

        replay = await self._database.write(work, durable=True)
        if replay is None:
            on_commit()
        return replay

    def append(
        self, job: Job, *events: Event, chunk: Chunk | None = None, on_commit: Callable[[], None] | None = None
    ) -> Queued[None]:
        """Queue events of a job, all or none, in order; `job` is the job after them, `chunk` the bytes of an output."""

        def work(db: sqlite3.Connection) -> None:
            for event in events:
                if isinstance(event, Dispatched):
                    _mark(db, job, event)
                    waiting.drop(db, job.id)
                else:
                    self._insert(db, job.id, event)
            if _changes_row(job, events):
                _update_job(db, job)
            if job.state.terminal:
                waiting.drop(db, job.id)
            if chunk is not None:
                self.output.append(job.id, chunk.run, chunk.stream, offset=chunk.offset, data=chunk.data)

        durable = any(isinstance(event, Dispatched) for event in events)
        return self._database.write(work, durable=durable, on_commit=on_commit)

    def close_output(self, job_id: str, run: int) -> Queued[tuple[Tally, Tally]]:
        """Queue the close of a run's output files, after all that was queued for them. Returns (stdout, stderr)."""
        return self._database.write(lambda _db: self.output.close(job_id, run), durable=False)

    async def measure(self, job_id: str, run: int) -> tuple[Tally, Tally]:
        """Return what the output files hold of a run that an earlier life of the service left."""
        out, err = Stream.STDOUT, Stream.STDERR
        return await self._database.read(
            lambda _db: (self.output.measure(job_id, run, out), self.output.measure(job_id, run, err))
        )

    async def replay(self, key: IdempotencyKey) -> Replay | None:
        """Return for what the key was used before, if it was."""
        sealed = self._sealed(key)
        return await self._database.read(lambda db: _replay(db, sealed))

    async def get(self, job_id: str) -> Job | None:
        """Return the job as its row and the events after it say. Raises RecordDamaged."""
        return await self._database.read(lambda db: self._rows.get(db, job_id))

    async def events(self, job_id: str, *, after: int, limit: int) -> list[Numbered]:
        """Return up to `limit` events with a number over `after`, in order."""
        return await self._database.read(lambda db: self._rows.events(db, job_id, after=after, limit=limit))

    async def next_event(self, job_id: str, *, after: int) -> tuple[Numbered, bytes] | None:
        """Return the event after a number, with the bytes that it names if it is an output."""

        def work(db: sqlite3.Connection) -> tuple[Numbered, bytes] | None:
            for event in self._rows.events(db, job_id, after=after, limit=1):
                if not isinstance(event, Output):
                    return event, b""
                stream = Stream(event.stream)
                return event, self.output.read(job_id, event.run, stream, offset=event.offset, size=event.size)
            return None

        return await self._database.read(work)

    async def read_output(self, job_id: str, run: int, stream: Stream, *, offset: int, size: int) -> bytes:
        return await self._database.read(lambda _db: self.output.read(job_id, run, stream, offset=offset, size=size))

    async def read_artefact(self, job_id: str, run: int, number: int, *, offset: int, size: int) -> bytes:
        return await self._database.read(lambda _db: self.artefacts.read(job_id, run, number, offset=offset, size=size))

    async def unfinished(self) -> tuple[list[Job], list[str]]:
        """Return every job without an end, oldest first, and the ids of those whose record is damaged."""

        def work(db: sqlite3.Connection) -> tuple[list[Job], list[str]]:
            rows = db.execute("SELECT id FROM jobs WHERE state IN ('queued', 'running') ORDER BY id").fetchall()
            found = {job_id: self._rows.get_if_whole(db, job_id) for (job_id,) in rows}
            return [job for job in found.values() if job], [job_id for job_id, job in found.items() if job is None]

        return await self._database.read(work)

    async def lose(self, job_id: str, *, now: float) -> Job | None:
        """Give a job without an end whose record is damaged its end; returns it, or None if there is none such."""

        def work(db: sqlite3.Connection) -> Job | None:
            waiting.drop(db, job_id)
            return lose(db, job_id, now=now, size=self._bytes_printed(db, job_id))

        return await self._database.write(work, durable=False)

    async def spent(self) -> list[Spent]:
        """Return what was kept of the rates, each as it was with the last job that it let in."""

        def work(db: sqlite3.Connection) -> list[Spent]:
            rows = db.execute("SELECT name, debt, at FROM rates").fetchall()
            return [Spent(name=name, debt=debt, at=at) for name, debt, at in rows]

        return await self._database.read(work)

    async def last_written(self) -> float | None:
        """Return when a job was last accepted or ended, in Unix seconds; None if that cannot be told."""
        queries = (
            "SELECT created_at FROM jobs ORDER BY id DESC LIMIT 1",
            "SELECT finished_at FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 1",
        )

        def work(db: sqlite3.Connection) -> float | None:
            rows = [row for query in queries for row in db.execute(query)]
            return max((float(row[0]) for row in rows), default=None)

        with suppress(sqlite3.Error, ValueError):  # a start that meets damage says so elsewhere
            return await self._database.read(work)
        return None

    async def ended_since(self, moment: float) -> list[str]:
        """Return the ids of the jobs that have ended since a time in Unix seconds."""
        query = "SELECT id FROM jobs WHERE finished_at >= ? ORDER BY finished_at LIMIT ?"
        return await self._database.read(lambda db: [row[0] for row in db.execute(query, (moment, _MOST_ENDED))])

    async def waiting(self) -> list[tuple[Job, Waiting]]:
        """Return every job that waits and of which it is kept what was asked, in the order of their coming."""

        def work(db: sqlite3.Connection) -> list[tuple[Job, Waiting]]:
            found = [(self._rows.get_if_whole(db, job_id), order) for job_id, order in waiting.in_order(db)]
            return [(job, order) for job, order in found if job is not None and order.belongs_to(job)]

        return await self._database.read(work)

    async def page(self, wanted: Filter) -> list[Job]:
        """Return a page of jobs, newest first. One whose record is damaged is left out, and others fill its place."""
        found: list[Job] = []
        while True:
            jobs, last = await self._database.read(partial(self._rows.page, wanted=wanted))
            found += jobs
            if last is None:
                return found
            wanted = replace(wanted, before=last, limit=wanted.limit - len(jobs))

    async def probe(self) -> None:
        """Raise if nothing can be written."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO idempotency VALUES ('', '', '', '')")

        await self._database.write(work, durable=True)

    def close(self) -> None:
        self._database.close()

    def _bytes_printed(self, db: sqlite3.Connection, job_id: str) -> int:
        """Return what the output of a job takes that nobody runs any more."""
        (runs,) = db.execute("SELECT runs FROM jobs WHERE id = ?", (job_id,)).fetchone() or (0,)
        return sum(blocks(self.output.measure(job_id, run, stream).size) for run in range(runs) for stream in Stream)

    def _sealed(self, key: IdempotencyKey) -> IdempotencyKey:
        return replace(key, digest=self._seal.of(key.digest))

    def _insert(self, db: sqlite3.Connection, job_id: str, event: Numbered) -> None:
        """Insert after the event before. Refuse one after an event that is missing: a gap in the numbers would never heal."""
        kind = type(event).__name__
        row = (job_id, event.seq, kind, KINDS[kind].dump_json(event))
        if db.execute(_INSERT_EVENT, row).rowcount == 0:
            last = db.execute("SELECT max(seq) FROM events WHERE job = ?", (job_id,)).fetchone()[0] or 0
            raise OSError(f"event {event.seq} cannot follow event {last}")


def _insert_job(db: sqlite3.Connection, job: Job) -> None:
    db.execute(
        "INSERT INTO jobs (id, principal, command, state, created_at, runs, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (job.id, job.principal, job.command, job.state, job.created_at, len(job.runs), JOB.dump_json(job)),
    )
    hosts = {(job.principal, run.host, job.command, OPEN, job.id) for run in job.runs}
    db.executemany("INSERT INTO job_hosts VALUES (?, ?, ?, ?, ?)", hosts)


def _update_job(db: sqlite3.Connection, job: Job) -> None:
    """Write a job's row, and at its end what lists and the removal of old jobs know of it."""
    if not job.state.terminal:
        db.execute("UPDATE jobs SET state = ?, body = ? WHERE id = ?", (job.state, JOB.dump_json(job), job.id))
        return
    finished = job.created_at if job.finished_at is None else job.finished_at
    db.execute(
        "UPDATE jobs SET state = ?, body = ?, size = ?, finished_at = ? WHERE id = ?",
        (job.state, JOB.dump_json(job), bytes_kept(job), finished, job.id),
    )
    close_hosts(db, job)
    if len(job.runs) > 1:
        db.execute("DELETE FROM dispatched WHERE job = ?", (job.id,))


def bytes_kept(job: Job) -> int:
    """Return the bytes on disk that the output and the artefacts of a job take."""
    files = [file for run in job.runs if run.kept for file in run.kept.artefacts]
    return sum(blocks(each.size) for run in job.runs for each in (run.stdout, run.stderr)) + sum(
        blocks(file.size) for file in files
    )


def _mark(db: sqlite3.Connection, job: Job, event: Dispatched) -> None:
    """Mark one run of several; a job's only run is marked in its row."""
    if len(job.runs) > 1:
        db.execute("INSERT OR REPLACE INTO dispatched VALUES (?, ?)", (job.id, event.run))
        db.execute("UPDATE jobs SET state = ? WHERE id = ? AND state = ?", (State.RUNNING, job.id, State.QUEUED))


def _changes_row(job: Job, events: Sequence[Event]) -> bool:
    if len(job.runs) > 1:
        return job.state.terminal
    return not all(isinstance(event, Started | Output | Progress) for event in events)


def _replay(db: sqlite3.Connection, key: IdempotencyKey) -> Replay | None:
    row = db.execute(
        "SELECT job, digest FROM idempotency WHERE principal = ? AND key = ?", (key.principal, key.key)
    ).fetchone()
    return Replay(job_id=row[0], same=row[1] == key.digest) if row else None
