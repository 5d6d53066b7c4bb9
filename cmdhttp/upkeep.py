"""Keeps the data folder in shape while the service runs: room on its disk, old jobs removed, both on record and counted."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.reserve import Reserve
from cmdhttp.clock import Clock
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.pruning import Removed, limits_on
from cmdhttp.jobs.retention import Retention
from cmdhttp.jobs.room import Room
from cmdhttp.records import pruned_record
from cmdhttp.settings import Settings
from cmdhttp.telemetry.metrics import Metrics

_log = logging.getLogger("cmdhttp.retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    room: Room
    reserve: Reserve
    retention: Retention

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Look at the disk and remove old jobs until the end of the block."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.room.watch)
            group.start_soon(self.reserve.watch)
            group.start_soon(self.retention.watch)
            yield
            group.cancel_scope.cancel()

    async def check(self) -> str:
        """Say what is wrong with the disk, or nothing."""
        return self.room.trouble


def make_upkeep(
    settings: Settings,
    *,
    journal: Journal,
    leases: Leases,
    audit: AuditLog,
    metrics: Metrics,
    clock: Clock,
    last: float | None,
) -> Upkeep:
    """Put it together; nothing is removed yet. `last` is when an earlier life has last written a job."""
    room = journal.room

    async def on_removed(removed: Removed) -> None:
        metrics.pruned(((why.value, count) for why, count in removed.jobs.items()), size=removed.bytes)
        try:
            await audit.write(Code.JOBS_PRUNED, pruned_record(removed), urgent=False)
        except OSError as error:
            _log.error("that %d jobs were removed is not in the audit log: %s", removed.total, error.strerror)

    retention = Retention(
        journal=journal,
        leases=leases,
        limits=limits_on(room.total, days=settings.keep_days, jobs=settings.keep_jobs, most=settings.keep_bytes),
        clock=clock,
        every=settings.prune_every,
        last=last,
        on_removed=on_removed,
    )
    metrics.count_disk(free=lambda: room.free, short=lambda: room.trouble != "")
    metrics.count_kept(
        jobs=lambda: retention.stored.jobs,
        files=lambda: retention.stored.files,
        database=lambda: retention.stored.database,
    )
    return Upkeep(room=room, reserve=audit.reserve, retention=retention)
