"""One run in a guard's hands: it starts, it is watched, and it is over only when nothing of it is left.

What the front hears on the control socket of the run, in this order:

    {"failed": errno}                         nothing was started
    {"started": pid}
    {"exited": status}                        the leader has ended, and something else of the run lives on
    {"file": name, "size": n}                 a file that the run left, with a descriptor of it
    {"omitted": name, "why": ...}             one that is left out
    {"omitted_more": n}
    {"ended": status, "left": n, "by": ..., "passed": ...}
        the end; n processes could not be killed (0 but for a broken kernel call), and which limit was passed, if one was

What the front says there: `term` asks the leader's group to end, `kill` ends all that there is. `by` names who ended the run
without being asked by the front: `broker` (it died) or `deadline`.
"""

import os
import resource
import select
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.guard import folder
from cmdhttp.execution.local.guard.order import Order, owner_of
from cmdhttp.execution.local.guard.start import start
from cmdhttp.execution.local.limits import Meter, named
from cmdhttp.execution.local.wire import close_all, receive, send

_KILL_SECONDS = 8.0
_STUCK_PAUSE = 1.0
_MEASURE_SECONDS = 0.05
_FRONT_SECONDS = 30.0
"""How long a front may take in nothing at the end of a run: until then it is slow, after that it has hung."""


class Run:
    """`descriptors` are stdout, stderr and control, and stdin if the order says that there is one."""

    def __init__(self, order: Order, descriptors: Sequence[int], *, broker: socket.socket, bell: int) -> None:
        self._order = order
        self._stdout, self._stderr, control, *rest = descriptors
        self._stdin = rest[0] if rest else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._front = socket.socket(fileno=control)
        self._broker = broker
        self._bell = bell
        self._leader = 0
        self._status: int | None = None
        self._by: str | None = None
        self._asked = False
        self._passed: str | None = None
        self._failed_on = "folder"
        self._limits = order["limits"]
        self._meter = Meter(self._limits)
        self._cpu_before = _reaped_cpu()

    def to_end(self) -> None:
        """Run the order. Raises nothing for what the run does; nothing of it is left but what cannot be killed."""
        with self._front:
            try:
                self._start()
            except OSError as error:
                if not (self._failed_on == "folder" and isinstance(error, FileExistsError)):  # that one is not ours
                    folder.clear_run(self._order)
                self._tell({"failed": error.errno or 0, "on": self._failed_on, "why": str(error.strerror)})
                return
            except BaseException:
                self._close_streams()
                self._end()
                raise
            self._tell({"started": self._leader})
            self._watch()
            self._end()

    def _start(self) -> None:
        try:
            folder.make(self._order)
            self._failed_on = "program"
            self._leader = start(self._order, stdin=self._stdin, stdout=self._stdout, stderr=self._stderr)
        finally:
            self._close_streams()

    def _close_streams(self) -> None:
        streams = {self._stdin, self._stdout, self._stderr} - {-1}
        self._stdin = self._stdout = self._stderr = -1
        close_all(list(streams))

    def _watch(self) -> None:
        """Return when there is nothing left to watch, or when what is left is to be killed."""
        deadline = time.monotonic() + self._order["deadline"]
        with selectors.PollSelector() as selector:
            for source in (self._front, self._broker, self._bell):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(self._patience(deadline))}
                if self._bell in ready and self._all_over():
                    return
                if self._front in ready and self._heard() == "kill":
                    return
                if self._broker in ready:
                    self._by = "broker"
                    return
                if self._meter.needed and self._has_passed():
                    return
                if time.monotonic() >= deadline:
                    self._by = "deadline"
                    return

    def _patience(self, deadline: float) -> float:
        """How long to wait for news."""
        left = max(0.0, deadline - time.monotonic())
        return min(left, _MEASURE_SECONDS) if self._meter.needed else left

    def _has_passed(self) -> bool:
        """Whether the processes of the run together have passed a limit. Looked at every 50 ms and at each piece of news."""
        reaped = _reaped_cpu() - self._cpu_before
        self._passed = self._meter.exceeded(tree.descendants(os.getpid()), reaped=reaped)
        return self._passed is not None

    def _all_over(self) -> bool:
        """Take the status of what has ended. Whether nothing is left of the run."""
        with suppress(BlockingIOError):
            os.read(self._bell, 4096)
        before = self._status
        left = tree.reap(self._note)
        if left and before is None and self._status is not None:
            self._tell({"exited": self._status})
        return not left

    def _heard(self) -> str:
        """What the front says; its silence for ever is `kill`."""
        try:
            received = receive(self._front)
        except (OSError, ValueError):
            return "kill"
        if received is None:
            return "kill"
        message, descriptors = received
        close_all(descriptors)
        self._asked = True
        if message.get("do") != "term":
            return "kill"
        if self._status is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader, signal.SIGTERM)
        return "term"

    def _end(self) -> None:
        """Kill what is left, take the folder away, and tell. What cannot be killed is tried again until it is gone."""
        gone = tree.end_all(within=_KILL_SECONDS, on_end=self._note)
        left = 0 if gone else len(tree.descendants(os.getpid()))
        if self._order["collect"] is not None and self._leader:
            self._hand_over_files()
        folder.clear_run(self._order)
        if self._passed is None and self._status is not None and not self._asked:
            self._passed = named(self._status, self._limits, used=_reaped_cpu() - self._cpu_before)
        with suppress(OSError):
            self._hand_over({"ended": self._status, "left": left, "by": self._by, "passed": self._passed})
        while not gone:
            gone = tree.end_all(within=_STUCK_PAUSE, on_end=self._note)

    def _hand_over_files(self) -> None:
        """Give the front what the run left, once nothing of the run is there any more."""
        from cmdhttp.execution.local.collecting import told  # noqa: PLC0415 - few runs need it

        uid = owner_of(self._order)[0]
        with suppress(OSError):  # a front that has gone takes nothing more
            for message, descriptors in told(self._order, uid=os.geteuid() if uid < 0 else uid):
                try:
                    self._hand_over(message, descriptors)
                finally:
                    close_all(descriptors)

    def _hand_over(self, message: dict[str, object], descriptors: Sequence[int] = ()) -> None:
        """Tell a front that may be slower than this. Raises OSError: BlockingIOError if it takes nothing for too long."""
        while True:
            try:
                send(self._front, message, descriptors)
            except BlockingIOError:
                room = select.poll()
                room.register(self._front, select.POLLOUT)
                if not room.poll(_FRONT_SECONDS * 1000):
                    raise
            else:
                return

    def _note(self, pid: int, status: int) -> None:
        if pid == self._leader:
            self._status = os.waitstatus_to_exitcode(status)

    def _tell(self, message: dict[str, object]) -> None:
        with suppress(OSError):  # whoever does not listen any more has closed the socket, and that is seen in its place
            send(self._front, message)


def _reaped_cpu() -> float:
    """Seconds of CPU of all children that this process has ever waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
