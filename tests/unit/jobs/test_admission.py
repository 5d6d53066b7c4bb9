"""Who is let in, who waits, and who is next."""

import pytest

from cmdhttp.errors import CmdHttpError, Limit, TooMany, Unavailable
from cmdhttp.jobs.ticket import Waits
from cmdhttp.policy.compiled import Quota
from tests.support.admitting import House, Job, Rules, busy


def refused(house: House, *args: str, **more: object) -> CmdHttpError:
    with pytest.raises((TooMany, Unavailable)) as caught:
        house.enter("x", *args, **more)  # type: ignore[arg-type]
    return caught.value


def reason(house: House, job: Job) -> tuple[int | None, str] | None:
    place = house.admission.place(job.ticket)
    assert house.admission.places([job.ticket]) == [place]
    return (place.position, place.reason) if place else None


def test_places_run_out_and_come_back() -> None:
    """As many runs start as there are places; the next one starts in the place of one that ends."""
    house = House(places=2)
    a, b, c = (house.enter(name) for name in "abc")
    assert house.starts == "ah bh"
    assert (reason(house, a), reason(house, c)) == ((None, "starting"), (1, "service_busy"))
    b.end()
    assert (house.starts, house.admission.free) == ("ah bh ch", 0)
    a.end()
    c.end()
    assert (house.admission.free, house.admission.queued, house.admission.started) == (2, 0, 0)


def test_a_thousand_jobs_do_not_hold_up_the_first_of_another() -> None:
    """Whoever holds nothing has the next place, however many of others have waited longer."""
    house = House(places=4, queue=2000)
    flood = [house.enter(f"f{number}.", principal="flood") for number in range(1000)]
    late = house.enter("late.", principal="late")
    assert reason(house, late) == (2, "service_busy")
    flood[0].end()
    assert house.told[4:] == ["late.h"]


def test_principals_take_turns() -> None:
    """With one place, callers that always have work get it by turns, each with its oldest job."""
    house = House(places=1)
    first = house.enter("x", principal="z")
    for number in range(3):
        house.enter(f"a{number}", principal="a")
    for number in range(3):
        house.enter(f"b{number}", principal="b")
    first.end()
    while house.jobs:
        next(job for job in house.jobs if job.running).end()
    assert house.starts == "xh a0h b0h a1h b1h a2h b2h"


def test_within_a_principal_who_holds_fewest_is_next() -> None:
    """A job on many hosts lets one that came later go first, and takes its turn after it."""
    house = House(places=4)
    many = house.enter("m", "abcdef")
    one, two = house.enter("x"), house.enter("y")
    assert house.starts == "ma mb mc xh"
    many.end()
    assert house.starts == "ma mb mc xh yh"
    many.end()
    assert house.starts == "ma mb mc xh yh md"
    one.end()
    two.end()
    assert house.starts == "ma mb mc xh yh md me"


def test_a_busy_host_holds_up_nobody_else() -> None:
    """A job that waits for its host is passed by one for another host, and starts when that host is free."""
    house = House(Rules(concurrencies={"c": busy(per_host=1)}), places=4)
    first, second = house.enter("a", "h"), house.enter("b", "h")
    other = house.enter("d", "i")
    assert (house.starts, reason(house, second)) == ("ah di", (1, "host_busy"))
    other.end()
    assert house.starts == "ah di"
    first.end()
    assert house.starts == "ah di bh"


def test_a_job_on_several_hosts_waits_for_its_busy_one_alone() -> None:
    """The other hosts of its batch go on, and the next batch waits for all of them."""
    house = House(Rules(concurrencies={"c": busy(per_host=1)}), places=8)
    single = house.enter("s", "b")
    many = house.enter("m", "abcd", batch=3)
    assert house.starts == "sb ma mc"
    many.end(0)
    many.end(2)
    assert house.starts == "sb ma mc"
    single.end()
    assert house.starts == "sb ma mc mb"
    many.end(1)
    assert house.starts == "sb ma mc mb md"


def test_another_command_on_the_same_host_is_not_held_up() -> None:
    """A limit for each host is one of the command on the host."""
    house = House(Rules(concurrencies={"c": busy(per_host=1), "d": busy(per_host=1)}), places=4)
    house.enter("a", "h", command="c")
    house.enter("b", "h", command="d")
    assert house.starts == "ah bh"


def test_a_command_has_no_more_runs_than_its_total() -> None:
    """Over all hosts and callers together; what waits says so."""
    house = House(Rules(concurrencies={"c": busy(total=2)}), places=8)
    a, _, c = (house.enter(name, host, principal=name) for name, host in zip("abc", "hij", strict=True))
    assert (house.starts, reason(house, c)) == ("ah bi", (1, "command_limit"))
    a.end()
    assert house.starts == "ah bi cj"


