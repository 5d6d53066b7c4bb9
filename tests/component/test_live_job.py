"""The life of a job on several hosts inside the service: places, cancels at odd moments, a disk that fails, a shutdown.

Journal, hub and supervisor are the real ones. The executor is one whose runs end when the test says so.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from cmdhttp.clock import SystemClock
from cmdhttp.errors import TooMany, Unavailable
from cmdhttp.execution.model import (
    Emit,
    Exited,
    Order,
    Output,
    RunContext,
    RunError,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.jobs.door import Door
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.permit import Permits
from cmdhttp.jobs.progress import PlaceTeller
from cmdhttp.jobs.standing import tell_once
from cmdhttp.jobs.state import Accepted, Job, Progress, State
from cmdhttp.jobs.supervisor import Executors, Revived, Supervisor
from cmdhttp.jobs.waiting import Waiting
from cmdhttp.plan.model import LocalTarget, Plan, Step
from tests.support.jobs import new_job
from tests.unit.policies import compiled

pytestmark = pytest.mark.anyio
ORDER = Order(principal="p", command="c", policy="sha256:0")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Held:
    """An executor whose runs go on until they are let go by name, or stopped."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.let: dict[str, tuple[anyio.Event, int]] = {}
        self.printing = False

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        gate = anyio.Event()
        self.let[step.host] = (gate, 0)
        self.started.append(step.host)
        await emit(Started(pid=1))
        if self.printing:
            await emit(Output(stream=Stream.STDOUT, data=b"x"))
        with stop.calling(gate.set):
            await gate.wait()
        if stop.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        return Exited(exit_code=self.let[step.host][1])

    async def aclose(self) -> None:
        pass

    def end(self, host: str, code: int = 0) -> None:
        gate, _ = self.let[host]
        self.let[host] = (gate, code)
        gate.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted(Permits):
    """Lets a run start that has waited unless its host is denied: these steps come from no policy."""

    denied: set[str]

    def renew(self, order: Order, step: Step) -> tuple[Order, Step] | RunError:
        return RunError(code=RunErrorCode.POLICY_CHANGED, detail="d") if step.host in self.denied else (order, step)


