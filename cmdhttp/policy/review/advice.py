"""What would have to change for a call to be let through: a value, the host, the moment, the principal, or the policy.

Each change is enough alone. One that can be tried was tried: `decide` lets the call with it through. Where a file has to be
edited the words name the line, and what else would still be in the way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from cmdhttp.policy.compiled import Command, Grants, Policy
from cmdhttp.policy.decide import Question, Reason, decide
from cmdhttp.policy.review.describe import approval_needed, instant, narrowings_left, one_of, shown
from cmdhttp.policy.review.misses import Miss, Part, denies_of, deny_misses, line_misses, lines_of, passes
from cmdhttp.policy.review.repair import repairs

_MOST_LINES = 3
"""How many role lines it is said of how they could be widened."""


class Kind(StrEnum):
    """What would change. Stable: `explain --json` carries it."""

    VALUES = "values"
    HOST = "host"
    TIME = "time"
    PRINCIPAL = "principal"
    APPROVAL = "approval"
    POLICY = "policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change in words; of a kind that can be tried also the questions that were, each let through."""

    kind: Kind
    text: str
    tried: tuple[Question, ...] = ()


def changes(policy: Policy, question: Question) -> tuple[Change, ...]:
    """Return what would have to change, the nearest first. Nothing if the call is let through, or the decision failed."""
    command = policy.commands.get(question.command)
    if command is None:
        return (_edit(f"define '{question.command}' under 'commands'"),)
    return tuple(_changes(policy, command, question))


