"""The processes below this one, and how to end them all; the twin of `execution/local/tree.py` for the Python of any host."""

import _signal  # type: ignore[import-not-found]
import os
import time


def prctl(option: int, value: int) -> bool:
    """Whether it worked, which it cannot where Python is a minimal one."""
    try:
        import _ctypes
    except ImportError:
        return False

    class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # noqa: SLF001 - ctypes itself takes long to import
        _type_ = "i"

    class Call(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL
        _restype_ = Int

    whole = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]
    return bool(Call(_ctypes.dlsym(whole, "prctl"))(option, value, 0, 0, 0) == 0)


def adopt_orphans() -> bool:
    """Become the parent of all orphans below, and let no process of this account look into this one."""
    prctl(4, 0)
    return prctl(36, 1)


def children(pid: int) -> list[int]:
    if not LISTED:
        return [child for child, parent in parents() if parent == pid]
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass
    return found


def parents() -> list[tuple[int, int]]:
    """Every process and its parent: for a kernel without lists of children."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    found.append((int(name), int(file.read().rpartition(b")")[2].split()[1])))
            except (OSError, IndexError):
                pass
    return found


LISTED = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def below(root: int, spare: set[int]) -> list[int]:
    found: list[int] = []
    wanted = [root]
    while wanted:
        more = [pid for pid in children(wanted.pop()) if pid not in spare]
        found += more
        wanted += more
    return found


def reap(ends: dict[int, int]) -> bool:
    """Take the status of all children that have ended. Whether there is one left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        ends[pid] = status


def kill_all(ends: dict[int, int], spare: set[int], seconds: float) -> int:
    """Kill all that is below this process but `spare`, until nothing is left. How many could not be killed in time."""
    give_up, pause = time.monotonic() + seconds, 0.0002
    while True:
        alive = reap(ends)
        left = below(os.getpid(), spare) if alive else []
        if not alive or (spare and not left):
            return 0
        for pid in left:
            send_signal(pid, _signal.SIGKILL)
        if time.monotonic() > give_up:
            return max(1, len(left))
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def send_signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def exit_of(status: int) -> int:
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
