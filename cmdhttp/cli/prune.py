"""`cmdhttp jobs prune`: remove finished jobs from a data folder that no service uses, or say which would go.

It takes the steps that the service takes. Only the service knows who reads a job just now, so while it runs nothing is
removed from outside: it does so by itself, and `--dry-run` looks at any time.
"""

import asyncio
import errno
import fcntl
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.cli.text import say
from cmdhttp.clock import SystemClock, rfc3339
from cmdhttp.errors import ConfigError
from cmdhttp.jobs import pruning
from cmdhttp.jobs.artefacts import ArtefactStore
from cmdhttp.jobs.database import open_database, refuse_newer
from cmdhttp.jobs.journal import DATABASE
from cmdhttp.jobs.output_log import OutputLog
from cmdhttp.jobs.pruning import Limits, Removed, Stored, Victim
from cmdhttp.jobs.schema import STEPS
from cmdhttp.policy.fields import read_duration, read_size
from cmdhttp.records import pruned_record
from cmdhttp.settings import Settings, read_settings

_DAY = 86_400.0
_PAGES = 1024
_AS_WHOM = "Run it as the account that serves, or as root."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line says; None: nothing."""

    data: str | None
    older_than: str | None
    keep_jobs: int | None
    keep_bytes: str | None
    dry_run: bool
    as_json: bool


def run_prune(environ: Mapping[str, str], wanted: Wanted) -> int:
    """Prune, or tell. Raises ConfigError."""
    settings = read_settings(environ, {"data": wanted.data} if wanted.data else {})
    folder = settings.data
    if not _has_database(folder):
        raise ConfigError(
            f"there is no job database in {folder}", hint="Name the data folder of the service with --data."
        )
    limits = _limits(settings, wanted)
    try:
        if wanted.dry_run:
            removed, there = _look(folder, limits)
        else:
            removed, there = _remove(folder, limits)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{folder} cannot be pruned: {error}", hint=_hint(error)) from error
    _print(removed, there, wanted)
    return 0


def _has_database(folder: Path) -> bool:
    try:
        return stat.S_ISREG((folder / DATABASE).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be read: {error.strerror}", hint=_AS_WHOM) from None


def _limits(settings: Settings, wanted: Wanted) -> Limits:
    own = Limits(days=0, jobs=0, bytes=0)
    if wanted.older_than is not None:
        own = replace(own, days=_read(wanted.older_than, read_duration, flag="--older-than", like="7d or 12h") / _DAY)
    if wanted.keep_jobs is not None:
        if wanted.keep_jobs < 1:
            raise ConfigError(
                "--keep-jobs must be 1 or more", hint="To remove all that has ended, say --older-than 1ms."
            )
        own = replace(own, jobs=wanted.keep_jobs)
    if wanted.keep_bytes is not None:
        own = replace(own, bytes=int(_read(wanted.keep_bytes, _size, flag="--keep-bytes", like="500MiB or 5GiB")))
    if own != Limits(days=0, jobs=0, bytes=0):
        return own
    disk = os.statvfs(settings.data)
    return pruning.limits_on(
        disk.f_blocks * disk.f_frsize, days=settings.keep_days, jobs=settings.keep_jobs, most=settings.keep_bytes
    )


def _read(text: str, reader: Callable[[str], float], *, flag: str, like: str) -> float:
    try:
        number = reader(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{flag} {error}", hint=f"Write it with its unit, like {like}.") from None
    if number <= 0:
        raise ConfigError(f"{flag} must be over 0", hint=f"Write it with its unit, like {like}.")
    return number


def _size(text: str) -> int:
    """Bytes, with a unit as in a policy or plain as in a setting."""
    return int(text) if text.isascii() and text.isdigit() else read_size(text)


def _hint(error: Exception) -> str:
    full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(error, "errno", 0) == errno.ENOSPC
    if full:
        return "Even to remove takes some room: free a few MiB on this disk by other means, then say it again."
    return f"{_AS_WHOM} What was begun is taken up by the next prune or the service."


# -- looking


def _look(folder: Path, limits: Limits) -> tuple[Removed, Stored]:
    """Return what would go, and what there is."""
    version = refuse_newer(folder / DATABASE)
    if version < len(STEPS):
        raise ConfigError(
            f"the job database is of the older version {version}",
            hint="Start the service once, or prune without --dry-run: that brings it to this version.",
        )
    uri = f"{(folder / DATABASE).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=10.0)) as db:
        there, removed, now = pruning.stored(db), Removed(), SystemClock().now()
        place: pruning.Place | None = pruning.START
        gone = Stored(jobs=0, files=0, database=0)
        while place is not None:
            found = pruning.find(db, limits=limits, now=now, after=place, gone=gone)
            removed.add(found.victims)
            whole = sum(not victim.keyed for victim in found.victims)
            files = sum(victim.size for victim in found.victims)
            gone = replace(gone, jobs=gone.jobs + whole, files=gone.files + files)
            place = found.after
    return removed, there


# -- removing


def _remove(folder: Path, limits: Limits) -> tuple[Removed, Stored]:
    """Remove, record, and return what is gone and what is left."""
    removed = Removed()
    with _alone(folder), closing(open_database(folder / DATABASE)) as db:
        try:
            for victims in _removed(db, folder, limits):
                removed.add(victims)
        finally:
            if removed.total:
                _record(folder, removed)
        while pruning.give_back(db, pages=_PAGES, spare=0):
            pass
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return removed, pruning.stored(db)


def _removed(db: sqlite3.Connection, folder: Path, limits: Limits) -> Iterator[list[Victim]]:
    output, artefacts = OutputLog(folder / "output"), ArtefactStore(folder / "artefacts")

    def finish(jobs: list[tuple[str, int]]) -> None:
        for job, runs in jobs:
            pruning.remove_files(output, artefacts, job, runs)
        while not pruning.clear(db, [job for job, _ in jobs]):
            pass

    while jobs := pruning.marked(db):
        finish(jobs)
    now = SystemClock().now()
    place: pruning.Place | None = pruning.START
    while place is not None:
        found = pruning.find(db, limits=limits, now=now, after=place)
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN IMMEDIATE")
        try:
            victims = pruning.mark(db, found.victims, now=now)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        finish([(victim.id, victim.runs) for victim in victims])
        yield victims
        place = found.after


def _record(folder: Path, removed: Removed) -> None:
    """Write what was removed to the audit log, as the service would."""

    async def write() -> None:
        audit = AuditLog(folder / "audit" / "audit.jsonl", now=SystemClock().now)
        try:
            await audit.write(Code.JOBS_PRUNED, {**pruned_record(removed), "by": "admin"})
        finally:
            audit.close()

    asyncio.run(write())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the data folder, as the service does. Raises ConfigError if it has it."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = (
                "It removes old jobs by itself, as its settings say (--keep-days, --keep-jobs, --keep-bytes). Stop it to prune by"
                " hand, or look with --dry-run."
            )
            raise ConfigError(f"a service uses the data folder {folder}; nothing was removed", hint=hint) from error
        yield
    finally:
        os.close(descriptor)


# -- telling


def _print(removed: Removed, there: Stored, wanted: Wanted) -> None:
    if wanted.as_json:
        print(json.dumps({"dry_run": wanted.dry_run, **pruned_record(removed), "stored": _stored(there)}))
        return
    what = "would go" if wanted.dry_run else "removed"
    say(f"{what}: {removed.total} jobs, {_shown(removed.bytes)} of output and artefacts")
    for why, count in sorted(removed.jobs.items()):
        say(f"  over the limit of {why}: {count}")
    if removed.emptied:
        say(f"  of these only the output, because of an idempotency key of the last 24 hours: {removed.emptied}")
    if removed.oldest is not None and removed.newest is not None:
        say(f"  ended between {rfc3339(removed.oldest)} and {rfc3339(removed.newest)}")
    left = "there are" if wanted.dry_run else "left"
    say(f"{left}: {there.jobs} finished jobs, {_shown(there.files)} of files, {_shown(there.database)} of database")


def _stored(there: Stored) -> dict[str, int]:
    return {"jobs": there.jobs, "files_bytes": there.files, "database_bytes": there.database}


def _shown(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
