"""The audit log: appended and synced by one thread, many records a sync.

A record that was acknowledged is on disk (`fdatasync`). After a failed write nothing more is accepted until the file is
whole again, and `write` raises, so that nothing runs unrecorded.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cmdhttp.audit.chain import Head, head_after, link
from cmdhttp.audit.codes import Code
from cmdhttp.clock import rfc3339
from cmdhttp.errors import ConfigError

_BATCH = 256
_TAIL = 1 << 20


@dataclass(slots=True, kw_only=True)
class _Item:
    code: Code
    fields: Mapping[str, object] = field(repr=False)
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Head]"


class AuditLog:
    """One file, one writer thread. `trouble` says what was wrong with the last write, or is empty."""

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        """Open or create. Raises ConfigError if the file cannot be continued."""
        self._now = now
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._head, torn = _continue(self._descriptor)
        except (OSError, ValueError) as error:
            hint = "Move the file away to keep it as evidence; a new chain begins then."
            raise ConfigError(f"the audit log {path} cannot be continued: {error}", hint=hint) from error
        self._whole: int | None = None  # the size without what a failed write may have left
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()
        self._torn = torn
        self.trouble = ""

    async def write(self, code: Code, fields: Mapping[str, object]) -> Head:
        """Append one record; done when it is on disk. Raises OSError if it cannot be written."""
        if self._torn:
            torn, self._torn = self._torn, 0
            await self._write(Code.LOG_REPAIRED, {"dropped_bytes": torn})
        return await self._write(code, fields)

    def close(self) -> None:
        """Write what is queued and close. Blocks until the thread has ended."""
        self._items.put(None)
        self._thread.join()
        os.close(self._descriptor)

    async def _write(self, code: Code, fields: Mapping[str, object]) -> Head:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Head] = loop.create_future()
        self._items.put(_Item(code=code, fields=fields, loop=loop, future=future))
        return await asyncio.shield(future)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._items.get()]
            while len(batch) < _BATCH and not self._items.empty():
                batch.append(self._items.get())
            stopping = None in batch
            self._append([item for item in batch if item is not None])

    def _append(self, batch: list[_Item]) -> None:
        if not batch:
            return
        head, lines, heads = self._head, bytearray(), []
        for item in batch:
            line, head = link(head, time=rfc3339(self._now()), code=item.code, fields=item.fields)
            lines += line
            heads.append(head)
        error = self._put(bytes(lines))
        self.trouble = "" if error is None else f"not writable: {error.strerror}"
        if error is None:
            self._head = head
        for item, after in zip(batch, heads, strict=True):
            if not item.loop.is_closed():
                item.loop.call_soon_threadsafe(_settle, item.future, after, error)

    def _put(self, lines: bytes) -> OSError | None:
        """Append and sync. What a failed write left is cut off, now or before the next write; until then nothing is added."""
        try:
            if self._whole is not None:
                os.ftruncate(self._descriptor, self._whole)
            self._whole = os.fstat(self._descriptor).st_size
            view = memoryview(lines)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError as error:
            if self._whole is not None:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._whole)
            return error
        self._whole = None
        return None


def _settle(future: "asyncio.Future[Head]", head: Head, error: OSError | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(head)
    else:
        future.set_exception(error)


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