def test_a_principal_has_no_more_jobs_than_its_concurrency() -> None:
    """Jobs count, not runs: one on several hosts goes on. A job that waits for its next host is still one that runs."""
    house = House(Rules(quotas={"p": Quota(concurrency=1)}), places=8)
    many = house.enter("m", "abc", max_parallel=2)
    one = house.enter("x")
    assert (house.starts, reason(house, one)) == ("ma mb", (1, "principal_limit"))
    many.end()
    assert house.starts == "ma mb mc"
    house.enter("y", principal="q")
    many.end()
    many.end()
    assert house.starts == "ma mb mc yh xh"


def test_turns_at_a_command_whoever_holds_more_elsewhere() -> None:
    """A caller with much under way gets a busy host in its turn: another that has nothing else cannot keep it from it."""
    house = House(Rules(concurrencies={"c": busy(per_host=1)}), places=8)
    for number in range(4):
        house.enter(f"l{number}", "i", principal="a", command="long")
    churning = house.enter("b0", principal="b")
    house.enter("a", principal="a")
    for number in range(1, 4):
        house.enter(f"b{number}", principal="b")
    house.told.clear()
    churning.end()
    assert house.starts == "ah"
    next(job for job in house.jobs if job.name == "a").end()
    assert house.starts == "ah b1h"


def test_who_has_it_now_is_not_next() -> None:
    """The turn at a command is of whoever was served by it longest ago, not of whoever has waited longest."""
    house = House(Rules(concurrencies={"c": busy(per_host=1)}), places=8)
    running = house.enter("a0", principal="a")
    house.enter("a1", principal="a")
    house.enter("b0", principal="b")
    house.enter("a2", principal="a")
    running.end()
    while house.jobs:
        next(job for job in house.jobs if job.running).end()
    assert house.starts == "a0h b0h a1h a2h"


def test_what_gave_way_at_a_command_is_next_there() -> None:
    """The place of whoever holds fewest serves the one whose turn it is at the command; then it is its own turn."""
    house = House(Rules(concurrencies={"c": busy(total=1)}), places=2)
    long, first = house.enter("l", principal="a", command="long"), house.enter("x", principal="z")
    a, b = house.enter("a", principal="a"), house.enter("b", principal="b")
    first.end()
    assert house.starts == "lh xh ah"
    a.end()
    assert house.starts == "lh xh ah bh"
    b.end()
    long.end()
    assert house.admission.free == 2


@pytest.mark.parametrize("queue", [0, 1, 3])
def test_a_principal_waits_with_no_more_jobs_than_its_queue(queue: int) -> None:
    """One more that would have to wait is a 429; one that can start at once is none of them."""
    house = House(Rules(quotas={"p": Quota(queue=queue)}), places=1)
    running = house.enter("r")
    waiting = [house.enter(f"w{number}") for number in range(queue)]
    error = refused(house)
    assert (type(error), error.limit, error.retry_after) == (TooMany, Limit.PRINCIPAL_QUEUE, 5)
    house.enter("o", principal="other")
    running.end()
    while house.jobs:
        next(job for job in house.jobs if job.running).end()
    house.enter("again")
    assert len(waiting) == queue


def test_the_queue_of_the_service_is_bounded() -> None:
    """One more than it holds is a 503, and not even a caller without a bound of its own gets the last quarter."""
    house = House(places=1, queue=8)
    house.enter("r", principal="r")
    for number in range(6):
        house.enter(f"p{number}")
    assert refused(house).limit is Limit.PRINCIPAL_QUEUE
    for number in range(2):
        house.enter(f"q{number}", principal="q")
    error = refused(house, principal="s")
    assert (type(error), error.limit, error.retryable) == (Unavailable, Limit.SERVICE_QUEUE, True)


def test_a_queue_that_is_said_may_be_all_of_it() -> None:
    """The last quarter is kept from those only of whom the policy says nothing."""
    house = House(Rules(quotas={"p": Quota(queue=99)}), places=1, queue=4)
    house.enter("r", principal="r")
    for number in range(4):
        house.enter(f"p{number}")
    assert refused(house).limit is Limit.SERVICE_QUEUE


def test_a_command_that_rejects_lets_nobody_wait_for_it() -> None:
    """Neither on a host, nor in all; whoever waits for a place counts as well as whoever runs."""
    house = House(Rules(concurrencies={"c": busy(per_host=1, total=3, when_busy="reject")}), places=1)
    house.enter("a", "h")
    house.enter("b", "i")
    assert refused(house, "h").limit is Limit.HOST_BUSY
    error = refused(house, "i")
    assert (error.limit, "host i" in error.detail) == (Limit.HOST_BUSY, True)
    assert refused(house, "jh").limit is Limit.HOST_BUSY
    house.enter("d", "j")
    assert refused(house, "k").limit is Limit.COMMAND_BUSY


