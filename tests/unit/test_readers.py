"""Readings of jobs of others: on record before anything is told, once, and no longer than the right lasts."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

import anyio
import pytest

from cmdhttp.audit.codes import Code
from cmdhttp.auth.principal import Principal
from cmdhttp.errors import Unavailable
from cmdhttp.jobs.state import Job
from cmdhttp.policy.compiled import Policy
from cmdhttp.readers import Readers
from cmdhttp.reload.reloader import PolicyHolder
from tests.support.jobs import new_job
from tests.unit.policies import compiled

POLICY = """
commands: {say: {effect: read, run: [/bin/echo], on: local}}
principals: {ann: {}, bob: {}}
roles: {lead: [{commands: say, hosts: local, jobs: read}]}
grants: [{to: bob, roles: lead}]
"""
ANN, BOB = (Principal(name=name, method="token", credential="c", source=None) for name in ("ann", "bob"))
JOB = new_job(command="say", principal="ann", hosts=["local"])
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Source:
    def load(self) -> Policy:
        return compiled(POLICY)

    def state(self) -> str:
        return ""


async def found(job_id: str) -> Job:
    assert job_id == JOB.id
    return JOB


class Records:
    """An audit log that takes its time, and fails as often as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.written: list[Mapping[str, object]] = []
        self._failures = failures

    async def __call__(self, code: Code, fields: Mapping[str, object]) -> None:
        assert code is Code.JOB_READ
        await anyio.lowlevel.checkpoint()
        if self._failures:
            self._failures -= 1
            raise Unavailable("no room")
        self.written.append(fields)


async def test_readings_at_the_same_time_are_one_record() -> None:
    records = Records()
    readers = Readers(PolicyHolder(Source()), record=records, find=found)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(readers.record, BOB, JOB)
    assert records.written == [{"job": "job_1", "owner": "ann", "principal": "bob"}]


async def test_a_reading_that_cannot_be_recorded_is_none() -> None:
    """Nothing is told then, to nobody who waited for the same record either; the next one tries again."""
    records = Records(failures=2)
    readers = Readers(PolicyHolder(Source()), record=records, find=found)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await readers.record(BOB, JOB)
    await readers.record(BOB, JOB)
    assert len(records.written) == 1


async def test_the_owner_is_not_recorded() -> None:
    records = Records()
    await Readers(PolicyHolder(Source()), record=records, find=found).record(ANN, JOB)
    assert records.written == []


async def test_pieces_end_before_the_first_that_may_not_be_read() -> None:
    """The right is asked for anew with another policy, and the source of the pieces is closed with it."""
    holder, closed = PolicyHolder(Source()), list[str]()
    readers = Readers(holder, record=Records(), find=found)
    same, none = replace(holder.current), replace(holder.current, principals={})

    async def pieces(name: str) -> AsyncGenerator[int]:
        try:
            for number in range(4):
                holder.current = same if number < 2 else none
                yield number
        finally:
            closed.append(name)

    assert [number async for number in readers.while_readable(BOB, JOB, pieces("bob"))] == [0, 1]
    assert [number async for number in readers.while_readable(ANN, JOB, pieces("ann"))] == [0, 1, 2, 3]
    assert closed == ["bob", "ann"]
