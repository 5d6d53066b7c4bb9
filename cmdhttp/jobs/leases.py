"""Who still reads a job, so that it is not removed under them.

A job that was asked for stays for a minute, which is time to begin; what then reads for longer holds a lease until it
ends. Whoever removes jobs condemns them first: without a pause, those that nobody reads. A condemned job can no longer be
asked for, so nobody begins to read what is about to go. All calls happen on one thread.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_SECONDS = 60.0
_MOST_ASKED = 10_000


class Leases:
    """The jobs that are read, and those that are about to go."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._held: Counter[str] = Counter()
        self._asked: dict[str, float] = {}
        self._condemned: set[str] = set()

    def ask(self, job_id: str) -> bool:
        """Keep a job for a moment. Returns False if it is about to go."""
        if job_id in self._condemned:
            return False
        self._asked.pop(job_id, None)  # the newest stand last
        self._asked[job_id] = self._monotonic() + _SECONDS
        if len(self._asked) > _MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        return True

    @contextmanager
    def hold(self, job_id: str) -> Iterator[None]:
        """Keep a job for the length of the block."""
        self.take(job_id)
        try:
            yield
        finally:
            self.give_back(job_id)

    def take(self, job_id: str) -> None:
        """Keep a job until as many have given it back as have taken it."""
        self._held[job_id] += 1

    def give_back(self, job_id: str) -> None:
        self._held[job_id] -= 1
        if not self._held[job_id]:
            del self._held[job_id]

    def held(self, job_id: str) -> bool:
        return job_id in self._held

    def condemn(self, job_ids: Iterable[str]) -> list[str]:
        """Return those that nobody reads; they stay condemned until they are spared."""
        now = self._monotonic()
        free = [job_id for job_id in job_ids if job_id not in self._held and self._asked.get(job_id, now) <= now]
        self._condemned.update(free)
        return free

    def spare(self, job_ids: Iterable[str]) -> None:
        """End what `condemn` began: they are gone by now, or stay."""
        self._condemned.difference_update(job_ids)
