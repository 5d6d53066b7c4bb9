"""SQLite behind two threads, so that the event loop never waits for a disk.

The writer runs its work in the order in which it was handed over and commits as many at once as are waiting (group
commit). Durable work survives a power cut once it is told of: it is committed with `synchronous=FULL`. All other work
survives a kill of the process once it is told of, and a power cut soon after: it is synced with the next durable work, when
nothing more has come for a tenth of a second, or after some commits. `on_commit` is called on the event loop, in the order
of the work, only after the commit. Each piece of work stands in a savepoint, so one that fails takes no other with it.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cmdhttp.errors import ConfigError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Queued = asyncio.Future
"""Done once what was queued is committed, or read; it raises what kept it from that."""

_BATCH = 256
_QUIET_SECONDS = 0.1
_MOST_UNSYNCED = 256
_STOP = None


@dataclass(slots=True, kw_only=True)
class _Item:
    work: Work[Any]
    durable: bool
    on_commit: Callable[[], None] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.error is None and self.on_commit is not None:
            self.on_commit()
        if self.future.cancelled():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Database:
    """One file, one writer thread, one reader thread."""

    def __init__(self, path: Path, *, schema: str, version: int) -> None:
        """Open or create. Raises ConfigError if the file is damaged or was written by a newer version.

        `schema` makes what is not there yet and leaves the rest as it is.
        """
        self._path = path
        self._writes: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        try:
            writer = _connect(path)
            _create(writer, schema=schema, version=version)
            reader = _connect(path)
        except sqlite3.Error as error:
            hint = "Restore the data folder from a backup, or move the file away to start with an empty one."
            raise ConfigError(f"the job database {path} cannot be used: {error}", hint=hint) from error
        self._threads = [
            threading.Thread(target=_Writer(writer, self._writes).run, name="journal-writer", daemon=True),
            threading.Thread(target=_read_all, args=(reader, self._reads), name="journal-reader", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def write(self, work: Work[T], *, durable: bool, on_commit: Callable[[], None] | None = None) -> Queued[T]:
        """Queue `work` at once, in order; the future is done after its commit. Raises what `work` raises."""
        return _hand_over(self._writes, work, durable=durable, on_commit=on_commit)

    def read(self, work: Work[T]) -> Queued[T]:
        """Run a query on the reader's connection."""
        return _hand_over(self._reads, work, durable=False, on_commit=None)

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
) -> Queued[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    items.put(_Item(work=work, durable=durable, on_commit=on_commit, loop=loop, future=future))
    return future


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _create(connection: sqlite3.Connection, *, schema: str, version: int) -> None:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > version:
        raise ConfigError(
            f"the job database is of version {found}, and this program knows versions up to {version}",
            hint="Run the newer program again, or start with another data folder.",
        )
    if found < version:
        connection.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version={version}; COMMIT;")


class _Writer:
    """The one that commits. It lives on its own thread."""

    def __init__(self, connection: sqlite3.Connection, items: "queue.SimpleQueue[_Item | None]") -> None:
        self._connection = connection
        self._items = items
        self._full = False
        self._unsynced = 0

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
