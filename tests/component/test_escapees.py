"""Nothing survives: programs that try to outlive their run, times the ways in which a run or the service can end.

What an escapee leaves is looked for by a walk of /proc for the mark in its argv.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import pytest

from tests.support.escapees import KINDS, marked
from tests.support.escaping import Attempt, EscapeService, open_files, zombies
from tests.support.jobs_of_escapees import (
    LIMITS,
    all_away,
    by_kind,
    check_lost,
    check_nothing_left,
    ended,
    got_away,
    restart,
)
from tests.support.service import Document, wait_until

pytestmark = pytest.mark.timeout(240)
_BROKER_BACK = 20.0
"""Seconds; it is one second on a machine that has nothing else to do."""

_SWAY = 20
"""Descriptors that come and go: connections that are kept, a thread's look at the journal, a guard more."""

Kill = Callable[[EscapeService], None]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EscapeService]:
    with EscapeService.running(tmp_path_factory.mktemp("escapees") / "service") as running:
        yield running


@pytest.fixture
def killed(service: EscapeService) -> Iterator[EscapeService]:
    """For tests that kill: a log with the errors that they cause is what they ask for."""
    yield service
    if service.log:
        service.stderr.write_text("")


# -- a run's own end


def test_a_normal_exit(service: EscapeService, record_property: Callable[[str, object], None]) -> None:
    """The leader ends by itself; who has got away from it is ended all the same, and the job is what the leader made it."""
    record_property("containment", service.rung)
    attempts = service.attempts(stay=False)
    jobs = [service.escape(attempt) for attempt in attempts]
    jobs = ended(service, jobs)
    assert [attempt.kind for attempt in attempts if not attempt.away()] == []
    check_nothing_left(service, attempts, seconds=0)
    assert by_kind(attempts, jobs, "state", "exit_code", "error") == dict.fromkeys(KINDS, ("succeeded", 0, None))


def test_a_stop(service: EscapeService) -> None:
    """A run that is stopped is gone with all that it started when its job has ended, and that is known.

    The polite part of each stop takes seconds, so they take them at the same time.
    """
    with ThreadPoolExecutor(len(STOPS)) as pool:
        checks = [pool.submit(check_a_stop, service, way) for way in STOPS]
    for check in checks:
        check.result()


def check_a_stop(service: EscapeService, way: str) -> None:
    with ExitStack() as streams:
        attempts, jobs = STOPS[way](service, streams)
    jobs = ended(service, jobs)
    check_nothing_left(service, attempts, seconds=0)
    verdicts = by_kind(attempts, jobs, "state", "stopped")
    of_holder = verdicts.pop("holder")  # whose leader has ended: it may be over before it is stopped
    stopped = ("timed_out" if way == "timeout" else "canceled", "confirmed")
    assert of_holder in (stopped, ("succeeded", None))
    assert verdicts == dict.fromkeys([kind for kind in KINDS if kind != "holder"], stopped)


Stopped = tuple[list[Attempt], list[Document]]


def stop_by_timeout(service: EscapeService, _: ExitStack) -> Stopped:
    """The limit is over only when all have got away, however slowly a busy machine starts them."""
    for limit in LIMITS:
        attempts = service.attempts()
        jobs = [service.escape(attempt, {"timeout": limit}) for attempt in attempts]
        if got_away(attempts, within=limit):
            return attempts, jobs
        ended(service, jobs)
    raise AssertionError("they never got away in time")


def stop_by_cancel(service: EscapeService, _: ExitStack) -> Stopped:
    attempts = service.attempts()
    jobs = [service.escape(attempt) for attempt in attempts]
    all_away(attempts)
    with ThreadPoolExecutor(len(jobs)) as pool:
        return attempts, list(pool.map(lambda job: service.cancel(job["id"]), jobs))


def stop_by_hanging_up(service: EscapeService, streams: ExitStack) -> Stopped:
    """The caller goes away when the streams are closed, which is after this."""
    attempts = service.attempts()
    bodies = [{"params": attempt.params, "on_disconnect": "cancel"} for attempt in attempts]
    followed = [streams.enter_context(service.stream("escape", body)) for body in bodies]
    jobs = [{"id": next(events).document["job_id"]} for events in followed]
    all_away(attempts)
    return attempts, jobs


STOPS: Mapping[str, Callable[[EscapeService, ExitStack], Stopped]] = {
    "timeout": stop_by_timeout,
    "cancel": stop_by_cancel,
    "disconnect": stop_by_hanging_up,
}


# -- kill -9 of parts of the service


