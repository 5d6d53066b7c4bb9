"""A data folder as a kill leaves it: `python -m benchmarks.jobs.unfinished FOLDER COUNT` has so many jobs under way, and is gone.

Each has its mark, its start and a line of output on disk, as the service writes them; then the process ends without a word.
"""

import asyncio
import os
import sys
from pathlib import Path

from cmdhttp.execution.model import Stream
from cmdhttp.ids import job_id
from cmdhttp.jobs.journal import Chunk, Journal
from cmdhttp.jobs.state import Accepted, Dispatched, Job, OnDisconnect, Output, Run, Started, apply

_LINE = b"a line of output\n"


async def _under_way(journal: Journal, number: int) -> None:
    job = Job(
        id=job_id(unix_ms=1_800_000_000_000 + number, entropy=bytes(10)),
        command="sleep",
        principal="bench",
        credential="x",
        created_at=1_800_000_000.0 + number / 1000,
        policy="sha256:0",
        params={"seconds": 600},
        labels=(),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=(Run(host="local"),),
    )
    accepted = Accepted(seq=1, ts=job.created_at, job=job)
    job = apply(apply(None, accepted), Dispatched(ts=job.created_at, run=0))
    await journal.accept(accepted, job, key=None, on_commit=lambda: None)
    started = Started(seq=2, ts=job.created_at, run=0, host="local", argv=("/bin/sleep", "600"), pid=1)
    output = Output(seq=3, ts=job.created_at, run=0, host="local", stream=Stream.STDOUT, offset=0, size=len(_LINE))
    journal.append(apply(job, started), started)
    chunk = Chunk(run=0, stream=Stream.STDOUT, offset=0, data=_LINE)
    await journal.append(apply(apply(job, started), output), output, chunk=chunk)


async def _all(folder: Path, count: int) -> None:
    journal = Journal(folder)
    await asyncio.gather(*(_under_way(journal, number) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(_all(Path(sys.argv[1]), int(sys.argv[2])))
    os._exit(0)
