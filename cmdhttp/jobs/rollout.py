"""In which order the runs of a job start, and when no more of them do. Pure.

Runs start in batches, in the order of the hosts, but one that must wait for its host lets others of its batch pass: one
starts only while fewer than `max_parallel` are under way and every run of the batches before has ended. Once more than
`max_failures` runs have failed, none starts any more; those under way go on. A run that was canceled has not failed.
"""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How far a job is: how many of its runs have started, ended, failed; `max_failures` None: never stop for failures."""

    total: int
    max_parallel: int
    batch: int
    max_failures: int | None = None
    started: int = 0
    ended: int = 0
    failed: int = 0

    @property
    def under_way(self) -> int:
        return self.started - self.ended

    @property
    def failed_too_often(self) -> bool:
        return self.max_failures is not None and self.failed > self.max_failures

    @property
    def border(self) -> int:
        """The number of the first run that may not start yet, because of the batches."""
        open_batch = (
            self.ended // self.batch
        )  # a batch is over when all its runs have ended: none of a later one has started
        return min((open_batch + 1) * self.batch, self.total)

    @property
    def room(self) -> int:
        """How many more runs may start now."""
        if self.failed_too_often:
            return 0
        return max(min(self.border - self.started, self.max_parallel - self.under_way), 0)

    @property
    def over(self) -> bool:
        """Whether no run is under way and none may start any more."""
        return not self.under_way and not self.room

    def start(self) -> Self:
        """The next run starts. Raises ValueError if it may not."""
        if not self.room:
            raise ValueError("no run may start now")
        return replace(self, started=self.started + 1)

    def end(self, *, failed: bool) -> Self:
        """One run that is under way ends. Raises ValueError if there is none."""
        if not self.under_way:
            raise ValueError("no run is under way")
        return replace(self, ended=self.ended + 1, failed=self.failed + failed)
