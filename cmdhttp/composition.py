"""The parts of the service and how they hang together: every object is made here, once, and given to those that need it."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from starlette.types import ASGIApp

from cmdhttp import __version__
from cmdhttp.api.app import api_app, ops_app
from cmdhttp.api.routes import Api, ApiSettings
from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tally import Tally
from cmdhttp.auth.principal import Authenticator
from cmdhttp.beginning import (
    audit_path,
    continue_audit,
    record_start,
    recover,
    set_aside_if_damaged,
    told,
    unless_damaged,
)
from cmdhttp.catalogue import Catalogue
from cmdhttp.checks import checks_of
from cmdhttp.clock import Clock, SystemClock
from cmdhttp.execution.local.executor import LocalExecutor
from cmdhttp.execution.local.link import BrokerLink
from cmdhttp.execution.model import CertificateIssued
from cmdhttp.execution.ssh_first_use import SshOnFirstUse
from cmdhttp.job_access import JobAccess
from cmdhttp.jobs.data import DataReader
from cmdhttp.jobs.door import Door
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.permit import Permits
from cmdhttp.jobs.state import Job
from cmdhttp.jobs.supervisor import Executors, Supervisor
from cmdhttp.policy.compiled import Policy
from cmdhttp.records import certificate_record, end_record
from cmdhttp.reload.reloader import PolicyHolder, Reloader
from cmdhttp.reload.source import PolicySource
from cmdhttp.requeue import Requeue
from cmdhttp.results.library import find_library
from cmdhttp.results.parsers import Parsers
from cmdhttp.service import Service
from cmdhttp.settings import Settings
from cmdhttp.telemetry.metrics import Metrics
from cmdhttp.upkeep import Upkeep, make_upkeep

_log = logging.getLogger("cmdhttp.server")
_LEFT_FOR_AUDIT = 0.5
"""The part of the space kept for the ends of jobs that their rows in the database may not use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    api: ASGIApp
    ops: ASGIApp
    hub: Hub
    supervisor: Supervisor
    reloader: Reloader
    upkeep: Upkeep


