"""Whether one policy lets a call through that another does not: for one principal, one command, one host.

First the words of the rules are compared, which proves "no" at once for what did not change. Then calls are tried, with
`decide` of both policies as the only judge: one that passes here and not there proves "yes". Where neither is proved the
answer is "unknown", and whoever asks must take it for a yes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from cmdhttp.policy.compiled import Command, Deny, Line, Policy
from cmdhttp.policy.containment import deny_within, line_within, same_values
from cmdhttp.policy.decide import Question, bind
from cmdhttp.policy.params import Narrowing, Value
from cmdhttp.policy.review.misses import concerns, denies_of, in_force, lines_of, passes
from cmdhttp.policy.space import Space, calls, space


class Answer(StrEnum):
    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one policy says of one principal and one command, anywhere or `on` one host. Without a line, nothing passes."""

    policy: Policy
    principal: str
    command: Command
    lines: tuple[Line, ...]
    denies: tuple[Deny, ...]
    host: str = ""

    @property
    def hosts(self) -> frozenset[str]:
        """Where some line gives the command."""
        return frozenset().union(*(line.hosts for line in self.lines)) & self.command.hosts

    def on(self, host: str) -> "Side":
        """The rules that speak of the host."""
        return replace(
            self,
            host=host,
            lines=tuple(line for line in self.lines if host in line.hosts and host in self.command.hosts),
            denies=tuple(deny for deny in self.denies if host in deny.hosts),
        )


def side(policy: Policy, *, principal: str, command: Command) -> Side:
    """Return the rules of a policy that speak of the principal and the command."""
    return Side(
        policy=policy,
        principal=principal,
        command=command,
        lines=tuple(lines_of(policy, principal, command)),
        denies=tuple(deny for deny in denies_of(policy, command) if concerns(deny, principal)),
    )


def exceeds(mine: Side, other: Side | None, *, since: datetime) -> Answer:
    """Whether some call passes on my side and not on the other, at `since` or later. None: the other knows no such command."""
    denies = [*mine.denies, *(other.denies if other else ())]
    answers = {_exceeds_at(mine, other, at) for at in moments(denies, since)}
    return next((answer for answer in (Answer.YES, Answer.UNKNOWN) if answer in answers), Answer.NO)


def covered(line: Line, mine: Side, other: Side) -> bool:
    """Whether the words of one of the other side's lines prove that it allows all that this line of mine allows."""
    specs, others = mine.command.params, other.command.params
    return any(line_within(line, outer, specs=specs, outer_specs=others) for outer in other.lines)


def kept(deny: Deny, mine: Side, other: Side, *, at: datetime) -> bool:
    """Whether the words of one of the other side's denies prove that at a moment it meets all that this deny of mine meets."""
    specs, others = mine.command.params, other.command.params
    holding = (outer for outer in other.denies if in_force(outer, at))
    return any(deny_within(deny, outer, specs=specs, outer_specs=others) for outer in holding)


def moments(denies: Sequence[Deny], since: datetime) -> list[datetime]:
    """Return `since` and each later moment at which one of the denies begins or ends."""
    ends = {end for deny in denies for end in (deny.since, deny.until) if end is not None and end > since}
    return [since, *sorted(ends)]


def _exceeds_at(mine: Side, other: Side | None, at: datetime) -> Answer:
    mine = _at(mine, at)
    if not mine.lines or any(not deny.narrowings for deny in mine.denies):
        return Answer.NO
    if other is None or not other.lines:
        return _tried(mine, None, at)
    other = _at(other, at)
    lines = all(covered(line, mine, other) for line in mine.lines)
    if lines and all(kept(deny, other, mine, at=at) for deny in other.denies):
        return Answer.NO
    return _tried(mine, other, at)


def _tried(mine: Side, other: Side | None, at: datetime) -> Answer:
    names = _told_apart(mine, other)
    sides = [_only(one, names) for one in (mine, other) if one]
    whole = True
    for line in mine.lines:
        tried = calls({name: _space(name, sides, line.narrowings.get(name)) for name in names})
        if any([_passes(one, call, at) for one in sides] in ([True], [True, False]) for call in tried.values):
            return Answer.YES
        whole = whole and tried.whole
    return Answer.NO if whole else Answer.UNKNOWN


def _told_apart(mine: Side, other: Side | None) -> list[str]:
    """The parameters on which it can depend what passes where; whatever the others are, both sides agree on them."""
    names = {name for one in (mine, other) if one for narrowings in _narrowings(one) for name in narrowings}
    if other:
        specs, others = mine.command.params, other.command.params
        names |= specs.keys() ^ others.keys()
        names |= {name for name in specs.keys() & others.keys() if not same_values(specs[name], others[name])}
    return sorted(names)


def _space(name: str, sides: Sequence[Side], inside: Narrowing | None) -> Space:
    specs = [one.command.params[name] for one in sides if name in one.command.params]
    rules = [narrowings for one in sides for narrowings in _narrowings(one)]
    return space(specs, [narrowings[name] for narrowings in rules if name in narrowings], inside=inside)


def _narrowings(one: Side) -> list[Mapping[str, Narrowing]]:
    return [*(line.narrowings for line in one.lines), *(deny.narrowings for deny in one.denies)]


def _at(one: Side, at: datetime) -> Side:
    return replace(one, denies=tuple(deny for deny in one.denies if in_force(deny, at)))


def _only(one: Side, names: Sequence[str]) -> Side:
    params = {name: spec for name, spec in one.command.params.items() if name in names}
    return replace(one, command=replace(one.command, params=params))


def _passes(one: Side, call: Mapping[str, Value], at: datetime) -> bool:
    arguments = bind(one.command, call)
    ask = Question(principal=one.principal, command=one.command.name, host=one.host, arguments=arguments, at=at)
    return passes(one.policy, ask)
