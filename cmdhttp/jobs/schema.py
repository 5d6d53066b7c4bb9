"""The tables of the job database, and the way from every older version to them.

`STEPS[n]` leads from version n to n + 1; a new database takes them all. All steps that are due are one transaction, so a
crash in the middle leaves the old version as it was. A step is never changed once it is released: a new one follows it.

`jobs` and `events` have rowids, so that a row of some 1000 bytes needs no page of its own. A job is found in a list by one of two
indexes and `job_hosts`, whose keys end with the job's id; ids sort by time. `kept` counts the finished jobs and their bytes, by
triggers, so that nothing ever has to count them. `pruned` names the jobs whose files and events are still to be removed.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cmdhttp import __version__
from cmdhttp.jobs import waiting
from cmdhttp.jobs.seal import read_seal

BLOCK = 4096
"""Bytes in which a disk gives room to a file."""

Step = Callable[[sqlite3.Connection], None]

_FIRST = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, principal TEXT NOT NULL, command TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, body BLOB NOT NULL) WITHOUT ROWID

CREATE INDEX jobs_principal ON jobs (principal, id)

CREATE INDEX jobs_open ON jobs (id) WHERE state IN ('queued', 'running')

CREATE TABLE job_hosts (host TEXT NOT NULL, job TEXT NOT NULL, PRIMARY KEY (host, job)) WITHOUT ROWID

CREATE TABLE events (
    job TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (job, seq)) WITHOUT ROWID

CREATE TABLE idempotency (
    principal TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, job TEXT NOT NULL,
    PRIMARY KEY (principal, key)) WITHOUT ROWID
"""

_DISPATCHED = """
CREATE TABLE dispatched (job TEXT NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (job, run)) WITHOUT ROWID
"""

_RATES = "CREATE TABLE rates (name TEXT PRIMARY KEY, debt REAL NOT NULL, at REAL NOT NULL) WITHOUT ROWID"

_RETENTION = """
DROP INDEX jobs_principal

DROP INDEX jobs_open

ALTER TABLE jobs RENAME TO old_jobs

ALTER TABLE job_hosts RENAME TO old_job_hosts

ALTER TABLE events RENAME TO old_events

CREATE TABLE jobs (
    id TEXT PRIMARY KEY, principal TEXT NOT NULL, command TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, finished_at REAL, runs INTEGER NOT NULL, size INTEGER NOT NULL DEFAULT 0,
    whole INTEGER NOT NULL DEFAULT 1, body BLOB NOT NULL)

CREATE TABLE events (
    job TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (job, seq))

CREATE TABLE job_hosts (
    principal TEXT NOT NULL, host TEXT NOT NULL, command TEXT NOT NULL, state TEXT NOT NULL, job TEXT NOT NULL,
    PRIMARY KEY (principal, host, command, state, job)) WITHOUT ROWID

CREATE TABLE pruned (job TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID

CREATE TABLE kept (one INTEGER PRIMARY KEY CHECK (one = 1), jobs INTEGER NOT NULL, bytes INTEGER NOT NULL)

CREATE TABLE written_by (one INTEGER PRIMARY KEY CHECK (one = 1), program TEXT NOT NULL)

INSERT INTO jobs
    SELECT id, principal, command, state, created_at, job_finished_at(body), job_runs(body), job_size(body), 1, body
    FROM old_jobs ORDER BY id

INSERT INTO events SELECT job, seq, kind, body FROM old_events ORDER BY job, seq

INSERT INTO job_hosts
    SELECT jobs.principal, old.host, jobs.command, iif(jobs.finished_at IS NULL, '', jobs.state), old.job
    FROM old_job_hosts AS old JOIN jobs ON jobs.id = old.job

INSERT INTO kept SELECT 1, count(*), coalesce(sum(size), 0) FROM jobs WHERE finished_at IS NOT NULL

DROP TABLE old_jobs

DROP TABLE old_job_hosts

DROP TABLE old_events

CREATE INDEX jobs_state ON jobs (principal, state, id)

CREATE INDEX jobs_command ON jobs (principal, command, state, id)

CREATE INDEX jobs_open ON jobs (id) WHERE state IN ('queued', 'running')

CREATE INDEX jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL

CREATE INDEX job_hosts_state ON job_hosts (principal, host, state, job)

CREATE INDEX idempotency_job ON idempotency (job)

CREATE TRIGGER job_finished AFTER UPDATE OF finished_at ON jobs
    WHEN old.finished_at IS NULL AND new.finished_at IS NOT NULL
    BEGIN UPDATE kept SET jobs = jobs + 1, bytes = bytes + new.size; END

CREATE TRIGGER job_emptied AFTER UPDATE OF size ON jobs WHEN old.finished_at IS NOT NULL
    BEGIN UPDATE kept SET bytes = bytes + new.size - old.size; END

CREATE TRIGGER job_removed AFTER DELETE ON jobs WHEN old.finished_at IS NOT NULL
    BEGIN UPDATE kept SET jobs = jobs - 1, bytes = bytes - old.size; END
"""