class Service:
    """A supervisor with four places, of which a job on several hosts may have three."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.hub = Hub(self.journal)
        self.held = Held()
        self.ended: list[str] = []
        self.stop = anyio.Event()
        self.denied: set[str] = set()
        self.policy = compiled("principals: {p: {}}")
        clock = SystemClock()
        self.door = Door(policy=lambda: self.policy, clock=clock, max_running=4, max_queued=9)
        self.supervisor = Supervisor(
            journal=self.journal,
            hub=self.hub,
            executors=Executors(local=self.held, ssh=self.held),
            clock=clock,
            door=self.door,
            permits=Permitted(policy=lambda: self.policy, clock=clock, denied=self.denied),
            on_end=self.on_end,
        )
        self._jobs = 0

    async def on_end(self, job: Job) -> None:
        self.ended.append(job.id)

    async def submit(
        self, hosts: str, *, max_parallel: int = 9, batch: int | None = None, max_failures: int | None = None
    ) -> str:
        """Submit a job on hosts, each named by one letter."""
        self._jobs += 1
        job = new_job(f"job_{self._jobs:026}", hosts=hosts, max_parallel=max_parallel)
        plan = self.plan(hosts, max_parallel=max_parallel, batch=batch, max_failures=max_failures)
        with self.supervisor.admit("p", plan) as ticket:
            await self.supervisor.submit(ticket, job, plan, ORDER, None)
        return job.id

    def plan(
        self, hosts: str, *, max_parallel: int = 9, batch: int | None = None, max_failures: int | None = None
    ) -> Plan:
        return Plan(
            command="c",
            policy="sha256:0",
            shown_params={},
            steps=tuple(
                Step(run=run, host=host, target=LocalTarget(), argv=("x",), env={}, timeout=60, output_limit=99)
                for run, host in enumerate(hosts)
            ),
            success_codes=frozenset({0}),
            max_parallel=max_parallel,
            batch=batch or len(hosts),
            max_failures=max_failures,
        )

    async def job(self, job_id: str) -> Job:
        found = await self.journal.get(job_id)
        assert found is not None
        return found

    def position(self, job_id: str) -> int | None:
        place = self.supervisor.queue_place(job_id)
        return place.position if place else None

    async def until(self, started: str) -> None:
        """Wait until exactly these runs have started, in this order."""
        with anyio.fail_after(5):
            while len(self.held.started) < len(started):
                await anyio.sleep(0.005)
        await anyio.sleep(0.02)
        assert "".join(self.held.started) == started

    async def end_all(self, hosts: str) -> None:
        """End these runs one after the other, each once it has started."""
        with anyio.fail_after(5):
            for host in hosts:
                while host not in self.held.let:
                    await anyio.sleep(0.005)
                self.held.end(host)

    async def over(self, job_id: str) -> Job:
        with anyio.fail_after(5):
            while job_id not in self.ended:
                await anyio.sleep(0.005)
        return await self.job(job_id)

    def block(self) -> threading.Event:
        """Keep the journal's writer busy until the event is set."""
        gate = threading.Event()
        self.journal._database.write(lambda _db: gate.wait(5), durable=False)
        return gate


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    made = Service(tmp_path)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: made.supervisor.serve(until=made.stop, drain=0.05))
        while not made.supervisor.accepting:
            await anyio.lowlevel.checkpoint()
        yield made
        made.stop.set()
    assert made.door.admission.free == 4
    assert (made.supervisor.running, made.supervisor.queued) == (0, 0)
    made.journal.close()


def states(job: Job) -> str:
    return " ".join(run.state for run in job.runs)


def codes(job: Job) -> list[str | None]:
    return [run.error.code if run.error else None for run in job.runs]


async def test_the_next_place_is_for_whoever_has_the_fewest(service: Service) -> None:
    """A job on many hosts leaves one place free; those that come later take it, and then the next, before more of the first."""
    many = await service.submit("abcdef")
    await service.until("abc")
    for host in "xyz":
        await service.submit(host)
    await service.until("abcx")
    assert [service.position(f"job_{number:026}") for number in range(1, 5)] == [None, None, 1, 2]
    service.held.end("a")
    await service.until("abcxy")
    service.held.end("b")
    await service.until("abcxyz")
    service.held.end("c")
    await service.until("abcxyzd")
    await service.end_all("xyzdef")
    assert states(await service.over(many)) == " ".join(["succeeded"] * 6)


async def test_a_batch_waits_for_its_last_run(service: Service) -> None:
    """While one run of a batch goes on nothing of the next starts, though there are places."""
    job = await service.submit("abcd", batch=2)
    await service.until("ab")
    service.held.end("a")
    await anyio.sleep(0.05)
    await service.until("ab")
    service.held.end("b", 1)
    await service.until("abcd")
    service.held.end("c")
    service.held.end("d")
    assert states(await service.over(job)) == "succeeded failed succeeded succeeded"


async def test_too_many_failures_while_a_place_is_waited_for(service: Service) -> None:
    """A job that waits for a place gives that up when it may start no more; the others have it."""
    for host in "wx":
        await service.submit(host)
    job = await service.submit("abcdef", max_failures=0)
    await service.until("wxab")
    service.held.end("a", 1)
    await anyio.sleep(0.05)
    other = await service.submit("y")
    await service.until("wxaby")
    await service.end_all("wxyb")
    ended = await service.over(job)
    assert states(ended) == "failed succeeded canceled canceled canceled canceled"
    assert codes(ended) == [None, None, *["max_failures"] * 4]
    assert (ended.state, (await service.over(other)).state) == (State.FAILED, State.SUCCEEDED)


