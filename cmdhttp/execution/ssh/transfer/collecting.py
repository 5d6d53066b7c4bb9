"""Files that a run left on a host: those in its working folder that match a pattern, brought here one after the other.

The rules are those of local runs, `execution/local/collecting.py`: no link is followed, nothing but a regular file is opened, and
only one that has no other name and belongs to the run's own user. What a server says is hostile, too: number, depth, names,
bytes and time have bounds whatever it says, and each file is a file here, without a name, before anybody is told of it.
SFTP goes by path, so between a look and the opening another process of the account could put a link in place; it gains nothing
that it could not read itself.
"""

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO

import anyio
from anyio import to_thread

from cmdhttp.execution.local.collecting import (
    LINKED,
    MAX_DEPTH,
    MAX_FILES,
    MAX_NAMES,
    MAX_PATH,
    MAX_TOLD,
    NAME_TOO_LONG,
    NO_ROOM,
    NOT_OWNED,
    NOT_REGULAR,
    SYMLINK,
    TOO_DEEP,
    TOO_LARGE,
    TOO_MANY,
    UNREADABLE,
    Rest,
    advanced,
    compiled,
)
from cmdhttp.execution.model import Collected, Emit, LeftOut, LeftOutMore
from cmdhttp.execution.ssh.orders import Folder
from cmdhttp.execution.ssh.transfer.sftp import AHEAD, PIECE, Attributes, Entry, Sftp, SftpBroken, SftpError

NOT_KEPT = "not_kept"
"""Why a file is left out for which there is no room here."""
_SECONDS = 60.0
_SLOWEST = 128 * 1024
"""Bytes a second: a host that sends its files slower than this is not waited for."""
_CHUNK = AHEAD * PIECE


def longest(max_bytes: int) -> float:
    """How many seconds it may take to collect so many bytes."""
    return _SECONDS + max_bytes / _SLOWEST


