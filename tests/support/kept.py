"""Finished jobs in a journal, with output and artefacts, and what is on disk of them."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cmdhttp.execution.model import Stream
from cmdhttp.ids import job_id
from cmdhttp.jobs.journal import Chunk, IdempotencyKey, Journal
from cmdhttp.jobs.state import (
    Accepted,
    Artefact,
    Dispatched,
    Event,
    Finished,
    Job,
    Kept,
    OnDisconnect,
    Output,
    Run,
    RunEnded,
    State,
    Tally,
    apply,
)

OUTPUT = b"abc"
SIZE = 2 * 4096
"""What the files of one run take."""


def new_job(number: int, *, at: float, hosts: tuple[str, ...] = ("h",)) -> Job:
    return Job(
        id=job_id(unix_ms=int(at * 1000), entropy=number.to_bytes(10, "big")),
        command="c",
        principal="ann",
        credential="k",
        created_at=at,
        policy="sha256:0",
        params={},
        labels=(),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=tuple(Run(host=host) for host in hosts),
        collects=True,
    )


async def accept(journal: Journal, job: Job, *, key: str | None = None) -> Job:
    accepted = Accepted(seq=1, ts=job.created_at, job=job)
    after = apply(None, accepted)
    used = IdempotencyKey(principal=job.principal, key=key, digest="d") if key else None
    if await journal.accept(accepted, after, key=used, on_commit=lambda: None) is not None:
        raise AssertionError("the key was used")
    return after


async def finish(journal: Journal, job: Job) -> Job:
    """Let every run print and leave a file, and end the job a second after it was made."""
    ends = job.created_at + 1

    async def add(event: Event, chunk: Chunk | None = None) -> None:
        nonlocal job
        job = apply(job, event)
        await journal.append(job, event, chunk=chunk)

    for index, run in enumerate(job.runs):
        await add(Dispatched(ts=ends, run=index))
        out = Output(
            seq=job.last_seq + 1, ts=ends, run=index, host=run.host, stream=Stream.STDOUT, offset=0, size=len(OUTPUT)
        )
        await add(out, Chunk(run=index, stream=Stream.STDOUT, offset=0, data=OUTPUT))
        source = os.memfd_create("artefact")
        os.write(source, OUTPUT)
        size, sha256 = journal.artefacts.keep(job.id, index, 0, descriptor=source, size=len(OUTPUT))
        os.close(source)
        stdout, _ = await journal.close_output(job.id, index)
        kept = Kept(artefacts=(Artefact(name="a", size=size, sha256=sha256),))
        ended = RunEnded(
            seq=job.last_seq + 1, ts=ends, run=index, host=run.host, state=State.SUCCEEDED, stdout=stdout, kept=kept
        )
        await add(replace(ended, stderr=Tally()))
    await add(Finished(seq=job.last_seq + 1, ts=ends, duration=1.0))
    return job


async def finished(journal: Journal, number: int, *, at: float, key: str | None = None, hosts: int = 1) -> Job:
    names = tuple(f"h{index}" for index in range(hosts))
    return await finish(journal, await accept(journal, new_job(number, at=at, hosts=names), key=key))


def files(folder: Path) -> set[str]:
    """Return the ids of the jobs that have a file in the data folder."""
    outputs = {path.name.partition(".")[0] for path in (folder / "output").glob("*/job_*")}
    return outputs | {path.name for path in (folder / "artefacts").glob("*/job_*")}


@contextmanager
def rows(folder: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(folder / "jobs.sqlite3")
    try:
        yield db
    finally:
        db.close()


def names(folder: Path, query: str) -> set[str]:
    """Return the first column of a query."""
    with rows(folder) as db:
        return {row[0] for row in db.execute(query)}


def fill_up(folder: Path) -> None:
    """Leave not one block free on a folder's disk."""
    with (folder / "balloon").open("wb", buffering=0) as balloon, suppress(OSError):
        while balloon.write(bytes(4096)):
            pass
