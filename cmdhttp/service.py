"""The pipeline on one page: who -> may they -> what exactly -> on record -> kept and run -> told.

Routes, the CLI and every later door call this and nothing below it. A caller that may not run a command anywhere learns
nothing of it: unknown and forbidden answer alike, and what is wrong with the values is told only to those who may try.
"""

import logging
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tally import Tally
from cmdhttp.auth.principal import Principal
from cmdhttp.call import Call, Explanation, Submitted, idempotency_key, overall
from cmdhttp.clock import Clock
from cmdhttp.errors import (
    BadValue,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    InvalidRequest,
    Limit,
    NeedsApproval,
    NotFound,
    RecordDamaged,
    StoreFailed,
    TooMany,
    Unavailable,
)
from cmdhttp.execution.model import Order, StopReason, Stream
from cmdhttp.ids import is_job_id, job_id
from cmdhttp.jobs.arrivals import Arrivals
from cmdhttp.jobs.data import DataReader
from cmdhttp.jobs.door import Used
from cmdhttp.jobs.hub import Hub, Told
from cmdhttp.jobs.journal import IdempotencyKey, Journal, Replay
from cmdhttp.jobs.listing import Filter, passes
from cmdhttp.jobs.rates import RateLeft
from cmdhttp.jobs.state import Job, OnDisconnect, Receipt, Run
from cmdhttp.jobs.supervisor import Supervisor
from cmdhttp.jobs.ticket import Place, Ticket
from cmdhttp.plan.build import build_plan, check_wish
from cmdhttp.plan.model import Plan
from cmdhttp.policy.compiled import Command, Oversight, Policy, Quota
from cmdhttp.policy.decide import Arguments, Decision, Question, Verdict, bind, decide, known_hosts
from cmdhttp.policy.oversee import Right
from cmdhttp.policy.select import default_host, select_hosts
from cmdhttp.readers import Readers
from cmdhttp.records import cancel_record, denial_record, limit_record, start_record
from cmdhttp.reload.reloader import PolicyHolder
from cmdhttp.results.model import Parsed
from cmdhttp.telemetry.metrics import Metrics