def test_a_killed_broker(killed: EscapeService) -> None:
    """The runs end with it and say so; their output is kept, and the next call finds another broker soon."""
    service = killed
    before = service.metric("cmdhttp_broker_restarts_total")
    talker = service.launch("tick", {"params": {"count": 1000, "pause": 0.02}})
    assert service.first_line(talker["id"]) == "tick 0"
    attempts = service.attempts()
    jobs = [service.escape(attempt) for attempt in attempts]
    all_away(attempts)
    service.kill_at_once(service.broker)
    since = time.monotonic()
    check_nothing_left(service, attempts)
    assert service.result("exit", {"params": {"code": 0}})["ok"]
    assert time.monotonic() - since < _BROKER_BACK
    verdicts = by_kind(attempts, ended(service, jobs), "state", "code", "stopped")
    assert verdicts == dict.fromkeys(KINDS, ("failed", "broker_lost", "confirmed"))
    told = service.job(talker["id"])
    assert (told["state"], told["error"]["code"], told["stopped"]) == ("failed", "broker_lost", "confirmed")
    assert told["stdout"].startswith("tick 0\ntick 1\n")
    assert service.metric("cmdhttp_broker_restarts_total") == before + 1
    wait_until(lambda: "the broker has ended (status -9)" in service.log, "the log tells of it", seconds=30)
    wait_until(lambda: "broker.restarted" in service.audit_codes(), "the restart is on record", seconds=30)
    assert service.ready()


def test_a_killed_guard(killed: EscapeService) -> None:
    """The broker ends what each guard watched; the end of a run that nobody saw is `lost`, and the next call works."""
    service = killed
    attempts = service.attempts()
    jobs = [service.escape(attempt) for attempt in attempts]
    all_away(attempts)
    service.kill_at_once(*service.guards)
    check_nothing_left(service, attempts)
    assert by_kind(attempts, ended(service, jobs), "state", "code") == dict.fromkeys(KINDS, ("lost", "guard_lost"))
    assert service.result("exit", {"params": {"code": 0}})["ok"]


def kill_front(service: EscapeService) -> None:
    service.kill_at_once(service.front)


def kill_front_and_broker(service: EscapeService) -> None:
    service.kill_at_once(service.front, service.broker)


@pytest.mark.parametrize("kill", [kill_front, kill_front_and_broker])
def test_a_killed_front(killed: EscapeService, kill: Kill) -> None:
    """Nobody has to start the service again for its runs to be gone; when somebody does, the jobs say what is known."""
    service = killed
    talker = service.launch("tick", {"params": {"count": 1000, "pause": 0.02}})
    assert service.first_line(talker["id"]) == "tick 0"
    attempts = service.attempts()
    jobs = [service.escape(attempt) for attempt in attempts]
    all_away(attempts)
    kill(service)
    check_nothing_left(service, attempts)
    restart(service)
    check_lost(service, attempts, jobs)
    assert service.job(talker["id"])["stdout"].startswith("tick 0\ntick 1\n")


def test_a_front_killed_right_after_the_start(killed: EscapeService) -> None:
    """At whatever moment of a start the front dies, nothing is left of what was started, nor of its folder."""
    service = killed
    delays = random.Random(4)
    for _ in range(3):
        attempts = service.attempts()
        marks = [attempt.mark for attempt in attempts]
        with ThreadPoolExecutor(len(attempts)) as pool:
            calls = [pool.submit(service.escape, attempt) for attempt in attempts]
            wait_until(lambda: marked(*marks), "one has started", seconds=30)  # noqa: B023
            time.sleep(delays.uniform(0, 0.02))
            kill_front(service)
            wait(calls)
        check_nothing_left(service, attempts)
        restart(service)
    assert {job["state"] for job in service.list_jobs(limit=100)} <= {
        "succeeded", "failed", "lost", "timed_out", "canceled",
    }  # fmt: skip


# -- two hundred runs


def test_two_hundred_runs_leave_no_trace(service: EscapeService) -> None:
    """No descriptor, no zombie and no folder is left of them, in the front or the broker."""
    service.result("exit", {"params": {"code": 0}})

    def one(number: int) -> str:
        command, body = (("exit", {"params": {"code": 0}}), ("cat", {"stdin": "x"}), ("missing", {}))[number % 3]
        return str(service.result(command, body)["state"])

    def burst(count: int) -> set[str]:
        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(one, range(count)))

    burst(24)
    wait_until(lambda: open_files(service.front) < 60, "the connections of the first burst are closed", seconds=30)
    before = [open_files(pid) for pid in (service.front, service.broker)]
    assert burst(200) == {"succeeded", "failed"}
    for pid, count in zip((service.front, service.broker), before, strict=True):
        wait_until(lambda: open_files(pid) <= count + _SWAY, "no descriptor is left", seconds=30)  # noqa: B023
        assert zombies(pid) == []
    assert service.run_folders() == []
