"""SQLite behind two threads, so that the event loop never waits for a disk.

The writer runs its work in the order in which it was handed over and commits as many at once as are waiting (group
commit). Durable work survives a power cut once it is told of: it is committed with `synchronous=FULL`. All other work
survives a kill of the process once it is told of, and a power cut soon after: it is synced with the next durable work, when
nothing more has come for a tenth of a second, or after some commits. `on_commit` is called on the event loop, in the order
of the work, only after the commit. Each piece of work stands in a savepoint, so one that fails takes no other with it.

The write-ahead log is kept short: once it is over its limit, the writer waits a moment for the reader and begins it anew.
Only a foreign program that reads for long can let it grow, and only for as long as it reads.
"""

import asyncio
import errno
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cmdhttp.errors import ConfigError
from cmdhttp.jobs.schema import STEPS, Step, newer, sign

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Queued = asyncio.Future
"""Done once what was queued is committed, or read; it raises what kept it from that."""

_log = logging.getLogger("cmdhttp.jobs")
_BATCH = 256
_QUIET_SECONDS = 0.1
_MOST_UNSYNCED = 256
_STOP = None

DAMAGED = (
    "Stop the service. Restore the data folder from a backup, or start it once with --damaged-database set_aside: that puts the"
    " file aside and begins with an empty one."
)
"""What to do about a file that is damaged."""

_DAMAGE = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})

PAGE = 8192
"""Bytes: a row of up to a quarter of it needs no page of its own."""

_CACHE_KIB = 16 << 10
_MOST_WAL = 64 << 20
_LOOK_EVERY, _TRY_AGAIN = 64, 4096
"""Commits."""
_WAIT_FOR_READER_MS = 250
_INCREMENTAL = 2
_LOCKED_SECONDS = 10.0
_TELL_EVERY = 10.0
_LITTLE = 1 << 20
"""Bytes."""


