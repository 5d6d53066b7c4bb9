"""The policy's own tests: who may run what, written beside the rules that say so.

Each case asks the same `decide` that calls ask. A case that does not come out as expected is a finding, so a policy that
does not pass its own tests does not load.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cmdhttp.errors import BadValue
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.decide import Arguments, Decision, Question, Reason, Verdict, bind, decide
from cmdhttp.policy.findings import Finding, Position, suggestion
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CaseSpec
from cmdhttp.policy.params import Value

Resolve = Callable[[Command, Mapping[str, Value]], tuple[str, ...]]
"""Returns the argv of a command with normalised values. Raises BadValue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one case came to. `failure` is empty if it passed."""

    name: str
    at: Position
    decision: Decision
    failure: str = ""

    @property
    def finding(self) -> Finding | None:
        if not self.failure:
            return None
        return Finding(code="P501", message=f"test '{self.name}' failed: {self.failure}", at=self.at)


def run_cases(policy: Policy, cases: Iterable[Defined[CaseSpec]], *, resolve: Resolve) -> list[Outcome]:
    """Run every case against the policy."""
    return [_run(policy, case, resolve=resolve) for case in cases]


def untouched(policy: Policy, outcomes: Iterable[Outcome]) -> list[Position]:
    """Return the places of the role lines and denies that decided no case, in file order."""
    touched = {
        outcome.decision.at for outcome in outcomes if outcome.decision.reason in (Reason.ROLE_LINE, Reason.DENY_RULE)
    }
    rules = {rule.at for rules in policy.denies.values() for rule in rules}
    for grants in policy.principals.values():
        rules |= {line.at for lines in grants.lines.values() for line in lines}
    return sorted(rules - touched)


def _run(policy: Policy, case: Defined[CaseSpec], *, resolve: Resolve) -> Outcome:
    spec = case.spec
    command = policy.commands.get(spec.run)
    arguments = bind(command, spec.values) if command else Arguments(values={})
    at = spec.at or datetime.now(tz=UTC)
    question = Question(principal=spec.caller, command=spec.run, host=spec.on, arguments=arguments, at=at)
    decision = decide(policy, question)
    failure = _unknown(policy, spec) or _unexpected(spec, decision) or _other_argv(spec, command, arguments, resolve)
    return Outcome(name=_name(spec), at=case.at, decision=decision, failure=failure)


def _unknown(policy: Policy, spec: CaseSpec) -> str:
    """A case about a name that nothing bears proves nothing."""
    for kind, name, known in (
        ("principal", spec.caller, policy.principals),
        ("command", spec.run, policy.commands),
        ("host", spec.on, policy.hosts),
    ):
        if name not in known:
            return f"there is no {kind} '{name}' {suggestion(name, known)}".rstrip()
    return ""


def _unexpected(spec: CaseSpec, decision: Decision) -> str:
    if decision.verdict != spec.expect:
        where = f" by {decision.at}" if decision.at else ""
        return f"expected {spec.expect}, and the decision is {decision.verdict} ({decision.reason}{where})"
    if spec.because is not None and decision.verdict is Verdict.DENY and decision.why != spec.because:
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


def _name(spec: CaseSpec) -> str:
    return spec.name or f"{spec.caller} runs {spec.run} on {spec.on}"
