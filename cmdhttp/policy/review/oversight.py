"""Rights over jobs of others, as an admin asks for them: who holds which, and who gains and who loses some between two policies.

A right is a host, whose jobs, and with which values, to read or to stop. `right_over` judges each host of a job alone, so
hosts are compared one by one, and owners too. Words that do not prove that a right was there before make it a gain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cmdhttp.policy.compiled import Command, Oversight, Policy, lookup
from cmdhttp.policy.containment import narrowing_within, spec_within
from cmdhttp.policy.review.describe import narrowings_left, shortened, values_left
from cmdhttp.policy.review.meaning import Sign
from cmdhttp.policy.review.table import Wanted

_GONE = ""
"""An owner that no policy names, which a line for everybody's jobs takes in too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overseer:
    """What one line with `jobs` gives one principal over the jobs of one command, on hosts that the command is made for."""

    principal: str
    command: Command
    hosts: frozenset[str]
    line: Oversight

    @property
    def right(self) -> str:
        return "cancel" if self.line.cancel else "read"

    @property
    def owners(self) -> list[str] | None:
        return None if self.line.principals is None else sorted(self.line.principals)

    @property
    def values(self) -> dict[str, str]:
        return {name: values_left(self.command.params[name], by) for name, by in self.line.narrowings.items()}

    @property
    def words(self) -> str:
        """Return `cancel, of everybody, with any values`."""
        owners = self.owners
        whose = "everybody" if owners is None else shortened(owners) or "nobody"
        values = narrowings_left(self.command.params, self.line.narrowings) or "any values"
        return f"{self.right}, of {whose}, with {values}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One right over jobs of others that one policy gives on some hosts, and the other does not. `other` is what that gives."""

    sign: Sign
    mine: Overseer
    other: str
    hosts: tuple[str, ...]


def overseers(policy: Policy, wanted: Wanted) -> list[Overseer]:
    """Return who holds which right over jobs of others, by principal, command and place."""
    found = (
        each
        for principal in policy.principals
        if wanted.principal in (None, principal)
        for command in policy.commands.values()
        if wanted.command in (None, command.name)
        for each in _held(policy, principal, command.name)
    )
    if wanted.host is not None:
        here = frozenset({wanted.host})
        found = (replace(each, hosts=here) for each in found if wanted.host in each.hosts)
    return sorted(found, key=lambda each: (each.principal, each.command.name, each.line.at))


def turns(old: Policy, new: Policy, principal: str, command: str) -> Iterator[Turn]:
    """Return what a principal gains and loses over the jobs of one command."""
    before, now = _held(old, principal, command), _held(new, principal, command)
    if before or now:
        owners = frozenset({_GONE, *old.principals, *new.principals})
        yield from _beyond(now, before, owners, Sign.GAINED)
        yield from _beyond(before, now, owners, Sign.LOST)


def _held(policy: Policy, principal: str, name: str) -> list[Overseer]:
    grants, command = policy.principals.get(principal), policy.commands.get(name)
    if grants is None or command is None:
        return []
    found = (
        Overseer(principal=principal, command=command, hosts=line.hosts & command.hosts, line=line)
        for line in lookup(grants.oversight, command)
    )
    return [each for each in found if each.hosts]


def _beyond(mine: list[Overseer], other: list[Overseer], owners: frozenset[str], sign: Sign) -> Iterator[Turn]:
    for one in mine:
        covering = [each for each in other if _covers(each, one)]
        whose = owners if one.line.principals is None else one.line.principals
        hosts = sorted(_uncovered(one.hosts, covering, whose))
        if hosts:
            there = [each.words for each in other if not each.hosts.isdisjoint(hosts)]
            words = " or ".join(dict.fromkeys(there)) or "nothing"
            yield Turn(sign=sign, mine=one, other=words, hosts=tuple(hosts))


def _uncovered(hosts: frozenset[str], covering: list[Overseer], whose: frozenset[str]) -> Iterator[str]:
    """The hosts on which some of these owners' jobs are taken in by none of the lines; hosts with the same lines are one."""
    known: dict[tuple[bool, ...], bool] = {}
    for host in hosts:
        there = tuple(host in each.hosts for each in covering)
        if there not in known:
            lines = [each.line.principals for each, here in zip(covering, there, strict=True) if here]
            known[there] = None in lines or whose <= frozenset[str]().union(*(names for names in lines if names))
        if not known[there]:
            yield host


def _covers(wide: Overseer, one: Overseer) -> bool:
    """Whether the words prove that one gives no more than the other, hosts and owners aside."""
    if one.line.cancel and not wide.line.cancel:
        return False
    specs, others = one.command.params, wide.command.params
    return all(
        name in one.line.narrowings
        and spec_within(specs[name], others[name])
        and narrowing_within(specs[name], one.line.narrowings[name], narrowing)
        for name, narrowing in wide.line.narrowings.items()
    )
