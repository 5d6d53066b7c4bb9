"""Nothing survives on an SSH host, and what is said about that is true: escapees times the ways in which a run can end.

Each test is done twice: on a host that has python3, and on one that has none, where what leaves the run's group may
survive, but then nobody says that all are dead.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.endings import (
    FOLLOWED,
    HEARD_WITHIN,
    STARTERS,
    Cut,
    Far,
    all_away,
    check_gone,
    check_lost,
    check_talker,
    far,
    follow,
    told,
)
from tests.support.escapees import KINDS
from tests.support.escaping import Attempt, end_all
from tests.support.jobs_of_escapees import LIMITS, SOON, got_away
from tests.support.remote import FLAVOURS
from tests.support.service import Document

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module", params=FLAVOURS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """For endings that leave the service whole."""
    with far(tmp_path_factory.mktemp("endings"), request.param) as made:
        yield made


# -- a run's own end


def test_a_normal_exit(shared: Far) -> None:
    """The leader ends by itself; who has got away from it is ended all the same, and the job is what the leader made it."""
    attempts = shared.service.attempts(stay=False)
    jobs = shared.start(attempts)
    try:
        ended = follow(shared, attempts, jobs, FOLLOWED)
        assert [attempt.kind for attempt in attempts if not attempt.away()] == []
        assert told(ended, "state", "exit_code", "code") == dict.fromkeys(KINDS, ("succeeded", 0, None))
    finally:
        check_gone(shared, attempts, seconds=SOON)


# -- a run that is stopped


Stopped = tuple[list[Attempt], list[Document]]


def stop_by_timeout(made: Far, _: ExitStack) -> Stopped:
    """The limit is over only when all have got away, however slowly a busy machine starts them."""
    for limit in LIMITS:
        attempts = made.service.attempts()
        jobs = made.start(attempts, {"timeout": limit})
        if got_away(attempts, within=limit):
            return attempts, jobs
        follow(made, attempts, jobs, FOLLOWED)
    raise AssertionError("they never got away in time")


def stop_by_cancel(made: Far, _: ExitStack) -> Stopped:
    attempts = made.service.attempts()
    jobs = made.start_away(attempts)
    with ThreadPoolExecutor(len(jobs)) as pool:
        return attempts, list(pool.map(lambda job: made.service.cancel(job["id"]), jobs))


def stop_by_hanging_up(made: Far, streams: ExitStack) -> Stopped:
    """The caller goes away when the streams are closed, which is after this."""
    attempts = made.service.attempts()
    bodies = [{**made.service.flight(attempt, "over"), "on_disconnect": "cancel"} for attempt in attempts]
    followed = [streams.enter_context(made.service.stream("flee", body)) for body in bodies]
    jobs = [{"id": next(events).document["job_id"]} for events in followed]
    all_away(attempts)
    return attempts, jobs


STOPS: Mapping[str, Callable[[Far, ExitStack], Stopped]] = {
    "timeout": stop_by_timeout,
    "cancel": stop_by_cancel,
    "hang up": stop_by_hanging_up,
}


def test_a_stop(shared: Far) -> None:
    """A run that is stopped is gone with all that it started when its job has ended; and that is known, with python3.

    The polite part of each stop takes seconds, so they take them at the same time.
    """
    with ThreadPoolExecutor(len(STOPS)) as pool:
        checks = [pool.submit(check_a_stop, shared, way) for way in STOPS]
    for check in checks:
        check.result()


def check_a_stop(shared: Far, way: str) -> None:
    attempts: list[Attempt] = []
    try:
        with ExitStack() as streams:
            attempts, jobs = STOPS[way](shared, streams)
        ended = follow(shared, attempts, jobs, FOLLOWED)
        state = "timed_out" if way == "timeout" else "canceled"
        holder = ended.pop("holder")  # whose leader has ended: it may be over before it is stopped
        assert holder["state"] in (state, "succeeded")
        assert told(ended, "state") == dict.fromkeys(ended, (state,))
        if shared.sure:
            assert told(ended, "stopped") == dict.fromkeys(ended, ("confirmed",))
        else:
            assert {job["stopped"] for job in ended.values()} <= {"confirmed", "unconfirmed"}
    finally:
        check_gone(shared, attempts, seconds=SOON)


# -- a connection that breaks


def drop(made: Far) -> None:
    made.sshd.drop_connections()


def crash(made: Far) -> None:
    made.sshd.crash()
    made.sshd.up()


def reset(made: Far) -> None:
    made.line.reset()
    made.line.thaw()


LOUD: Sequence[Cut] = (drop, crash, reset)


@pytest.mark.parametrize("cut", LOUD)
def test_a_loud_cut(shared: Far, cut: Cut) -> None:
    """Both sides hear of it: all ends at once, the jobs are lost with what was written before, and the next run works."""
    attempts = shared.service.attempts()
    try:
        talker = shared.talk()
        jobs = shared.start_away(attempts)
        cut(shared)
        assert shared.works()
        check_gone(shared, attempts, seconds=HEARD_WITHIN)
        check_lost(follow(shared, attempts, jobs, FOLLOWED))
        check_talker(shared, talker)
    finally:
        end_all(attempts)


NOTHING_RAN = ("connect_failed", "channel_refused")


@pytest.mark.parametrize("cut", [drop, reset])
def test_a_cut_while_runs_start(shared: Far, cut: Cut) -> None:
    """At whatever moment of a start the connection breaks: nothing is left, and what is said not to have run never ran."""
    delays = random.Random(5)
    for _ in range(2):
        attempts = shared.service.attempts(STARTERS)
        try:
            jobs = shared.start(attempts, {"timeout": 10})
            time.sleep(delays.uniform(0, 0.1))
            cut(shared)
            with ThreadPoolExecutor(len(jobs)) as pool:  # who came late had a good connection, and runs
                list(pool.map(lambda job: shared.service.cancel(job["id"]), jobs))
            ended = follow(shared, attempts, jobs, FOLLOWED)
            check_gone(shared, attempts, seconds=HEARD_WITHIN)
            away = {attempt.kind: attempt.away() for attempt in attempts}
            for kind, job in ended.items():
                assert job["state"] in ("lost", "failed", "canceled"), (kind, job)
                if job["code"] in NOTHING_RAN:
                    assert not away[kind], (kind, job)
            shared.check_used_again()
        finally:
            end_all(attempts)
