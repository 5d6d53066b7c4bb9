"""Whether a job that waited when the service stopped may run now.

Only as exactly what was put on record, only if the policy in force allows it, and only while whoever asked may still expect it.
What may run is on the audit log before it does. What may not ends as a run of which nothing has run.
"""

from dataclasses import replace
from datetime import UTC, datetime

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import Clock
from cmdhttp.errors import BadValue
from cmdhttp.execution.model import Order, RunError, RunErrorCode
from cmdhttp.jobs.state import Job
from cmdhttp.jobs.supervisor import Revived
from cmdhttp.jobs.waiting import Waiting
from cmdhttp.plan.build import Wish, build_plan, check_wish
from cmdhttp.plan.digest import plan_digest
from cmdhttp.plan.model import Plan
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.decide import Arguments, Question, Verdict, bind, decide
from cmdhttp.reload.reloader import PolicyHolder

_SKEW = 60.0
"""Seconds by which the clock may have been set back since; by more, nobody knows how old the job is."""

_POLICY_CHANGED = RunError(
    code=RunErrorCode.POLICY_CHANGED,
    detail="The service started again while this job waited, and the policy no longer gives the same run; nothing has run.",
    hint="Look at what you may run now (GET /v1/commands), and call again.",
)
_TOO_OLD = RunError(
    code=RunErrorCode.QUEUE_DEADLINE,
    detail="The service started again too long after this job was accepted; nothing has run.",
    hint="It is safe to call again.",
)


class Requeue:
    """Decides once more for each job that waited."""

    def __init__(self, *, policy: PolicyHolder, audit: AuditLog, clock: Clock, deadline: float) -> None:
        """`deadline` is in seconds after the acceptance of a job."""
        self._holder = policy
        self._audit = audit
        self._clock = clock
        self._deadline = deadline

    async def revive(self, job: Job, asked: Waiting) -> Revived | RunError:
        """Return what is to run, once it is on record, or why it is not. Raises OSError if it cannot be recorded."""
        if not -_SKEW <= self._clock.now() - job.created_at <= self._deadline:
            return _TOO_OLD
        policy = self._holder.current
        plan = self._plan(policy, asked)
        if plan is None or plan_digest(plan) != asked.plan:
            return _POLICY_CHANGED
        fields = {"job": job.id, "principal": job.principal, "command": job.command, "policy": policy.digest}
        await self._audit.write(Code.JOB_RESUMED, fields)
        order = Order(
            principal=asked.principal,
            command=asked.command,
            policy=plan.policy,
            params=asked.params,
            timeout=asked.timeout,
        )
        return Revived(plan=plan, order=order)

    def _plan(self, policy: Policy, asked: Waiting) -> Plan | None:
        """Return the plan that the policy in force gives, or None if it gives none."""
        command = policy.commands.get(asked.command)
        if command is None or not policy.hosts.keys() >= set(asked.hosts):
            return None
        arguments = bind(command, asked.params)
        wish = Wish(stdin=asked.stdin_bytes, timeout=asked.timeout)
        if arguments.errors or any(check_wish(command, wish)):
            return None
        if not self._allowed(policy, asked, command, arguments):
            return None
        try:
            return build_plan(policy, command, asked.hosts, arguments, wish)
        except BadValue:
            return None

    def _allowed(self, policy: Policy, asked: Waiting, command: Command, arguments: Arguments) -> bool:
        at = datetime.fromtimestamp(self._clock.now(), tz=UTC)
        ask = Question(principal=asked.principal, command=command.name, host="", arguments=arguments, at=at)
        return all(decide(policy, replace(ask, host=host)).verdict is Verdict.ALLOW for host in asked.hosts)
