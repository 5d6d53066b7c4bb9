"""When it is worth to ask again: how long runs of a command took lately, and for how long those under way have run. Pure."""

import math
from collections import deque
from collections.abc import Iterable
from itertools import islice
from statistics import median

LEAST, MOST = 1, 60
"""Seconds that a caller is ever told to wait."""
UNKNOWN = 5.0
_RUNS, _COMMANDS, _LOOKED_AT = 15, 4096, 256


class Pace:
    """Durations of the last runs, by command. Times and durations in seconds."""

    def __init__(self) -> None:
        self._last: dict[str, deque[float]] = {}

    def ended(self, command: str, duration: float) -> None:
        last = self._last.setdefault(command, deque(maxlen=_RUNS))
        last.append(duration)
        if len(self._last) > _COMMANDS:
            del self._last[next(iter(self._last))]

    def retry_after(self, under_way: Iterable[tuple[str, float]], *, now: float) -> int:
        """Return in how many whole seconds one of these should have ended; each is its command and when it started."""
        waits = [self._left(command, now - since) for command, since in islice(under_way, _LOOKED_AT)]
        return min(max(math.ceil(min(waits, default=UNKNOWN)), LEAST), MOST)

    def _left(self, command: str, elapsed: float) -> float:
        last = self._last.get(command)
        return median(last) - elapsed if last else UNKNOWN
