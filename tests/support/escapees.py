"""Programs that try to outlive their run. Each knows another way out, and ends by itself after a minute.

`python escapees.py KIND STAY FILE MARK`: MARK stands in the argv of each process of it, whatever it executes, so that
`marked` finds all of them by a walk of /proc. The process that is to survive writes its pid to FILE once it has got away.
With STAY `yes` the leader stays too, with `no` it ends as soon as the other one has got away.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIFE = 60.0
_HOP = 0.0005
_PR_SET_PDEATHSIG = 1
_POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def marked(*marks: str) -> dict[str, list[int]]:
    """The processes with each of `marks` in their argv that are more than zombies, by one walk of /proc."""
    found: dict[str, list[int]] = {}
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if name.isdigit() and int(name) != os.getpid():
            argv = _argv(name)
            for mark in marks:
                if mark.encode() in argv:
                    found.setdefault(mark, []).append(int(name))
    return found


def _argv(pid: str) -> bytes:
    """Nothing for what has ended: a zombie has no memory to read it from."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def end_marked(*marks: str) -> None:
    """End what a failed test has left."""
    while left := marked(*marks):
        for pids in left.values():
            for pid in pids:
                _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# -- the programs


class Escape:
    """One attempt. `ready` is told by whoever is to survive."""

    def __init__(self, file: str, mark: str) -> None:
        self._file = file
        self._mark = mark

    def ready(self) -> None:
        with Path(self._file).open("a") as file:
            file.write(f"{os.getpid()}\n")

    def deaf(self) -> None:
        """Takes no polite signal."""
        for number in _POLITE:
            signal.signal(number, signal.SIG_IGN)
        self.ready()

    def session(self) -> None:
        """A child in a session of its own."""
        if os.fork() == 0:
            os.setsid()
            self._live()

    def daemon(self) -> None:
        """Two forks, a session of its own, and no descriptor left open."""
        self._detach(self._live)

    def nulled(self) -> None:
        """A daemon by the book: two forks, a session of its own, and /dev/null in the place of the streams."""

        def settle() -> None:
            for _ in range(3):
                os.open(os.devnull, os.O_RDWR)
            self._live()

        self._detach(settle)

    def unbound(self) -> None:
        """The same, and it is told of no parent's death."""

        def unbind() -> None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
            self._live()

        self._detach(unbind)

    def holder(self) -> None:
        """The leader waits for nobody; what it leaves keeps the streams open, which are the run's pipes."""
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            self._live()

    def hopper(self) -> None:
        """Never the same process for long."""

        def hop() -> None:
            self.ready()
            until = time.monotonic() + _LIFE
            while time.monotonic() < until:
                if os.fork():
                    os._exit(0)
                time.sleep(_HOP)
            os._exit(0)

        self._detach(hop)

    def stranger(self) -> None:
        """Executes another program with an empty environment in another folder: nothing tells whose it was."""

        def become() -> None:
            self.ready()
            self._become_strange()

        self._detach(become)

    def killer(self) -> None:
        """Kills who watches it, its parent, and who watches that, with neither the wiser in between."""
        self._detach(self._live)
        self.wait()
        self._kill_watchers()

    def strange_killer(self) -> None:
        """The same, of one that cannot be told by its environment or its folder."""
        self.stranger()
        self.wait()
        self._kill_watchers()
        self._become_strange()

    def freezer(self) -> None:
        """Stops who watches it, so that nobody is left to end it."""
        self._detach(self._live)
        self.wait()
        os.kill(os.getppid(), signal.SIGSTOP)

    def deep_freezer(self) -> None:
        """Stops who watches it, and who watches that."""
        self._detach(self._live)
        self.wait()
        guard = os.getppid()
        os.kill(_parent(guard), signal.SIGSTOP)
        os.kill(guard, signal.SIGSTOP)

    def wait(self) -> None:
        """Return once somebody is ready."""
        path = Path(self._file)
        while not (path.exists() and path.stat().st_size):
            time.sleep(0.001)

    def _become_strange(self) -> None:
        os.chdir("/")
        os.execve("/bin/sleep", [f"stranger-{self._mark}", str(int(_LIFE))], {})  # noqa: S606 - the point of it

    def _kill_watchers(self) -> None:
        guard = os.getppid()
        broker = _parent(guard)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (broker, guard):
                os.kill(pid, number)

    def _detach(self, go_on: Callable[[], None]) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(0, 256)
            for number in _POLITE:
                signal.signal(number, signal.SIG_IGN)
            go_on()

    def _live(self) -> None:
        for number in _POLITE:
            signal.signal(number, signal.SIG_IGN)
        self.ready()
        time.sleep(_LIFE)
        os._exit(0)


KINDS = ("deaf", "session", "daemon", "nulled", "unbound", "hopper", "stranger", "holder")
"""Those that leave the processes of the service alone."""

HOSTILE = ("killer", "strange_killer", "freezer", "deep_freezer")
"""Those that attack who watches them, which takes the account of the service."""


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def main() -> None:
    kind, stay, file, mark = sys.argv[1:]
    escape = Escape(file, mark)
    getattr(escape, kind)()
    if kind == "holder":
        return
    if stay == "yes":
        time.sleep(_LIFE)
    escape.wait()


if __name__ == "__main__":
    main()
