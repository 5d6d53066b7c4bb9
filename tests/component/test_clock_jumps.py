"""A wall clock that jumps by an hour or a day, either way: no time limit moves, and lists stay whole and in order."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from cmdhttp.execution.model import Emit, Exited, Order, RunContext, Started, Stop, Stopped
from cmdhttp.ids import job_id
from cmdhttp.jobs.door import Door
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.permit import Permits
from cmdhttp.jobs.state import Job, State
from cmdhttp.jobs.supervisor import Executors, Supervisor
from cmdhttp.plan.model import LocalTarget, Plan, Step
from tests.support.jobs import new_job
from tests.unit.policies import compiled

pytestmark = pytest.mark.anyio
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Sleeper:
    """Runs that go on until they are stopped."""

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        await emit(Started(pid=1))
        await stop.wait()
        return Exited(stopped=Stopped.CONFIRMED)

    async def aclose(self) -> None:
        pass


@dataclass
class Jumping:
    """A wall clock that a test sets, beside a monotonic one that nobody can."""

    ahead: float = 0.0

    def now(self) -> float:
        return 1_800_000_000.0 + self.ahead + self.monotonic()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Service:
    folder: Path
    clock: Jumping = field(default_factory=Jumping)
    stop: anyio.Event = field(default_factory=anyio.Event)
    ended: int = 0

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder)
        sleeper, policy = Sleeper(), compiled("principals: {p: {}}")
        self.supervisor = Supervisor(
            journal=self.journal,
            hub=Hub(self.journal, Leases(monotonic=self.clock.monotonic)),
            executors=Executors(local=sleeper, ssh=sleeper),
            clock=self.clock,
            door=Door(policy=lambda: policy, clock=self.clock, max_running=8, max_queued=9),
            permits=Permits(policy=lambda: policy, clock=self.clock),
            on_end=self.on_end,
        )

    async def on_end(self, _job: Job) -> None:
        self.ended += 1

    async def submit(self, number: int, *, seconds: float) -> str:
        now = self.clock.now()
        job = new_job(job_id(unix_ms=int(now * 1000), entropy=bytes([number] * 10)), created_at=now)
        step = Step(run=0, host="h", target=LocalTarget(), argv=("x",), env={}, timeout=seconds, output_limit=99)
        plan = Plan(
            command="c",
            policy="sha256:0",
            shown_params={},
            steps=(step,),
            success_codes=frozenset({0}),
            max_parallel=1,
            batch=1,
        )
        with self.supervisor.admit("p", plan) as ticket:
            await self.supervisor.submit(ticket, job, plan, Order(principal="p", command="c", policy="sha256:0"), None)
        return job.id

    async def get(self, wanted: str) -> Job:
        found = await self.journal.get(wanted)
        assert found is not None
        return found


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    made = Service(tmp_path)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: made.supervisor.serve(until=made.stop, drain=0))
        while not made.supervisor.accepting:
            await anyio.lowlevel.checkpoint()
        yield made
        made.stop.set()
    made.journal.close()


@pytest.mark.parametrize("jump", [HOUR, -HOUR, DAY, -DAY])
async def test_time_limits_do_not_move(service: Service, jump: float) -> None:
    """A jump ends nothing early and keeps nothing late; durations are those that went by."""
    long = await service.submit(1, seconds=60)
    short = await service.submit(2, seconds=0.4)
    began = time.monotonic()
    service.clock.ahead = jump
    with anyio.fail_after(10):
        while not service.ended:
            await anyio.sleep(0.01)
    assert time.monotonic() - began > 0.3
    ended = await service.get(short)
    assert ended.state is State.TIMED_OUT
    assert 0.3 < (ended.duration or 0) < 10
    assert 0.3 < (ended.runs[0].duration or 0) < 10
    assert (await service.get(long)).state is State.RUNNING
    assert (ended.finished_at or 0) - ended.created_at == pytest.approx(jump, abs=10)


async def test_lists_stay_whole_and_in_order(service: Service) -> None:
    """Newest first by `created_at`, whatever the clock did, and no page misses or repeats a job."""
    jobs = []
    for number, jump in enumerate((0.0, DAY, 0.0, -HOUR, HOUR, -DAY, 0.0)):
        service.clock.ahead = jump
        jobs.append(await service.submit(number, seconds=60))
        await anyio.sleep(0.002)
    seen: list[Job] = []
    before = None
    while page := await service.journal.page(Filter(principal="p", limit=2, before=before)):
        seen += page
        before = page[-1].id
    assert sorted(job.id for job in seen) == sorted(jobs)
    times = [job.created_at for job in seen]
    assert times == sorted(times, reverse=True)
    middle = sorted(times)[3]
    since = await service.journal.page(Filter(principal="p", limit=9, since=middle))
    until = await service.journal.page(Filter(principal="p", limit=9, until=middle))
    assert sorted(job.created_at for job in (*since, *until)) == sorted(times)


async def test_a_submit_that_is_cancelled_leaves_no_job_without_a_runner(service: Service) -> None:
    """However many turns of the event loop after its beginning: what is on disk runs and gets its end."""
    for turns in range(8):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda number=turns: service.submit(number + 10, seconds=0.05))  # type: ignore[misc]  # a default binds it
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    await service.journal.probe()  # all that was queued before is committed
    with anyio.fail_after(10):
        while (await service.journal.unfinished())[0]:
            assert service.supervisor.running + service.supervisor.queued, "nothing runs what is on disk"
            await anyio.sleep(0.01)
    assert len(await service.journal.page(Filter(principal="p", limit=50))) == service.ended > 0