def _changes(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    match decide(policy, question).reason:
        case Reason.UNKNOWN_PRINCIPAL:
            yield from _other_principals(policy, question)
            yield _defined_principal(policy, question)
        case Reason.UNKNOWN_HOST:
            yield from _other_hosts(policy, command, question)
            yield _edit(f"define '{question.host}' under 'hosts', and ask again: its labels matter")
        case Reason.NOT_MADE_FOR_HOST:
            yield from _other_hosts(policy, command, question)
            yield _made_for_host(policy, command, question)
        case Reason.BAD_PARAMETER:
            yield from _other_values(policy, command, question)
        case Reason.DENY_RULE:
            yield from list(_other_values(policy, command, question)) or _spared_values(policy, command, question)
            yield from _other_hosts(policy, command, question)
            yield from _other_time(policy, command, question)
            yield from _other_principals(policy, question)
            yield _without_denies(policy, command, question)
        case Reason.NO_ROLE_LINE:
            yield from _other_values(policy, command, question)
            yield from _other_hosts(policy, command, question)
            yield from _other_principals(policy, question)
            yield from _more_rights(policy, command, question)
        case Reason.ROLE_LINE if command.approval:
            yield Change(kind=Kind.APPROVAL, text=f"get approved: {approval_needed(command.approval)}")
        case _:
            return


# -- another call


def _other_values(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    for repair in repairs(policy, command, question):
        yield Change(kind=Kind.VALUES, text=repair.text, tried=repair.tried)


def _spared_values(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    """In words only: the values that meet the one deny that is in the way of a role line."""
    met = [deny for deny in denies_of(policy, command) if not deny_misses(deny, question)]
    lines = lines_of(policy, question.principal, command)
    if len(met) == 1 and met[0].narrowings and any(not line_misses(line, question) for line in lines):
        words = narrowings_left(command.params, met[0].narrowings)
        yield Change(kind=Kind.VALUES, text=f"send values that the deny '{met[0].why}' does not meet: not {words}")


def _other_hosts(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    others = [replace(question, host=host) for host in sorted(command.hosts)]
    good = [other for other in others if passes(policy, other)]
    if good:
        text = f"name {one_of([other.host for other in good], kind='host')}"
        yield Change(kind=Kind.HOST, text=text, tried=tuple(good))


def _other_principals(policy: Policy, question: Question) -> Iterator[Change]:
    others = [replace(question, principal=name) for name in sorted(policy.principals)]
    good = [other for other in others if passes(policy, other)]
    if good:
        text = f"call as {one_of([other.principal for other in good], kind='principal')}"
        yield Change(kind=Kind.PRINCIPAL, text=text, tried=tuple(good))


def _other_time(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    """The first moment at which the denies that are in the way have ended."""
    ends = {deny.until: deny for deny in denies_of(policy, command) if deny.until and deny.until > question.at}
    later = ((replace(question, at=until), ends[until]) for until in sorted(ends))
    for other, deny in islice(((other, deny) for other, deny in later if passes(policy, other)), 1):
        text = f"wait: the deny '{deny.why}' ({deny.at}) ends at {instant(other.at)}"
        yield Change(kind=Kind.TIME, text=text, tried=(other,))


# -- another policy


def _defined_principal(policy: Policy, question: Question) -> Change:
    known = {**policy.principals, question.principal: Grants(roles=(), lines={})}
    return _edit_and(f"define '{question.principal}' under 'principals'", replace(policy, principals=known), question)


def _made_for_host(policy: Policy, command: Command, question: Question) -> Change:
    made = replace(command, hosts=command.hosts | {question.host})
    patched = replace(policy, commands={**policy.commands, command.name: made})
    return _edit_and(f"add {question.host} to 'on' of {command.name} ({command.at})", patched, question)


def _without_denies(policy: Policy, command: Command, question: Question) -> Change:
    met = {deny.at: deny for deny in denies_of(policy, command) if not deny_misses(deny, question)}
    left = {atom: tuple(deny for deny in denies if deny.at not in met) for atom, denies in policy.denies.items()}
    named = " and ".join(f"the deny '{deny.why}' ({at})" for at, deny in met.items())
    return _edit_and(f"take this call out of {named}", replace(policy, denies=left), question)


def _more_rights(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    roles = _roles(policy, command, question)
    if roles:
        yield _edit(f"grant {one_of(roles, kind='role')} to {question.principal}")
    wider = list(islice(_wider_lines(policy, command, question), _MOST_LINES))
    yield from wider
    if not roles and not wider:
        yield _edit(
            f"write a role line that gives {command.name} on {question.host}, and grant its role to {question.principal}"
        )


def _wider_lines(policy: Policy, command: Command, question: Question) -> Iterator[Change]:
    """Lines of the principal that lack one thing only."""
    for line in lines_of(policy, question.principal, command):
        misses = line_misses(line, question)
        if len(misses) == 1:
            yield _edit(f"{_widening(misses[0], command, question)} of the role line of {line.role} ({line.at})")


def _widening(miss: Miss, command: Command, question: Question) -> str:
    name, values = miss.parameter, question.arguments.values
    if miss.part is Part.HOST:
        return f"add {question.host} to 'hosts'"
    if name in values:
        return f"add {shown(command.params[name], values[name])} to '{name}' in 'params'"
    return f"take '{name}' out of 'params'"


def _roles(policy: Policy, command: Command, question: Question) -> list[str]:
    """Roles with a line that takes the call in, each with its place. Not those whose holders are all held back."""
    held = policy.principals.get(question.principal)
    places = {
        role: f"{role} ({line.at})"
        for role, lines in policy.roles.items()
        if not held or role not in held.roles
        for line in lines
        if not line.atoms.isdisjoint(command.atoms) and not line_misses(line, question)
    }
    return [places[role] for role in sorted(places) if _helps(policy, role, question)]


def _helps(policy: Policy, role: str, question: Question) -> bool:
    """Whether somebody is let through who holds the role, or nobody holds it: a deny may speak of the role."""
    holders = [name for name, held in policy.principals.items() if role in held.roles]
    return not holders or any(passes(policy, replace(question, principal=name)) for name in holders)


def _edit(text: str) -> Change:
    return Change(kind=Kind.POLICY, text=text)


def _edit_and(text: str, patched: Policy, question: Question) -> Change:
    """An edit, and what is next in the way once it is made."""
    others = [change.text for change in changes(patched, question) if change.kind not in (Kind.HOST, Kind.PRINCIPAL)]
    return _edit("; then ".join([text, *others[:1]]))
