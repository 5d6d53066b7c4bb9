"""Who may read or stop a job that is there: its owner, and whom the policy as it is now lets oversee it.

The first reading of each job of another is on record before anything is told. A reading that goes on, of events or of
output, ends with the right: it is asked for anew whenever the policy has changed, before the next piece is sent.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Self, TypeVar

import anyio

from cmdhttp.audit.codes import Code
from cmdhttp.auth.principal import Principal
from cmdhttp.jobs.hub import Pieces
from cmdhttp.jobs.state import Job
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.oversee import Overseen, Right, right_over
from cmdhttp.reload.reloader import PolicyHolder

_KEPT = 10_000

T = TypeVar("T")
Record = Callable[[Code, Mapping[str, object]], Awaitable[object]]
"""Writes an audit record. Raises Unavailable."""
Find = Callable[[str], Awaitable[Job]]
"""Returns a job that was there by its id. Raises NotFound."""


class Readers:
    """The rights over jobs, and which readings of others' jobs are on record."""

    def __init__(self, policy: PolicyHolder, *, record: Record, find: Find) -> None:
        self._holder = policy
        self._record = record
        self._find = find
        self._recorded: dict[tuple[str, str], None] = {}
        self._recording = anyio.Lock()

    def right(self, principal: Principal, job: Job) -> Right:
        if job.principal == principal.name:
            return Right.CANCEL
        hosts = [run.host for run in job.runs]
        asked = Overseen(owner=job.principal, command=job.command, hosts=hosts, params=job.params)
        return right_over(self._holder.current, principal.name, asked)

    def may_read(self, principal: Principal, job: Job) -> bool:
        return self.right(principal, job) is not Right.NONE

    def may_list(self, principal: Principal, owner: str | None) -> bool:
        """Whether some line could let a principal read jobs of another; None stands for anybody's."""
        held = self._holder.current.principals.get(principal.name)
        lines = (line for lines in held.oversight.values() for line in lines) if held else ()
        return any(owner is None or line.principals is None or owner in line.principals for line in lines)

    async def record(self, principal: Principal, job: Job) -> None:
        """Record once that a caller reads a job of another. Raises Unavailable; then nothing may be told."""
        reading = (principal.name, job.id)
        if job.principal == principal.name or reading in self._recorded:
            return
        async with self._recording:  # the second of two first readings waits for the record of the first
            if reading in self._recorded:
                return
            await self._record(Code.JOB_READ, {"job": job.id, "owner": job.principal, "principal": principal.name})
            self._recorded[reading] = None
            if len(self._recorded) > _KEPT:
                del self._recorded[next(iter(self._recorded))]

    def while_readable(self, principal: Principal, job: Job, pieces: Pieces[T]) -> Pieces[T]:
        """Return the same pieces, which end before the first that the caller may no longer read."""
        return pieces if job.principal == principal.name else _WhileReadable(self, principal, job.id, pieces)

    async def may_still_read(self, principal: Principal, job_id: str) -> bool:
        return self.may_read(principal, await self._find(job_id))

    @property
    def policy(self) -> Policy:
        return self._holder.current


class _WhileReadable(Generic[T]):
    """Pieces of the job of another. It holds the id and not the job, which may have thousands of runs."""

    __slots__ = ("_asked", "_job_id", "_pieces", "_principal", "_readers")

    def __init__(self, readers: Readers, principal: Principal, job_id: str, pieces: Pieces[T]) -> None:
        self._readers = readers
        self._principal = principal
        self._job_id = job_id
        self._pieces = pieces
        self._asked: Policy | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        piece = await self._pieces.__anext__()
        while self._asked is not self._readers.policy:
            self._asked = self._readers.policy
            if not await self._readers.may_still_read(self._principal, self._job_id):
                await self.aclose()
                raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        await self._pieces.aclose()
