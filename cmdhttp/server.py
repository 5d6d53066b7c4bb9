"""The composition root: settings -> service -> ASGI applications -> two listeners.

The order of a start is: data folder, broker (which ends what an earlier life left), policy, listeners, recovery of the jobs
of an earlier life. The order of a stop is: readiness fails, streams are interrupted, running jobs finish or are ended,
listeners close, records close, the broker ends. Until the stop the policy is watched, and loaded again when it changes or on
SIGHUP.
"""

import asyncio
import errno
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from cmdhttp import __version__
from cmdhttp.api.app import Check, api_app, ops_app
from cmdhttp.api.routes import Api, ApiSettings
from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tally import Tally
from cmdhttp.auth.principal import Authenticator
from cmdhttp.clock import Clock, SystemClock
from cmdhttp.errors import ConfigError
from cmdhttp.execution.local.executor import LocalExecutor
from cmdhttp.execution.local.link import BrokerConfig, BrokerLink, Brokers, OwnBrokers
from cmdhttp.execution.model import CertificateIssued
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.http_server import HttpServer, listener
from cmdhttp.jobs.data import DataReader
from cmdhttp.jobs.database import DAMAGED
from cmdhttp.jobs.door import Door
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import DATABASE, Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.permit import Permits
from cmdhttp.jobs.salvage import damage, set_aside
from cmdhttp.jobs.state import Job
from cmdhttp.jobs.supervisor import Executors, Supervisor
from cmdhttp.missing_ends import record_missing_ends
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
_DESCRIPTORS = 65536
_COLLECT_AFTER = 10_000
_BROKER_SECONDS = 30.0
_LONGEST_PID = 20
_LEFT_FOR_AUDIT = 0.5
"""The part of the space kept for the ends of jobs that their rows in the database may not use."""


