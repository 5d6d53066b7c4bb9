"""A data folder with any number of finished jobs, made fast: rows as the journal writes them, without the runs.

The jobs are spread over some principals, commands and hosts. One in a thousand failed and one in 50,000 was lost; one host
and one command are rare. So there is something to find that is hardly ever there.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cmdhttp.ids import job_id
from cmdhttp.jobs.database import open_database
from cmdhttp.jobs.journal import DATABASE
from cmdhttp.jobs.rows import JOB
from cmdhttp.jobs.state import Job, OnDisconnect, Receipt, Run, State, Tally

PRINCIPALS, COMMANDS, HOSTS = 3, 20, 40
RARE = "rare"
_BATCH = 5000


def principal(number: int) -> str:
    return f"automation-{number % PRINCIPALS}"


def fill(folder: Path, *, jobs: int, newest: float, apart: float = 1.0) -> list[str]:
    """Make `jobs` finished jobs, `apart` seconds from each other, the last at `newest`; returns some ids, oldest first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    some: list[str] = []
    with closing(open_database(folder / DATABASE)) as db:
        db.execute("PRAGMA synchronous=OFF")
        for start in range(0, jobs, _BATCH):
            made = list(_jobs(range(start, min(start + _BATCH, jobs)), total=jobs, newest=newest, apart=apart))
            db.execute("BEGIN")
            _insert(db, made)
            db.execute("COMMIT")
            some += [job.id for job in made[:: max(_BATCH // 10, 1)]]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return some


def _jobs(numbers: range, *, total: int, newest: float, apart: float) -> Iterator[Job]:
    for number in numbers:
        at = newest - (total - 1 - number) * apart
        yield _job(number, at)


def _job(number: int, at: float) -> Job:
    state = State.LOST if number % 50_000 == 7 else State.FAILED if number % 1000 == 3 else State.SUCCEEDED  # noqa: PLR2004 - any remainder
    host = RARE if number % 100_000 == 11 else f"web-{number % HOSTS}"  # noqa: PLR2004 - likewise
    command = RARE if number % 100_000 == 13 else f"service.status-{number % COMMANDS}"  # noqa: PLR2004 - likewise
    text = Tally(size=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    run = Run(
        host=host,
        state=state,
        started_at=at + 0.001,
        finished_at=at + 0.01,
        duration=0.009,
        exit_code=0 if state is State.SUCCEEDED else 1,
        stdout=text,
        stderr=text,
    )
    return Job(
        id=job_id(unix_ms=int(at * 1000), entropy=number.to_bytes(10, "big")),
        command=command,
        principal=principal(number),
        credential="tok_0123456789",
        created_at=at,
        policy="sha256:" + "0" * 64,
        params={"path": "/var/log", "unit": "nginx"},
        labels=("story-42",),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=(run,),
        state=state,
        started_at=at + 0.001,
        finished_at=at + 0.01,
        duration=0.01,
        last_seq=4,
        receipt=Receipt(seq=number + 1, head="0" * 64),
    )


def _insert(db: sqlite3.Connection, jobs: list[Job]) -> None:
    rows = [(job, JOB.dump_json(job)) for job in jobs]
    db.executemany(
        "INSERT INTO jobs (id, principal, command, state, created_at, finished_at, runs, size, body)"
        " VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?)",
        [(job.id, job.principal, job.command, job.state, job.created_at, job.finished_at, body) for job, body in rows],
    )
    db.executemany(
        "INSERT INTO job_hosts VALUES (?, ?, ?, ?, ?)",
        [(job.principal, job.runs[0].host, job.command, job.state, job.id) for job in jobs],
    )
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", (row for job, body in rows for row in _events(job, body)))
    db.execute("UPDATE kept SET jobs = jobs + ?", (len(jobs),))


def _events(job: Job, body: bytes) -> Iterator[tuple[str, int, str, bytes]]:
    """Four events, as large as real ones."""
    run = job.runs[0]
    head = {"ts": job.created_at, "run": 0, "host": run.host}
    ended = {
        **head,
        "seq": 3,
        "state": run.state,
        "exit_code": run.exit_code,
        "stdout": {"size": 0},
        "stderr": {"size": 0},
    }
    yield job.id, 1, "Accepted", b'{"seq":1,"ts":%f,"job":%s}' % (job.created_at, body)
    yield (
        job.id,
        2,
        "Started",
        json.dumps({**head, "seq": 2, "argv": ["/usr/bin/systemctl", "status", "nginx"]}).encode(),
    )
    yield job.id, 3, "RunEnded", json.dumps(ended).encode()
    yield job.id, 4, "Finished", json.dumps({"seq": 4, "ts": job.finished_at, "duration": job.duration}).encode()
