"""The decision. Pure, indexed, independent of order.

    1. Default deny. Unknown principal, command or host: deny.
    2. A command not made for the host: deny.
    3. An unknown or bad parameter: invalid.
    4. Any deny that matches: deny.
    5. Some role line of the caller takes in command AND host AND values: allow, or needs-approval if the command asks for
       one. Else deny.

An error while deciding is a deny. Each decision carries its reason and the line of policy that made it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cmdhttp.errors import BadValue, FieldError
from cmdhttp.policy.compiled import Command, Deny, Line, Policy, lookup
from cmdhttp.policy.findings import Position, suggestion
from cmdhttp.policy.params import Narrowing, Value

_MAX_UNKNOWN = 20


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    INVALID = "invalid"
    NEEDS_APPROVAL = "needs-approval"


class Reason(StrEnum):
    """Why. Stable: audit records and `explain` carry it."""

    ROLE_LINE = "role_line"
    UNKNOWN_PRINCIPAL = "unknown_principal"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_HOST = "unknown_host"
    NOT_MADE_FOR_HOST = "not_made_for_host"
    BAD_PARAMETER = "bad_parameter"
    DENY_RULE = "deny_rule"
    NO_ROLE_LINE = "no_role_line"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The values of one call, normalised, or all that is wrong with them."""

    values: Mapping[str, Value]
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether a principal may run a command with these values on a host at a moment."""

    principal: str
    command: str
    host: str
    arguments: Arguments
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer, its reason, and the line of policy that gave it (None where no line did)."""

    verdict: Verdict
    reason: Reason
    at: Position | None = None
    why: str = ""


def bind(command: Command, raw: Mapping[str, object]) -> Arguments:
    """Normalise the values of a call once; what comes out is what is matched, run, shown and recorded."""
    values: dict[str, Value] = {}
    errors: list[FieldError] = []
    unknown = [name for name in raw if name not in command.params]
    for name in unknown[:_MAX_UNKNOWN]:
        hint = suggestion(name, command.params) or f"the parameters are: {', '.join(command.params) or 'none'}"
        errors.append(
            FieldError(pointer=_pointer(name), code="unknown_parameter", detail="unknown parameter", hint=hint)
        )
    for name, spec in command.params.items():
        if name in raw and raw[name] is not None:
            try:
                values[name] = spec.normalise(raw[name])
            except BadValue as error:
                errors.append(error.at(_pointer(name)))
        elif spec.has_default:
            values[name] = spec.default
        elif spec.required:
            errors.append(
                FieldError(
                    pointer=_pointer(name), code="missing", detail="this parameter is required", hint=spec.summary
                )
            )
    return Arguments(values=values, errors=tuple(errors))


def decide(policy: Policy, question: Question) -> Decision:
    """Answer one question. Never raises."""
    try:
        return _decide(policy, question)
    except Exception:  # noqa: BLE001 - the law: an error while deciding is a deny
        return Decision(verdict=Verdict.DENY, reason=Reason.ERROR)


def matching(policy: Policy, question: Question) -> Iterator[Deny | Line]:
    """Every rule that takes in the question: all denies, then all role lines of the caller, decisive or not."""
    command = policy.commands.get(question.command)
    if command is None or question.host not in command.hosts or question.arguments.errors:
        return
    yield from _denying(policy, command, question)
    yield from (line for line in policy.lines_for(question.principal, command) if _allows(line, question))


def known_hosts(policy: Policy, *, principal: str, command: Command) -> frozenset[str]:
    """Where some role line gives the principal this command with some values.

    Only a caller of these may be told what is wrong with its values; for every other the command does not exist.
    """
    lines = policy.lines_for(principal, command)
    return frozenset().union(*(command.hosts & hosts for hosts in {line.hosts for line in lines}))


def _decide(policy: Policy, question: Question) -> Decision:
    command = policy.commands.get(question.command)
    if question.principal not in policy.principals:
        return Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_PRINCIPAL)
    if command is None:
        return Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_COMMAND)
    if question.host not in policy.hosts:
        return Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_HOST)
    if question.host not in command.hosts:
        return Decision(verdict=Verdict.DENY, reason=Reason.NOT_MADE_FOR_HOST, at=command.at)
    if question.arguments.errors:
        return Decision(verdict=Verdict.INVALID, reason=Reason.BAD_PARAMETER, at=command.at)
    if (deny := next(_denying(policy, command, question), None)) is not None:
        return Decision(verdict=Verdict.DENY, reason=Reason.DENY_RULE, at=deny.at, why=deny.why)
    for line in policy.lines_for(question.principal, command):
        if _allows(line, question):
            verdict = Verdict.ALLOW if command.approval is None else Verdict.NEEDS_APPROVAL
            return Decision(verdict=verdict, reason=Reason.ROLE_LINE, at=line.at, why=line.role)
    return Decision(verdict=Verdict.DENY, reason=Reason.NO_ROLE_LINE)


def _denying(policy: Policy, command: Command, question: Question) -> Iterator[Deny]:
    """Every deny that takes in the question. One flat condition, because each further deny costs its evaluation."""
    principal, host, at, values = question.principal, question.host, question.at, question.arguments.values
    for deny in lookup(policy.denies, command):
        if (
            host in deny.hosts
            and (deny.principals is None or principal in deny.principals)
            and (deny.since is None or at >= deny.since)
            and (deny.until is None or at < deny.until)
            and (not deny.narrowings or _touched(deny.narrowings, values))
        ):
            yield deny


def _allows(line: Line, question: Question) -> bool:
    return question.host in line.hosts and _within(line.narrowings, question.arguments.values)


def _within(narrowings: Mapping[str, Narrowing], values: Mapping[str, Value]) -> bool:
    """Every narrowed parameter has a value, and one that its narrowing takes in. An absent value is never taken in."""
    return all(name in values and narrowing.allows(values[name]) for name, narrowing in narrowings.items())


def _touched(narrowings: Mapping[str, Narrowing], values: Mapping[str, Value]) -> bool:
    """Every narrowed parameter has a value that its narrowing meets; of a list, one item is enough to meet it."""
    return all(name in values and narrowing.touches(values[name]) for name, narrowing in narrowings.items())


def _pointer(name: str) -> str:
    return "/params/" + name.replace("~", "~0").replace("/", "~1")
