"""The processes that a server has made, found by the kernel's lists of children; orphans come to us, as their subreaper.

Resident memory is the sum over all processes of the family, so pages that two share count twice: it is an upper bound.

Source: proc(5), /proc/PID/statm and /proc/PID/task/TID/children; prctl(2), PR_SET_CHILD_SUBREAPER.
"""

import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.02
_PAUSE = 0.01
_DYING = 5.0


_adopts = False


def adopt_orphans() -> None:
    """Become the parent of what outlives its parent among our descendants. Raises OSError.

    From then on every child of this process that nobody here has started counts as an orphan of the server that is asked about.
    """
    global _adopts  # noqa: PLW0603 - it is true of the process, as what prctl sets is
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    _adopts = True


def children(pid: int) -> list[int]:
    """The children of a process now, dead but unreaped ones included."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_bytes().split())
    return found


def family(roots: Iterable[int], *, strangers: Collection[int] = ()) -> set[int]:
    """The processes below these, the roots included, and the orphans that we adopted; `strangers` are our other children."""
    return below([*roots, *_orphans(strangers)])


def below(roots: Iterable[int]) -> set[int]:
    """The processes below these, the roots included, without orphans."""
    todo = [*roots]
    found: set[int] = set()
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children(pid)
    return found


def resident(pids: Iterable[int]) -> int:
    """Bytes of resident memory of all these processes together."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    return total


def cpu(pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes have had, and the children whose status they took. proc(5), stat."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[11:15]))
    return ticks / _TICKS


def reaped() -> float:
    """Seconds of processor time of all children, and theirs, that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def tell(pids: Iterable[int]) -> None:
    """Ask each of these processes to end."""
    for pid in pids:
        if is_alive(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def end(pids: Iterable[int], *, seconds: float) -> list[int]:
    """Give these processes so long to go away by themselves, then kill them by their ids. Returns those that were killed."""
    left = _wait(list(pids), seconds)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait(left, _DYING)
    return left


def _wait(pids: list[int], seconds: float) -> list[int]:
    """Those that are still there after so long."""
    give_up = time.monotonic() + seconds
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < give_up:
        time.sleep(_PAUSE)
    return left


def reap_orphans(ours: Collection[int]) -> None:
    """Take the status of adopted children that have ended; `ours` have an owner who does so."""
    for pid in _orphans(ours):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _orphans(ours: Collection[int]) -> list[int]:
    return [pid for pid in children(os.getpid()) if pid not in ours] if _adopts else []


class Peak:
    """The most that a family had resident, looked at every so many seconds."""

    def __init__(self, *, every: float = _EVERY) -> None:
        self.most = 0
        self._every = every

    @contextmanager
    def watching(self, roots: Collection[int], *, strangers: Collection[int]) -> Iterator[None]:
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(self._every):
                self.most = max(self.most, resident(family(roots, strangers=strangers)))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
