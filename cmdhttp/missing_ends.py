"""The ends that a kill kept off the audit log: written at the next start, from what the journal says.

A job that was started on the log and is not in the journal was never told of: nothing of it has run.
"""

from pathlib import Path

import anyio
from anyio import to_thread

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tail import Tail, read_tail
from cmdhttp.errors import RecordDamaged
from cmdhttp.jobs.journal import Journal
from cmdhttp.records import end_record

_MARGIN = 30.0
"""Seconds before the last record from which on an end may be missing."""


async def record_missing_ends(path: Path, journal: Journal, audit: AuditLog) -> int:
    """Write what is missing; returns how many records that were. To be called before anything else is written.

    Raises OSError if the log cannot be read or written.
    """
    tail = await to_thread.run_sync(read_tail, path)
    if tail.last is None:
        return 0
    suspects = dict.fromkeys([*tail.open, *await journal.ended_since(tail.last - _MARGIN)])
    missing = [job_id for job_id in suspects if job_id not in tail.closed]
    written: list[str] = []

    async def write(job_id: str) -> None:
        if await _write(job_id, tail, journal, audit):
            written.append(job_id)

    async with anyio.create_task_group() as group:
        for job_id in missing:
            group.start_soon(write, job_id)
    return len(written)


async def _write(job_id: str, tail: Tail, journal: Journal, audit: AuditLog) -> bool:
    try:
        job = await journal.get(job_id)
    except RecordDamaged:  # how it ended is not known, and the journal's log line says so
        return False
    if job is None:
        if job_id in tail.open:
            await audit.write(Code.JOB_REFUSED, {"job": job_id, "principal": tail.open[job_id]}, urgent=False)
        return job_id in tail.open
    if job.state.terminal:
        await audit.write(Code.JOB_ENDED, end_record(job), urgent=False)
    return job.state.terminal
