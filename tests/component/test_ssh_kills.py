"""Runs on SSH hosts whose service is killed, and runs that kill or stop who watches them: no lie is told."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from tests.support.endings import HEARD_WITHIN, STARTERS, UNANSWERED, Far, check_gone, far, follow, told
from tests.support.escapees import KINDS
from tests.support.escaping import end_all
from tests.support.remote import FLAVOURS
from tests.support.service import wait_until
from tests.support.sshd import end

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=FLAVOURS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Far]:
    """For endings that do not: a log with the errors that they cause is what they ask for."""
    with far(tmp_path, request.param) as made:
        yield made
        made.service.stderr.write_text("")


# -- a service that is killed


def test_a_killed_service(own: Far) -> None:
    """Nobody has to start the service again for its runs to be gone; when somebody does, the jobs say what is known."""
    attempts = own.service.attempts()
    try:
        jobs = own.start_away(attempts)
        own.service.kill_at_once(own.service.front)
        check_gone(own, attempts, seconds=HEARD_WITHIN)
        own.service.kill()
        own.service.start()
        ended = follow(own, attempts, jobs, 10)
        assert told(ended, "state", "code") == dict.fromkeys(KINDS, ("lost", "service_restarted"))
        assert own.works()
    finally:
        end_all(attempts)


def test_a_service_killed_while_runs_start(own: Far) -> None:
    """At whatever moment of a start the service dies, nothing is left of what was started."""
    delays = random.Random(6)
    for _ in range(2):
        attempts = own.service.attempts(STARTERS)
        try:
            with ThreadPoolExecutor(len(attempts)) as pool:
                calls = [pool.submit(own.service.flee, attempt, own.host) for attempt in attempts]
                time.sleep(delays.uniform(0.02, 0.12))
                own.service.kill_at_once(own.service.front)
                wait(calls)
            check_gone(own, attempts, seconds=HEARD_WITHIN)
        finally:
            end_all(attempts)
        own.service.kill()
        own.service.start()
        assert own.works()


# -- escapees that attack who watches them


@pytest.mark.parametrize("kind", ["killer", "strange_killer"])
def test_killers_of_who_watches(own: Far, kind: str) -> None:
    """A command can kill what its own account runs, the guard too. No lie is told, and the next run works."""
    attack(own, kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["freezer", "deep_freezer"])
def test_freezers_of_who_watches(tmp_path: Path, kind: str) -> None:
    """Nor does a guard that is stopped keep a run open, or its host from being used."""
    with far(tmp_path, "python3") as made:
        attack(made, kind)


def attack(made: Far, kind: str) -> None:
    attempts = made.service.attempts([kind])
    watchers: list[int] = []
    try:
        jobs = made.start_away(attempts, {"timeout": 2})
        watchers = made.sshd.family()
        ended = follow(made, attempts, jobs, UNANSWERED)
        assert ended[kind]["state"] in ("lost", "timed_out", "failed"), ended
        wait_until(made.works, "the next run works", seconds=15)
    finally:
        end_all(attempts)
        end(watchers)  # who was stopped would stay
