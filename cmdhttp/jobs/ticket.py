"""What the admission knows of one job: whose it is, which of its runs may start, which are under way. Plain data."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Waits(StrEnum):
    """What a job that has started nothing waits for. Stable; `docs/reference/http.md` explains each."""

    STARTING = "starting"
    SERVICE_BUSY = "service_busy"
    PRINCIPAL_LIMIT = "principal_limit"
    COMMAND_LIMIT = "command_limit"
    HOST_BUSY = "host_busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a call asks for: one run on each of `hosts`, `batch` of them before any other, `max_parallel` at a time."""

    principal: str
    command: str
    hosts: tuple[str, ...]
    max_parallel: int = 1
    batch: int = 1


Lane = tuple[str | int | tuple[str, ...], ...]
"""Jobs that wait in one lane may start or not for the same reasons: if its first one may not, none may."""


class Holder(Protocol):
    def place_given(self, run: int) -> None:
        """The run may start now, in the place that is this holder's."""


@dataclass(eq=False, slots=True, kw_only=True)
class Ticket:
    """One job from the moment when it was let in. `seq`: how many came before it.

    `wants` are the runs that may start as far as the job itself goes, in order, and `most` how many of them; `open` are the
    runs without an end; `held` are those under way, with the monotonic time of their start.
    """

    claim: Claim
    seq: int
    wants: dict[int, None]
    most: int
    open: dict[int, None]
    offered: int
    held: dict[int, float] = field(default_factory=dict)
    started: bool = False
    holder: Holder | None = None
    rates: tuple[str, ...] = ()
    lane: Lane = ()

    @property
    def waits(self) -> bool:
        """Whether it would start a run if it were given a place."""
        return self.most > 0 and bool(self.wants)

    @property
    def width(self) -> int:
        """How many runs it may come to have at a time."""
        return min(len(self.open), self.claim.max_parallel)

    def offer(self, *, upto: int, most: int) -> None:
        """Let the runs before number `upto` start, `most` more at this time."""
        self.wants.update(dict.fromkeys(range(self.offered, upto)))
        self.offered, self.most = max(self.offered, upto), most


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a job stands in the queue, and what it waits for."""

    position: int | None
    reason: Waits
