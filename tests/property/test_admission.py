"""Whatever comes in whatever order: no limit is passed, no place is lost, nobody starves, and nothing waits that could run."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmdhttp.errors import TooMany, Unavailable
from cmdhttp.policy.compiled import Quota
from tests.support.admitting import House, Job, Rules, busy

NAMES = st.sampled_from("pqr")
COMMANDS = st.sampled_from("cde")
LIMIT = st.none() | st.integers(1, 3)


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    """Limits for some principals and commands."""
    quotas = {name: Quota(concurrency=draw(LIMIT), queue=draw(st.none() | st.integers(0, 3))) for name in "pq"}
    found = Rules(quotas=quotas)
    for command in "cd":
        per_host, total = draw(LIMIT), draw(LIMIT)
        if per_host or total:
            when_busy = draw(st.sampled_from(["queue", "reject"]))
            found.concurrencies[command] = busy(per_host=per_host, total=total, when_busy=when_busy)
    return found


def running(house: House) -> list[tuple[Job, int]]:
    return [(job, run) for job in house.jobs for run in job.running]


def within_limits(house: House, *, strict: bool) -> None:
    """No more runs and jobs are under way than the limits say; limits that have just been lowered may be passed still."""
    runs = running(house)
    assert house.admission.free == house.places - len(runs) >= 0
    if not strict:
        return
    jobs = Counter(job.ticket.claim.principal for job in house.jobs if job.ticket.started)
    for name, count in jobs.items():
        most = house.rules.quota(name).concurrency
        assert most is None or count <= most
    totals = Counter(job.ticket.claim.command for job, _ in runs)
    hosts = Counter((job.ticket.claim.command, job.ticket.claim.hosts[run]) for job, run in runs)
    for command, count in totals.items():
        limits = house.rules.concurrency(command)
        assert limits is None or limits.total is None or count <= limits.total
    for (command, _), count in hosts.items():
        limits = house.rules.concurrency(command)
        assert limits is None or limits.per_host is None or count <= limits.per_host


def could_run(house: House, job: Job) -> bool:
    """Whether some run of a job could start, by a look at everything, without any book."""
    claim, runs = job.ticket.claim, running(house)
    quota, limits = house.rules.quota(claim.principal).concurrency, house.rules.concurrency(claim.command)
    started = sum(other.ticket.started for other in house.jobs if other.ticket.claim.principal == claim.principal)
    if not job.ticket.started and quota is not None and started >= quota:
        return False
    if limits and limits.total is not None:
        under_way = sum(other.ticket.claim.command == claim.command for other, _ in runs)
        if under_way >= limits.total:
            return False
    ready = [run for run in job.ticket.open if run not in job.running and run < job.rollout.border]
    if not job.rollout.room or len(runs) >= house.places:
        return False
    there = Counter(other.ticket.claim.hosts[run] for other, run in runs if other.ticket.claim.command == claim.command)
    most = limits.per_host if limits else None
    return any(most is None or there[claim.hosts[run]] < most for run in ready)


def nothing_idle(house: House) -> None:
    assert not [job.name for job in house.jobs if could_run(house, job)]


def enter(house: House, data: st.DataObject, number: int) -> TooMany | Unavailable | None:
    """Let a job in; returns the refusal, if it is one."""
    hosts = data.draw(st.lists(st.sampled_from("hijk"), min_size=1, max_size=4, unique=True))
    principal, command = data.draw(NAMES), data.draw(COMMANDS)
    try:
        job = house.enter(
            f"{number}.",
            "".join(hosts),
            principal=principal,
            command=command,
            max_parallel=data.draw(st.integers(1, 4)),
            batch=data.draw(st.none() | st.integers(1, len(hosts))),
        )
    except (TooMany, Unavailable) as error:
        return error
    if not job.ticket.started:
        _, waiting = house.admission.of_principal(principal)
        quota = house.rules.quota(principal).queue
        assert waiting <= (house.admission._max_queued if quota is None else quota)
        assert house.admission.queued <= house.admission._max_queued
    return None


@given(data=st.data())
def test_every_law_after_every_step(data: st.DataObject) -> None:
    """Jobs come, end and are canceled, and the rules change; at the end all is as at the beginning."""
    house = House(data.draw(rules()), places=data.draw(st.integers(1, 5)), queue=data.draw(st.integers(0, 6)))
    lowered = False
    for number in range(data.draw(st.integers(0, 40))):
        step = data.draw(st.sampled_from(["enter", "enter", "end", "end", "cancel", "rules"]))
        runs = running(house)
        if step == "enter":
            queued = house.admission.queued
            if (refusal := enter(house, data, number)) is not None:
                assert refusal.limit
                assert refusal.retry_after in range(1, 61)
                assert house.admission.queued == queued
        elif step == "end" and runs:
            job, run = data.draw(st.sampled_from(runs))
            job.end(run)
        elif step == "cancel" and house.jobs:
            data.draw(st.sampled_from(house.jobs)).cancel()
        elif step == "rules" and data.draw(st.integers(0, 4)) == 0:
            fresh, lowered = data.draw(rules()), True
            house.rules.quotas, house.rules.concurrencies = fresh.quotas, fresh.concurrencies
            house.admission.rules_changed(now=0.0)
        within_limits(house, strict=not lowered)
        nothing_idle(house)
    while house.jobs:
        job, run = running(house)[0]  # whatever waits, something runs: else it would wait for ever
        job.end(run)
        nothing_idle(house)
    assert len(house.told) == len(set(house.told)), "no run starts twice"
    assert (house.admission.free, house.admission.queued, house.admission.started) == (house.places, 0, 0)
    books = vars(house.admission)
    kept = ("_queues", "_under_way", "_running", "_on_host", "_claimed", "_claimed_on", "_turns", "_served_by")
    assert not any(books[name] for name in kept)


@given(data=st.data())
def test_nobody_starves(data: st.DataObject) -> None:
    """While others always have new work for a host, a job that waits for it is started within a few turns.

    Its caller holds all places but one for runs that go on, so by places alone the others would always come first.
    """
    limits = data.draw(st.sampled_from([busy(per_host=1), busy(total=1), busy(per_host=1, total=2)]))
    places = data.draw(st.integers(3, 5))
    house = House(Rules(concurrencies={"c": limits}), places=places, queue=10_000)
    long = [house.enter(f"long{number}", "z", principal="p", command="long") for number in range(places - 2)]
    for number in range(places):
        house.enter(f"before{number}", "h", principal="q")
    job = house.enter("waits", "h", principal="p")
    for number in range(12):
        for principal in data.draw(st.lists(st.sampled_from("qr"), max_size=3)):
            house.enter(f"new{number}", data.draw(st.sampled_from("hhi")), principal=principal)
        if job.ticket.started:
            return
        oldest = min((each for each in house.jobs if each.running and each not in long), key=started_at)
        oldest.end()
    raise AssertionError("it would wait for ever")


def started_at(job: Job) -> int:
    return job.house.told.index(f"{job.name}{job.ticket.claim.hosts[0]}")


@pytest.mark.parametrize("places", [1, 4])
@given(waiting=st.lists(NAMES, min_size=1, max_size=30))
def test_oldest_first_within_a_principal(places: int, waiting: list[str]) -> None:
    """Equal jobs of one caller start in the order in which they came."""
    house = House(places=places)
    for number, principal in enumerate(waiting):
        house.enter(f"{principal}{number:03}", principal=principal)
    while house.jobs:
        next(job for job in house.jobs if job.running).end()
    for principal in "pqr":
        own = [name for name in house.told if name.startswith(principal)]
        assert own == sorted(own)
