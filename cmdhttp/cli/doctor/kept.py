"""What the service has kept: the job database, the space for the ends of jobs, and what was put aside. Nothing is changed."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cmdhttp.audit.reserve import NAME, kept_size, wanted_size
from cmdhttp.cli.doctor.case import Case, Seen, fail, ok, warn
from cmdhttp.jobs.database import DAMAGED, refuse_newer
from cmdhttp.jobs.journal import DATABASE

_MOST_SECONDS = 10.0
_STEPS = 10_000


def check_database(case: Case) -> Iterator[Seen]:
    """Whether it is of a version that this program knows, and whole, as far as that can be told in a few seconds."""
    path = case.settings.data / DATABASE
    if not path.exists():
        yield ok(f"{path} is not there yet")
        return
    version = 0
    try:
        version = refuse_newer(path)
        wrong = _quick_check(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            yield fail(f"{path} cannot be read: {error}", "Run the doctor as the account that serves, or as root.")
            return
        wrong = str(error)
    if wrong is None:
        yield ok(f"{path} is of version {version}; it is too large to be read to its end in {_MOST_SECONDS:.0f} s")
    elif wrong:
        yield fail(f"{path} is damaged: {wrong.splitlines()[0]}", DAMAGED)
    else:
        yield ok(f"{path} is of version {version}, and whole")


def check_reserve(case: Case) -> Iterator[Seen]:
    """Whether the space is there with which jobs that run on a full disk record their ends."""
    path = case.settings.data / "audit" / NAME
    if not case.settings.audit_reserve:
        yield warn("no space is kept for the ends of jobs on a full disk", "Leave out --audit-reserve 0.")
        return
    if not path.parent.exists():
        yield ok(f"{path} is not there yet; the service makes it at its start")
        return
    wanted = wanted_size(path.parent, case.settings.audit_reserve)
    kept = kept_size(path) if path.exists() else 0
    what = f"{kept >> 10} of {wanted >> 10} KiB are kept in {path} for the ends of jobs"
    if kept >= wanted:
        yield ok(what)
    elif case.running is None:
        yield warn(what, "The service takes the rest at its start, if there is room; until it has, it takes no calls.")
    else:
        yield fail(what, "Make room on the disk: until they are all there, the service takes no calls.")


def check_set_aside(case: Case) -> Iterator[Seen]:
    """Databases that were damaged once take space, and are good for nothing but a rescue."""
    found = sorted(path for path in case.settings.data.glob(f"{DATABASE}.damaged-*") if path.name[-1] == "Z")
    if not found:
        yield ok("no damaged database was put aside")
    for path in found:
        yield warn(
            f"{path} was damaged and put aside ({path.stat().st_size >> 10} KiB)",
            "Rescue from it what you need, then remove it.",
        )


def _quick_check(path: Path) -> str | None:
    """Return what is wrong with a database, empty if nothing; None if there was no time to read all of it."""
    until = time.monotonic() + _MOST_SECONDS
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        try:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_INTERRUPT":
                return None
            raise
    return "" if found == "ok" else found
