"""Whether a run that has waited may still start: the policy in force when it starts decides, not the one that let it in.

It is decided anew: a deny may have begun meanwhile. If another policy has come into force, the step is made anew, too, from
what was asked. It starts only if it does what was put on record; then the limits of the new policy hold for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cmdhttp.clock import Clock
from cmdhttp.errors import BadValue
from cmdhttp.execution.model import Order, RunError, RunErrorCode
from cmdhttp.plan.build import Wish, build_plan, check_wish
from cmdhttp.plan.digest import step_digest
from cmdhttp.plan.model import Step
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Question, Verdict, bind, decide

_NOT_ALLOWED = RunError(
    code=RunErrorCode.POLICY_CHANGED,
    detail="The policy that is in force now does not allow the run any more; nothing has run.",
    hint="GET /v1/commands lists what this caller may run now.",
)
_ANOTHER = RunError(
    code=RunErrorCode.POLICY_CHANGED,
    detail="While the run waited the policy has changed, and would run something else now; nothing has run.",
    hint="Call again to run what the policy says now.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """Asks the policy in force."""

    policy: Callable[[], Policy]
    clock: Clock

    def renew(self, order: Order, step: Step) -> tuple[Order, Step] | RunError:
        """Return what to start now for a step of a job, or why it may not start. Pure but for the clock."""
        policy = self.policy()
        made = self._make(policy, order, step)
        if made is None:
            return _NOT_ALLOWED
        if order.policy == policy.digest:
            return order, step
        limits = {name: getattr(step, name) for name in ("run", "timeout", "output_limit", "keep_ends", "limits")}
        if step_digest(replace(made, **limits)) != step_digest(step):
            return _ANOTHER
        return replace(order, policy=policy.digest), replace(made, run=step.run)

    def _make(self, policy: Policy, order: Order, step: Step) -> Step | None:
        """The step as the policy gives it, if it allows it. What the new policy no longer lets a caller ask for is a no."""
        command = policy.commands.get(order.command)
        if command is None:
            return None
        arguments = bind(command, order.params)
        at = datetime.fromtimestamp(self.clock.now(), tz=UTC)
        question = Question(principal=order.principal, command=command.name, host=step.host, arguments=arguments, at=at)
        wish = Wish(stdin=step.stdin, timeout=order.timeout)
        refused = any(pointer == "/stdin" for pointer, _ in check_wish(command, wish))
        if refused or arguments.errors or decide(policy, question).verdict is not Verdict.ALLOW:
            return None
        if order.policy == policy.digest:
            return step
        try:
            return build_plan(policy, command, [step.host], arguments, wish).steps[0]
        except BadValue:
            return None
