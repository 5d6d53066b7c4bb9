"""The pipeline on one page: who -> may they -> what exactly -> on record -> kept and run -> told.

Routes, the CLI and every later door call this and nothing below it. A caller that may not run a command anywhere learns
nothing of it: unknown and forbidden answer alike, and what is wrong with the values is told only to those who may try.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import anyio

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tally import Tally
from cmdhttp.auth.principal import Principal
from cmdhttp.call import Call, Explanation, Submitted, idempotency_key, overall
from cmdhttp.catalogue import allowed_hosts, no_command
from cmdhttp.clock import Clock
from cmdhttp.errors import (
    BadValue,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    Limit,
    NeedsApproval,
    StoreFailed,
    TooMany,
    Unavailable,
)
from cmdhttp.execution.model import Order
from cmdhttp.ids import job_id
from cmdhttp.job_access import JobAccess
from cmdhttp.jobs.arrivals import Arrivals
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import IdempotencyKey, Journal, Replay
from cmdhttp.jobs.state import Job, Run
from cmdhttp.jobs.supervisor import Supervisor
from cmdhttp.jobs.ticket import Ticket
from cmdhttp.plan.build import build_plan, check_wish
from cmdhttp.plan.model import Plan
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.decide import Arguments, Decision, Question, Verdict, bind, decide
from cmdhttp.policy.select import default_host, select_hosts
from cmdhttp.records import denial_record, limit_record, put_on_record, start_record
from cmdhttp.reload.reloader import PolicyHolder
from cmdhttp.telemetry.metrics import Metrics

_REMOVAL_PAUSE = 0.01


class Service:
    """The one pipeline."""

    def __init__(
        self,
        *,
        policy: PolicyHolder,
        journal: Journal,
        jobs: JobAccess,
        hub: Hub,
        supervisor: Supervisor,
        audit: AuditLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._holder = policy
        self._journal = journal
        self._jobs = jobs
        self._hub = hub
        self._supervisor = supervisor
        self._arrivals = Arrivals()
        self.refusals = Tally(audit, Code.CALL_LIMITED, counted="refusals", monotonic=clock.monotonic)
        self._audit = audit
        self._metrics = metrics
        self._clock = clock

    @property
    def policy(self) -> Policy:
        return self._holder.current

    # -- run

    async def submit(self, principal: Principal, call: Call) -> Submitted:
        """Decide, plan, let in, record, keep and start.

        Raises Forbidden, InvalidRequest, Conflict, TooMany or Unavailable; nothing ran then.
        """
        policy = self.policy
        key = idempotency_key(principal, call)
        try:
            command, hosts, arguments = self._resolve(policy, principal, call)
            decisions = self._ask_all(policy, principal, command, hosts, arguments)
            self._metrics.decided((decision.verdict, decision.reason) for decision in decisions.values())
            _require_allowed(decisions)
            plan = self._plan(policy, command, hosts, arguments, call)
        except Forbidden:
            await put_on_record(self._audit, Code.CALL_DENIED, self._denial(policy, principal, call))
            raise
        if key is not None and (replayed := await self._replayed(key)) is not None:
            return replayed
        if self._journal.database.damage:
            raise StoreFailed
        self._journal.room.check()
        self._audit.reserve.check()
        job = self._new_job(principal, call, plan)
        try:
            with self._arrivals.of(key), self._supervisor.admit(principal.name, plan) as ticket:
                replay = await self._keep(ticket, principal, call, plan, job, key)
        except (TooMany, Unavailable) as error:
            if error.limit is None or (replayed := await self._refused(error.limit, principal, call, key)) is None:
                raise
            return replayed
        if replay is not None and key is not None:
            fields = {"job": job.id, "original": replay.job_id, "principal": principal.name}
            await put_on_record(self._audit, Code.JOB_REPLAYED, fields)
            replayed = await self._replayed(key)
            if replayed is not None:
                return replayed
        return Submitted(job=await self._jobs.now(job.id))

    async def _keep(
        self, ticket: Ticket, principal: Principal, call: Call, plan: Plan, job: Job, key: IdempotencyKey | None
    ) -> Replay | None:
        """Record the start and hand the job over: both or neither, even if nobody waits for the answer any more."""
        replay: Replay | None = None
        with anyio.CancelScope(shield=True):
            head = await put_on_record(self._audit, Code.JOB_STARTED, start_record(principal, call, plan, job))
            try:
                kept = replace(job, receipt=head)
                replay = await self._supervisor.submit(ticket, kept, plan, _order(principal, call, plan), key)
            except Unavailable:
                await put_on_record(self._audit, Code.JOB_REFUSED, {"job": job.id, "principal": principal.name})
                raise
        return replay

    async def _refused(
        self, limit: Limit, principal: Principal, call: Call, key: IdempotencyKey | None
    ) -> Submitted | None:
        """A limit refuses the call. Returns the job of an equal call that was let in a moment ago, if there is one."""
        if key is not None:
            await self._arrivals.settled(key)
            if (replayed := await self._replayed(key)) is not None:
                return replayed
        self._metrics.refused(limit)
        await self.refusals.note(principal.name, lambda: limit_record(principal, call, limit))
        return None

    async def explain(self, principal: Principal, call: Call) -> Explanation:
        """Decide and resolve like `submit`, and run nothing.

        Raises Forbidden only for a command or host of which the caller may know nothing; any other denial is the answer.
        """
        policy = self.policy
        try:
            command, hosts, arguments = self._resolve(policy, principal, call)
        except Forbidden:
            await put_on_record(
                self._audit, Code.CALL_DENIED, {**self._denial(policy, principal, call), "explain": True}
            )
            raise
        explanation = Explanation(
            plan=self._plan(policy, command, hosts, arguments, call),
            decisions=self._ask_all(policy, principal, command, hosts, arguments),
        )
        if explanation.verdict is Verdict.DENY:
            await put_on_record(
                self._audit, Code.CALL_DENIED, {**self._denial(policy, principal, call), "explain": True}
            )
        return explanation

    # -- steps of the pipeline

    def _resolve(self, policy: Policy, principal: Principal, call: Call) -> tuple[Command, list[str], Arguments]:
        """Return what the call means. Raises Forbidden for what the caller may not know of, InvalidRequest for its fields."""
        command = policy.commands.get(call.command)
        known = allowed_hosts(policy, principal, command) if command else []
        if command is None or not known:
            raise no_command()
        faults = list(call.faults)
        hosts = self._hosts(policy, command, known, call, faults)
        if not frozenset(known).issuperset(hosts):
            raise no_command()
        if call.one_host and len(hosts) > 1:
            detail = "the type that you accept carries the output of one host"
            faults.append(FieldError(pointer="/hosts", code="several", detail=detail, hint="Accept application/json."))
        arguments = bind(command, call.params)
        faults += arguments.errors
        faults += [error.at(pointer) for pointer, error in check_wish(command, call.wish)]
        if command.reason_required and not call.reason.strip():
            detail = "this command asks why it is run"
            faults.append(FieldError(pointer="/reason", code="missing", detail=detail, hint='Send "reason": "...".'))
        if faults:
            raise InvalidRequest(
                f"{len(faults)} of the request's fields cannot be used; nothing has run.", errors=faults
            )
        return command, hosts, arguments

    def _hosts(
        self, policy: Policy, command: Command, known: list[str], call: Call, faults: list[FieldError]
    ) -> list[str]:
        """Return the hosts that the call means, in order, none twice."""
        if call.hosts:
            texts = dict.fromkeys(call.hosts)
            return list(dict.fromkeys(host for text in texts for host in select_hosts(policy, command, text)))
        host = default_host(known)
        if host is None and any(fault.pointer == "/hosts" for fault in faults):
            return []
        if host is None:
            hint = f"You may name: {', '.join(known[:20])}."
            faults.append(
                FieldError(pointer="/hosts", code="missing", detail="this command has no default host", hint=hint)
            )
            return []
        return [host]

    def _ask_all(
        self, policy: Policy, principal: Principal, command: Command, hosts: list[str], arguments: Arguments
    ) -> dict[str, Decision]:
        """Decide for every host, all at the same moment."""
        at = self._moment()
        ask = Question(principal=principal.name, command=command.name, host="", arguments=arguments, at=at)
        return {host: decide(policy, replace(ask, host=host)) for host in hosts}

    def _plan(self, policy: Policy, command: Command, hosts: list[str], arguments: Arguments, call: Call) -> Plan:
        try:
            return build_plan(policy, command, hosts, arguments, call.wish)
        except BadValue as error:
            pointer = f"/params/{error.param}" if error.param else "/params"
            raise InvalidRequest(
                "The arguments cannot be sent to the host; nothing has run.", errors=[error.at(pointer)]
            ) from error

    def _new_job(self, principal: Principal, call: Call, plan: Plan) -> Job:
        now = self._clock.now()
        return Job(
            id=job_id(unix_ms=int(now * 1000), entropy=secrets.token_bytes(10)),
            command=plan.command,
            principal=principal.name,
            credential=principal.credential,
            created_at=now,
            policy=plan.policy,
            params=plan.shown_params,
            labels=call.labels,
            reason=call.reason,
            on_disconnect=call.on_disconnect,
            max_parallel=plan.max_parallel,
            runs=tuple(Run(host=step.host) for step in plan.steps),
            parser=plan.parser,
            collects=any(step.collect is not None for step in plan.steps),
        )

    async def _replayed(self, key: IdempotencyKey) -> Submitted | None:
        replay = await self._journal.replay(key)
        if replay is None:
            return None
        if not replay.same:
            raise Conflict(
                "This idempotency key was used for another request; nothing has run.",
                hint="Use a new key for a new request, or send the same request again.",
            )
        while not self._hub.leases.ask(replay.job_id):  # noqa: ASYNC110 - a few milliseconds, and hardly ever
            await anyio.sleep(_REMOVAL_PAUSE)  # its output is being removed; then it says so
        job = self._hub.live(replay.job_id) or await self._journal.get(replay.job_id)
        return Submitted(job=job, replayed=True) if job else None  # it was old, and is gone with its key

    def _denial(self, policy: Policy, principal: Principal, call: Call) -> dict[str, object]:
        return denial_record(policy, principal, call, at=self._moment())

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), tz=UTC)


def _order(principal: Principal, call: Call, plan: Plan) -> Order:
    return Order(
        principal=principal.name,
        command=plan.command,
        policy=plan.policy,
        params=call.params,
        timeout=call.wish.timeout,
    )


def _require_allowed(decisions: Mapping[str, Decision]) -> None:
    """Raise Forbidden or NeedsApproval unless every host is allowed."""
    verdict = overall(decisions)
    if verdict is Verdict.NEEDS_APPROVAL:
        raise NeedsApproval(
            "This call runs only after others have agreed to it; nothing has run.",
            hint="This version has no way to ask for an approval: the policy's owner can run it by other means.",
        )
    if verdict is not Verdict.ALLOW:
        raise no_command()
