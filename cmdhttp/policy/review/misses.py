"""Which parts of a rule a call does not meet, part by part.

`decide` answers with the first rule that settles it and does not say what the others lack; this does, for `explain` and for
the table. A rule takes a call in exactly when nothing is missed, and `tests/property/test_explain.py` holds that against
`decide`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cmdhttp.policy.compiled import Command, Deny, Line, Policy, lookup
from cmdhttp.policy.decide import Question, Verdict, decide
from cmdhttp.policy.params import Narrowing, Value


class Part(StrEnum):
    """The parts of a rule that a call can fail to meet."""

    PRINCIPAL = "principal"
    HOST = "host"
    TIME = "time"
    VALUE = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One part that is not met; `parameter` says which value, where it is one."""

    part: Part
    parameter: str = ""


def passes(policy: Policy, question: Question) -> bool:
    """Whether `decide` lets the call through, perhaps once others have approved it."""
    return decide(policy, question).verdict in (Verdict.ALLOW, Verdict.NEEDS_APPROVAL)


def line_misses(line: Line, question: Question) -> list[Miss]:
    """Return what of a role line the call does not meet; nothing means that the line allows it."""
    host = [] if question.host in line.hosts else [Miss(part=Part.HOST)]
    return [*host, *value_misses(line.narrowings, question.arguments.values)]


def deny_misses(deny: Deny, question: Question) -> list[Miss]:
    """Return what of a deny the call does not meet; nothing means that the deny holds it back."""
    return list(_deny_misses(deny, question))


def value_misses(
    narrowings: Mapping[str, Narrowing], values: Mapping[str, Value], *, touching: bool = False
) -> list[Miss]:
    """Return the narrowed parameters whose values are not taken in; `touching` reads a list as denies do."""
    return [
        Miss(part=Part.VALUE, parameter=name)
        for name, narrowing in narrowings.items()
        if name not in values or not (narrowing.touches if touching else narrowing.allows)(values[name])
    ]


def concerns(deny: Deny, principal: str) -> bool:
    """Whether a deny speaks of the principal."""
    return deny.principals is None or principal in deny.principals


def in_force(deny: Deny, at: datetime) -> bool:
    """Whether a deny holds at a moment."""
    return (deny.since is None or at >= deny.since) and (deny.until is None or at < deny.until)


def lines_of(policy: Policy, principal: str, command: Command) -> list[Line]:
    """Return every role line of the principal that names the command, each once, in the order in which they are asked."""
    return list({line.at: line for line in policy.lines_for(principal, command)}.values())


def denies_of(policy: Policy, command: Command) -> list[Deny]:
    """Return every deny that names the command, each once, in the order in which they are asked."""
    return list({deny.at: deny for deny in lookup(policy.denies, command)}.values())


def _deny_misses(deny: Deny, question: Question) -> Iterator[Miss]:
    if not concerns(deny, question.principal):
        yield Miss(part=Part.PRINCIPAL)
    if question.host not in deny.hosts:
        yield Miss(part=Part.HOST)
    if not in_force(deny, question.at):
        yield Miss(part=Part.TIME)
    yield from value_misses(deny.narrowings, question.arguments.values, touching=True)
