"""The policy's own tests: who may run what, written beside the rules that say so.

Each case asks the same `decide` that calls ask. A case that does not come out as expected is a finding, so a policy that
does not pass its own tests does not load.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cmdhttp.errors import BadValue
from cmdhttp.policy.compiled import Command, Deny, Line, Policy
from cmdhttp.policy.decide import Arguments, Decision, Question, Verdict, bind, decide, matching
from cmdhttp.policy.findings import Finding, Position, one_line, suggestion
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CaseSpec
from cmdhttp.policy.oversee import Overseen, Right, lines_over, right_over
from cmdhttp.policy.params import Value

Resolve = Callable[[Command, Mapping[str, Value]], tuple[str, ...]]
"""Returns the argv of a command with normalised values. Raises BadValue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one case came to. `failure` is empty if it passed; `touched` are the places of all rules that took it in.

    A case of a job of another has no decision.
    """

    name: str
    at: Position
    decision: Decision | None
    touched: frozenset[Position]
    failure: str = ""

    @property
    def finding(self) -> Finding | None:
        if not self.failure:
            return None
        hint = "mend the rule or the test; 'cmdhttp explain' shows each step of the decision"
        return Finding(code="P501", message=f"test '{self.name}' failed: {self.failure}", at=self.at, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Which rules the tests touch: how many there are, and the places of those that no test touches, in file order."""

    rules: int
    untouched: tuple[Position, ...]


def run_cases(policy: Policy, cases: Iterable[Defined[CaseSpec]], *, resolve: Resolve, now: datetime) -> list[Outcome]:
    """Run every case against the policy; a case without a time of its own asks for `now`."""
    return [
        _run(policy, case, case.spec.run, resolve=resolve, now=now)
        if case.spec.run is not None
        else _oversee(policy, case)
        for case in cases
    ]


def coverage(policy: Policy, outcomes: Iterable[Outcome]) -> Coverage:
    """Tell which role lines and denies took in some case, whether or not they decided it."""
    tables = (policy.roles, policy.oversight)
    rules = {rule.at for rule in policy.rules} | {
        line.at for roles in tables for lines in roles.values() for line in lines
    }
    touched = {place for outcome in outcomes for place in outcome.touched}
    return Coverage(rules=len(rules), untouched=tuple(sorted(rules - touched)))


def _run(policy: Policy, case: Defined[CaseSpec], name: str, *, resolve: Resolve, now: datetime) -> Outcome:
    spec = case.spec
    command = policy.commands.get(name)
    arguments = bind(command, spec.values) if command else Arguments(values={})
    question = Question(principal=spec.caller, command=name, host=spec.on, arguments=arguments, at=spec.at or now)
    decision = decide(policy, question)
    rules = tuple(matching(policy, question))
    failure = _unknown(policy, spec) or _unexpected(spec, decision, rules, arguments)
    return Outcome(
        name=one_line(spec.name or f"{spec.caller} runs {name} on {spec.on}"),
        at=case.at,
        decision=decision,
        touched=frozenset(rule.at for rule in rules),
        failure=one_line(failure or _other_argv(spec, command, arguments, resolve)),
    )


def _oversee(policy: Policy, case: Defined[CaseSpec]) -> Outcome:
    """Ask what the caller may do with a job that another has started with these values."""
    spec, owner = case.spec, case.spec.of or ""
    command = policy.commands.get(spec.command)
    arguments = bind(command, spec.values) if command else Arguments(values={})
    values = {name: command.params[name].recorded(value) for name, value in arguments.values.items()} if command else {}
    job = Overseen(owner=owner, command=spec.command, hosts=[spec.on], params=values)
    right, needed = right_over(policy, spec.caller, job), Right.READ if spec.cancel is None else Right.CANCEL
    verb = "reads" if needed is Right.READ else "cancels"
    failure = _unknown(policy, spec) or _no_such_job(spec, arguments)
    if not failure and (right >= needed) != (spec.expect == "allow"):
        failure = f"expected {spec.expect}, and {spec.caller} may {_MAY[right]} such a job"
    return Outcome(
        name=one_line(spec.name or f"{spec.caller} {verb} a job of {owner}: {spec.command} on {spec.on}"),
        at=case.at,
        decision=None,
        touched=frozenset(line.at for line in lines_over(policy, spec.caller, job)),
        failure=one_line(failure),
    )


_MAY = {Right.NONE: "neither read nor cancel", Right.READ: "read and not cancel", Right.CANCEL: "read and cancel"}


def _no_such_job(spec: CaseSpec, arguments: Arguments) -> str:
    if spec.of == spec.caller:
        return f"'{spec.caller}' is the owner, who may read and cancel it always"
    return "; ".join(f"{fault.pointer.removeprefix('/params/')}: {fault.detail}" for fault in arguments.errors)


def _unknown(policy: Policy, spec: CaseSpec) -> str:
    """A case about a name that nothing bears proves nothing: a typing error in a parameter alone would make it invalid."""
    command = policy.commands.get(spec.command)
    for kind, name, known in (
        ("principal", spec.caller, policy.principals),
        ("principal", spec.of or spec.caller, policy.principals),
        ("command", spec.command, policy.commands),
        ("host", spec.on, policy.hosts),
        *(("parameter", name, command.params) for name in spec.values if command),
    ):
        if name not in known:
            return "; ".join(part for part in (f"there is no {kind} '{name}'", suggestion(name, known)) if part)
    return ""


def _unexpected(spec: CaseSpec, decision: Decision, rules: tuple[Deny | Line, ...], arguments: Arguments) -> str:
    if decision.verdict != spec.expect:
        where = f" by {decision.at}" if decision.at else ""
        faults = "".join(f"; {fault.pointer.removeprefix('/params/')}: {fault.detail}" for fault in arguments.errors)
        return f"expected {spec.expect}, and the decision is {decision.verdict} ({decision.reason}{where}){faults}"
    if spec.because is None:
        return ""
    if decision.verdict is not Verdict.DENY:
        return f"'because' goes with a deny, and the decision is {decision.verdict}"
    if not any(isinstance(rule, Deny) and rule.why == spec.because for rule in rules):
        return f"expected a deny because of '{spec.because}', and it is because of '{decision.why or decision.reason}'"
    return ""


def _other_argv(spec: CaseSpec, command: Command | None, arguments: Arguments, resolve: Resolve) -> str:
    if spec.argv is None or command is None or arguments.errors:
        return ""
    try:
        argv = resolve(command, arguments.values)
    except BadValue as error:
        return f"expected argv {spec.argv}, and there is none: {error.detail}"
    return "" if list(argv) == spec.argv else f"expected argv {spec.argv}, and it is {list(argv)}"