def test_a_job_wider_than_the_total_is_let_in_alone() -> None:
    """Its own runs wait for each other; nobody else's may, until fewer are left than the total."""
    house = House(Rules(concurrencies={"c": busy(total=2, when_busy="reject")}), places=8)
    many = house.enter("m", "abcd")
    assert house.starts == "ma mb"
    assert refused(house, "z").limit is Limit.COMMAND_BUSY
    for _ in range(3):
        many.end()
    house.enter("x", "z")
    assert house.starts == "ma mb mc md xz"


def test_retry_after_is_when_a_run_should_end() -> None:
    """The median of the last runs less the time that the oldest has run, at least 1 s and at most 60."""
    house = House(Rules(concurrencies={"c": busy(per_host=1, when_busy="reject")}), places=8)
    for seconds in (10.0, 20.0, 90.0):
        house.enter("t", at=0.0).end(at=seconds)
    house.enter("a", at=100.0)
    assert [refused(house, at=at).retry_after for at in (100.0, 113.5, 119.9, 500.0)] == [20, 7, 1, 1]
    for _ in range(15):
        house.enter("t", "i", at=0.0).end(at=1000.0)
    assert refused(house, at=100.0).retry_after == 60


def test_a_refusal_leaves_nothing() -> None:
    """Neither a place, nor a spot in the queue, nor memory."""
    rules = Rules(quotas={"p": Quota(queue=0)}, concurrencies={"c": busy(total=1, when_busy="reject")})
    house = House(rules, places=1)
    job = house.enter("a")
    for _ in range(5):
        refused(house)
        refused(house, command="d")
    assert house.admission.queued == 0
    job.end()
    assert house.admission.free == 1
    assert not any((house.admission._queues, house.admission._turns, house.admission._claimed_on))


def test_a_cancel_frees_its_spot_at_once() -> None:
    """A job that has withdrawn counts no more, before its end is on record; the next one is let in and moves up."""
    house = House(Rules(quotas={"p": Quota(queue=1)}), places=1)
    house.enter("a")
    waiting = house.enter("b")
    assert refused(house).limit is Limit.PRINCIPAL_QUEUE
    house.admission.withdraw(waiting.ticket)
    assert house.admission.place(waiting.ticket) is None
    late = house.enter("d")
    assert reason(house, late) == (1, "service_busy")
    waiting.over()
    house.jobs[0].end()
    assert house.starts == "ah dh"


def test_new_rules_hold_at_once() -> None:
    """More room starts what waits; less room ends nothing and starts nothing until there is room again."""
    house = House(Rules(quotas={"p": Quota(concurrency=1)}), places=8)
    jobs = [house.enter(name) for name in "abc"]
    house.rules.quotas["p"] = Quota(concurrency=2)
    house.admission.rules_changed(now=0.0)
    assert house.starts == "ah bh"
    house.rules.quotas["p"] = Quota(concurrency=1)
    house.rules.concurrencies["c"] = busy(total=1)
    house.admission.rules_changed(now=0.0)
    jobs[0].end()
    assert house.starts == "ah bh"
    jobs[1].end()
    assert house.starts == "ah bh ch"


def test_what_was_let_in_before_is_let_in_again() -> None:
    """After a restart no bound turns away a job that was accepted, and those keep their order."""
    rules = Rules(quotas={"p": Quota(queue=0)}, concurrencies={"c": busy(per_host=1, when_busy="reject")})
    house = House(rules, places=1, queue=0)
    claim = house.enter("r", principal="r").ticket.claim
    tickets = [house.admission.enter(claim, now=0.0, bounded=False) for _ in range(3)]
    positions = [place.position for ticket in tickets if (place := house.admission.place(ticket))]
    assert positions == [1, 2, 3]


def test_positions_are_those_of_turns() -> None:
    """The second of a caller comes after the first of every other one."""
    house = House(places=1)
    house.enter("r", principal="r")
    jobs = [house.enter(f"a{number}", principal="a") for number in range(3)]
    jobs += [house.enter(f"b{number}", principal="b") for number in range(2)]
    assert [(reason(house, job) or (0,))[0] for job in jobs] == [1, 3, 5, 2, 4]
    places = house.admission.places([job.ticket for job in house.jobs])
    assert [place and place.position for place in places] == [None, 1, 3, 5, 2, 4]
    assert house.admission.places([]) == []
    assert dict(house.admission.waiting())[Waits.SERVICE_BUSY] == 5


@pytest.mark.parametrize(("total", "most"), [(1, 1), (3, 3), (4, 3), (8, 6), (64, 48)])
def test_several_hosts_leave_a_quarter(total: int, most: int) -> None:
    """One job never has all places, unless there are too few to share."""
    house = House(places=total)
    house.enter("m", "abcdefgh" * 9, max_parallel=100)
    assert len(house.told) == most
