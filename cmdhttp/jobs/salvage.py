"""A job database that is damaged, put aside so that the service can start with an empty one. Only ever when the admin says so.

Nothing is thrown away: the file is there under another name. What is in it is gone for the service, so calls that come again
with an idempotency key of before run again: that is why nobody but the admin decides it.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from cmdhttp.errors import ConfigError

_PARTS = ("", "-wal", "-shm")


def damage(path: Path) -> str:
    """Return what is wrong with a database, or nothing. Reads all of it, and changes nothing that is whole.

    Raises ConfigError if it cannot be looked at for another reason, such as its rights.
    """
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(path)) as db:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        hint = "Let it belong to the account that serves, on a disk that can be written."
        raise ConfigError(f"the job database {path} cannot be looked at: {error}", hint=hint) from error
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else found


def set_aside(path: Path, *, now: float) -> Path:
    """Rename a database and what belongs to it; returns its new name, which says when. Raises ConfigError."""
    stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        for part in reversed(_PARTS):  # the file itself last: until then the next start finds it damaged again
            old = path.with_name(path.name + part)
            if old.exists():
                old.rename(aside.with_name(aside.name + part))
    except OSError as error:
        raise ConfigError(f"the job database {path} cannot be put aside: {error.strerror}") from error
    return aside
