"""The audit log: appended and synced by one thread, many records a sync.

A record that was acknowledged is on disk (`fdatasync`). One that something waits for is synced at once; one that tells of
what has happened is written at once, so that a kill of the service does not take it, and synced with the next, or after a
moment. After a failed write nothing more is accepted until the file is whole again, and `write` raises, so that nothing
runs unrecorded. On a full disk the ends of what has begun are written into the space that is kept for them; all else fails,
so that nobody who is refused can use that space up.
"""

import asyncio
import errno
import os
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cmdhttp.audit.chain import Head, head_after, link
from cmdhttp.audit.codes import Code
from cmdhttp.audit.reserve import NAME, Reserve
from cmdhttp.clock import rfc3339
from cmdhttp.errors import ConfigError

_BATCH = 256
_QUIET_SECONDS = 0.05
_TAIL = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_WHAT_HAS_BEGUN = frozenset({Code.JOB_ENDED, Code.JOB_REFUSED, Code.JOB_CANCEL, Code.SERVICE_STOPPED})
"""What may use the space that is kept."""


@dataclass(slots=True, kw_only=True)
class _Item:
    code: Code
    fields: Mapping[str, object] = field(repr=False)
    urgent: bool
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Head]"


class AuditLog:
    """One file, one writer thread. `trouble` says what was wrong with the last write, or is empty."""

    def __init__(self, path: Path, *, now: Callable[[], float], reserve: int = 0) -> None:
        """Open or create. Raises ConfigError if the file cannot be continued. `reserve`: bytes, see `Reserve`."""
        self._now = now
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._head, torn = _continue(self._descriptor)
            self._whole = os.fstat(self._descriptor).st_size
        except (OSError, ValueError) as error:
            hint = (
                "Let it belong to the account that serves, on a disk that can be written and has room."
                if isinstance(error, OSError)
                else "Move the file away to keep it as evidence; a new chain begins then."
            )
            raise ConfigError(f"the audit log {path} cannot be continued: {error}", hint=hint) from error
        self.reserve = Reserve(path.with_name(NAME), size=reserve)
        self._written = self._head
        self._unsynced: list[tuple[_Item, Head]] = []
        self._spoilt = False  # a failed write may have left something after what is whole
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()
        self._torn = torn
        self.trouble = ""

    async def write(self, code: Code, fields: Mapping[str, object], *, urgent: bool = True) -> Head:
        """Append one record; done when it is on disk. Raises OSError if it cannot be written.

        `urgent` is False for a record that nobody waits for.
        """
        if self._torn:
            torn, self._torn = self._torn, 0
            await self._write(Code.LOG_REPAIRED, {"dropped_bytes": torn}, urgent=True)
        return await self._write(code, fields, urgent=urgent)

    async def mend(self) -> None:
        """After a failure, try once more; that it can be written again is the next record. Raises nothing."""
        if self.trouble:
            with suppress(OSError):
                await self.write(Code.LOG_RECOVERED, {})

    def close(self) -> None:
        """Write what is queued and close. Blocks until the thread has ended."""
        self._items.put(None)
        self._thread.join()
        os.close(self._descriptor)

    async def _write(self, code: Code, fields: Mapping[str, object], *, urgent: bool) -> Head:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Head] = loop.create_future()
        self._items.put(_Item(code=code, fields=fields, urgent=urgent, loop=loop, future=future))
        return await future

    # -- on the writer's thread

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._first()]
            while len(batch) < _BATCH and not self._items.empty():
                batch.append(self._items.get())
            stopping = None in batch
            self._append([item for item in batch if item is not None], sync=stopping)

    def _first(self) -> _Item | None:
        """Wait for a record; those that were written before are synced if none comes."""
        if self._unsynced:
            try:
                return self._items.get(timeout=_QUIET_SECONDS)
            except queue.Empty:
                self._append([], sync=True)
        return self._items.get()

    def _append(self, batch: list[_Item], *, sync: bool) -> None:
        lines = self._link(batch)
        sync = sync or len(self._unsynced) > _BATCH or any(item.urgent for item in batch)
        try:
            self._put(lines, sync=sync)
        except OSError as error:
            self._fail(error)
        else:
            if sync:
                self._end(None)

    def _link(self, items: Iterable[_Item]) -> bytearray:
        lines = bytearray()
        for item in items:
            line, self._written = link(self._written, time=rfc3339(self._now()), code=item.code, fields=item.fields)
            lines += line
            self._unsynced.append((item, self._written))
        return lines

    def _fail(self, error: OSError) -> None:
        """Tell of a failed write; on a full disk the ends of what has begun are written into the space that is kept."""
        if error.errno not in _FULL:
            self._end(error)
            return
        ends = [item for item, _ in self._unsynced if item.code in _OF_WHAT_HAS_BEGUN]
        self._unsynced = [entry for entry in self._unsynced if entry[0].code not in _OF_WHAT_HAS_BEGUN]
        self._end(error)
        if ends:
            self._end(self._put_into_reserve(ends))
            self.trouble = f"not writable: {error.strerror}"

    def _put_into_reserve(self, items: list[_Item]) -> OSError | None:
        """Write, giving up a piece of what is kept each time that the disk is full. Returns what was wrong at last."""
        lines = self._link(items)
        while True:
            try:
                self._put(lines, sync=True)
            except OSError as error:
                self._spoilt = True
                if error.errno not in _FULL or not self.reserve.give_up():
                    return error
            else:
                return None

    def _put(self, lines: bytearray, *, sync: bool) -> None:
        if self._spoilt:
            os.ftruncate(self._descriptor, self._whole)
        self._spoilt = True
        view = memoryview(lines)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._spoilt = False
        if sync:
            os.fdatasync(self._descriptor)

    def _end(self, error: OSError | None) -> None:
        """Tell all who wait that their records are on disk, or that none is; those that are not are cut off."""
        waiting, self._unsynced = self._unsynced, []
        self.trouble = "" if error is None else f"not writable: {error.strerror}"
        if error is None:
            self._head, self._whole = self._written, os.fstat(self._descriptor).st_size
        else:
            self._written, self._spoilt = self._head, True
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._whole)
                self._spoilt = False
        if waiting and not waiting[0][0].loop.is_closed():
            waiting[0][0].loop.call_soon_threadsafe(_settle, waiting, error)


def _settle(waiting: "list[tuple[_Item, Head]]", error: OSError | None) -> None:
    for item, head in waiting:
        if item.future.cancelled():
            continue
        if error is None:
            item.future.set_result(head)
        else:
            item.future.set_exception(error)


def _continue(descriptor: int) -> tuple[Head, int]:
    """Return the head of what is there, and how many bytes of a torn last line were dropped.

    A line without its newline was never acknowledged: the service died while it wrote it.
    """
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
    whole, newline, torn = tail.rpartition(b"\n")
    if torn:
        os.ftruncate(descriptor, size - len(torn))
    if not newline:
        return Head(), len(torn)
    return head_after(whole.rpartition(b"\n")[2]), len(torn)
