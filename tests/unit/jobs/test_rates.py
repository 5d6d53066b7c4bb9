"""Token buckets: how many calls in a time, when the next one may come, and what a restart leaves of them."""

import pytest

from cmdhttp.jobs.rates import RateLeft, Rates, Spent
from cmdhttp.policy.fields import Rate

MINUTE = Rate(count=6, seconds=60)


def take_all(rates: Rates, rate: Rate, *, now: float) -> int:
    """Take tokens until there is none."""
    taken = 0
    while not rates.wait("b", rate, now=now):
        rates.take("b", rate, now=now)
        taken += 1
    return taken


def test_a_burst_and_then_evenly() -> None:
    """As many at once as the rate says, then one in each part of its time; the wait that is told is exact."""
    rates = Rates()
    assert take_all(rates, MINUTE, now=0.0) == 6
    assert rates.wait("b", MINUTE, now=0.0) == pytest.approx(10.0)
    assert rates.wait("b", MINUTE, now=7.0) == pytest.approx(3.0)
    assert take_all(rates, MINUTE, now=10.0) == 1
    assert take_all(rates, MINUTE, now=1000.0) == 6


def test_what_is_left() -> None:
    """What may come now, and when the bucket is full."""
    rates = Rates()
    assert rates.left("b", MINUTE, now=0.0) == RateLeft(limit=6, seconds=60, left=6, resets_in=0.0)
    rates.take("b", MINUTE, now=0.0)
    assert rates.left("b", MINUTE, now=5.0) == RateLeft(limit=6, seconds=60, left=5, resets_in=5.0)
    take_all(rates, MINUTE, now=5.0)
    assert rates.left("b", MINUTE, now=5.0).left == 0


def test_put_back() -> None:
    """A token of a call that came to nothing is there again, and none is made."""
    rates = Rates()
    rates.put_back("b")
    rates.take("b", MINUTE, now=0.0)
    rates.put_back("b")
    rates.put_back("b")
    assert take_all(rates, MINUTE, now=0.0) == 6


def test_another_rate() -> None:
    """A lower one locks nobody out for longer than its own time; a higher one lets more through at once."""
    rates = Rates()
    take_all(rates, Rate(count=100, seconds=3600), now=0.0)
    assert rates.wait("b", MINUTE, now=0.0) == pytest.approx(10.0)
    assert rates.wait("b", Rate(count=200, seconds=60), now=0.0) == 0


@pytest.mark.parametrize(
    ("passed", "free"),
    [(0.0, 0), (10.0, 1), (35.0, 3), (60.0, 6), (1e9, 6), (-3600.0, 0), (-1e9, 0)],
)
def test_a_restart(passed: float, free: int) -> None:
    """By wall time. A clock that has gone back counts as no time, and one that has jumped ahead as all of it."""
    before, after = Rates(), Rates()
    take_all(before, MINUTE, now=500.0)
    kept = list(before.spent([("b", MINUTE)], now=500.0, wall=1e6))
    assert kept == [Spent(name="b", debt=6.0, at=1e6)]
    after.restore(kept, {"b": MINUTE}.get, now=3.0, wall=1e6 + passed)
    assert take_all(after, MINUTE, now=3.0) == free
    assert after.wait("b", MINUTE, now=63.0) == 0


def test_a_restart_with_another_policy() -> None:
    """What has no rate any more is dropped, and a smaller bucket is empty, not less than that."""
    rates = Rates()
    kept = [Spent(name="b", debt=100.0, at=0.0), Spent(name="gone", debt=5.0, at=0.0)]
    rates.restore(kept, {"b": MINUTE}.get, now=0.0, wall=0.0)
    assert rates.wait("b", MINUTE, now=0.0) == pytest.approx(10.0)
    assert list(rates._buckets) == ["b"]
    rates.forget(lambda _: False)
    assert not rates._buckets


def test_time_that_does_not_pass() -> None:
    """A time before the last one counts as the last one."""
    rates = Rates()
    take_all(rates, MINUTE, now=100.0)
    assert rates.wait("b", MINUTE, now=50.0) == pytest.approx(10.0)