def _run_all(db: sqlite3.Connection, statements: str) -> None:
    """Run statements that stand apart by an empty line, in the transaction that is open."""
    for statement in statements.split("\n\n"):
        db.execute(statement)


def first(db: sqlite3.Connection) -> None:
    """Version 1."""
    _run_all(db, _FIRST)


def with_dispatched(db: sqlite3.Connection) -> None:
    """Version 2: the runs of a job on several hosts that may have started."""
    _run_all(db, _DISPATCHED)


def with_retention(db: sqlite3.Connection) -> None:
    """Version 3: what lists and the removal of old jobs need; small rows stand together."""
    for name, function in (("job_finished_at", _finished_at), ("job_runs", _runs), ("job_size", _size)):
        db.create_function(name, 1, function, deterministic=True)
    _run_all(db, _RETENTION)


def with_waiting(db: sqlite3.Connection) -> None:
    """Version 4: what was asked of jobs that wait; and a sum of a request can be told from no guess of it any more."""
    db.execute(waiting.TABLE)
    seal = read_seal(Path(db.execute("PRAGMA database_list").fetchone()[2]).parent)
    db.create_function("sealed", 1, seal.of, deterministic=True)
    db.execute("UPDATE idempotency SET digest = sealed(digest)")


def with_rates(db: sqlite3.Connection) -> None:
    """Version 5: what is missing from the rates of the policy."""
    db.execute(_RATES)


STEPS: tuple[Step, ...] = (first, with_dispatched, with_retention, with_waiting, with_rates)


def blocks(size: int) -> int:
    """Return the bytes that a file of `size` bytes takes on a disk."""
    return -(-size // BLOCK) * BLOCK


def newer(db: sqlite3.Connection) -> str:
    """Return which program has written a database of a version that this one does not know, as far as it says."""
    with suppress(sqlite3.Error):
        row = db.execute("SELECT program FROM written_by").fetchone()
        if row and isinstance(row[0], str):
            return f"cmdhttp {row[0][:40]}"
    return "a newer cmdhttp"


def sign(db: sqlite3.Connection) -> None:
    """Say which program has written the database last, for one that may not know its version. A new name alone is written."""
    db.execute(
        "INSERT OR REPLACE INTO written_by SELECT 1, ?1 WHERE ?1 NOT IN (SELECT program FROM written_by)",
        (__version__,),
    )


def _finished_at(body: bytes) -> float | None:
    job = json.loads(body)
    ended = job["state"] not in ("queued", "running")
    return float(job["finished_at"] or job["created_at"]) if ended else None


def _runs(body: bytes) -> int:
    return len(json.loads(body)["runs"])


def _size(body: bytes) -> int:
    total = 0
    for run in json.loads(body)["runs"]:
        files = (run.get("kept") or {}).get("artefacts", ())
        total += sum(blocks(file["size"]) for file in (run["stdout"], run["stderr"], *files))
    return total
