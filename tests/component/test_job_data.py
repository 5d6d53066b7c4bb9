"""The data of a job's runs, from a real journal and real parsers."""

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.model import Stream
from cmdhttp.jobs import data
from cmdhttp.jobs.data import DataReader
from cmdhttp.jobs.journal import Chunk, Journal
from cmdhttp.jobs.state import Accepted, Dispatched, Finished, Job, Output, RunEnded, State, apply
from cmdhttp.results.model import MAX_DATA, MAX_OUTPUT, Parsed
from cmdhttp.results.parsers import Parsers
from tests.support.jobs import new_job

pytestmark = pytest.mark.anyio
NOTHING = Parsed()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def new_job_of(parser: str | None, *, hosts: int = 1) -> Job:
    names = [f"h{number}" for number in range(hosts)]
    return new_job("job_00000000000000000000000001", hosts=names, parser=parser)


async def ran(journal: Journal, parser: str | None, outputs: Sequence[bytes], **ended: object) -> Job:
    """A finished job that printed `outputs`, one a host, as the journal has it."""
    accepted = Accepted(seq=1, ts=1.0, job=new_job_of(parser, hosts=len(outputs)))
    job = apply(None, accepted)
    await journal.accept(accepted, job, key=None, on_commit=lambda: None)
    for run, printed in enumerate(outputs):
        host = job.runs[run].host
        job = apply(job, mark := Dispatched(ts=1.0, run=run))
        await journal.append(job, mark)
        if printed:
            out = Output(
                seq=job.last_seq + 1, ts=1.0, run=run, host=host, stream=Stream.STDOUT, offset=0, size=len(printed)
            )
            job = apply(job, out)
            await journal.append(job, out, chunk=Chunk(run=run, stream=Stream.STDOUT, offset=0, data=printed))
        stdout, _ = await journal.close_output(job.id, run)
        end = RunEnded(seq=job.last_seq + 1, ts=2.0, run=run, host=host, state=State.SUCCEEDED, stdout=stdout)
        end = replace(end, **ended)  # type: ignore[arg-type]
        job = apply(job, end)
        await journal.append(job, end)
    job = apply(job, last := Finished(seq=job.last_seq + 1, ts=3.0))
    await journal.append(job, last)
    kept = await journal.get(job.id)
    assert kept == job
    return job


def codes(found: Sequence[Parsed]) -> list[str | None]:
    return [parsed.error.code if parsed.error else None for parsed in found]


async def test_each_run_has_its_own(journal: Journal) -> None:
    """A job on several hosts has one entry a run, in order; what one of them printed changes no other."""
    job = await ran(journal, "json", [b'{"a": 1}', b"oops", b"[2]"])
    found = await DataReader(journal, Parsers(None)).read(job)
    assert [parsed.data for parsed in found] == [{"a": 1}, None, [2]]
    assert codes(found) == [None, "malformed", None]


async def test_a_command_without_a_parser(journal: Journal) -> None:
    """Where nothing is promised there is nothing, not even null."""
    assert await DataReader(journal, Parsers(None)).read(await ran(journal, None, [b"{}"])) == ()


@pytest.mark.parametrize("state", [State.FAILED, State.TIMED_OUT, State.CANCELED, State.LOST])
async def test_a_run_that_did_not_succeed(journal: Journal, state: State) -> None:
    """What such a run printed is not read: there is no data and no complaint."""
    job = await ran(journal, "json", [b'{"a": 1}'], state=state, exit_code=1)
    assert await DataReader(journal, Parsers(None)).read(job) == (NOTHING,)


async def test_a_run_that_is_not_over(journal: Journal) -> None:
    """A job that has not started has null for now."""
    assert await DataReader(journal, Parsers(None)).read(new_job_of("json")) == (NOTHING,)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
async def test_output_that_was_cut(journal: Journal, state: State) -> None:
    """Half of an output may look like all of it, so it is not read, and that is said."""
    job = await ran(journal, "lines", [b"a\n"], state=state, truncated=True)
    assert codes(await DataReader(journal, Parsers(None)).read(job)) == ["truncated"]


async def test_output_over_the_bound(journal: Journal) -> None:
    """One byte more than a parser takes is too much."""
    job = await ran(journal, "lines", [b"x" * MAX_OUTPUT, b"x" * (MAX_OUTPUT + 1)])
    found = await DataReader(journal, Parsers(None)).read(job)
    assert codes(found) == [None, "too_large"]


async def test_many_hosts_share_what_an_answer_holds(journal: Journal) -> None:
    """The bound of an answer is parted among its runs, so that a job on many hosts cannot become a huge document."""
    hosts = 2 * data._JOB_DATA // MAX_DATA
    small, large = b"x" * (MAX_DATA // 2 - 100), b"x" * (MAX_DATA // 2)
    job = await ran(journal, "lines", [small, large] * (hosts // 2))
    assert codes(await DataReader(journal, Parsers(None)).read(job)) == [None, "too_large"] * (hosts // 2)


async def test_the_whole_job_has_a_bound_of_time(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs whose turn does not come in time say so; those that were read keep their data."""
    folder = tmp_path / "library" / "jc" / "parsers"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "slow.py").write_text("import time\ndef parse(text, quiet): time.sleep(float(text)); return text\n")
    monkeypatch.setattr(data, "_JOB_SECONDS", 2.5)
    job = await ran(journal, "slow", [b"0.0", b"9.0", b"0.0"])
    found = await DataReader(journal, Parsers(tmp_path / "library", seconds=9.0)).read(job)
    assert [parsed.data for parsed in found] == ["0.0", None, None]
    assert codes(found) == [None, "timed_out", "timed_out"]


async def test_a_job_of_an_earlier_version(journal: Journal, tmp_path: Path) -> None:
    """A job that was stored before jobs had parsers is read back as one without."""
    job = await ran(journal, "json", [b"{}"])
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db, db:
        (body,) = db.execute("SELECT body FROM jobs").fetchone()
        document = json.loads(body)
        assert document.pop("parser") == "json"
        db.execute("UPDATE jobs SET body = ?", (json.dumps(document).encode(),))
    db.close()
    assert await journal.get(job.id) == replace(job, parser=None)


async def test_two_jobs_at_once(journal: Journal) -> None:
    """Reading one job does not hold up another, and each gets its own data."""
    job = await ran(journal, "json", [b"[1]"])
    reader = DataReader(journal, Parsers(None))
    found: list[Sequence[Parsed]] = []

    async def read() -> None:
        found.append(await reader.read(job))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(read)
    assert found == [(Parsed(data=[1]),)] * 5
