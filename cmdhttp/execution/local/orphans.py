"""What a dead broker has left to the process above it, and how to end that.

Whoever starts brokers is their subreaper, so what a broker and its guards leave when both are killed becomes its child. It is
told by its session: a broker begins one of its own, a run too, and neither can come back into this one. The guards among
them see their broker's end and end their runs; they get a moment for that, and then all is killed.
"""

import os
import signal
import time

from cmdhttp.execution.local import tree

_PAUSE = 0.02


def end_orphans(*, grace: float, within: float) -> list[int]:
    """Wait up to `grace` seconds for the orphans to end, then kill them. Returns which are left after `within` seconds."""
    began = time.monotonic()
    while left := [pid for pid in tree.children(os.getpid()) if _is_orphan(pid)]:
        waited = time.monotonic() - began
        if waited > within:
            break
        if waited > grace:
            for pid in left:
                _kill_whole(pid)
        time.sleep(_PAUSE)
    return left


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
