"""What is done before the service takes calls: the audit log and the jobs of an earlier life are brought to a true end.

A disk that takes no write, and a database that is damaged, are a refusal to start that says what to do.
"""

import logging
import os
import sqlite3
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anyio import to_thread

from cmdhttp import __version__
from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import Clock
from cmdhttp.errors import ConfigError
from cmdhttp.jobs.database import DAMAGED
from cmdhttp.jobs.journal import DATABASE, Journal
from cmdhttp.jobs.salvage import damage, set_aside
from cmdhttp.jobs.supervisor import Supervisor
from cmdhttp.missing_ends import record_missing_ends
from cmdhttp.policy.compiled import Policy
from cmdhttp.requeue import Requeue
from cmdhttp.settings import Settings
from cmdhttp.telemetry.metrics import Metrics

_log = logging.getLogger("cmdhttp.server")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn a disk that takes no write into a refusal to start that says so."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        hint = "Make room on the disk of the data folder, and let it be one that can be written."
        raise ConfigError(
            f"{what} cannot be written: {getattr(error, 'strerror', None) or error}", hint=hint
        ) from error


def audit_path(settings: Settings) -> Path:
    return settings.data / "audit" / "audit.jsonl"


async def continue_audit(settings: Settings, audit: AuditLog, journal: Journal, aside: Path | None) -> None:
    """Record first what a kill kept off the log, or that nobody knows it any more."""
    if aside is None:
        await unless_damaged(record_missing_ends(audit_path(settings), journal, audit), settings)
    else:
        await audit.write(Code.JOBS_SET_ASIDE, {"file": aside.name})


async def record_start(audit: AuditLog, policy: Policy, metrics: Metrics, *, at: float) -> None:
    await audit.write(Code.SERVICE_STARTED, {"version": __version__, "pid": os.getpid()})
    await audit.write(Code.POLICY_LOADED, {"policy": policy.digest, "commands": len(policy.commands)})
    metrics.policy_loaded(digest=policy.digest, at=at, changed=True)


async def set_aside_if_damaged(settings: Settings, clock: Clock) -> Path | None:
    """Put a damaged job database aside, if the admin said so; returns its new name."""
    path = settings.data / DATABASE
    if settings.damaged_database != "set_aside" or not (wrong := await to_thread.run_sync(damage, path)):
        return None
    aside = set_aside(path, now=clock.now())
    _log.warning("the job database is damaged (%s) and was put aside as %s; an empty one takes its place", wrong, aside)
    return aside


async def unless_damaged(work: Awaitable[object], settings: Settings) -> None:
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


async def recover(supervisor: Supervisor, requeue: Requeue) -> None:
    ended, waiting = await supervisor.recover(requeue.revive)
    if ended:
        _log.warning("%d jobs of an earlier life had no end; each has one now", ended)
    if waiting:
        _log.info("%d jobs of an earlier life wait on", waiting)
