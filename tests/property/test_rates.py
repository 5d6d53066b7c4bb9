"""Over any time there are no more calls than the bucket holds and the rate adds, and a wait that is told is true."""

from hypothesis import given
from hypothesis import strategies as st

from cmdhttp.jobs.rates import Rates, Spent
from cmdhttp.policy.fields import Rate

RATES = st.builds(Rate, count=st.integers(1, 50), seconds=st.sampled_from([1, 60, 3600, 86400]))
GAPS = st.lists(st.floats(0, 0.5), max_size=60)


@given(rate=RATES, gaps=GAPS)
def test_no_more_than_the_rate_says(rate: Rate, gaps: list[float]) -> None:
    """Within each stretch of time between two calls: the whole bucket and what has come to it, at most."""
    rates, now, taken = Rates(), 0.0, list[float]()
    for gap in gaps:
        now += gap * rate.seconds
        wait = rates.wait("b", rate, now=now)
        assert 0 <= wait <= rate.seconds / rate.count + 1e-3
        if wait:
            assert rates.wait("b", rate, now=now + wait) == 0
            assert rates.wait("b", rate, now=now + wait * 0.9) > 0
            continue
        rates.take("b", rate, now=now)
        taken.append(now)
    for first, since in enumerate(taken):
        for last, until in enumerate(taken[first:], start=first):
            most = rate.count + (until - since) * rate.count / rate.seconds
            assert last - first + 1 <= most + 1e-3


@given(rate=RATES, debt=st.floats(0, 1e9), at=st.floats(-1e12, 1e12), wall=st.floats(-1e12, 1e12))
def test_nobody_is_locked_out_by_a_clock(rate: Rate, debt: float, at: float, wall: float) -> None:
    """Whatever was kept and whatever the clock says: after one time of the rate the bucket is full."""
    rates = Rates()
    rates.restore([Spent(name="b", debt=debt, at=at)], lambda _: rate, now=5.0, wall=wall)
    left = rates.left("b", rate, now=5.0)
    assert 0 <= left.left <= rate.count
    assert 0 <= left.resets_in <= rate.seconds
    assert rates.left("b", rate, now=5.0 + rate.seconds).left == rate.count
