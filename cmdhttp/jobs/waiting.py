"""What was asked of a job that waits, kept on disk for as long as it waits, so that the next life of the service can run it.

The row comes with the acceptance and goes in the commit that marks the first run or ends the job. A call that holds a secret
is never kept, and neither is one that is large: if the service dies while such a job waits, nothing of it runs.
"""

import base64
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from cmdhttp.execution.model import Order
from cmdhttp.jobs.state import Job
from cmdhttp.plan.digest import plan_digest
from cmdhttp.plan.model import Plan

LONGEST = 64 << 10
"""Bytes that a kept order may take."""

TABLE = "CREATE TABLE IF NOT EXISTS waiting (place INTEGER PRIMARY KEY, job TEXT NOT NULL UNIQUE, body BLOB NOT NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What was asked, and the digest of the plan that it gave: what runs later must be that plan.

    `stdin` is base64; `timeout` in seconds is the caller's wish. `job` is empty in what an older program has kept.
    """

    principal: str
    command: str
    params: Mapping[str, object] = field(repr=False)
    hosts: tuple[str, ...]
    stdin: str | None = field(default=None, repr=False)
    timeout: float | None = None
    plan: str
    job: str = ""

    @property
    def stdin_bytes(self) -> bytes | None:
        return None if self.stdin is None else base64.b64decode(self.stdin)

    def belongs_to(self, job: Job) -> bool:
        """Whether it is what was asked of this job: a row that is damaged may hold another's."""
        return (self.job or job.id, self.principal, self.command) == (job.id, job.principal, job.command)


def kept_order(job: Job, order: Order, plan: Plan) -> bytes | None:
    """Return what to keep of a job's call while it waits, or None if it may not be written down or is too large."""
    stdin = plan.steps[0].stdin
    if any(step.masks for step in plan.steps) or len(stdin or b"") > LONGEST:
        return None
    kept = Waiting(
        principal=order.principal,
        command=order.command,
        params=order.params,
        hosts=tuple(step.host for step in plan.steps),
        stdin=None if stdin is None else base64.b64encode(stdin).decode(),
        timeout=order.timeout,
        plan=plan_digest(plan),
        job=job.id,
    )
    body = json.dumps(asdict(kept), separators=(",", ":")).encode()
    return body if len(body) <= LONGEST else None


def keep(db: sqlite3.Connection, job_id: str, body: bytes) -> None:
    """Put a job at the end of the queue on disk."""
    db.execute("INSERT INTO waiting (job, body) VALUES (?, ?)", (job_id, body))


def drop(db: sqlite3.Connection, job_id: str) -> None:
    """The job waits no more."""
    db.execute("DELETE FROM waiting WHERE job = ?", (job_id,))


def in_order(db: sqlite3.Connection) -> Iterator[tuple[str, Waiting]]:
    """Yield the jobs that wait, in the order of their coming, whatever the clock said then. One that is damaged is left out."""
    for job_id, body in db.execute("SELECT job, body FROM waiting ORDER BY place"):
        with suppress(ValueError, TypeError, KeyError):
            told = json.loads(body)
            yield job_id, Waiting(**{**told, "hosts": tuple(told["hosts"])})
