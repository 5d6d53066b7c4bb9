"""Makes a small job database with the program as it was, to be kept for the tests of later versions.

    git archive COMMIT cmdhttp | tar -x -C /tmp/old
    PYTHONPATH=/tmp/old python tests/data/make_journal.py tests/data/journal-v1.sqlite

Version 1: the last commit before d622740. Version 2: cde2a25.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from cmdhttp.execution.model import Stream
from cmdhttp.ids import job_id
from cmdhttp.jobs.journal import Chunk, IdempotencyKey, Journal
from cmdhttp.jobs.state import (
    Accepted,
    Dispatched,
    Event,
    Finished,
    Job,
    OnDisconnect,
    Output,
    Run,
    RunEnded,
    Started,
    State,
    Tally,
    apply,
)

SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def new_job(number: int, *hosts: str) -> Job:
    at = 1_790_000_000.0 + number
    return Job(
        id=job_id(unix_ms=int(at * 1000), entropy=bytes(10)),
        command="service.status",
        principal="ann",
        credential="key",
        created_at=at,
        policy="sha256:0",
        params={"unit": "nginx é"},
        labels=("story-42",),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=tuple(Run(host=host) for host in hosts),
    )


async def make(folder: Path) -> None:
    journal = Journal(folder)

    async def accept(job: Job, key: IdempotencyKey | None = None) -> Job:
        accepted = Accepted(seq=1, ts=job.created_at, job=job)
        after = apply(None, accepted)
        await journal.accept(accepted, after, key=key, on_commit=lambda: None)
        return after

    async def add(job: Job, event: Event, chunk: Chunk | None = None) -> Job:
        after = apply(job, event)
        await journal.append(after, event, chunk=chunk)
        return after

    async def run(job: Job, index: int) -> Job:
        at, host = job.created_at + 1, job.runs[index].host
        job = await add(job, Dispatched(ts=at, run=index))
        job = await add(job, Started(seq=job.last_seq + 1, ts=at, run=index, host=host, argv=("/bin/echo", "abc")))
        out = Output(seq=job.last_seq + 1, ts=at, run=index, host=host, stream=Stream.STDOUT, offset=0, size=3)
        job = await add(job, out, Chunk(run=index, stream=Stream.STDOUT, offset=0, data=b"abc"))
        text = Tally(size=3, sha256=SHA256)
        end = RunEnded(
            seq=job.last_seq + 1, ts=at, run=index, host=host, state=State.SUCCEEDED, exit_code=0, stdout=text
        )
        job = await add(job, end)
        await journal.close_output(job.id, index)
        return job

    done = await run(await accept(new_job(1, "local"), IdempotencyKey(principal="ann", key="k", digest="d")), 0)
    await add(done, Finished(seq=done.last_seq + 1, ts=done.created_at + 2, duration=2.0))
    several = await run(await run(await accept(new_job(2, "web-1", "web-2")), 0), 1)
    await add(several, Finished(seq=several.last_seq + 1, ts=several.created_at + 2, duration=2.0))
    cut_off = await add(await accept(new_job(3, "local")), Dispatched(ts=1_790_000_004.0, run=0))
    await add(cut_off, Started(seq=2, ts=1_790_000_004.0, run=0, host="local", argv=("/bin/sleep", "9")))
    await accept(new_job(4, "web-1"))
    journal.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(Path(folder)))
        shutil.copy(Path(folder) / "jobs.sqlite3", sys.argv[1])


if __name__ == "__main__":
    main()