@pytest.mark.parametrize("hosts", ["a", "abcdef"])
async def test_a_cancel_before_the_job_is_on_disk(service: Service, hosts: str) -> None:
    """A cancel that comes while the acceptance is written ends the job without a start."""
    gate = service.block()
    async with anyio.create_task_group() as group:
        group.start_soon(service.submit, hosts)
        await anyio.sleep(0.05)
        await service.supervisor.cancel(f"job_{1:026}", reason=StopReason.CANCEL, wait=0)
        gate.set()
    ended = await service.over(f"job_{1:026}")
    assert (service.held.started, codes(ended)) == ([], ["canceled"] * len(hosts))
    assert {run.stopped for run in ended.runs} == {Stopped.CONFIRMED}


async def test_a_cancel_while_all_places_are_taken(service: Service) -> None:
    """A job that has started nothing is canceled at once and leaves the queue."""
    for host in "wxyz":
        await service.submit(host)
    job = await service.submit("abc")
    assert service.position(job) == 1
    await service.supervisor.cancel(job, reason=StopReason.CANCEL, wait=5)
    assert codes(await service.over(job)) == ["canceled"] * 3
    assert service.supervisor.queued == 0
    for host in "wxyz":
        service.held.end(host)
    await service.until("wxyz")


async def test_a_job_that_cannot_be_kept_gives_its_places_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs of it, and the places are there for the next one."""

    async def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(service.journal, "accept", full)
        with pytest.raises(Unavailable):
            await service.submit("abcdef")
    job = await service.submit("uvw")
    await service.until("uvw")
    for host in "uvw":
        service.held.end(host)
    assert (await service.over(job)).ok


async def test_a_disk_that_fails_in_the_middle(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran is lost, what never started says that it has not, nothing more starts, and the next job runs."""
    service.held.printing = True
    job = await service.submit("abcdef")
    await service.until("abc")
    with monkeypatch.context() as patch:

        def full(_descriptor: int, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr("cmdhttp.jobs.output_log.os.write", full)
        service.held.end("a")
        await service.until("abcd")
        ended = await service.over(job)
    assert states(ended) == "succeeded lost lost lost failed failed"
    assert codes(ended)[1:] == ["record_failed"] * 5
    following = await service.submit("z")
    await service.until("abcdz")
    service.held.end("z")
    assert (await service.over(following)).ok


async def test_a_shutdown(service: Service) -> None:
    """What runs is stopped after the drain, what waits never starts, and both say why."""
    job = await service.submit("abcde", max_parallel=2)
    await service.until("ab")
    service.stop.set()
    ended = await service.over(job)
    assert (service.held.started, codes(ended)) == (["a", "b"], ["service_stopped"] * 5)
    assert ended.state is State.FAILED


async def test_what_may_have_started_is_known_after_a_kill(service: Service) -> None:
    """Of several runs each is marked by itself, before it starts; a reader of the disk alone sees which have been."""
    job = await service.submit("abcde", max_parallel=2)
    await service.until("ab")
    service.held.end("a")
    await service.until("abc")
    seen = await service.job(job)
    assert states(seen) == "succeeded running running queued queued"
    assert [found.id for found in (await service.journal.unfinished())[0]] == [job]
    await service.end_all("bcde")
    assert (await service.over(job)).ok


async def test_a_busy_host_holds_up_one_run_alone(service: Service) -> None:
    """Of a job on several hosts the others go on, and its run on the busy host starts as soon as that is free."""
    service.policy = compiled(
        "commands: {c: {on: local, run: [/bin/c], concurrency: {per_host: 1, when_busy: queue}}}\nprincipals: {p: {}}"
    )
    single = await service.submit("b")
    await service.until("b")
    many = await service.submit("abcd", batch=3)
    await service.until("bac")
    service.held.end("a")
    service.held.end("c")
    await service.until("bac")
    service.held.end("b")
    await service.until("bacb")
    service.held.end("b")
    await service.until("bacbd")
    service.held.end("d")
    assert (states(await service.over(single)), states(await service.over(many))) == (
        "succeeded",
        " ".join(["succeeded"] * 4),
    )


async def test_a_cancel_while_a_host_is_waited_for(service: Service) -> None:
    """A job that has runs under way and one that waits ends with both, and the host goes to the next."""
    service.policy = compiled(
        "commands: {c: {on: local, run: [/bin/c], concurrency: {per_host: 1, when_busy: queue}}}\nprincipals: {p: {}}"
    )
    await service.submit("b")
    many = await service.submit("ab")
    late = await service.submit("b")
    await service.until("ba")
    await service.supervisor.cancel(many, reason=StopReason.CANCEL, wait=5)
    assert codes(await service.over(many)) == ["canceled", "canceled"]
    service.held.end("b")
    await service.until("bab")
    service.held.end("b")
    assert (await service.over(late)).ok


async def test_a_right_that_goes_in_the_middle(service: Service) -> None:
    """A run that has waited for its batch and may not run any more does not; the others of the job go on."""
    job = await service.submit("abcd", batch=2)
    await service.until("ab")
    service.denied.add("c")
    await service.supervisor.policy_changed()
    service.held.end("a")
    service.held.end("b")
    await service.until("abd")
    service.held.end("d")
    ended = await service.over(job)
    assert (states(ended), codes(ended)[2]) == ("succeeded succeeded failed succeeded", "policy_changed")
    assert ended.runs[2].started_at is None


async def test_what_waits_and_may_not_run_any_more_ends_at_once(service: Service) -> None:
    """Not only when its turn comes; a job that may still run on one of its hosts waits on."""
    for host in "wxyz":
        await service.submit(host)
    one, both, none = await service.submit("a"), await service.submit("ab"), await service.submit("ac")
    service.denied.update("ac")
    await service.supervisor.policy_changed()
    assert codes(await service.over(one)) == ["policy_changed"]
    assert codes(await service.over(none)) == ["policy_changed"] * 2
    assert (service.position(both), service.supervisor.queued) == (1, 1)
    await service.end_all("wxyzb")
    ended = await service.over(both)
    assert (states(ended), ended.state) == ("failed succeeded", State.FAILED)


async def test_a_cancel_makes_room_in_the_queue(service: Service) -> None:
    """The next call is let in as soon as the cancel is asked for, before the end of the canceled job is on disk."""
    service.policy = compiled("principals: {p: {limits: {queue: 1}}}")
    for host in "wxyz":
        await service.submit(host)
    first = await service.submit("a")
    with pytest.raises(TooMany):
        await service.submit("b")
    gate = service.block()
    await service.supervisor.cancel(first, reason=StopReason.CANCEL, wait=0)
    with service.supervisor.admit("p", service.plan("b")):
        assert service.supervisor.queued == 1
    gate.set()
    assert codes(await service.over(first)) == ["canceled"]
    await service.end_all("wxyz")


async def test_what_waited_is_decided_on_all_at_once(tmp_path: Path) -> None:
    """After a start nobody waits for the record of another; what may run stands in the order of before."""
    first = Service(tmp_path)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: first.supervisor.serve(until=first.stop, drain=0))
        while not first.supervisor.accepting:
            await anyio.lowlevel.checkpoint()
        for host in "abcd":
            await first.submit(host)
        waiting = [await first.submit(host) for host in "efghi"]
        await first.until("abcd")
        first.stop.set()
    first.journal.close()

    later = Service(tmp_path)
    asked: list[str] = []
    all_asked = anyio.Event()

    async def revive(job: Job, order: Waiting) -> Revived | RunError:
        asked.append(job.id)
        if len(asked) == len(waiting):
            all_asked.set()
        await all_asked.wait()
        if order.hosts == ("f",):
            return RunError(code=RunErrorCode.POLICY_CHANGED, detail="d")
        return Revived(plan=later.plan(order.hosts[0]), order=ORDER)

    with anyio.fail_after(30):
        assert await later.supervisor.recover(revive) == (1, 4)
    assert asked == waiting
    assert later.ended == [waiting[1]]
    assert (await later.job(waiting[1])).state is State.FAILED
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: later.supervisor.serve(until=later.stop, drain=0))
        await later.until("eghi")
        later.stop.set()
    later.journal.close()


