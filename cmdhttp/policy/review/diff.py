"""Who gains and who loses what between two policies, from a moment on.

A right is a principal, a command, a host and the values that pass. It is gained where `decide` of the new policy lets a call
through that the old one did not, at that moment or later; what a deny takes away counts whenever the deny holds. The same
right is gained anew when it came to mean more: see `meaning`. What cannot be told is never passed over: it is changed, which
counts as gained and as lost. Rights over jobs of others are compared in `oversight`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from cmdhttp.policy.compiled import Deny, Host, Line, Policy
from cmdhttp.policy.containment import same_values
from cmdhttp.policy.findings import Position
from cmdhttp.policy.review.describe import narrowings_left, values_left, values_taken, window
from cmdhttp.policy.review.entry import entry_shifts
from cmdhttp.policy.review.meaning import Place, Shift, Sign, command_shifts, place_shifts
from cmdhttp.policy.review.misses import in_force
from cmdhttp.policy.review.oversight import Turn, turns
from cmdhttp.policy.review.reach import Answer, Side, covered, exceeds, kept, moments, side


class What(StrEnum):
    """What a difference is about. Stable: `diff --json` carries it."""

    RIGHT = "right"
    VALUES = "values"
    DENY = "deny"
    COMMAND = "command"
    HOST = "host"
    ENTRY = "entry"
    JOBS = "jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that a principal gains, loses or has changed.

    `subject` is the role of a right, the reason of a deny, or the word of the policy that changed; `before` and `now` are
    both sides in words; `at` is the line, in the new policy if it is still there.
    """

    sign: Sign
    what: What
    subject: str
    before: str
    now: str
    at: Position | None = None
    principal: str = ""
    command: str = ""
    hosts: tuple[str, ...] = ()


def diff(old: Policy, new: Policy, *, since: datetime) -> list[Difference]:
    """Return every difference that counts at `since` or later, by principal, sign, command and place."""
    differ = _Differ(old=old, new=new, since=since)
    names = sorted(old.principals.keys() | new.principals.keys())
    return [found for name in names for found in sorted(differ.of(name), key=_order)]