_log = logging.getLogger("cmdhttp.service")
_CANCEL_WAIT = 10.0
_RETRY_AFTER = 5
_LOOKED_AT = 200
_REMOVAL_PAUSE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs of a list, perhaps more than were asked for. `looked_at_to`: the id after which nothing was looked at yet, if so."""

    jobs: list[Job]
    looked_at_to: str | None = None


class Service:
    """The one pipeline."""

    def __init__(
        self,
        *,
        policy: PolicyHolder,
        journal: Journal,
        data: DataReader,
        hub: Hub,
        supervisor: Supervisor,
        audit: AuditLog,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._holder = policy
        self._journal = journal
        self._data = data
        self._hub = hub
        self._supervisor = supervisor
        self._arrivals = Arrivals()
        self.refusals = Tally(audit, Code.CALL_LIMITED, counted="refusals", monotonic=clock.monotonic)
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._readers = Readers(policy, record=self._record_access)

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
            await self._record(Code.CALL_DENIED, self._denial(policy, principal, call))
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
            await self._record(Code.JOB_REPLAYED, fields)
            replayed = await self._replayed(key)
            if replayed is not None:
                return replayed
        return Submitted(job=await self.now(job))

    async def _keep(
        self, ticket: Ticket, principal: Principal, call: Call, plan: Plan, job: Job, key: IdempotencyKey | None
    ) -> Replay | None:
        """Record the start and hand the job over: both or neither, even if nobody waits for the answer any more."""
        replay: Replay | None = None
        with anyio.CancelScope(shield=True):
            head = await self._record(Code.JOB_STARTED, start_record(principal, call, plan, job))
            try:
                kept = replace(job, receipt=head)
                replay = await self._supervisor.submit(ticket, kept, plan, _order(principal, call, plan), key)
            except Unavailable:
                await self._record(Code.JOB_REFUSED, {"job": job.id, "principal": principal.name})
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
            await self._record(Code.CALL_DENIED, {**self._denial(policy, principal, call), "explain": True})
            raise
        explanation = Explanation(
            plan=self._plan(policy, command, hosts, arguments, call),
            decisions=self._ask_all(policy, principal, command, hosts, arguments),
        )
        if explanation.verdict is Verdict.DENY:
            await self._record(Code.CALL_DENIED, {**self._denial(policy, principal, call), "explain": True})
        return explanation

    # -- jobs

    async def get(self, principal: Principal, wanted: str) -> Job:
        """Return a job. Raises NotFound, or Unavailable if the reading cannot be recorded."""
        job = await self._readable(principal, wanted)
        await self._readers.record(principal, job)
        return job

    async def stored(self, principal: Principal, wanted: str) -> Job:
        """Return a job whose output and events are there to be read. Raises like `get`, and Gone."""
        job = await self._readable(principal, wanted)
        self.require_stored(job)
        await self._readers.record(principal, job)
        return job

    def require_readable(self, principal: Principal, job: Job) -> None:
        """Raise NotFound if a caller that was let read a job may do so no longer."""
        if not self.may_read(principal, job):
            raise _no_job()

    def may_read(self, principal: Principal, job: Job) -> bool:
        return self._readers.may_read(principal, job)

    def require_stored(self, job: Job) -> None:
        """Raise Gone if a job's output and events are removed, RecordDamaged if nobody can tell which they are."""
        if job.damaged:
            raise RecordDamaged(job.principal)
        if not job.output_kept:
            raise Gone(
                "The output, the files and the events of this job are no longer kept; how it ended is.",
                hint="GET /v1/jobs/{id} says how it ended. Whoever runs the service decides how long output is kept.",
            )

    def reading(self, job: Job) -> AbstractContextManager[None]:
        """Keep a job that was already found readable from being removed for the length of the block."""
        return self._hub.leases.hold(job.id)

    async def end(self, wanted: str) -> Job:
        """Wait for the end of a job that was already found readable, or for the service to drain; return it as it is then."""
        return await self._hub.finished(wanted) or await self._existing(wanted)

    async def page(self, principal: Principal, wanted: Filter) -> Page:
        """Return a page of the jobs that the filter asks for and the caller may read, newest first, as they are now.

        Of others no more than a fixed number is looked at, however few of them the caller may read. Raises Unavailable.
        """
        own = replace(wanted, principal=principal.name)
        if wanted.principal not in (None, principal.name) and not self._readers.may_list(principal, wanted.principal):
            return Page(jobs=[])
        if wanted.principal == principal.name or not self._readers.may_list(principal, wanted.principal):
            jobs = await self._journal.page(own)
            return Page(jobs=[self._hub.live(job.id) or job for job in jobs])
        looked_at = await self._journal.page(replace(wanted, limit=_LOOKED_AT))
        now = [self._hub.live(job.id) or job for job in looked_at]
        jobs = [job for job in now if passes(job, wanted) and self.may_read(principal, job)]
        others = sum(job.principal != principal.name for job in jobs)
        if others:
            fields = {"principal": principal.name, "owner": wanted.principal or "*", "jobs": others}
            await self._record_access(Code.JOBS_LISTED, fields)
        return Page(jobs=jobs, looked_at_to=looked_at[-1].id if len(looked_at) == _LOOKED_AT else None)

    def follow(self, principal: Principal, job: Job, *, after: int, silence: float) -> AsyncGenerator[Told | None]:
        """Return the events after a number, as long as the caller may read them; None after each silence in seconds."""
        told = self._hub.follow(job.id, after=after, silence=silence)
        return self._readers.while_readable(principal, job, told)

    def follow_output(
        self, principal: Principal, job: Job, run: int, stream: Stream, *, offset: int
    ) -> AsyncGenerator[bytes]:
        """Return the bytes of one stream from an offset on, as they come, as long as the caller may read them."""
        output = self._hub.follow_output(job.id, run, stream, offset=offset)
        return self._readers.while_readable(principal, job, output)

    async def now(self, job: Job) -> Job:
        """Return a job that was already found readable, as it is now."""
        return self._hub.live(job.id) or await self._existing(job.id)

    async def output(self, job: Job, run: int, stream: Stream, *, offset: int, size: int) -> bytes:
        """Return output bytes of a job that was already found readable."""
        if size == 0 or not job.output_kept:
            return b""
        if (printed := self._hub.printed(job.id)) is not None:
            return printed.get((run, stream), b"")[offset : offset + size]
        return await self._journal.read_output(job.id, run, stream, offset=offset, size=size)

    async def artefact(self, job: Job, run: int, number: int, *, offset: int, size: int) -> bytes:
        """Return bytes of an artefact of a job that was already found readable."""
        return await self._journal.read_artefact(job.id, run, number, offset=offset, size=size)

    async def data(self, job: Job) -> Sequence[Parsed]:
        """Return what a job's runs printed as data, one entry a run; none at all if its command declares no parser."""
        return await self._data.read(job)

    async def cancel(self, principal: Principal, wanted: str) -> Job:
        """Stop a job; returns it once the stop is known, or after 10 s. Raises NotFound, Forbidden or Unavailable."""
        job = await self._readable(principal, wanted)
        if self._readers.right(principal, job) is not Right.CANCEL:
            raise Forbidden(
                "This caller may read this job, and not stop it.",
                hint="Its owner may stop it, and whoever has a role line with 'jobs: cancel' that takes it in.",
            )
        await self._readers.record(principal, job)
        if not job.state.terminal:
            await self._record_access(Code.JOB_CANCEL, cancel_record(principal, job))
            await self._supervisor.cancel(job.id, reason=StopReason.CANCEL, wait=_CANCEL_WAIT)
        return await self.now(job)

    async def disconnected(self, job: Job) -> None:
        """The caller that started the job has gone."""
        if job.on_disconnect is OnDisconnect.CANCEL:
            await self._supervisor.cancel(job.id, reason=StopReason.DISCONNECT, wait=0)

    def queue_place(self, job: Job) -> Place | None:
        return self._supervisor.queue_place(job.id)

    @property
    def draining(self) -> bool:
        return self._hub.draining

    # -- what the caller may do

    def commands(self, principal: Principal) -> list[tuple[Command, list[str]]]:
        """Return every command that the caller may run somewhere, with the hosts, by name."""
        policy = self.policy
        found = [(command, self._allowed_hosts(policy, principal, command)) for command in policy.commands.values()]
        return sorted(((command, hosts) for command, hosts in found if hosts), key=lambda entry: entry[0].name)

    def command(self, principal: Principal, name: str) -> tuple[Command, list[str]]:
        """Return one such command. Raises Forbidden alike for unknown and for forbidden."""
        policy = self.policy
        command = policy.commands.get(name)
        hosts = self._allowed_hosts(policy, principal, command) if command else []
        if command is None or not hosts:
            raise _forbidden()
        return command, hosts

    def roles(self, principal: Principal) -> tuple[str, ...]:
        held = self.policy.principals.get(principal.name)
        return held.roles if held else ()

    def overseen(self, principal: Principal) -> list[tuple[Oversight, list[str]]]:
        """Return the lines of the policy that give a principal rights over jobs of others, with the commands of each."""
        held, commands = self.policy.principals.get(principal.name), self.policy.commands.values()
        lines = {line.at: line for lines in held.oversight.values() for line in lines} if held else {}
        return [
            (lines[place], sorted(one.name for one in commands if not lines[place].atoms.isdisjoint(one.atoms)))
            for place in sorted(lines)
        ]

    def used_by(self, principal: Principal) -> tuple[Quota, Used]:
        """Return what the policy lets a principal ask for, and what of it is used."""
        held = self.policy.principals.get(principal.name)
        return held.quota if held else Quota(), self._supervisor.door.used_by(principal.name)

    def rate_left(self, command: Command) -> RateLeft | None:
        return self._supervisor.door.rate_left(command.name)

    # -- steps of the pipeline

    def _resolve(self, policy: Policy, principal: Principal, call: Call) -> tuple[Command, list[str], Arguments]:
        """Return what the call means. Raises Forbidden for what the caller may not know of, InvalidRequest for its fields."""
        command = policy.commands.get(call.command)
        known = self._allowed_hosts(policy, principal, command) if command else []
        if command is None or not known:
            raise _forbidden()
        faults = list(call.faults)
        hosts = self._hosts(policy, command, known, call, faults)
        if not frozenset(known).issuperset(hosts):
            raise _forbidden()
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

    def _allowed_hosts(self, policy: Policy, principal: Principal, command: Command) -> list[str]:
        return sorted(known_hosts(policy, principal=principal.name, command=command))

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

    async def _readable(self, principal: Principal, wanted: str) -> Job:
        """The one check for reading a job. Raises NotFound, alike for a job that is not there and one that is not told.

        Of a job whose record is damaged only the owner is known, who alone is told so.
        """
        try:
            job = (self._hub.live(wanted) or await self._journal.get(wanted)) if is_job_id(wanted) else None
        except RecordDamaged as error:
            if error.principal == principal.name:
                raise
            job = None
        if job is None or not self.may_read(principal, job) or not self._hub.leases.ask(wanted):
            raise _no_job()
        return job

    async def _existing(self, wanted: str) -> Job:
        job = await self._journal.get(wanted)
        if job is None:
            raise NotFound("The job is no longer kept.")
        return job

    async def _record(self, code: Code, fields: Mapping[str, object], *, undone: str = "nothing has run") -> Receipt:
        try:
            head = await self._audit.write(code, fields)
        except OSError as error:
            _log.error("the audit log cannot be written: %s", error.strerror)
            raise Unavailable(f"The audit log cannot be written; {undone}.", retry_after=_RETRY_AFTER) from error
        return Receipt(seq=head.seq, head=head.hash)

    async def _record_access(self, code: Code, fields: Mapping[str, object]) -> Receipt:
        undone = "the job was not stopped" if code is Code.JOB_CANCEL else "nothing is told of jobs of others"
        return await self._record(code, fields, undone=undone)

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
        raise _forbidden()


def _no_job() -> NotFound:
    return NotFound("There is no such job, or this caller may not read it.")


def _forbidden() -> Forbidden:
    return Forbidden(
        "There is no such command, or this caller may not run it with these values on these hosts.",
        hint="GET /v1/commands lists what this caller may run, and where.",
    )