async def test_a_place_that_cannot_be_written_is_not_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job waits on as if nothing had been, its next event has the next number, and it runs in its turn."""
    for name in "abcd":
        await service.submit(name)
    await service.until("abcd")
    await service.journal.probe()  # what they have told is on disk
    job = await service.submit("e")
    admission = service.supervisor.door.admission
    async with aclosing(service.hub.follow(job, after=0)) as told:
        first = await anext(told)
        assert first is not None
        assert isinstance(first.event, Accepted)
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise sqlite3.OperationalError("database or disk is full")

            patch.setattr(service.journal, "_insert", full)
            tell_once(service.supervisor._live.values(), admission)
            await service.journal.probe()
        assert (await service.job(job)).state is State.QUEUED
        service.supervisor._live[job]._places = PlaceTeller(batch=1)
        tell_once(service.supervisor._live.values(), admission)
        second = await anext(told)
        assert second is not None
        assert isinstance(second.event, Progress)
        assert (second.event.seq, second.event.position, second.event.waits) == (2, 1, "service_busy")
    await service.until("abcd")
    service.held.end("a")
    await service.until("abcde")
    service.held.end("e")
    ended = await service.over(job)
    assert ended.ok
    assert [event.seq for event in await service.journal.events(job, after=0, limit=9)] == [1, 2, 3, 4, 5]
    assert service.journal.room.trouble == ""


@contextmanager
def no_marks(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """For the length of the block it cannot be written that a run may start."""

    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with patch.context() as inner:
        inner.setattr("cmdhttp.jobs.journal._mark", fails)
        yield


@pytest.mark.parametrize("hosts", ["e", "ef"])
@pytest.mark.parametrize("then", ["starts", "is denied", "is canceled"])
async def test_a_run_waits_until_its_start_can_be_recorded(
    service: Service, monkeypatch: pytest.MonkeyPatch, then: str, hosts: str
) -> None:
    """Nobody is told that it runs meanwhile, it does not, and the policy of the moment decides when the disk is there again."""
    for name in "abcd":
        await service.submit(name)
    await service.until("abcd")
    job = await service.submit(hosts)
    with no_marks(monkeypatch):
        for name in "abcd":
            service.held.end(name)
        with anyio.fail_after(10):
            while len(service.ended) < 4:
                await anyio.sleep(0.01)
        await service.journal.probe()
        live = service.hub.live(job)
        assert live is not None
        assert live.state is State.QUEUED
        assert (await service.job(job)).state is State.QUEUED
        if then == "is denied":
            service.denied.update(hosts)
        elif then == "is canceled":
            await service.supervisor.cancel(job, reason=StopReason.CANCEL, wait=0.05)
        await anyio.sleep(0.2)
        assert service.held.started == list("abcd")
    if then == "starts":
        await service.until("abcd" + hosts)
        for name in hosts:
            service.held.end(name)
    ended = await service.over(job)
    assert service.held.started == list("abcd" + (hosts if then == "starts" else ""))
    assert ended.ok is (then == "starts")
    expected = {"is denied": "policy_changed", "is canceled": "canceled"}.get(then)
    assert [run.error.code if run.error else None for run in ended.runs] == [expected] * len(hosts)
    told = await service.journal.events(job, after=0, limit=99)
    assert [event.seq for event in told] == list(range(1, ended.last_seq + 1))
    assert await service.journal.get(job) == ended
