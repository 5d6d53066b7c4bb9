"""How many calls there may be in a time: one token bucket for each principal and for each command that has a rate. Pure.

`30/h` is a bucket of 30 that fills evenly, one every 120 s: 30 calls at once, then one every 120 s. What is kept of a bucket
is its debt, the tokens that are missing from it, so a rate that changes takes effect at once and never locks anyone out for
longer than its own time. A debt outlives the service as a `Spent`: by wall time, and a clock that has jumped counts as if no
time had gone by, or all of it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cmdhttp.policy.fields import Rate

_NEARLY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What is missing from the bucket `name` at a Unix time."""

    name: str
    debt: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLeft:
    """Of `limit` calls in `seconds`, `left` may come now; the bucket is full again in `resets_in` seconds."""

    limit: int
    seconds: int
    left: int
    resets_in: float


@dataclass(slots=True)
class _Bucket:
    debt: float
    at: float


class Rates:
    """The buckets by name. `now` is a monotonic time in seconds."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def wait(self, name: str, rate: Rate, *, now: float) -> float:
        """Return in how many seconds there will be a token; 0: there is one."""
        missing = self._debt(name, rate, now) + 1 - rate.count
        return missing * rate.seconds / rate.count if missing > _NEARLY else 0.0

    def take(self, name: str, rate: Rate, *, now: float) -> None:
        """Take a token, which is there."""
        self._buckets[name] = _Bucket(self._debt(name, rate, now) + 1, now)

    def put_back(self, name: str) -> None:
        """Put back a token whose call came to nothing."""
        if (bucket := self._buckets.get(name)) is not None:
            bucket.debt = max(bucket.debt - 1, 0.0)

    def left(self, name: str, rate: Rate, *, now: float) -> RateLeft:
        debt = self._debt(name, rate, now)
        left = math.floor(rate.count - debt + _NEARLY)
        return RateLeft(limit=rate.count, seconds=rate.seconds, left=left, resets_in=debt * rate.seconds / rate.count)

    def spent(self, rates: Iterable[tuple[str, Rate]], *, now: float, wall: float) -> Iterator[Spent]:
        """Yield what to keep of these buckets, at the Unix time `wall`."""
        for name, rate in rates:
            yield Spent(name=name, debt=self._debt(name, rate, now), at=wall)

    def restore(self, kept: Iterable[Spent], rate_of: Callable[[str], Rate | None], *, now: float, wall: float) -> None:
        """Fill the buckets as they were kept, as far as they still have a rate."""
        for spent in kept:
            if (rate := rate_of(spent.name)) is not None:
                age = min(max(wall - spent.at, 0.0), float(rate.seconds))
                self._buckets[spent.name] = _Bucket(_leaked(spent.debt, age, rate), now)

    def forget(self, keep: Callable[[str], bool]) -> None:
        """Drop the buckets of names that have no rate any more."""
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if keep(name)}

    def _debt(self, name: str, rate: Rate, now: float) -> float:
        bucket = self._buckets.get(name)
        return _leaked(bucket.debt, now - bucket.at, rate) if bucket else 0.0


def _leaked(debt: float, age: float, rate: Rate) -> float:
    """What is left of a debt after a time, never more than the whole bucket."""
    return max(min(debt, float(rate.count)) - max(age, 0.0) * rate.count / rate.seconds, 0.0)
