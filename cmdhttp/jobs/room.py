"""How much room the disk of the data folder has, and whether it is enough for new jobs.

Below the reserve no new job is accepted, so that those that run can finish and the audit log can be written. What the
disk has is looked at on a thread, and every answer is a moment old: the reserve is large enough for that moment.
"""

import os
from collections.abc import Callable
from pathlib import Path

from anyio import sleep, to_thread

from cmdhttp.errors import NoSpace

_EVERY = 1.0
_SMALL_DISK_SHARE = 10
"""The reserve is never more than this part of the disk, so that a small one can be used at all."""
_RETRY_AFTER = 60
_MIB = 1 << 20


class Room:
    """The free space of one folder's disk, in bytes."""

    def __init__(self, folder: Path, *, reserve: int, look: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        self._folder = folder
        self._reserve = reserve
        self._look = look
        self.trouble = ""
        self.free = 0
        self.total = 0
        self.reserve = 0
        self.look()

    def look(self) -> None:
        """Look once; blocks for a moment. A disk that cannot be looked at counts as one without room."""
        try:
            disk = self._look(self._folder)
        except OSError as error:
            self.free, self.trouble = 0, f"the disk of the data folder cannot be looked at: {error.strerror}"
            return
        self.free, self.total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        self.reserve = min(self._reserve, self.total // _SMALL_DISK_SHARE)
        enough = self.free >= self.reserve
        self.trouble = "" if enough else f"{self.free // _MIB} MiB free; new jobs wait for {self.reserve // _MIB} MiB"

    async def watch(self) -> None:
        """Look every second, for ever."""
        while True:
            await to_thread.run_sync(self.look)
            await sleep(_EVERY)

    def check(self) -> None:
        """Raise NoSpace if no new job may be accepted."""
        if self.trouble:
            raise NoSpace(
                "The service's disk is nearly full; nothing has run.",
                hint="Try again later. Whoever runs the service sees why in its /readyz.",
                retry_after=_RETRY_AFTER,
            )