@asynccontextmanager
async def running(
    settings: Settings, source: PolicySource, holder: PolicyHolder, link: BrokerLink
) -> AsyncIterator[House]:
    """Put the parts together, give jobs of an earlier life their ends, and close what is open after the block.

    Raises ConfigError.
    """
    clock = SystemClock()
    metrics = Metrics(version=__version__)
    audit = AuditLog(audit_path(settings), now=clock.now, reserve=settings.audit_reserve)
    aside = await set_aside_if_damaged(settings, clock)
    journal = Journal(settings.data, reserve=settings.disk_reserve)
    leases = Leases(monotonic=clock.monotonic)
    hub = Hub(journal, leases, silence=settings.heartbeat)
    ssh = _ssh(settings, audit, journal, metrics)
    executors = Executors(local=LocalExecutor(link=link), ssh=ssh)

    async def on_end(job: Job) -> None:
        if job.state.terminal:
            metrics.job_ended(state=job.state, duration=job.duration)
        try:
            await audit.write(Code.JOB_ENDED, end_record(job), urgent=False)
        except OSError as error:
            _log.error("the end of job %s is not in the audit log: %s", job.id, error.strerror)

    async def on_restart() -> None:
        metrics.broker_restarted()
        with suppress(OSError):  # readiness says already that the audit cannot be written
            await audit.write(Code.BROKER_RESTARTED, {"restarts": link.restarts})

    supervisor = Supervisor(
        journal=journal,
        hub=hub,
        executors=executors,
        clock=clock,
        door=_door(settings, holder, metrics, clock),
        permits=Permits(policy=lambda: holder.current, clock=clock),
        on_end=on_end,
        on_wait=metrics.waited,
    )
    supervisor.settler.make_room = lambda: audit.reserve.give_up(leave=_LEFT_FOR_AUDIT)
    metrics.count_jobs(running=lambda: supervisor.running, queued=lambda: supervisor.queued)
    upkeep = make_upkeep(
        settings,
        journal=journal,
        leases=leases,
        audit=audit,
        metrics=metrics,
        clock=clock,
        last=await journal.last_written(),
    )
    failures = Tally(audit, Code.AUTH_FAILED, counted="failures", monotonic=clock.monotonic)
    reloader = Reloader(
        source=source,
        holder=holder,
        audit=audit,
        metrics=metrics,
        clock=clock,
        poll=settings.policy_poll,
        copies=link,
        on_taken=supervisor.policy_changed,
    )
    link.on_restart, link.on_other, link.in_force = on_restart, reloader.ask, lambda: holder.current.digest
    jobs = JobAccess(
        policy=holder,
        journal=journal,
        data=DataReader(journal, Parsers(find_library())),
        hub=hub,
        supervisor=supervisor,
        audit=audit,
    )
    service = Service(
        policy=holder,
        journal=journal,
        jobs=jobs,
        hub=hub,
        supervisor=supervisor,
        audit=audit,
        metrics=metrics,
        clock=clock,
    )
    try:
        with told("the audit log"):
            await continue_audit(settings, audit, journal, aside)
            await record_start(audit, holder.current, metrics, at=clock.now())
        requeue = Requeue(policy=holder, audit=audit, clock=clock, deadline=settings.queue_deadline)
        with told("what an earlier life left"):
            await unless_damaged(recover(supervisor, requeue), settings)
        api = Api(
            service,
            jobs=jobs,
            catalogue=Catalogue(holder, supervisor.door),
            settings=ApiSettings(
                wait=settings.wait,
                body_max=settings.body_max,
                inline_max=settings.inline_max,
            ),
            now=clock.now,
        )
        authenticator = Authenticator(tokens=lambda: holder.current.tokens, now=clock.now)
        checks = {**checks_of(supervisor, journal, audit, holder, reloader, clock, link), "disk": upkeep.check}
        async with _counting(failures, service.refusals), ssh.going_on(wanted=lambda: _has_ssh_hosts(holder.current)):
            yield House(
                api=api_app(api, authenticator=authenticator, failures=failures, metrics=metrics),
                ops=ops_app(checks, facts=lambda: {"containment": link.rung}, metrics=metrics),
                hub=hub,
                supervisor=supervisor,
                reloader=reloader,
                upkeep=upkeep,
            )
        await _record_stop(audit)
    finally:
        await executors.ssh.aclose()
        journal.close()
        audit.close()


def _ssh(settings: Settings, audit: AuditLog, journal: Journal, metrics: Metrics) -> SshOnFirstUse:
    async def on_issue(issued: CertificateIssued) -> None:
        await audit.write(Code.CERTIFICATE_ISSUED, certificate_record(issued))

    ssh = SshOnFirstUse(on_issue=on_issue, idle=settings.ssh_idle, scratch=journal.output.scratch)
    metrics.count_connections(ssh.figures)
    return ssh


def _has_ssh_hosts(policy: Policy) -> bool:
    return any(host.profile is not None for host in policy.hosts.values())


async def _record_stop(audit: AuditLog) -> None:
    """Record the stop, if the log can be written: else the next start takes it for a kill, and looks for missing ends."""
    try:
        await audit.write(Code.SERVICE_STOPPED, {"pid": os.getpid()})
    except OSError as error:
        _log.error("the stop of the service is not in the audit log: %s", error.strerror)


@asynccontextmanager
async def _counting(*tallies: Tally) -> AsyncIterator[None]:
    """Record what was counted, each second and at the end of the block."""
    async with anyio.create_task_group() as group:
        for tally in tallies:
            group.start_soon(tally.watch)
        yield
        group.cancel_scope.cancel()
    for tally in tallies:
        await tally.close()


def _door(settings: Settings, holder: PolicyHolder, metrics: Metrics, clock: Clock) -> Door:
    door = Door(
        policy=lambda: holder.current,
        clock=clock,
        max_running=settings.max_running,
        max_queued=settings.max_queued,
    )
    metrics.count_queue(door.admission.waiting)
    return door
