"""A decision, step by step: what each rule says to the call, and what would have to change.

The verdict is the one of `decide` and is never worked out here. The steps stand in the order of the law and go on behind the
one that settled it, because whoever mends a policy wants to see the next obstacle too.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from cmdhttp.errors import FieldError
from cmdhttp.policy.compiled import Approval, Command, Deny, Line, Policy
from cmdhttp.policy.decide import Decision, Question, decide
from cmdhttp.policy.findings import Position, suggestion
from cmdhttp.policy.params import Narrowing
from cmdhttp.policy.review.advice import Change, changes
from cmdhttp.policy.review.describe import approval_needed, shortened, shown, values_left, window
from cmdhttp.policy.review.misses import Miss, Part, denies_of, deny_misses, line_misses, lines_of
from cmdhttp.policy.review.repair import parameter_of


class Check(StrEnum):
    """What a step looks at. Stable: `explain --json` carries it."""

    PRINCIPAL = "principal"
    COMMAND = "command"
    HOST = "host"
    MADE_FOR_HOST = "made_for_host"
    PARAMETERS = "parameters"
    DENY = "deny"
    ROLE_LINE = "role_line"
    APPROVAL = "approval"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing looked at. `holds`: it does not stand in the way. `settled`: the decision fell here."""

    check: Check
    holds: bool
    text: str
    at: Position | None = None
    errors: tuple[FieldError, ...] = ()
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One call, its decision, how it came about, and what would have to change. `notes`: why it would not run even if allowed."""

    question: Question
    decision: Decision
    steps: tuple[Step, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def explain(policy: Policy, question: Question) -> Explanation:
    """Explain the decision on one question."""
    return Explanation(
        question=question,
        decision=decide(policy, question),
        steps=_with_settled(_steps(policy, question)),
        changes=changes(policy, question),
        notes=tuple(_notes(policy, question)),
    )


def _notes(policy: Policy, question: Question) -> Iterator[str]:
    """Yield what this version cannot do of the call, and how it would end: the decision knows nothing of that."""
    command, host = policy.commands.get(question.command), policy.hosts.get(question.host)
    if command and command.approval:
        yield "this version cannot do approvals: the call would be refused as 'needs_approval'"
    missing = command.missing_on(host, question.arguments.values) if command and host else ()
    if missing:
        yield f"this version cannot do {', '.join(missing)}: the run would end as 'unsupported'"


def _with_settled(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The first obstacle settles it, or else the first role line that holds. An approval comes after the decision."""
    listed = list(steps)
    rights = (Check.ROLE_LINE, Check.APPROVAL)
    obstacles = (place for place, step in enumerate(listed) if step.check not in rights and not step.holds)
    lines = (place for place, step in enumerate(listed) if step.check is Check.ROLE_LINE and step.holds)
    found = next(obstacles, None)
    settled = next(lines) if found is None else found
    listed[settled] = replace(listed[settled], settled=True)
    return tuple(listed)


def _steps(policy: Policy, question: Question) -> Iterator[Step]:
    command = policy.commands.get(question.command)
    yield _principal(policy, question.principal)
    yield _command(policy, command, question.command)
    yield _host(policy, question.host)
    if command:
        yield _made_for_host(command, question.host)
        yield _parameters(command, question)
        yield from (_deny(command, deny, question) for deny in denies_of(policy, command))
        lines = [_line(command, line, question) for line in lines_of(policy, question.principal, command)]
        yield from lines
        if command.approval:
            yield _approval(command, command.approval)
        if not any(line.holds for line in lines):
            yield _default(question, named=bool(lines))


def _principal(policy: Policy, name: str) -> Step:
    held = policy.principals.get(name)
    if held is None:
        text = _unknown("principal", name, policy.principals)
        return Step(check=Check.PRINCIPAL, holds=False, text=text)
    roles = f"holds {shortened(held.roles)}" if held.roles else "holds no role"
    return Step(check=Check.PRINCIPAL, holds=True, text=f"{name} {roles}")


