"""A cgroup for the broker and all that it starts, where this process may make one.

Nothing leaves a cgroup by forking, so one write ends all that a killed broker and its guards have left. Only cgroup v2 has
that write (`cgroup.kill`, Linux 5.14). Standard library only.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files".
"""

import os
import time
from contextlib import suppress
from pathlib import Path

_PAUSE = 0.01


class Cgroup:
    """One cgroup of ours, by its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def find(cls, name: str) -> "Cgroup | None":
        """Make the cgroup `name` beneath the one that this process is in, or take the one that is there.

        None if this machine has no cgroup v2, or if this process may not write there.
        """
        place = _own_place()
        if place is None:
            return None
        folder = place / name
        try:
            folder.mkdir(exist_ok=True)
            writable = all(os.access(folder / file, os.W_OK) for file in ("cgroup.kill", "cgroup.procs"))
        except OSError:
            return None
        return cls(folder) if writable else None

    def pids(self) -> list[int]:
        """The processes in it."""
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]

    def kill(self, *, within: float) -> bool:
        """Kill all that is in it. Returns whether it was empty within so many seconds."""
        give_up = time.monotonic() + within
        while self.pids():
            (self._folder / "cgroup.kill").write_text("1")
            time.sleep(_PAUSE)
            if time.monotonic() > give_up:
                return False
        return True

    def enter(self) -> bool:
        """Put this process into it, and with it all that it will start. Returns whether that was possible."""
        with suppress(OSError):
            (self._folder / "cgroup.procs").write_text(str(os.getpid()))
            return True
        return False

    def leave(self) -> None:
        """Put this process back where it came from, and take the cgroup away if nothing else is in it."""
        with suppress(OSError):
            (self._folder.parent / "cgroup.procs").write_text(str(os.getpid()))
        self.remove()

    def remove(self) -> None:
        """Take it away if it is empty."""
        with suppress(OSError):
            self._folder.rmdir()


def _own_place() -> Path | None:
    """The folder of the cgroup v2 that this process is in, seen through the mount that shows it."""
    try:
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            if after.split()[0] == "cgroup2":
                root, mount = before.split()[3:5]
                inside = own.removeprefix(root.rstrip("/")) if own.startswith(root.rstrip("/")) else own
                return Path(mount + inside)
    except (OSError, StopIteration, IndexError, ValueError):
        return None
    return None
