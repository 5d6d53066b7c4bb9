"""The way in: what the rates and the queue say to a call, all of it before anything of the call is kept.

A call that is refused takes nothing from any rate, and neither does one that turns out to be the repetition of another. So
whoever asks too often is not locked out by asking, and what `Retry-After` says stays true.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cmdhttp.clock import Clock
from cmdhttp.errors import Limit, TooMany
from cmdhttp.jobs.admission import Admission
from cmdhttp.jobs.rates import RateLeft, Rates, Spent
from cmdhttp.jobs.ticket import Claim, Ticket
from cmdhttp.policy.compiled import Concurrency, Policy, Quota
from cmdhttp.policy.fields import Rate

_NO_QUOTA = Quota()
_PRINCIPAL, _COMMAND = "principal:", "command:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRules:
    """The limits of the policy in force, whichever that is when they are asked for."""

    policy: Callable[[], Policy]

    def quota(self, principal: str) -> Quota:
        held = self.policy().principals.get(principal)
        return held.quota if held else _NO_QUOTA

    def concurrency(self, command: str) -> Concurrency | None:
        known = self.policy().commands.get(command)
        return known.concurrency if known else None

    def rate(self, bucket: str) -> Rate | None:
        """Return the rate of a bucket by its name."""
        if bucket.startswith(_PRINCIPAL):
            return self.quota(bucket.removeprefix(_PRINCIPAL)).rate
        known = self.policy().commands.get(bucket.removeprefix(_COMMAND))
        return known.rate if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Of a principal: what is left of its rate, its jobs that have started and those that wait."""

    rate: RateLeft | None
    running: int
    queued: int


class Door:
    """Lets calls in. Calls happen on one thread."""

    def __init__(self, *, policy: Callable[[], Policy], clock: Clock, max_running: int, max_queued: int) -> None:
        self._rules = PolicyRules(policy=policy)
        self.admission = Admission(self._rules, max_running=max_running, max_queued=max_queued)
        self._rates = Rates()
        self._clock = clock

    def enter(self, claim: Claim) -> Ticket:
        """Let a call in. Raises TooMany or Unavailable; then it has cost nobody anything."""
        now = self._clock.monotonic()
        rates = list(self._with_rate((_PRINCIPAL + claim.principal, _COMMAND + claim.command)))
        for name, rate in rates:
            if wait := self._rates.wait(name, rate, now=now):
                raise _too_often(name, rate, wait)
        ticket = self.admission.enter(claim, now=now)
        for name, rate in rates:
            self._rates.take(name, rate, now=now)
        ticket.rates = tuple(name for name, _ in rates)
        return ticket

    def enter_again(self, claim: Claim) -> Ticket:
        """Let a job in that was let in by an earlier life of the service: it waits in the order of these calls."""
        return self.admission.enter(claim, now=self._clock.monotonic(), bounded=False)

    def turn_away(self, ticket: Ticket) -> None:
        """The job is not kept after all."""
        for name in ticket.rates:
            self._rates.put_back(name)
        self.admission.leave(ticket, now=self._clock.monotonic())

    def spent(self, ticket: Ticket) -> tuple[Spent, ...]:
        """Return what is to be kept of the rates, together with the job."""
        now, wall = self._clock.monotonic(), self._clock.now()
        return tuple(self._rates.spent(self._with_rate(ticket.rates), now=now, wall=wall))

    def restore(self, kept: Iterable[Spent]) -> None:
        """Take over what an earlier life of the service has kept of its rates."""
        self._rates.restore(kept, self._rules.rate, now=self._clock.monotonic(), wall=self._clock.now())

    def policy_changed(self) -> None:
        """Let in and start what the new limits allow."""
        self._rates.forget(lambda name: self._rules.rate(name) is not None)
        self.admission.rules_changed(now=self._clock.monotonic())

    def used_by(self, principal: str) -> Used:
        running, queued = self.admission.of_principal(principal)
        return Used(rate=self._left(_PRINCIPAL + principal), running=running, queued=queued)

    def rate_left(self, command: str) -> RateLeft | None:
        return self._left(_COMMAND + command)

    def _left(self, name: str) -> RateLeft | None:
        rate = self._rules.rate(name)
        return self._rates.left(name, rate, now=self._clock.monotonic()) if rate else None

    def _with_rate(self, names: Iterable[str]) -> Iterator[tuple[str, Rate]]:
        for name in names:
            if (rate := self._rules.rate(name)) is not None:
                yield name, rate


def _too_often(name: str, rate: Rate, wait: float) -> TooMany:
    of_principal = name.startswith(_PRINCIPAL)
    whose = "This caller" if of_principal else "All callers of this command together"
    return TooMany(
        f"{whose} may start {rate.count} jobs in {rate.seconds} s, and has; nothing has run."
        if of_principal
        else f"{whose} may start {rate.count} jobs in {rate.seconds} s, and have; nothing has run.",
        hint="Call again after the time in Retry-After.",
        retry_after=max(math.ceil(wait), 1),
        limit=Limit.PRINCIPAL_RATE if of_principal else Limit.COMMAND_RATE,
    )
