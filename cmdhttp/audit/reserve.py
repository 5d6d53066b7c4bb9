"""Bytes of the disk that are kept for the ends of what runs: a file whose space is taken before it is needed.

When the disk is full, a little of the file is given up at a time, and what needs it writes at once: so a program that fills
the disk finds little to take away. As long as the file is not whole, no new job is let in. It is made whole again when there
is room for all that is missing and as much again.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from anyio import sleep, to_thread

from cmdhttp.errors import NoSpace

_log = logging.getLogger("cmdhttp.audit")

NAME = "reserve"
"""The file's name, beside the log."""

_EVERY = 1.0
_RETRY_AFTER = 60
_SMALL_DISK_SHARE = 10
"""It is never more than this part of the disk, so that a small one can be used at all."""
_PIECE = 256 << 10
_SECTOR = 512
"""Bytes: the unit of `st_blocks`."""


def kept_size(path: Path) -> int:
    """Return how many bytes of the disk the file really has: one with holes keeps nothing. Blocks; raises OSError."""
    status = path.lstat()
    return min(status.st_size, status.st_blocks * _SECTOR)


def wanted_size(folder: Path, asked: int) -> int:
    """Return how large the file is to be on the disk of a folder. Blocks; raises OSError."""
    disk = os.statvfs(folder)
    return min(asked, disk.f_blocks * disk.f_frsize // _SMALL_DISK_SHARE) // _PIECE * _PIECE


def free_bytes(folder: Path) -> int:
    """Return what the disk of a folder has free for us. Blocks; raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class Reserve:
    """The file. May be called from any thread; all but `check` and `trouble` block for a moment."""

    def __init__(self, path: Path, *, size: int, look: Callable[[Path], int] = free_bytes) -> None:
        """Take the space, if it is there; else `trouble` says so. `size` is in bytes; 0: nothing is kept."""
        self._path = path
        self._look = look
        self._asked = size
        self._size = 0
        self._wanted = 0
        self._lock = threading.Lock()
        self.trouble = ""
        self.make()

    def check(self) -> None:
        """Raise NoSpace if no new job may be let in."""
        if self.trouble:
            raise NoSpace(
                "The service's disk has no room left for its records; nothing has run.",
                hint="Try again later. Whoever runs the service sees why in its /readyz.",
                retry_after=_RETRY_AFTER,
            )

    def make(self) -> None:
        """Make the file whole, if there is room for that. Raises nothing."""
        with self._lock:
            before = self.trouble
            try:
                self.trouble = self._make() if self._asked else self._remove()
            except OSError as error:
                self.trouble = f"the space that is kept for the ends of jobs cannot be taken: {error.strerror}"
            if self.trouble and not before:
                _log.error("new calls are refused: %s", self.trouble)
            elif before and not self.trouble:
                _log.warning("the space that is kept for the ends of jobs is there again")

    def give_up(self, *, leave: float = 0.0) -> bool:
        """Free a piece for what is written next; False if there is none, or less than the part `leave` of it would stay."""
        with self._lock:
            if self._size < _PIECE or self._size - _PIECE < leave * self._wanted:
                return False
            if not self.trouble:
                _log.error("new calls are refused: the disk is full, and the ends of jobs use the space kept for them")
            self._size -= _PIECE
            self.trouble = "the disk is full, and the ends of jobs use the space that is kept for them"
            try:
                os.truncate(self._path, self._size)
            except OSError as error:
                self._size, self.trouble = 0, f"the space that is kept for the ends of jobs is lost: {error.strerror}"
                return False
            return True

    async def watch(self) -> None:
        """Look every second, for ever, whether it can be made whole again."""
        while True:
            if self.trouble:
                await to_thread.run_sync(self.make)
            await sleep(_EVERY)

    def _make(self) -> str:
        """Take what is missing. Returns why it is not taken, if there is no room."""
        folder = self._path.parent
        self._wanted = wanted_size(folder, self._asked)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, min(self._wanted, os.fstat(descriptor).st_size))
            self._size = kept_size(self._path)
            missing = self._wanted - self._size
            if missing and (needed := 2 * missing) > self._look(folder):
                return (
                    f"the disk has no room for the {self._wanted >> 10} KiB that are kept for the ends of jobs; make room for"
                    f" {needed >> 10} KiB"
                )
            if missing:
                os.posix_fallocate(descriptor, 0, self._wanted)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._size = self._wanted
        return ""

    def _remove(self) -> str:
        self._path.unlink(missing_ok=True)
        return ""