@dataclass(slots=True, kw_only=True)
class Collector:
    """Collects once. `scratch` makes a file without a name, and may block; `uid` is the number of the run's user on the host."""

    sftp: Sftp
    emit: Emit
    scratch: Callable[[], BinaryIO]
    max_bytes: int
    uid: int
    _files: int = field(init=False, default=0)
    _bytes: int = field(init=False, default=0)
    _names: int = field(init=False, default=0)
    _told: int = field(init=False, default=0)
    _unnamed: int = field(init=False, default=0)

    async def collect(self, folder: Folder, patterns: Iterable[str]) -> None:
        """Tell of the files in the working part of `folder` that match, in the order of their names, and of what was left out.

        Raises nothing but cancellation, and what `emit` raises.
        """
        with anyio.move_on_after(longest(self.max_bytes)) as limit:
            try:
                if await self._is_folder(folder.path.encode()):
                    await self._folder(folder.work.encode(), "", [compiled(pattern) for pattern in patterns], depth=1)
                else:
                    await self._leave("", UNREADABLE)
            except (SftpBroken, SftpError):
                await self._leave("", UNREADABLE)
        if limit.cancelled_caught:
            await self._leave("", UNREADABLE)
        if self._unnamed:
            await self.emit(LeftOutMore(count=self._unnamed))

    async def _folder(self, here: bytes, prefix: str, rests: list[Rest], *, depth: int) -> None:
        entries, why = await self._listed(here)
        if why:
            await self._leave(prefix.removesuffix("/"), why)
        for name in sorted(entries):
            matched, below = advanced(rests, name)
            if matched or below:
                path = here + b"/" + entries[name].name
                await self._entry(path, prefix + name, entries[name], matched=matched, below=below, depth=depth)

    async def _listed(self, here: bytes) -> tuple[dict[str, Entry], str]:
        """Return the entries by name, no more than are left to look at, and why some are missing (empty: none is)."""
        entries: dict[str, Entry] = {}
        try:
            if not await self._is_folder(here):
                return {}, UNREADABLE
            handle = await self.sftp.opendir(here)
            while found := await self.sftp.readdir(handle):
                for entry in found:
                    if self._names == MAX_NAMES:
                        return entries, TOO_MANY
                    self._names += 1
                    if entry.name not in (b".", b".."):
                        entries[os.fsdecode(entry.name)] = entry
            self.sftp.drop_handle(handle)
        except SftpError:
            return {}, UNREADABLE
        return entries, ""

    async def _is_folder(self, path: bytes) -> bool:
        """Whether a name is a folder of the run, and no link to one."""
        found = await self.sftp.lstat(path)
        return found.mode is not None and stat.S_ISDIR(found.mode) and found.uid == self.uid

    async def _entry(
        self, path: bytes, name: str, entry: Entry, *, matched: bool, below: list[Rest], depth: int
    ) -> None:
        mode = entry.attributes.mode
        if mode is None:
            await self._leave(name, UNREADABLE)
        elif stat.S_ISLNK(mode):
            await self._leave(name, SYMLINK)
        elif stat.S_ISDIR(mode) and below:
            if depth == MAX_DEPTH:
                await self._leave(name, TOO_DEEP)
            else:
                await self._folder(path, f"{name}/", below, depth=depth + 1)
        elif stat.S_ISREG(mode) and matched:
            await self._file(path, name, entry)
        elif matched and not stat.S_ISDIR(mode):
            await self._leave(name, NOT_REGULAR)

    async def _file(self, path: bytes, name: str, entry: Entry) -> None:
        if self._files == MAX_FILES:
            await self._leave(name, TOO_MANY)
            return
        if entry.links != 1:
            await self._leave(name, LINKED)
            return
        try:
            why = self._judge(await self.sftp.lstat(path), name) or await self._opened(path, name)
        except SftpError:
            why = UNREADABLE
        if why:
            await self._leave(name, why)

    async def _opened(self, path: bytes, name: str) -> str:
        """Bring a file and tell of it, or return why it is left out."""
        handle = await self.sftp.open(path)
        found = await self.sftp.fstat(handle)
        if why := self._judge(found, name):
            self.sftp.drop_handle(handle)
            return why
        try:
            file = await to_thread.run_sync(self.scratch)
        except OSError:
            self.sftp.drop_handle(handle)
            return NOT_KEPT
        with file:
            try:
                size = await self._bring(handle, file, size=found.size or 0)
            except OSError:
                return NOT_KEPT
            finally:
                self.sftp.drop_handle(handle)
            self._files += 1
            self._bytes += size
            await self.emit(Collected(name=os.fsencode(name), descriptor=file.fileno(), size=size))
        return ""

    async def _bring(self, handle: bytes, file: BinaryIO, *, size: int) -> int:
        """Return how many bytes came, at most `size`."""
        brought, chunk = 0, bytearray()
        async with aclosing(self.sftp.read(handle, size=size)) as pieces:
            async for piece in pieces:
                chunk += piece
                brought += len(piece)
                if len(chunk) >= _CHUNK:
                    await to_thread.run_sync(_write, file, chunk)
                    chunk = bytearray()
        await to_thread.run_sync(_write, file, chunk)
        return brought

    def _judge(self, found: Attributes, name: str) -> str:
        """Return why a file is left out (empty: it is not)."""
        if found.mode is None or found.uid is None or found.size is None:
            return UNREADABLE
        faults = (
            (stat.S_ISLNK(found.mode), SYMLINK),
            (not stat.S_ISREG(found.mode), NOT_REGULAR),
            (found.uid != self.uid, NOT_OWNED),
            (len(os.fsencode(name)) > MAX_PATH, NAME_TOO_LONG),
            (found.size > self.max_bytes, TOO_LARGE),
            (found.size > self.max_bytes - self._bytes, NO_ROOM),
        )
        return next((why for is_so, why in faults if is_so), "")

    async def _leave(self, name: str, why: str) -> None:
        if self._told == MAX_TOLD:
            self._unnamed += 1
            return
        self._told += 1
        await self.emit(LeftOut(name=os.fsencode(name)[:MAX_PATH], why=why))


def _write(file: BinaryIO, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
