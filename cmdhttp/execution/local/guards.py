"""The guards that a broker keeps: resident processes, each of which runs one command at a time.

A free guard takes an order at once; with none free one more is started, and the order waits for it. A guard that dies takes
nothing with it: what it ran becomes this process's to end. Standard library only, and no loop of its own: the broker polls.
"""

import resource
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.guard.folder import clear_all
from cmdhttp.execution.local.tree import guard_mark
from cmdhttp.execution.local.wire import close_all, pair, receive, send

_IDLE_SECONDS = 60.0
_END_SECONDS = 10.0
_ROOT = str(Path(__file__).parents[3])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from cmdhttp.execution.local.guard.main import main; main()"
)


class _State(Enum):
    STARTING = 0
    FREE = 1
    BUSY = 2


@dataclass(slots=True, kw_only=True)
class Guard:
    """One guard, as the broker knows it; `since` is when its state began, on the monotonic clock.

    `folder` is that of the run which it has in hand, or had last.
    """

    process: subprocess.Popen[bytes]
    socket: socket.socket
    state: _State = _State.STARTING
    since: float = field(default_factory=time.monotonic)
    folder: str | None = None

    def enter(self, state: _State) -> None:
        self.state, self.since = state, time.monotonic()


class Guards:
    """All guards, and the orders that wait for one. `ready` of them are kept even if there is nothing to do."""

    def __init__(self, *, selector: selectors.BaseSelector, ready: int, files: tuple[int, int], runs: str = "") -> None:
        """`selector` gets each guard's socket, with the guard as its data; what can be read there is for `heard`.

        `files` is the limit on open files of what they start, soft and hard. `runs` is the folder of all runs: by it a later
        life finds the guards of an earlier one.
        """
        self._mark = guard_mark(runs)
        self._selector = selector
        self._files = files
        self._ready = ready
        self._all: dict[int, Guard] = {}
        self._waiting: deque[tuple[Mapping[str, object], list[int]]] = deque()
        self.lost = 0
        self._start_missing()

    def run(self, order: Mapping[str, object], descriptors: list[int]) -> None:
        """Hand an order with its descriptors to a guard; they are this object's from now on."""
        self._waiting.append((order, descriptors))
        self._hand_out()

    def heard(self, guard: Guard) -> None:
        """Take note of what a guard says, or of its death: then it returns once nothing is left of what it ran.

        One that was buried a moment ago says no more.
        """
        if self._all.get(guard.process.pid) is not guard:
            return
        try:
            received = receive(guard.socket)
        except (OSError, ValueError):
            received = None
        if received is None:
            self._bury(guard)
        else:
            close_all(received[1])
            guard.enter(_State.FREE)
        self._hand_out()

    @property
    def in_hand(self) -> int:
        """How many orders run or wait for a guard."""
        return len(self._waiting) + len(self._in(_State.BUSY))

    def has(self, folder: str) -> bool:
        """Whether a run in this folder goes on or waits: another one would have the same files."""
        return any(guard.folder == folder for guard in self._in(_State.BUSY)) or any(
            order["folder"] == folder for order, _ in self._waiting
        )

    def thin_out(self) -> None:
        """End guards that have had nothing to do for a while: they run nothing, and one that hangs must not hold us up."""
        now = time.monotonic()
        idle = [guard for guard in self._in(_State.FREE) if now - guard.since > _IDLE_SECONDS]
        for guard in idle[: max(0, len(self._all) - self._ready)]:
            self._forget(guard)
            guard.process.kill()
            guard.process.wait()
        self._hand_out()

    def bury_stopped(self) -> None:
        """Take a guard that was stopped by a signal for dead: it would never end its run. Nobody but an attacker does that."""
        for guard in list(self._all.values()):
            if tree.is_stopped(guard.process.pid):
                self._bury(guard)
        self._hand_out()

    def close(self) -> None:
        """Let go of every guard, and wait for them: each ends what it runs first. Then nothing is left."""
        uncleared = [str(order["folder"]) for order, _ in self._waiting if "clear" in order]
        for _, descriptors in self._waiting:
            close_all(descriptors)
        self._waiting.clear()
        leaving = list(self._all.values())
        for guard in leaving:
            self._forget(guard)
        for guard in leaving:
            with suppress(subprocess.TimeoutExpired):
                guard.process.wait(_END_SECONDS)
        tree.end_all(within=_END_SECONDS)
        for folder in uncleared:
            clear_all(folder)

    def _in(self, state: _State) -> list[Guard]:
        return [guard for guard in self._all.values() if guard.state is state]

    def _hand_out(self) -> None:
        free = sorted(self._in(_State.FREE), key=lambda guard: guard.since)
        while self._waiting and free:
            guard = free.pop()  # the last that became free is the one that is still in the processor's caches
            order, descriptors = self._waiting[0]
            try:
                send(guard.socket, order, descriptors)
            except ConnectionError:  # it has died, which its socket will say, and the next one takes the order
                guard.enter(_State.BUSY)
                continue
            except OSError:  # no memory or no descriptor for a large order at the moment: the next look tries again
                break
            guard.enter(_State.BUSY)
            guard.folder = str(order["folder"])
            self._waiting.popleft()
            close_all(descriptors)
        self._start_missing()

    def _start_missing(self) -> None:
        coming = len(self._in(_State.STARTING)) + len(self._in(_State.FREE))
        for _ in range(max(len(self._waiting) - coming, self._ready - len(self._all))):
            try:
                self._add()
            except OSError:  # no process more at the moment: the next look tries again
                return

    def _add(self) -> None:
        ours, theirs = pair()
        with theirs:
            command = [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, str(theirs.fileno()), self._mark]
            process = subprocess.Popen(  # noqa: S603 - this program itself
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
            )
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, self._files)
        guard = self._all[process.pid] = Guard(process=process, socket=ours)
        self._selector.register(ours, selectors.EVENT_READ, guard)

    def _bury(self, guard: Guard) -> None:
        """End what a dead guard ran, whose orphans have become children of this process.

        Another guard takes the folder away: a run can have left so much that nobody would be served meanwhile.
        """
        self._forget(guard)
        guard.process.kill()
        guard.process.wait()
        self.lost += 1
        tree.end_all(within=_END_SECONDS, spare=self._all.keys())
        if guard.folder is not None:
            self._waiting.append(({"clear": True, "folder": guard.folder}, []))

    def _forget(self, guard: Guard) -> None:
        del self._all[guard.process.pid]
        self._selector.unregister(guard.socket)
        guard.socket.close()
