"""What a caller may do with jobs that are there: read one, list them, follow, read what it printed, stop it.

A job is found by one check (`_readable`). Most calls here take a job that was found readable; what lasts, as a stream does,
ends when the right to it does.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.auth.principal import Principal
from cmdhttp.errors import Forbidden, Gone, NotFound, RecordDamaged
from cmdhttp.execution.model import StopReason, Stream
from cmdhttp.ids import is_job_id
from cmdhttp.jobs.data import DataReader
from cmdhttp.jobs.feed import Told
from cmdhttp.jobs.hub import Hub, Pieces
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.listing import Filter, passes
from cmdhttp.jobs.state import Job, OnDisconnect, Receipt
from cmdhttp.jobs.supervisor import Supervisor
from cmdhttp.jobs.ticket import Place
from cmdhttp.policy.oversee import Right
from cmdhttp.readers import Readers
from cmdhttp.records import cancel_record, put_on_record
from cmdhttp.reload.reloader import PolicyHolder
from cmdhttp.results.model import Parsed

_CANCEL_WAIT = 10.0
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Jobs of a list, perhaps more than were asked for. `looked_at_to`: the id after which nothing was looked at yet, if so."""

    jobs: list[Job]
    looked_at_to: str | None = None


class JobAccess:
    """Jobs for callers."""

    def __init__(
        self,
        *,
        policy: PolicyHolder,
        journal: Journal,
        data: DataReader,
        hub: Hub,
        supervisor: Supervisor,
        audit: AuditLog,
    ) -> None:
        self._journal = journal
        self._data = data
        self._hub = hub
        self._supervisor = supervisor
        self._audit = audit
        self._readers = Readers(policy, record=self._record, find=self.now)

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
            await self._record(Code.JOBS_LISTED, fields)
        return Page(jobs=jobs, looked_at_to=looked_at[-1].id if len(looked_at) == _LOOKED_AT else None)

    def follow(self, principal: Principal, job: Job, *, after: int) -> Pieces[Told | None]:
        """Return the events after a number, as long as the caller may read them; None after each silence."""
        return self._readers.while_readable(principal, job, self._hub.follow(job.id, after=after))

    async def followed_to_the_end(self, principal: Principal, wanted: str) -> bool:
        """Whether a job has ended, and the caller may still be told so."""
        job = await self.now(wanted)
        return job.state.terminal and self.may_read(principal, job)

    def follow_output(self, principal: Principal, job: Job, run: int, stream: Stream, *, offset: int) -> Pieces[bytes]:
        """Return the bytes of one stream from an offset on, as they come, as long as the caller may read them."""
        output = self._hub.follow_output(job.id, run, stream, offset=offset)
        return self._readers.while_readable(principal, job, output)

    async def now(self, wanted: str) -> Job:
        """Return a job that was already found readable, as it is now."""
        return self._hub.live(wanted) or await self._existing(wanted)

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
            await self._record(Code.JOB_CANCEL, cancel_record(principal, job))
            await self._supervisor.cancel(job.id, reason=StopReason.CANCEL, wait=_CANCEL_WAIT)
        return await self.now(job.id)

    async def disconnected(self, job: Job) -> None:
        """The caller that started the job has gone."""
        if job.on_disconnect is OnDisconnect.CANCEL:
            await self._supervisor.cancel(job.id, reason=StopReason.DISCONNECT, wait=0)

    def queue_place(self, job: Job) -> Place | None:
        return self._supervisor.queue_place(job.id)

    def queue_places(self, jobs: Iterable[Job]) -> dict[str, Place]:
        """Return where those of the jobs stand that wait."""
        return self._supervisor.queue_places(job.id for job in jobs)

    @property
    def draining(self) -> bool:
        return self._hub.draining

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

    async def _record(self, code: Code, fields: Mapping[str, object]) -> Receipt:
        undone = "the job was not stopped" if code is Code.JOB_CANCEL else "nothing is told of jobs of others"
        return await put_on_record(self._audit, code, fields, undone=undone)


def _no_job() -> NotFound:
    return NotFound("There is no such job, or this caller may not read it.")
