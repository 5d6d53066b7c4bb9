"""The processes below this one, and how to end them all.

A subreaper is the new parent of every orphan among its descendants, so none of them can leave its tree, whatever it forks,
whichever session it makes and whatever it closes. The tree is empty if and only if there is no child left to wait for.
Standard library only: guards import this.

Source: prctl(2), PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS and PR_SET_DUMPABLE; proc(5), /proc/PID/task/TID/children.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.02


def become_subreaper() -> None:
    """Adopt the orphans among the descendants of this process. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER)


def forbid_new_privileges() -> None:
    """No program that this process or a descendant executes gains rights by its mode or its capabilities. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends; at once if it has ended already. A change of account undoes it. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def hide_memory() -> None:
    """Keep other processes of this account out of this one's memory, environment and descriptors. Raises OSError.

    Root and debuggers with its rights are not kept out. It ends with an exec, so what is started does not have it.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def show_memory() -> None:
    """Undo `hide_memory`: a process that is hidden may not write to its own files in /proc either. Raises OSError."""
    _prctl(_PR_SET_DUMPABLE, 1)


OnEnd = Callable[[int, int], None]
"""Gets the pid and the wait status of a child that has ended."""


def _ignore(_pid: int, _status: int) -> None:
    """Whoever is interested in no child's end."""


def reap(on_end: OnEnd = _ignore) -> bool:
    """Take the status of every child that has ended. Returns whether there is a child left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        on_end(pid, status)


def descendants(root: int, *, spare: Collection[int] = ()) -> list[int]:
    """Return the pids below `root`, parents first, without those in `spare` and what is below them."""
    found: list[int] = []
    wanted = [root]
    while wanted:
        below = [pid for pid in children(wanted.pop()) if pid not in spare]
        found += below
        wanted += below
    return found


def end_all(*, within: float, spare: Collection[int] = (), on_end: OnEnd = _ignore) -> bool:
    """Kill what is below this process, again and again until nothing is left or `within` seconds are over.

    Returns whether nothing is left. What forks faster than this kills is outrun, because each round kills all that there is.
    """
    me = os.getpid()
    give_up = time.monotonic() + within
    pause = _FIRST_PAUSE
    while True:
        alive = reap(on_end)
        left = descendants(me, spare=spare) if alive else []
        if not left:
            return True
        for pid in left:
            kill(pid, signal.SIGKILL)
        if time.monotonic() > give_up:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def kill(pid: int, number: int) -> None:
    """Signal a process if it is there and may be signalled."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because of a signal."""
    with suppress(OSError, IndexError):
        return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0] == b"T"
    return False


def left_from(runs: str) -> list[int]:
    """Return the processes that a run of an earlier life left: their TMPDIR or their working folder lies in `runs`.

    The environment is that of the last exec, so a process that has forked and never executed again still bears the mark.
    """
    marks = (f"TMPDIR={runs}/".encode(), f"{runs}/")
    return [pid for pid in _all_processes() if _bears(pid, marks)]


def guard_mark(runs: str) -> str:
    """The argument by which a guard is known to belong to the service with this folder of all runs."""
    return f"guard-of={runs}"


def sweep(runs: str, *, within: float) -> tuple[int, list[int]]:
    """Kill what an earlier life left. Returns how many there were, and which are still there after `within` seconds.

    A guard that its own command has stopped is made to go on first: then it sees that it is alone, and ends its run itself.
    """
    give_up = time.monotonic() + within
    mark = guard_mark(runs).encode()
    for pid in _all_processes():
        if is_stopped(pid) and mark in _arguments(pid):
            kill(pid, signal.SIGCONT)
    seen: set[int] = set()
    while left := left_from(runs):
        seen.update(left)
        for pid in left:
            kill(pid, signal.SIGKILL)
        if time.monotonic() > give_up:
            break
        time.sleep(_LONGEST_PAUSE)
    return len(seen), left


def _arguments(pid: int) -> list[bytes]:
    with suppress(OSError):
        return read(f"/proc/{pid}/cmdline").split(b"\0")
    return []


def _bears(pid: int, marks: tuple[bytes, str]) -> bool:
    in_environment, in_folder = marks
    with suppress(OSError):
        if read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0] == b"Z":
            return False
        if any(entry.startswith(in_environment) for entry in read(f"/proc/{pid}/environ").split(b"\0")):
            return True
        return os.readlink(f"/proc/{pid}/cwd").startswith(in_folder)
    return False


def _all_processes() -> Iterator[int]:
    me = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != me:
            yield int(name)


def children(pid: int) -> list[int]:
    """The children of every thread of a process; none if it has ended."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def read(path: str) -> bytes:
    """The whole of a file of /proc, which tells no size. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        parts = []
        while part := file.read(1 << 16):
            parts.append(part)
        return b"".join(parts)


def _prctl(option: int, value: int = 1) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