def serve(
    settings: Settings,
    source: PolicySource,
    *,
    announce: Callable[[], None] = lambda: None,
    brokers: Brokers | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError if the policy, the data folder or a listen address cannot be used.

    `announce` is called once they are taken. `brokers` starts brokers where this process has not the rights to.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload, it must not end the program
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with _data_folder(settings.data), _broker(brokers or OwnBrokers(broker_config(settings), adopt=True)) as link:
        holder = PolicyHolder(source)
        with (
            listener(settings.listen, flag="--listen") as api,
            listener(settings.ops_listen, flag="--ops-listen") as ops,
        ):
            announce()
            _raise_descriptor_limit()
            try:
                asyncio.run(_serve(_Parts(settings, source, holder, link), api=api, ops=ops))
            except BaseExceptionGroup as group:
                raise _refusal(group) from None


def _refusal(group: BaseException) -> BaseException:
    """Return why the service cannot start, if that is all that went wrong, out of the groups that tasks wrap it in."""
    inner = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner if isinstance(inner, ConfigError) else group


class _Parts(NamedTuple):
    """What is there before the event loop runs."""

    settings: Settings
    source: PolicySource
    holder: PolicyHolder
    link: BrokerLink


async def _serve(parts: _Parts, *, api: socket.socket, ops: socket.socket) -> None:
    settings = parts.settings
    async with (
        _brokered(parts.link),
        _running(parts) as house,
        _reloading(house.reloader),
        house.upkeep.going_on(),
        anyio.create_task_group() as group,
    ):
        stop = anyio.Event()
        servers = [
            HttpServer(house.api, socket=api, keep_alive=settings.keep_alive),
            HttpServer(house.ops, socket=ops, keep_alive=settings.keep_alive),
        ]
        await group.start(_watch_signals, stop, house.hub)  # before anyone can be told that the service is ready
        for server in servers:
            group.start_soon(server.run_until_told)
        _log.info("serving on %s, operations on %s", settings.listen, settings.ops_listen)
        _spare_the_collector()
        await house.supervisor.serve(until=stop, drain=settings.drain)
        for server in servers:
            server.should_exit = True
        _log.info("stopping")


def _spare_the_collector() -> None:
    """Let the garbage collector look at what calls make, seldom, and at the program and its policy not at all.

    A call leaves no cycles, so there is hardly anything to find, and a look at all that stays would stop every call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _House:
    api: ASGIApp
    ops: ASGIApp
    hub: Hub
    supervisor: Supervisor
    reloader: Reloader
    upkeep: Upkeep


@asynccontextmanager
async def _running(parts: _Parts) -> AsyncIterator[_House]:
    settings, source, holder, link = parts
    clock = SystemClock()
    metrics = Metrics(version=__version__)
    audit = AuditLog(_audit_path(settings), now=clock.now, reserve=settings.audit_reserve)
    aside = await _set_aside(settings, clock)
    journal = Journal(settings.data, reserve=settings.disk_reserve)
    leases = Leases(monotonic=clock.monotonic)
    hub = Hub(journal, leases)

    async def on_issue(issued: CertificateIssued) -> None:
        await audit.write(Code.CERTIFICATE_ISSUED, certificate_record(issued))

    ssh = SshExecutor(on_issue=on_issue, idle=settings.ssh_idle, scratch=journal.output.scratch)
    metrics.count_connections(ssh.figures)
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
    supervisor.make_room = lambda: audit.reserve.give_up(leave=_LEFT_FOR_AUDIT)
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
    service = Service(
        policy=holder,
        journal=journal,
        data=DataReader(journal, Parsers(find_library())),
        hub=hub,
        supervisor=supervisor,
        audit=audit,
        metrics=metrics,
        clock=clock,
    )
    try:
        with _told("the audit log"):
            await _continue_audit(settings, audit, journal, aside)
            await _record_start(audit, holder.current, metrics, at=clock.now())
        requeue = Requeue(policy=holder, audit=audit, clock=clock, deadline=settings.queue_deadline)
        with _told("what an earlier life left"):
            await _unless_damaged(_recover(supervisor, requeue), settings)
        api = Api(
            service,
            settings=ApiSettings(
                wait=settings.wait,
                heartbeat=settings.heartbeat,
                body_max=settings.body_max,
                inline_max=settings.inline_max,
            ),
            now=clock.now,
        )
        authenticator = Authenticator(tokens=lambda: holder.current.tokens, now=clock.now)
        checks = {**_checks(supervisor, journal, audit, holder, reloader, clock, link), "disk": upkeep.check}
        async with _counting(failures, service.refusals):
            yield _House(
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


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn a disk that takes no write into a refusal to start that says so."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        hint = "Make room on the disk of the data folder, and let it be one that can be written."
        raise ConfigError(
            f"{what} cannot be written: {getattr(error, 'strerror', None) or error}", hint=hint
        ) from error


def _audit_path(settings: Settings) -> Path:
    return settings.data / "audit" / "audit.jsonl"


async def _continue_audit(settings: Settings, audit: AuditLog, journal: Journal, aside: Path | None) -> None:
    """Record first what a kill kept off the log, or that nobody knows it any more."""
    if aside is None:
        await _unless_damaged(record_missing_ends(_audit_path(settings), journal, audit), settings)
    else:
        await audit.write(Code.JOBS_SET_ASIDE, {"file": aside.name})


async def _record_start(audit: AuditLog, policy: Policy, metrics: Metrics, *, at: float) -> None:
    await audit.write(Code.SERVICE_STARTED, {"version": __version__, "pid": os.getpid()})
    await audit.write(Code.POLICY_LOADED, {"policy": policy.digest, "commands": len(policy.commands)})
    metrics.policy_loaded(digest=policy.digest, at=at, changed=True)


async def _record_stop(audit: AuditLog) -> None:
    """Record the stop, if the log can be written: else the next start takes it for a kill, and looks for missing ends."""
    try:
        await audit.write(Code.SERVICE_STOPPED, {"pid": os.getpid()})
    except OSError as error:
        _log.error("the stop of the service is not in the audit log: %s", error.strerror)


async def _set_aside(settings: Settings, clock: Clock) -> Path | None:
    """Put a damaged job database aside, if the admin said so; returns its new name."""
    path = settings.data / DATABASE
    if settings.damaged_database != "set_aside" or not (wrong := await to_thread.run_sync(damage, path)):
        return None
    aside = set_aside(path, now=clock.now())
    _log.warning("the job database is damaged (%s) and was put aside as %s; an empty one takes its place", wrong, aside)
    return aside


async def _unless_damaged(work: Awaitable[object], settings: Settings) -> None:
    """Do what reads the journal at the start. Raises ConfigError if its database turns out to be damaged."""
    try:
        await work
    except (OSError, sqlite3.Error, BaseExceptionGroup) as caught:
        error = _first(caught)
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.OperationalError):
            raise error from None  # no damage: perhaps a disk that takes no write
        detail = f"the job database {settings.data / DATABASE} cannot be used: {error}"
        raise ConfigError(detail, hint=DAMAGED) from error


def _first(found: BaseException) -> BaseException:
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _recover(supervisor: Supervisor, requeue: Requeue) -> None:
    ended, waiting = await supervisor.recover(requeue.revive)
    if ended:
        _log.warning("%d jobs of an earlier life had no end; each has one now", ended)
    if waiting:
        _log.info("%d jobs of an earlier life wait on", waiting)


def _checks(
    supervisor: Supervisor,
    journal: Journal,
    audit: AuditLog,
    holder: PolicyHolder,
    reloader: Reloader,
    clock: Clock,
    link: BrokerLink,
) -> dict[str, Check]:
    async def broker_there() -> str:
        return link.trouble

    async def accepting() -> str:
        return "" if supervisor.accepting else "draining"

    async def journal_writable() -> str:
        if journal.database.damage:
            return f"damaged: {journal.database.damage}. {DAMAGED}"
        try:
            await journal.probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal is not writable
            return f"not writable: {type(error).__name__}"
        return ""

    async def audit_writable() -> str:
        await audit.mend()  # else a service that gets no calls because it is not ready would never be ready again
        return audit.trouble or audit.reserve.trouble

    async def policy_usable() -> str:
        if reloader.trouble:
            return reloader.trouble
        now = clock.now()
        live = any(token.expires is None or now < token.expires for token in holder.current.tokens.values())
        return "" if live else "every token in the policy has expired"

    return {
        "policy": policy_usable,
        "accepting": accepting,
        "journal": journal_writable,
        "audit": audit_writable,
        "broker": broker_there,
    }


# -- signals


async def _watch_signals(stop: anyio.Event, hub: Hub, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            hub.drain()
            stop.set()
            return


@asynccontextmanager
async def _reloading(reloader: Reloader) -> AsyncIterator[None]:
    """Keep the policy up to date, to the very end of the stop: a late SIGHUP must not kill what still drains."""
    async with anyio.create_task_group() as group:
        group.start_soon(reloader.watch)
        group.start_soon(_watch_hangups, reloader)
        yield
        group.cancel_scope.cancel()


async def _watch_hangups(reloader: Reloader) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            reloader.ask()


# -- the broker


def broker_config(settings: Settings) -> str:
    """What a broker for these settings is told."""
    config = BrokerConfig(
        policies=settings.policies,
        secrets=settings.secrets_folder,
        runs=settings.runs_folder,
        cgroup=f"cmdhttp-{settings.instance}",
        interpreters=settings.interpreters,
        most=settings.max_running,
        account=settings.local_account,
        front=settings.user or None,
        by_itself=settings.policy_poll > 0,
    )
    return config.text()


@contextmanager
def _broker(brokers: Brokers) -> Iterator[BrokerLink]:
    """Start the broker, so that it loads its copy of the policy while the front loads its own; it ends with the block."""
    link = BrokerLink(brokers)
    try:
        link.start()
        yield link
    finally:
        link.close()


@asynccontextmanager
async def _brokered(link: BrokerLink) -> AsyncIterator[None]:
    """Go on once the broker is ready, and keep one there. Raises ConfigError if none comes."""
    async with anyio.create_task_group() as group:
        group.start_soon(link.serve)
        with anyio.move_on_after(_BROKER_SECONDS):
            await link.ready()
        if not link.rung:
            raise ConfigError(
                "the process that starts local programs does not start", hint="The lines above this one say why."
            )
        yield
        group.cancel_scope.cancel()


# -- what is taken before the event loop runs


def _raise_descriptor_limit() -> None:
    """For this process alone: what it started before keeps the limit that it was given."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))


@contextmanager
def _data_folder(folder: Path) -> Iterator[None]:
    """Hold the data folder for this process alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "Let it belong to the account that serves (chown -R), or name another folder with --data."
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            hint = "It needs a disk that can be written and has room; make some, or name another folder with --data."
        raise ConfigError(f"the data folder {folder} cannot be used: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, _LONGEST_PID, 0).strip()
        os.close(descriptor)
        who = f" (process {int(holder)})" if holder.isdigit() else ""
        hint = "Stop the other one, or give this one another --data folder."
        raise ConfigError(f"another cmdhttp uses the data folder {folder}{who}", hint=hint) from error
    except OSError as error:
        os.close(descriptor)
        hint = "Make room on its disk, or name another folder with --data."
        raise ConfigError(f"the data folder {folder} cannot be written: {error.strerror}", hint=hint) from error
    try:
        yield
    finally:
        os.close(descriptor)