@dataclass(slots=True, kw_only=True)
class _Item:
    work: Work[Any]
    durable: bool
    on_commit: Callable[[], None] | None
    on_error: Callable[[Exception], None]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.error is not None:
            self.on_error(self.error)
        elif self.on_commit is not None:
            self.on_commit()
        if self.future.cancelled():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Database:
    """One file, one writer thread, one reader thread."""

    def __init__(self, path: Path, *, steps: Sequence[Step] = STEPS) -> None:
        """Open or create. Raises ConfigError if the file is damaged, cannot be written, or is of a newer version.

        A file of an older version becomes one of this version, at once or not at all.
        """
        self._writes: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self.damage = ""
        self._told, self._tell_again = "", 0.0
        writer = open_database(path, steps=steps)
        reader = _connect(path)
        self._threads = [
            threading.Thread(target=_Writer(writer, self._writes, path).run, name="journal-writer", daemon=True),
            threading.Thread(target=_read_all, args=(reader, self._reads), name="journal-reader", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def write(self, work: Work[T], *, durable: bool, on_commit: Callable[[], None] | None = None) -> Queued[T]:
        """Queue `work` at once, in order; the future is done after its commit. Raises what `work` raises."""
        return _hand_over(self._writes, work, durable=durable, on_commit=on_commit, on_error=self._look)

    def read(self, work: Work[T]) -> Queued[T]:
        """Run a query on the reader's connection."""
        return _hand_over(self._reads, work, durable=False, on_commit=None, on_error=self._look)

    def _look(self, error: Exception) -> None:
        """Remember that the file is damaged: what is whole in it works on, and whoever runs the service has to know."""
        name = getattr(error, "sqlite_errorname", "")
        if any(name.startswith(one) for one in _DAMAGE):
            if not self.damage:
                _log.error("new calls are refused: the job database is damaged: %s", error)
            self.damage = str(error)
        elif isinstance(error, sqlite3.Error):
            self._tell_failure(f"{error} ({name or type(error).__name__})")

    def _tell_failure(self, failure: str) -> None:
        """Tell the log of a failure, and of the same one not again for a while: it may be that of every call."""
        now = asyncio.get_running_loop().time()
        if failure != self._told or now >= self._tell_again:
            _log.error("the job database cannot be read or written: %s", failure)
            self._told, self._tell_again = failure, now + _TELL_EVERY

    def close(self) -> None:
        """Finish what is queued and close. Blocks until both threads have ended."""
        self._writes.put(_STOP)
        self._reads.put(_STOP)
        for thread in self._threads:
            thread.join()


def _hand_over(
    items: "queue.SimpleQueue[_Item | None]",
    work: Work[T],
    *,
    durable: bool,
    on_commit: Callable[[], None] | None,
    on_error: Callable[[Exception], None],
) -> Queued[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    items.put(_Item(work=work, durable=durable, on_commit=on_commit, on_error=on_error, loop=loop, future=future))
    return future


def open_database(path: Path, *, steps: Sequence[Step] = STEPS) -> sqlite3.Connection:
    """Return a connection to the database, made or brought to this version. Raises ConfigError; see `Database`."""
    try:
        refuse_newer(path, version=len(steps))
        return _connect(path, lambda connection: _bring_here(connection, steps))
    except sqlite3.Error as error:
        raise ConfigError(f"the job database {path} cannot be used: {error}", hint=_way_out(error)) from error


def _bring_here(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    """Bring a file to this version, and write to it: one that cannot be written is told of now, and not with the first job."""
    if _bring_up(connection, steps):
        _reshape(connection)
    connection.execute("BEGIN IMMEDIATE")
    sign(connection)
    connection.execute("COMMIT")


def refuse_newer(path: Path, *, version: int = len(STEPS)) -> int:
    """Return the version of a database, 0 if there is none. Raises ConfigError if it is over `version`; nothing is changed."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_LOCKED_SECONDS)
    try:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        writer = newer(connection) if found > version else ""
    finally:
        connection.close()
    if writer:
        raise ConfigError(
            f"the job database {path} is of version {found}, written by {writer}; this program knows versions up to {version}",
            hint="Start that program again, restore the data folder as it was before, or serve with another --data folder.",
        )
    return found


def _way_out(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]:
        case "FULL":
            return "Make room on the disk of the data folder; nothing in it is damaged."
        case "IOERR":  # also what SQLite says when there is no room for the file that its readers share
            return "Make room on the disk of the data folder, if it is full; else look at the disk's health."
        case "READONLY" | "CANTOPEN" | "PERM":
            return "Let the data folder and all in it belong to the account that serves, on a disk that can be written."
        case "BUSY" | "LOCKED":
            return "Another program holds the file; end it, and start again."
        case _:
            return DAMAGED


def no_room(error: Exception, *, free: int) -> bool:
    """Whether a write has failed because the disk, which had so many bytes free a moment ago, is full.

    SQLite calls it an I/O error if there is no room for the file that its readers share.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and free < _LITTLE)


def _connect(path: Path, prepare: Callable[[sqlite3.Connection], None] = lambda _: None) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_LOCKED_SECONDS)
    try:
        _shape(connection)
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _shape(connection: sqlite3.Connection) -> None:
    """Set how a connection works and, if its file is new, how that is laid out: of an old one that would be a write."""
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    # Secrets are never in it, and to write zeros costs as much as to write rows.
    connection.execute("PRAGMA secure_delete=OFF")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit={_MOST_WAL}")


def _bring_up(connection: sqlite3.Connection, steps: Sequence[Step]) -> bool:
    """Take the steps that are due, all or none. Returns whether there was an older version."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for step in steps[found:]:
            step(connection)
        if found < len(steps):
            connection.execute(f"PRAGMA user_version={len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return 0 < found < len(steps)


def _reshape(connection: sqlite3.Connection) -> None:
    """Give an older file our page size, and let it shrink from now on. It needs room for a second file for a while.

    Without that room the file stays as it is: it works, and what is freed in it is used again.
    """
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(f"PRAGMA page_size={PAGE}")
        connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
        connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode=WAL")


class _Writer:
    """The one that commits. It lives on its own thread."""

    def __init__(self, connection: sqlite3.Connection, items: "queue.SimpleQueue[_Item | None]", path: Path) -> None:
        self._connection = connection
        self._items = items
        self._log = path.with_name(path.name + "-wal")
        self._full = False
        self._unsynced = 0
        self._unlooked = 0

    def run(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._first()]
            while len(batch) < _BATCH and not self._items.empty():
                batch.append(self._items.get())
            stopping = _STOP in batch
            if work := [item for item in batch if item is not None]:
                self._commit(work)
            if self._unsynced > (0 if stopping else _MOST_UNSYNCED):
                self._sync()
            self._unlooked += 1
            if self._unlooked >= _LOOK_EVERY:
                self._keep_log_short()
        self._connection.close()

    def _first(self) -> _Item | None:
        """Wait for work; what was committed before is synced if none comes."""
        if self._unsynced:
            try:
                return self._items.get(timeout=_QUIET_SECONDS)
            except queue.Empty:
                self._sync()
        return self._items.get()

    def _commit(self, batch: list[_Item]) -> None:
        durable = any(item.durable for item in batch)
        try:
            self._set_level(full=durable)
            self._connection.execute("BEGIN IMMEDIATE")
            for item in batch:
                _run_in_savepoint(self._connection, item)
            self._connection.execute("COMMIT")
            self._unsynced = 0 if durable else self._unsynced + 1
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for item in batch:
                item.error = item.error or error
        _settle(batch)

    def _sync(self) -> None:
        """Sync all that was committed: any commit that writes does, if it is a full one.

        Nobody waits for it. If it fails, the next durable work will, and says so.
        """
        self._unsynced = 0
        with suppress(sqlite3.Error):
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            self._set_level(full=True)
            self._connection.execute(f"PRAGMA user_version={version}")

    def _keep_log_short(self) -> None:
        """Begin the log anew if it is long: what SQLite does by itself fails for as long as there is always a reader."""
        self._unlooked = 0
        with suppress(OSError, sqlite3.Error):
            if self._log.stat().st_size <= _MOST_WAL:
                return
            self._connection.execute(f"PRAGMA busy_timeout={_WAIT_FOR_READER_MS}")
            try:
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                self._connection.execute(f"PRAGMA busy_timeout={int(_LOCKED_SECONDS * 1000)}")
            self._unlooked = -_TRY_AGAIN if busy else 0

    def _set_level(self, *, full: bool) -> None:
        if full is not self._full:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            self._full = full


def _run_in_savepoint(connection: sqlite3.Connection, item: _Item) -> None:
    connection.execute("SAVEPOINT item")
    try:
        item.result = item.work(connection)
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for this work
        item.error = error
        if connection.in_transaction:
            connection.execute("ROLLBACK TO item")
    connection.execute("RELEASE item")


def _read_all(connection: sqlite3.Connection, items: "queue.SimpleQueue[_Item | None]") -> None:
    while (item := items.get()) is not None:
        try:
            item.result = item.work(connection)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for this work
            item.error = error
        _settle([item])
    connection.close()


def _settle(batch: list[_Item]) -> None:
    def settle() -> None:
        for item in batch:
            item.settle()

    if not batch[0].loop.is_closed():
        batch[0].loop.call_soon_threadsafe(settle)
