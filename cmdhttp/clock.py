"""The one place that reads a clock. Wall time labels records; monotonic time measures and decides.

Deadlines never use wall time, so a clock that jumps moves no time-out.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Both readings at one seam, so that tests can hold time still."""

    def now(self) -> float:
        """Wall time in seconds since the Unix epoch, in whole microseconds: what is kept is exactly what is shown."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""


class SystemClock:
    def now(self) -> float:
        return time.time_ns() // 1000 / 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(unix_seconds: float) -> str:
    """Return UTC with microseconds and a `Z`, as in `2026-11-02T09:30:00.123456Z`."""
    return datetime.fromtimestamp(unix_seconds, tz=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