Key = tuple[str, tuple[Position, ...], tuple[Position, ...]]
"""The rules of one side, which are all that its part of a comparison depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Differ:
    """`known` holds what rules came to already: they say the same to every principal and on every host they speak of."""

    old: Policy
    new: Policy
    since: datetime
    known: dict[tuple[Key, Key], list[Difference]] = field(default_factory=dict)
    gathered: dict[tuple[Key, Key], list[Difference]] = field(default_factory=dict)

    def of(self, principal: str) -> Iterator[Difference]:
        for shift in entry_shifts(self.old, self.new, principal, since=self.since):
            yield replace(_shifted(What.ENTRY, shift), principal=principal)
        for name in sorted(self.old.commands.keys() | self.new.commands.keys()):
            before, now = _side(self.old, principal, name), _side(self.new, principal, name)
            key = (_key(before), _key(now))
            if key not in self.gathered:
                self.gathered[key] = _gathered(name, self._on_hosts(before, now))
            yield from (replace(found, principal=principal) for found in self.gathered[key])
            yield from (_turned(turn) for turn in turns(self.old, self.new, principal, name))

    def _on_hosts(self, before: Side | None, now: Side | None) -> Iterator[tuple[Difference, str]]:
        for host in (before.hosts if before else frozenset()) | (now.hosts if now else frozenset()):
            old, new = before.on(host) if before else None, now.on(host) if now else None
            yield from ((found, host) for found in self._compared(old, new))
            if old and new and old.lines and new.lines:
                for shift in place_shifts(_place(old), _place(new)):
                    yield _shifted(What.HOST, shift, at=new.command.at), host

    def _compared(self, old: Side | None, new: Side | None) -> list[Difference]:
        key = (_key(old), _key(new))
        if key not in self.known:
            self.known[key] = [*self._rights(old, new), *_meaning(old, new)]
        return self.known[key]

    def _rights(self, old: Side | None, new: Side | None) -> Iterator[Difference]:
        gain = exceeds(new, old, since=self.since) if new else Answer.NO
        loss = exceeds(old, new, since=self.since) if old else Answer.NO
        if new and old and {gain, loss} in ({Answer.UNKNOWN}, {Answer.UNKNOWN, Answer.YES}):
            yield from self._causes(new, old, Sign.CHANGED)
            return
        if new and gain is not Answer.NO:
            yield from self._causes(new, old, Sign.GAINED)
        if old and loss is not Answer.NO:
            yield from self._causes(old, new, Sign.LOST)

    def _causes(self, mine: Side, other: Side | None, sign: Sign) -> Iterator[Difference]:
        """Why more passes on my side: lines of mine, and denies of the other that mine does not have."""
        if other is None or not other.lines:
            yield from (_right(line, mine, sign) for line in mine.lines)
            return
        for line in mine.lines:
            if not covered(line, mine, other):
                yield _values(line, mine, other, sign)
        ends = moments([*mine.denies, *other.denies], self.since)
        for deny in other.denies:
            if any(in_force(deny, at) and not kept(deny, other, mine, at=at) for at in ends):
                yield _deny(deny, mine, other, sign)


def _meaning(old: Side | None, new: Side | None) -> list[Difference]:
    if old is None or new is None or not old.lines or not new.lines:
        return []
    return [_shifted(What.COMMAND, shift, at=new.command.at) for shift in command_shifts(old.command, new.command)]


def _right(line: Line, mine: Side, sign: Sign) -> Difference:
    words = narrowings_left(mine.command.params, line.narrowings) or "any values"
    return _difference(What.RIGHT, sign, subject=line.role, mine=words, other="", at=line.at)


def _values(line: Line, mine: Side, other: Side, sign: Sign) -> Difference:
    words = " or ".join(dict.fromkeys(_taken(one, other, mine) for one in other.lines))
    return _difference(What.VALUES, sign, subject=line.role, mine=_taken(line, mine, other), other=words, at=line.at)


def _deny(deny: Deny, mine: Side, other: Side, sign: Sign) -> Difference:
    same = [_held_back(one, mine) for one in mine.denies if one.why == deny.why]
    words = " or ".join(same) or "nothing"
    return _difference(What.DENY, sign, subject=deny.why, mine=words, other=_held_back(deny, other), at=deny.at)


def _difference(what: What, sign: Sign, *, subject: str, mine: str, other: str, at: Position) -> Difference:
    """A difference between the new side and the old: mine is the old one only of what is lost."""
    before, now = (mine, other) if sign is Sign.LOST else (other, mine)
    return Difference(sign=sign, what=what, subject=subject, before=before, now=now, at=at)


def _shifted(what: What, shift: Shift, at: Position | None = None) -> Difference:
    return Difference(sign=shift.sign, what=what, subject=shift.subject, before=shift.before, now=shift.now, at=at)


def _turned(turn: Turn) -> Difference:
    mine, line = turn.mine, turn.mine.line
    found = _difference(What.JOBS, turn.sign, subject=line.role, mine=mine.words, other=turn.other, at=line.at)
    return replace(found, principal=mine.principal, command=mine.command.name, hosts=turn.hosts)


def _taken(line: Line, mine: Side, other: Side) -> str:
    """What a line takes in, as far as the sides differ."""
    others = other.command.params
    words = []
    for name, spec in mine.command.params.items():
        same = name in others and same_values(spec, others[name])
        left = values_left(spec, line.narrowings[name]) if name in line.narrowings else ""
        if left or not same:
            words.append(f"{name}: {left if same else ', only '.join(filter(None, (values_taken(spec), left)))}")
    return "; ".join(words) or "any values"


def _held_back(deny: Deny, one: Side) -> str:
    words = narrowings_left(one.command.params, deny.narrowings)
    return ", ".join([*([words] if words else []), window(deny.since, deny.until)])


def _side(policy: Policy, principal: str, command: str) -> Side | None:
    found = policy.commands.get(command)
    return side(policy, principal=principal, command=found) if found else None


def _place(one: Side) -> Place:
    host = one.policy.hosts[one.host]
    through = tuple((hop, hop.profile) for hop in _through(host, one.policy.hosts) if hop.profile)
    return Place(command=one.command, host=host, through=through)


def _through(host: Host, hosts: Mapping[str, Host]) -> Iterator[Host]:
    """The jump hosts on the way to a host; a policy that loads has no circle of them."""
    while host.profile is not None and host.profile.jump is not None:
        host = hosts[host.profile.jump]
        yield host


def _key(one: Side | None) -> Key:
    if one is None:
        return "", (), ()
    return one.command.name, tuple(line.at for line in one.lines), tuple(deny.at for deny in one.denies)


def _gathered(command: str, found: Iterable[tuple[Difference, str]]) -> list[Difference]:
    """Each difference once, with all hosts on which it is one."""
    table: dict[Difference, list[str]] = {}
    for difference, host in found:
        table.setdefault(difference, []).append(host)
    return [replace(one, command=command, hosts=tuple(sorted(hosts))) for one, hosts in table.items()]


def _order(found: Difference) -> tuple[object, ...]:
    place = found.at or Position(file="")
    return list(Sign).index(found.sign), found.command, found.what, place, found.subject, found.hosts
