"""How long failures are put up with: a bounded time without any progress, with growing waits.

A wait grows from a tenth of a second to some seconds, with a random part, so that many callers do not come back at the same
moment; where the service says when to come back, that counts. Progress starts the count anew.
"""

from collections.abc import Callable
from typing import TypeVar

from cmdhttp.client.failures import CallFailed

_FIRST, _LONGEST = 0.1, 5.0

T = TypeVar("T")


class Patience:
    """`limit` seconds without progress. `clock` is monotonic; `chance` gives a number from 0 to 1."""

    def __init__(
        self,
        limit: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        chance: Callable[[], float],
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._failing_since: float | None = None
        self._wait = _FIRST

    def progress(self) -> None:
        self._failing_since, self._wait = None, _FIRST

    def bear(self, failure: CallFailed) -> float:
        """Sleep before the next attempt; returns for how long. Raises the failure if the time is over or it is final."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._limit - now
        wait = self._wait * (0.5 + 0.5 * self._chance())
        if failure.retry_after is not None:
            wait = failure.retry_after + self._chance()
        if not failure.retryable or wait > left:
            raise failure
        self._wait = min(self._wait * 2, _LONGEST)
        self._sleep(wait)
        return wait


def insist(call: Callable[[], T], patience: Patience) -> T:
    """Return what a call returns that may be made any number of times. Raises CallFailed."""
    while True:
        try:
            result = call()
        except CallFailed as failure:
            patience.bear(failure)
        else:
            patience.progress()
            return result
