"""What a dead broker has left to the process above it, and how to end that.

Whoever starts brokers is their subreaper, so what a broker and its guards leave when both are killed becomes its child. It is
told by its session: a broker begins one of its own, a run too, and neither can come back into this one. The guards among
them see their broker's end and end their runs, and take the folders away; they get a moment for that. Whatever else is an orphan
has lost its guard, and whoever only looks like a guard has gained that moment and nothing else.
"""

import os
import signal
import time
from contextlib import suppress

from cmdhttp.execution.local import tree

_PAUSE = 0.02


def end_orphans(*, grace: float, within: float) -> list[int]:
    """Kill the orphans; a guard gets `grace` seconds to end by itself. Returns which are left after `within` seconds."""
    began = time.monotonic()
    while left := [pid for pid in tree.children(os.getpid()) if _is_orphan(pid)]:
        waited = time.monotonic() - began
        if waited > within:
            break
        for pid in left:
            if waited > grace or not _looks_like_a_guard(pid):
                _kill_whole(pid)
        time.sleep(_PAUSE)
    return left


def _looks_like_a_guard(pid: int) -> bool:
    with suppress(OSError):
        return b"guard.main" in tree.read(f"/proc/{pid}/cmdline")
    return False


def _kill_whole(pid: int) -> None:
    for found in (pid, *tree.descendants(pid)):
        tree.kill(found, signal.SIGKILL)


def _is_orphan(pid: int) -> bool:
    """Whether a child is of another session, and goes on after its status was asked for."""
    try:
        if os.getsid(pid) == os.getsid(0):
            return False
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except (ProcessLookupError, ChildProcessError):
        return False
