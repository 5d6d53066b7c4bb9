"""After a kill each job that was started on the audit log has its end there, once."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tail import read_tail
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.state import Accepted, Dispatched, Finished, RunEnded, State, apply
from cmdhttp.missing_ends import record_missing_ends
from tests.support.jobs import new_job

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def job_id(number: int) -> str:
    return f"job_{number:026d}"


async def keep(journal: Journal, number: int, *, ended: float | None) -> None:
    job = new_job(job_id(number))
    accepted = Accepted(seq=1, ts=1.0, job=job)
    job = apply(apply(None, accepted), Dispatched(ts=1.0, run=0))
    await journal.accept(accepted, job, key=None, on_commit=lambda: None)
    if ended is not None:
        end = RunEnded(seq=2, ts=ended, run=0, host="h", state=State.SUCCEEDED)
        finished = Finished(seq=3, ts=ended)
        await journal.append(apply(apply(job, end), finished), end, finished)


async def test_what_is_missing_is_written_once(tmp_path: Path, journal: Journal) -> None:
    """An end that was kept, and a start that was not: each gets its record; what is there, or open, gets none."""
    path = tmp_path / "audit.jsonl"
    now = 1000.0
    log = AuditLog(path, now=lambda: now)
    await log.write(Code.SERVICE_STARTED, {})
    for number in (1, 2, 3, 4):
        await log.write(Code.JOB_STARTED, {"job": job_id(number), "principal": "p"})
    await keep(journal, 1, ended=999.0)
    await keep(journal, 2, ended=999.5)
    await keep(journal, 3, ended=None)
    await keep(journal, 5, ended=990.0)
    await keep(journal, 6, ended=3.0)
    await log.write(Code.JOB_ENDED, {"job": job_id(1), "state": "succeeded"})
    log.close()
    for expected in (3, 0):
        log = AuditLog(path, now=lambda: now)
        assert await record_missing_ends(path, journal, log) == expected
        await log.write(Code.SERVICE_STARTED, {})
        log.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    told = [(record["code"], int(record["job"][4:])) for record in records[6:] if "job" in record]
    assert sorted(told) == [("job.ended", 2), ("job.ended", 5), ("job.refused", 4)]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))


async def test_a_damaged_record_stops_no_start(tmp_path: Path, journal: Journal) -> None:
    """How that job ended is not known, so nothing is said of it; the end of the other is."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, now=lambda: 1000.0)
    for number in (1, 2):
        await log.write(Code.JOB_STARTED, {"job": job_id(number), "principal": "p"})
        await keep(journal, number, ended=999.0)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db, db:
        db.execute("UPDATE jobs SET body = 'x' WHERE id = ?", (job_id(1),))
        db.execute("UPDATE events SET body = 'x' WHERE job = ?", (job_id(1),))
    assert await record_missing_ends(path, journal, log) == 1
    log.close()
    ended = [json.loads(line) for line in path.read_text().splitlines()][2:]
    assert [(record["code"], record["job"]) for record in ended] == [("job.ended", job_id(2))]


async def test_after_a_stop_in_good_order_nothing_is_looked_for(tmp_path: Path, journal: Journal) -> None:
    """Then all ends are there, but for what waits on."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, now=lambda: 1000.0)
    await log.write(Code.JOB_STARTED, {"job": job_id(1), "principal": "p"})
    await log.write(Code.SERVICE_STOPPED, {})
    assert await record_missing_ends(path, journal, log) == 0
    log.close()


async def test_only_the_end_of_a_long_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came before is left alone, and a line that is cut off is none."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, now=lambda: 1000.0)
    for number in range(50):
        await log.write(Code.JOB_STARTED, {"job": job_id(number), "principal": "p"}, urgent=number == 49)
    log.close()
    with path.open("ab") as file:
        file.write(b'[1]\n{}\n{"code": "job.ended", "time": 5}\n\xff\n{"code": "job.en')
    monkeypatch.setattr("cmdhttp.audit.tail._TAIL", 1000)
    tail = read_tail(path)
    assert 1 <= len(tail.open) < 10
    assert list(tail.open)[-1] == job_id(49)
