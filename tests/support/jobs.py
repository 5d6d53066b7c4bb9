"""Jobs as they are when they have been accepted, for tests that need one and do not care what it is."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cmdhttp.jobs.state import Job, OnDisconnect, Run

_JOB = Job(
    id="job_1",
    command="c",
    principal="p",
    credential="k",
    created_at=1.0,
    policy="sha256:0",
    params={},
    labels=(),
    reason="",
    on_disconnect=OnDisconnect.CONTINUE,
    max_parallel=1,
    runs=(),
)


def new_job(job_id: str = "job_1", *, hosts: Iterable[str] = ("h",), **changes: Any) -> Job:
    """Return a job with a run for each host; `changes` are fields of it."""
    return replace(_JOB, id=job_id, runs=tuple(Run(host=host) for host in hosts), **changes)