def _command(policy: Policy, command: Command | None, name: str) -> Step:
    if command is None:
        text = _unknown("command", name, policy.commands)
        return Step(check=Check.COMMAND, holds=False, text=text)
    return Step(check=Check.COMMAND, holds=True, text=f"{name} is published", at=command.at)


def _host(policy: Policy, name: str) -> Step:
    if name not in policy.hosts:
        text = _unknown("host", name, policy.hosts)
        return Step(check=Check.HOST, holds=False, text=text)
    return Step(check=Check.HOST, holds=True, text=f"{name} is known")


def _made_for_host(command: Command, host: str) -> Step:
    holds = host in command.hosts
    text = f"{command.name} is made for {host}" if holds else f"made for {_names(command.hosts)}, not for {host}"
    return Step(check=Check.MADE_FOR_HOST, holds=holds, text=text, at=command.at)


def _parameters(command: Command, question: Question) -> Step:
    arguments = question.arguments
    values = [f"{name}={shown(command.params[name], value)}" for name, value in arguments.values.items()]
    if arguments.errors:
        text = f"{len(arguments.errors)} of the values cannot be used"
    else:
        text = f"the values fit: {', '.join(values)}" if values else "there are no values"
    holds = not arguments.errors
    return Step(check=Check.PARAMETERS, holds=holds, text=text, at=command.at, errors=arguments.errors)


def _deny(command: Command, deny: Deny, question: Question) -> Step:
    misses = deny_misses(deny, question)
    text = f"'{deny.why}' {'does not meet the call' if misses else 'meets the call'}"
    words = "; ".join(_deny_miss(command, deny, miss, question) for miss in misses)
    full = f"{text}: {words}" if words else text
    return Step(check=Check.DENY, holds=bool(misses), text=full, at=deny.at)


def _deny_miss(command: Command, deny: Deny, miss: Miss, question: Question) -> str:
    match miss.part:
        case Part.PRINCIPAL:
            return f"it is for {_names(deny.principals or ())}"
        case Part.HOST:
            return f"it is for {_names(deny.hosts)}"
        case Part.TIME:
            return f"it holds {window(deny.since, deny.until)}"
        case Part.VALUE:
            return _value_miss(command, deny.narrowings[miss.parameter], miss.parameter, question)
        case _:
            assert_never(miss.part)


def _line(command: Command, line: Line, question: Question) -> Step:
    misses = line_misses(line, question)
    if not misses:
        return Step(check=Check.ROLE_LINE, holds=True, text=f"{line.role} allows it", at=line.at)
    words = "; ".join(
        f"it is for {_names(line.hosts)}"
        if miss.part is Part.HOST
        else _value_miss(command, line.narrowings[miss.parameter], miss.parameter, question)
        for miss in misses
    )
    return Step(check=Check.ROLE_LINE, holds=False, text=f"{line.role} does not take it in: {words}", at=line.at)


def _value_miss(command: Command, narrowing: Narrowing, name: str, question: Question) -> str:
    spec, values = command.params[name], question.arguments.values
    wrong = any(parameter_of(error) == name for error in question.arguments.errors)
    sent = f"has {shown(spec, values[name])}" if name in values else f"has none{' that can be used' if wrong else ''}"
    return f"{name} must be {values_left(spec, narrowing)}, and the call {sent}"


def _approval(command: Command, approval: Approval) -> Step:
    text = f"runs once it is approved: {approval_needed(approval)}"
    return Step(check=Check.APPROVAL, holds=False, text=text, at=command.at)


def _default(question: Question, *, named: bool) -> Step:
    lack = "takes this call in" if named else f"names {question.command}"
    return Step(
        check=Check.DEFAULT, holds=False, text=f"denied unless allowed: no role line of {question.principal} {lack}"
    )


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    return "; ".join(part for part in (f"there is no {kind} '{name}'", suggestion(name, known)) if part)


def _names(names: Iterable[str]) -> str:
    return shortened(sorted(names)) or "nobody"
