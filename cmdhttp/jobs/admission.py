"""Who is let in, who waits, and who runs next. Pure: no clock, no loop; every time is an argument, monotonic seconds.

A call is refused before anything of it is kept, or it is let in and will have its turn; a refusal costs nobody anything. At
most `max_running` runs are under way, and no more of a principal or of a command than the policy in force says. A place that
comes free goes to the principal that holds the fewest, among equals to the one that was served longest ago; within a
principal to the job that holds the fewest, then to the oldest; a run that must wait for its host lets the next one pass. Where
a command has limits, principals have its runs in turn, so none of them can keep it from another. After every call nothing
waits that could run. A job on several hosts never gets the last quarter of the places, and a principal without a `queue` of
its own never the last quarter of the queue.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeVar

from cmdhttp.errors import Limit, TooMany, Unavailable
from cmdhttp.jobs.pace import Pace
from cmdhttp.jobs.ticket import Claim, Lane, Place, Ticket, Waits
from cmdhttp.policy.compiled import Concurrency, Quota

_LEFT_TO_OTHERS = 4
_REJECT = "reject"
K = TypeVar("K")


class Rules(Protocol):
    """The limits of the policy in force."""

    def quota(self, principal: str) -> Quota: ...

    def concurrency(self, command: str) -> Concurrency | None: ...


@dataclass(slots=True)
class _Queue:
    """The jobs of one principal that have not ended. Those in `fresh` have started no run and wait for one."""

    members: int = 0
    fresh: dict[int, Ticket] = field(default_factory=dict)
    lanes: dict[Lane, dict[int, Ticket]] = field(default_factory=dict)
    under_way: dict[int, Ticket] = field(default_factory=dict)
    places: int = 0
    started: int = 0
    served: int = 0

    def in_order(self, *, full: bool) -> Iterable[Ticket]:
        """The first of each lane, in the order of their turn; if the principal may start no more jobs, only what has started."""
        found = [ticket for ticket in self.under_way.values() if ticket.waits]
        if not full:
            found += [next(iter(lane.values())) for lane in self.lanes.values()]
        return sorted(found, key=_turn)

    def add(self, ticket: Ticket, lane: Lane) -> None:
        """It waits to start."""
        ticket.lane = lane
        self.fresh[ticket.seq] = ticket
        self.lanes.setdefault(lane, {})[ticket.seq] = ticket

    def remove(self, ticket: Ticket) -> None:
        """It does not, or not any more."""
        if self.fresh.pop(ticket.seq, None) is not None:
            del self.lanes[ticket.lane][ticket.seq]
            if not self.lanes[ticket.lane]:
                del self.lanes[ticket.lane]


class Admission:
    """Calls happen on one thread. A holder is told of a place within the call that made it free."""

    def __init__(self, rules: Rules, *, max_running: int, max_queued: int) -> None:
        self.free = max_running
        self.most_for_several = _share(max_running)
        self.pace = Pace()
        self._rules = rules
        self._max_queued = max_queued
        self._queues: dict[str, _Queue] = {}
        self._count = 0
        self._served = 0
        self._dealing = False
        self._under_way: dict[tuple[int, int], Ticket] = {}
        self._running: Counter[str] = Counter()
        self._on_host: Counter[tuple[str, str]] = Counter()
        self._claimed: Counter[str] = Counter()
        self._claimed_on: Counter[tuple[str, str]] = Counter()
        self._turns: dict[str, dict[str, int]] = {}
        """Of each command, how many jobs wait for it by principal, in the order of their coming."""
        self._served_by: dict[str, dict[str, int]] = {}
        """Of each command that runs or is waited for, when it last served each principal."""

    # -- in and out

    def enter(self, claim: Claim, *, now: float, bounded: bool = True) -> Ticket:
        """Let a call in; the runs that may start at once have their places. Raises TooMany or Unavailable.

        `bounded` False: it was let in before, in an earlier life of the service.
        """
        ticket = self._new(claim)
        at_once = bool(self.free) and not self._full(claim.principal) and self._startable(ticket) is not None
        if bounded:
            self._check_busy(claim, now=now)
            if not at_once:
                self._check_queue(claim.principal, now=now)
        self._count += 1
        queue = self._queues.setdefault(claim.principal, _Queue())
        queue.members += 1
        queue.add(ticket, self._lane(ticket))
        self._wait_for_turn(ticket, 1)
        self._claim(ticket, ticket.open, 1)
        if not self._full(claim.principal):  # nobody else waits for what it may have
            self._fill(ticket, now)
        return ticket

    def leave(self, ticket: Ticket, *, now: float) -> None:
        """The job has its end, or was not kept after all."""
        self._drop(ticket)
        for run in list(ticket.held):
            self._let_go(ticket, run)
        self._claim(ticket, ticket.open, -1)
        ticket.open = {}
        queue = self._queues[ticket.claim.principal]
        if queue.under_way.pop(ticket.seq, None) is not None:
            queue.started -= 1
        queue.members -= 1
        if not queue.members:
            del self._queues[ticket.claim.principal]
        self._deal(now)

    def withdraw(self, ticket: Ticket) -> None:
        """Start no more of its runs; whoever waits behind it moves up at once."""
        self._drop(ticket)

    def give_back(self, ticket: Ticket, run: int, *, upto: int, most: int, now: float) -> None:
        """A run has ended; `most` more of those before number `upto` may start. Its place goes to whoever is due."""
        self.pace.ended(ticket.claim.command, now - ticket.held[run])
        self._let_go(ticket, run)
        self._claim(ticket, [run], -1)
        waited = ticket.waits
        ticket.offer(upto=upto, most=most)
        self._wait_for_turn(ticket, ticket.waits - waited)
        self._deal(now)

    def rules_changed(self, *, now: float) -> None:
        """Another policy is in force: start what may start by its limits."""
        for queue in self._queues.values():
            for ticket in list(queue.fresh.values()):
                queue.remove(ticket)
                queue.add(ticket, self._lane(ticket))
        self._deal(now)

    # -- what can be seen

    @property
    def queued(self) -> int:
        """How many jobs have started nothing."""
        return sum(len(queue.fresh) for queue in self._queues.values())

    @property
    def started(self) -> int:
        """How many jobs have started and not ended."""
        return sum(queue.started for queue in self._queues.values())

    def of_principal(self, principal: str) -> tuple[int, int]:
        """How many of its jobs have started, and how many have not."""
        queue = self._queues.get(principal)
        return (queue.started, len(queue.fresh)) if queue else (0, 0)

    def place(self, ticket: Ticket) -> Place | None:
        """Where a job stands that has started nothing, as if places were dealt out to the principals in turn."""
        own = self._queues.get(ticket.claim.principal)
        if own is None or ticket.seq not in own.fresh:
            return Place(position=None, reason=Waits.STARTING) if ticket.held else None
        rank = list(own.fresh).index(ticket.seq)
        before = sum(self._before(queue, rank, ticket.seq) for queue in self._queues.values())
        return Place(position=before + 1, reason=self._reason(ticket))

    def places(self, tickets: Sequence[Ticket]) -> list[Place | None]:
        """Return where each of several jobs stands; for many it is far cheaper than to ask for each."""
        if not tickets:
            return []
        ranked = [(rank, seq) for queue in self._queues.values() for rank, seq in enumerate(queue.fresh)]
        positions = {seq: position for position, (_, seq) in enumerate(sorted(ranked), 1)}
        return [
            Place(position=positions[ticket.seq], reason=self._reason(ticket))
            if ticket.seq in positions
            else self.place(ticket)
            for ticket in tickets
        ]

    def waiting(self) -> list[tuple[Waits, int]]:
        """How many jobs wait, by what they wait for."""
        fresh = (ticket for queue in self._queues.values() for ticket in queue.fresh.values())
        counts = Counter(self._reason(ticket) for ticket in fresh)
        return [(reason, counts[reason]) for reason in Waits if reason is not Waits.STARTING]

    # -- checks before anything is kept

    def _check_busy(self, claim: Claim, *, now: float) -> None:
        """A command that rejects takes nothing that would have to wait for another of its jobs."""
        limits = self._rules.concurrency(claim.command)
        if limits is None or limits.when_busy != _REJECT:
            return
        command, most = claim.command, limits.per_host
        if limits.total is not None and self._claimed[command] >= limits.total:
            detail = f"The command has {limits.total} runs already, and no more are allowed; nothing has run."
            self._refuse(Limit.COMMAND_BUSY, detail, lambda ticket, _: ticket.claim.command == command, now)
        busy = most is not None and next(
            (host for host in claim.hosts if self._claimed_on[command, host] >= most), None
        )
        if busy:
            detail = f"The command is busy on the host {busy}; nothing has run."
            self._refuse(Limit.HOST_BUSY, detail, lambda ticket, run: _key(ticket, run) == (command, busy), now)

    def _check_queue(self, principal: str, *, now: float) -> None:
        quota, (_, waiting) = self._rules.quota(principal).queue, self.of_principal(principal)
        if waiting >= (_share(self._max_queued) if quota is None else quota):
            detail = f"{waiting} jobs of this caller wait already, and no more may; nothing has run."
            self._refuse(Limit.PRINCIPAL_QUEUE, detail, lambda ticket, _: ticket.claim.principal == principal, now)
        if self.queued >= self._max_queued:
            self._refuse(Limit.SERVICE_QUEUE, "The queue is full; nothing has run.", lambda *_: True, now)

    def _refuse(self, limit: Limit, detail: str, concerns: Callable[[Ticket, int], bool], now: float) -> NoReturn:
        """Refuse until one of the runs that it is about may have ended."""
        under_way = [
            (ticket.claim.command, ticket.held[run])
            for (_, run), ticket in self._under_way.items()
            if concerns(ticket, run)
        ]
        kind = Unavailable if limit is Limit.SERVICE_QUEUE else TooMany
        raise kind(detail, retry_after=self.pace.retry_after(under_way, now=now), limit=limit)

    # -- whose turn it is

    def _deal(self, now: float) -> None:
        """Give out places until none is free or nobody may have one. A holder that calls back is heard within the same deal."""
        if self._dealing:
            return
        self._dealing = True
        try:
            while self.free and (due := self._next()) is not None:
                self._give(*due, now)
        finally:
            self._dealing = False

    def _fill(self, ticket: Ticket, now: float) -> None:
        while self.free and (run := self._startable(ticket)) is not None:
            self._give(ticket, run, now)

    def _next(self) -> tuple[Ticket, int] | None:
        for principal in sorted(self._queues, key=self._rank):
            for ticket in self._queues[principal].in_order(full=self._full(principal)):
                run = self._startable(ticket)
                if run is not None:
                    return self._first_of_command(ticket, run)
        return None

    def _rank(self, principal: str) -> tuple[int, int]:
        queue = self._queues[principal]
        return queue.places, queue.served

    def _first_of_command(self, ticket: Ticket, run: int) -> tuple[Ticket, int]:
        """Who has the turn at a command with limits, when this one could have it."""
        claim = ticket.claim
        if self._rules.concurrency(claim.command) is None:
            return ticket, run
        served = self._served_by.get(claim.command, {})
        for principal in sorted(self._turns[claim.command], key=lambda name: served.get(name, 0)):
            if principal == claim.principal:
                return ticket, run
            for other in self._queues[principal].in_order(full=self._full(principal)):
                if other.claim.command == claim.command and (theirs := self._startable(other)) is not None:
                    return other, theirs
        return ticket, run

    def _startable(self, ticket: Ticket) -> int | None:
        """The first of its runs that the limits of its command let start."""
        if not ticket.waits:
            return None
        command = ticket.claim.command
        limits = self._rules.concurrency(command)
        if limits is None:
            return next(iter(ticket.wants))
        if limits.total is not None and self._running[command] >= limits.total:
            return None
        if limits.per_host is None:
            return next(iter(ticket.wants))
        hosts, most = ticket.claim.hosts, limits.per_host
        return next((run for run in ticket.wants if self._on_host[command, hosts[run]] < most), None)

    def _lane(self, ticket: Ticket) -> Lane:
        """Jobs on one host that the same limits hold back are in one lane."""
        claim, limits = ticket.claim, self._rules.concurrency(ticket.claim.command)
        if len(claim.hosts) > 1:
            return (ticket.seq,)
        return (claim.command, *(claim.hosts if limits and limits.per_host is not None else ()))

    def _full(self, principal: str) -> bool:
        most = self._rules.quota(principal).concurrency
        queue = self._queues.get(principal)
        return most is not None and (queue.started if queue else 0) >= most

    def _give(self, ticket: Ticket, run: int, now: float) -> None:
        queue = self._queues[ticket.claim.principal]
        self._wait_for_turn(ticket, -1)
        del ticket.wants[run]
        ticket.most -= 1
        self._wait_for_turn(ticket, int(ticket.waits))
        ticket.held[run] = now
        if not ticket.started:
            ticket.started = True
            queue.remove(ticket)
            queue.under_way[ticket.seq] = ticket
            queue.started += 1
        self._served += 1
        queue.served = self._served
        self._served_by.setdefault(ticket.claim.command, {})[ticket.claim.principal] = self._served
        self._hold(ticket, run, 1)
        if ticket.holder is not None:
            ticket.holder.place_given(run)

    # -- the books

    def _new(self, claim: Claim) -> Ticket:
        several = len(claim.hosts) > 1
        ticket = Ticket(
            claim=claim, seq=self._count, wants={}, most=0, open=dict.fromkeys(range(len(claim.hosts))), offered=0
        )
        most = min(claim.max_parallel, self.most_for_several) if several else 1
        ticket.offer(upto=min(claim.batch, len(claim.hosts)), most=most)
        return ticket

    def _drop(self, ticket: Ticket) -> None:
        """It waits no more."""
        self._wait_for_turn(ticket, -int(ticket.waits))
        self._queues[ticket.claim.principal].remove(ticket)
        ticket.wants, ticket.most = {}, 0

    def _wait_for_turn(self, ticket: Ticket, change: int) -> None:
        """Count who waits for a command."""
        command, principal = ticket.claim.command, ticket.claim.principal
        turns = self._turns.setdefault(command, {})
        left = turns.get(principal, 0) + change
        if left:
            turns[principal] = left
        else:
            turns.pop(principal, None)
        if not turns:
            del self._turns[command]
            self._forget_if_idle(command)

    def _forget_if_idle(self, command: str) -> None:
        if not self._running[command] and command not in self._turns:
            self._served_by.pop(command, None)

    def _let_go(self, ticket: Ticket, run: int) -> None:
        del ticket.held[run]
        self._hold(ticket, run, -1)

    def _hold(self, ticket: Ticket, run: int, change: int) -> None:
        self.free -= change
        self._queues[ticket.claim.principal].places += change
        _add(self._running, ticket.claim.command, change)
        _add(self._on_host, _key(ticket, run), change)
        self._forget_if_idle(ticket.claim.command)
        if change > 0:
            self._under_way[ticket.seq, run] = ticket
        else:
            del self._under_way[ticket.seq, run]

    def _claim(self, ticket: Ticket, runs: Iterable[int], change: int) -> None:
        """Count what was let in and has no end: all of a job's runs at first, then without those that have ended."""
        command, before = ticket.claim.command, 0 if change > 0 else ticket.width
        for run in list(runs):
            _add(self._claimed_on, _key(ticket, run), change)
            if change < 0:
                del ticket.open[run]
        _add(self._claimed, command, ticket.width - before)

    def _reason(self, ticket: Ticket) -> Waits:
        claim = ticket.claim
        if self._full(claim.principal):
            return Waits.PRINCIPAL_LIMIT
        if self._startable(ticket) is not None:
            return Waits.SERVICE_BUSY
        limits = self._rules.concurrency(claim.command)
        total = limits.total if limits else None
        full = total is not None and self._running[claim.command] >= total
        return Waits.COMMAND_LIMIT if full else Waits.HOST_BUSY

    @staticmethod
    def _before(queue: _Queue, rank: int, seq: int) -> int:
        """How many of a principal's jobs come before the one with this rank in its own principal's queue."""
        if len(queue.fresh) <= rank:
            return len(queue.fresh)
        return rank + (list(queue.fresh)[rank] < seq)


def _turn(ticket: Ticket) -> tuple[int, int]:
    return len(ticket.held), ticket.seq


def _key(ticket: Ticket, run: int) -> tuple[str, str]:
    return ticket.claim.command, ticket.claim.hosts[run]


def _share(total: int) -> int:
    """What one of several may have at most."""
    return total - total // _LEFT_TO_OTHERS


def _add(counts: Counter[K], key: K, change: int) -> None:
    """Count, and forget what is at nought: memory is bounded by what there is."""
    counts[key] += change
    if not counts[key]:
        del counts[key]
