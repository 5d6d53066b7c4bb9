"""How long failures are put up with."""

import pytest

from cmdhttp.client.failures import CallFailed, Problem, Refused, Unreachable
from cmdhttp.client.patience import Patience, insist


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def patience(self, limit: float, *, chance: float = 1.0) -> Patience:
        return Patience(limit, clock=lambda: self.now, sleep=self.sleep, chance=lambda: chance)


def bear_until_over(patience: Patience) -> None:
    for _ in range(100):
        patience.bear(Unreachable("no"))


def busy(seconds: float | None) -> Refused:
    return Refused(Problem(status=503), retry_after=seconds)


def test_waits_grow_and_end() -> None:
    """Waits double to five seconds; when the next would end after the limit, the failure is raised."""
    time = Time()
    patience = time.patience(30)
    with pytest.raises(Unreachable):
        bear_until_over(patience)
    assert time.slept[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert 25 < time.now <= 30


def test_chance_spreads_the_waits() -> None:
    """A wait is shortened by up to a half, so that many callers do not come back together."""
    time = Time()
    time.patience(30, chance=0.0).bear(Unreachable("no"))
    assert time.slept == [0.05]


def test_progress_starts_anew() -> None:
    """After progress the time and the waits begin again."""
    time = Time()
    patience = time.patience(10)
    for _ in range(20):
        patience.bear(Unreachable("no"))
        patience.bear(Unreachable("no"))
        time.now += 9
        patience.progress()
    assert time.slept == [0.1, 0.2] * 20


def test_what_the_service_says_counts() -> None:
    """`Retry-After` is waited for, plus up to a second; one that is after the limit is not worth a wait."""
    time = Time()
    patience = time.patience(30)
    patience.bear(busy(7))
    assert time.slept == [8]
    with pytest.raises(Refused):
        patience.bear(busy(60))
    assert time.slept == [8]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_what_is_final_is_raised_at_once(status: int) -> None:
    """A refusal that another attempt does not change is not waited for."""
    time = Time()
    with pytest.raises(Refused):
        time.patience(30).bear(Refused(Problem(status=status)))
    assert time.slept == []


@pytest.mark.parametrize(("ours", "retryable"), [(True, False), (False, True)])
def test_gateways_may_be_asked_again(*, ours: bool, retryable: bool) -> None:
    """A 502 of something in between says nothing of the service, so it is worth another attempt."""
    assert Refused(Problem(status=502, ours=ours)).retryable is retryable


def test_insisting() -> None:
    """A call is made until it brings something, or its failure is final."""
    time = Time()
    failures: list[CallFailed] = [Unreachable("no"), busy(None)]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert insist(call, time.patience(30)) == "done"
    failures.append(Refused(Problem(status=404)))
    with pytest.raises(CallFailed):
        insist(call, time.patience(30))
