"""Who may run now. There is a fixed number of places, and a place that comes free goes to whoever holds the fewest.

So a job on hundreds of hosts, however long they take, lets every job that comes after it have the next place. Among equals
who has waited longest is first. A job on several hosts never gets the last quarter: hosts of it that do not answer cannot
keep all others from starting.
"""

from typing import Protocol

_LEFT_TO_OTHERS = 4


class Holder(Protocol):
    def place_given(self) -> None:
        """A place that was waited for is this holder's now."""


class Places:
    """Calls happen on one thread. A holder waits for one place at a time."""

    def __init__(self, total: int) -> None:
        self.free = total
        self.most_for_several = total - total // _LEFT_TO_OTHERS
        self._held: dict[Holder, int] = {}
        self._waiting: dict[int, dict[Holder, None]] = {}
        """By how many places they hold, then in the order of their coming."""

    def take(self, holder: Holder) -> bool:
        """Take a place if one is free; whoever waits has been given what was free before."""
        if not self.free:
            return False
        self.free -= 1
        self._count(holder, 1)
        return True

    def wait(self, holder: Holder) -> None:
        """Be given the next place that is due to this holder; it has just found none free."""
        self._waiting.setdefault(self._held.get(holder, 0), {}).setdefault(holder)

    def withdraw(self, holder: Holder) -> None:
        """Wait no more, if it did."""
        self._drop(holder, self._held.get(holder, 0))

    def give_back(self, holder: Holder) -> None:
        """Let go of one place; it goes to whoever is due."""
        self._count(holder, -1)
        if not self._waiting:
            self.free += 1
            return
        fewest = min(self._waiting)
        due = next(iter(self._waiting[fewest]))
        self._drop(due, fewest)
        self._count(due, 1)
        due.place_given()

    def _count(self, holder: Holder, change: int) -> None:
        before = self._held.get(holder, 0)
        if before + change < 0:
            raise ValueError("no place is held")
        waits = self._drop(holder, before)
        if before + change:
            self._held[holder] = before + change
        else:
            del self._held[holder]
        if waits:
            self._waiting.setdefault(before + change, {})[holder] = None

    def _drop(self, holder: Holder, held: int) -> bool:
        level = self._waiting.get(held, {})
        if holder not in level:
            return False
        del level[holder]
        if not level:
            del self._waiting[held]
        return True
