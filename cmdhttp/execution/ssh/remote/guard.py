"""The guard on an SSH host: it starts commands on order, and nothing that they started outlives its reasons to live.

One guard serves one connection. Each run has a warden, a child of the guard that adopts the orphans of its run (subreaper),
so whatever forks, makes a session or closes its descriptors is still found. A run is ended by its own end, by order, by its
deadline, by the end of the connection, and by a silence of the service. The guard tells `over` only when all is dead, or
says how many are not.

Standard library only, grammar of Python 3.6: this text is sent to hosts. Arguments: the token that starts its output; how
many seconds of silence end it; how many probe words follow, and these; then, for a guard that may run one command alone
and once, how many seconds that may take, the flags of its order, and its argv, in which the token stands for the folder.

What a start needs is made without modules that take long to import: a new connection waits for that.
Source: prctl(2), PR_SET_CHILD_SUBREAPER and PR_SET_DUMPABLE; proc(5), /proc/PID/task/TID/children; unix(7), SCM_RIGHTS.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import os
import select
import struct
import sys
import time

from cmdhttp.execution.ssh.remote.connection import FULL, Connection, widen
from cmdhttp.execution.ssh.remote.folders import Folders
from cmdhttp.execution.ssh.remote.messages import (
    COST,
    NOBODY,
    ORDER,
    OVER,
    PIECE,
    WITH_FOLDER,
    WITH_STDIN,
    Order,
    hear,
    tell,
)
from cmdhttp.execution.ssh.remote.processes import adopt_orphans, kill_all, reap, send_signal
from cmdhttp.execution.ssh.remote.warden import KILL_SECONDS, become_warden

WIDE_AFTER = 256 * 1024
CLOSE_SECONDS = 2.0
MOST_LEFT = 4 * 1024 * 1024
"""Bytes: the pipes of a run that is over hold less, so whoever writes more lives on and is not waited for."""
STUCK_SECONDS = KILL_SECONDS + 4.0
IDLE_WARDENS = 8
REMOVE_SECONDS = 60.0


class Run:
    """A run as the guard sees it."""

    def __init__(self, number: int, seconds: float) -> None:
        self.number = number
        self.warden: _socket.socket | None = None
        self.pid = 0
        self.pipes: dict[int, int] = {}
        self.stdin = -1
        self.to_write = bytearray()
        self.no_more = False
        self.credit = 0
        self.started = False
        self.told = self.most = 0  # bytes
        self.over = b""
        self.limit = time.monotonic() + seconds + STUCK_SECONDS
        self.close_at: float | None = None


class Guard(Connection):
    """Serves the connection on its stdin and stdout."""

    def __init__(self, token: bytes, silence: float, fixed: list[bytes]) -> None:
        Connection.__init__(self)
        self.token = token
        self.silence = silence
        self.fixed = fixed
        self.used = False
        self.runs: dict[int, Run] = {}
        self.by_fd: dict[int, tuple[str, Run]] = {}
        self.idle: list[tuple[_socket.socket, int]] = []
        self.wardens: set[int] = set()
        self.folders = Folders()
        self.ends: dict[int, int] = {}
        self.add_warden()

    def serve(self) -> None:
        """Return when the service is gone."""
        while self.flush():
            # Orders come last: they open descriptors, under numbers that the same look may have found ended.
            for fd, events in sorted(self.poll.poll(self.patience()), reverse=True):
                if fd == 0:
                    if not self.read():
                        return
                elif fd == 1:
                    if events & ~select.POLLOUT or not self.flush():
                        return
                elif fd in self.by_fd:
                    self.attend(fd, events)
            self.look_at_the_clock()
            if time.monotonic() - self.heard > self.silence:
                return

    def patience(self) -> int:
        now = time.monotonic()
        times = [self.heard + self.silence]
        for run in self.runs.values():
            times.append(run.limit)
            if run.close_at is not None:
                times.append(run.close_at)
        return int(max(0.0, min(times) - now) * 1000) + 1

    def listen(self) -> None:
        """Read the output of exactly those commands that may have more of it told."""
        for run in self.runs.values():
            self.listen_to(run)

    def listen_to(self, run: Run) -> None:
        wanted = select.POLLIN if run.started and run.credit > 0 and self.waiting < FULL else 0
        for fd in run.pipes:
            if wanted:
                self.poll.register(fd, wanted)
            else:
                self.unwatch(fd)

    # Orders.

    def obey(self, kind: str, number: int, body: bytes) -> None:
        run = self.runs.get(number)
        if kind == "P":
            self.say("p", number, body)
        elif kind == "S":
            self.start(number, body)
        elif kind == "M":
            self.say(*self.folders.make(number))
        elif kind == "F":
            self.folders.forget(number)
        elif run is None:
            return  # it is over, and the service did not know yet
        elif kind == "C":
            run.credit += struct.unpack("!I", body)[0]
            self.listen_to(run)
        elif kind == "I":
            run.to_write += body
            self.feed(run)
        elif kind == "E":
            run.no_more = True
            self.feed(run)
        elif kind == "X":
            grace = struct.unpack("!d", body)[0]
            run.limit = min(run.limit, time.monotonic() + grace + STUCK_SECONDS)
            self.to_warden(run, "X", body)

    def start(self, number: int, body: bytes) -> None:
        order = Order(body)
        folder = self.folders.of(number)
        if self.fixed:
            if self.used or (int(self.fixed[1]) & WITH_FOLDER and not folder):
                self.say("f", number, struct.pack("!I", errno.EPERM) + b"program")
                return
            self.used = True
            body = self.fix(order, folder)
        if order.flags & WITH_FOLDER:
            body += (os.path.join(folder, b"work") if folder else b"") + b"\0"
        run = self.runs[number] = Run(number, order.seconds)
        run.credit = order.credit
        streams: list[int] = []
        try:
            self.make_streams(run, streams, with_stdin=bool(order.flags & WITH_STDIN))
            link = self.give_warden(run, body, streams)
        except OSError as error:  # too many processes or open files: the others go on
            self.drop(run)
            self.say("f", number, struct.pack("!I", error.errno or errno.EAGAIN) + b"guard")
        else:
            self.by_fd[link.fileno()] = ("warden", run)
            self.poll.register(link.fileno(), select.POLLIN)
        for fd in streams:
            os.close(fd)

    def give_warden(self, run: Run, body: bytes, streams: list[int]) -> _socket.socket:
        """Hand the order to a warden. Raises OSError if there can be none."""
        while True:
            if not self.idle:
                self.add_warden()
            link, run.pid = self.idle.pop()
            run.warden = link
            if self.to_warden(run, "S", body, tuple(streams)):
                return link
            run.warden = None
            link.close()  # it was killed while it had nothing to do
            self.wardens.discard(run.pid)

    def fix(self, order: Order, folder: bytes) -> bytes:
        """The order for the one command that this guard may run; whatever the service says of it counts for nothing."""
        most, flags, argv = float(self.fixed[0]), int(self.fixed[1]), self.fixed[2:]
        if not order.seconds <= most:  # nor what is not a number
            order.seconds = most
        order.flags = flags & (WITH_FOLDER | order.flags)
        head = ORDER.pack(order.seconds, order.drain, order.credit, order.flags, len(argv), 0)
        return head + b"".join(word.replace(self.token, folder) + b"\0" for word in argv)

    def make_streams(self, run: Run, streams: list[int], *, with_stdin: bool) -> None:
        """Make the pipes of a run; the command's ends of them are added to `streams`. Raises OSError."""
        if with_stdin:
            stdin, run.stdin = os.pipe()
            streams.append(stdin)
            os.set_blocking(run.stdin, False)
            self.by_fd[run.stdin] = ("stdin", run)
        else:
            streams.append(os.open(os.devnull, os.O_RDONLY))
        for kind in "oe":
            fd, end = os.pipe()
            streams.append(end)
            run.pipes[fd] = ord(kind)
            os.set_blocking(fd, False)
            self.by_fd[fd] = ("output", run)

    def to_warden(self, run: Run, kind: str, body: bytes, descriptors: tuple[int, ...] = ()) -> bool:
        try:
            if run.warden is not None:
                tell(run.warden, kind, body, descriptors)
        except OSError:
            return False  # it is gone, which is seen on its socket
        return True

    def feed(self, run: Run) -> None:
        """Write to a command's stdin what it takes."""
        if run.stdin < 0:
            run.to_write.clear()
            return
        try:
            while run.to_write:
                sent = os.write(run.stdin, run.to_write[:PIECE])
                del run.to_write[:sent]
                self.say("c", run.number, struct.pack("!I", sent))
        except BlockingIOError:
            self.poll.register(run.stdin, select.POLLOUT)
            return
        except OSError:
            run.to_write.clear()
            run.no_more = True
        if run.no_more:
            self.close(run.stdin)
            run.stdin = -1
        else:
            self.unwatch(run.stdin)

    # News.

    def attend(self, fd: int, events: int) -> None:
        what, run = self.by_fd[fd]
        if what == "warden":
            self.listen_to_warden(run)
        elif what == "output":
            self.take_output(fd, run)
        elif events & ~select.POLLOUT:  # nobody reads it any more
            run.to_write.clear()
            run.no_more = True
            self.feed(run)
        else:
            self.feed(run)

    def take_output(self, fd: int, run: Run) -> bool:
        """Tell one piece. Whether there may be more at once."""
        if run.credit <= 0:
            self.listen_to(run)
            return False
        try:
            data = os.read(fd, min(PIECE, run.credit))
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close(fd)
            del run.pipes[fd]
            if not run.pipes:
                if run.over:
                    self.finish(run)
                else:
                    self.to_warden(run, "D", b"")
            return False
        run.credit -= len(data) + COST
        if run.told < WIDE_AFTER <= run.told + len(data):
            widen(fd)
        run.told += len(data)
        self.say(chr(run.pipes[fd]), run.number, data)
        if run.credit <= 0:
            self.listen_to(run)
        return True

    def close(self, fd: int) -> None:
        self.unwatch(fd)
        self.by_fd.pop(fd, None)
        os.close(fd)

    def listen_to_warden(self, run: Run) -> None:
        link = run.warden
        if link is None:
            return
        try:
            kind, body, _ = hear(link)
        except OSError:
            kind, body = "", b""
        if kind == "s":
            run.started = True
            self.say("s", run.number, body)
            self.listen_to(run)
            return
        self.unwatch(link.fileno())
        self.by_fd.pop(link.fileno(), None)
        run.warden = None
        run.limit = float("inf")
        if kind == "":
            body = self.bury(link, run)
        else:
            self.keep(link, run.pid, alone=kind == "f" or OVER.unpack(body)[2] == 0)
        if kind == "f":
            self.drop(run)
            self.say("f", run.number, body)
            return
        run.over = body
        run.close_at = time.monotonic() + CLOSE_SECONDS
        run.most = run.told + MOST_LEFT
        self.drain(run)
        if not run.pipes and run.number in self.runs:
            self.finish(run)

    def drain(self, run: Run) -> None:
        for fd in list(run.pipes):
            while fd in run.pipes and self.waiting < FULL and self.take_output(fd, run):
                pass

    def bury(self, link: _socket.socket, run: Run) -> bytes:
        """A warden has died: what it had adopted is ours now. Returns the end of its run, of which nobody saw the status."""
        link.close()
        send_signal(run.pid, _signal.SIGKILL)
        self.wardens.discard(run.pid)
        alive = kill_all(self.ends, self.wardens | self.folders.removers, 2.0)
        self.let_go()
        return OVER.pack(0, 0, alive, NOBODY)

    def finish(self, run: Run) -> None:
        self.drop(run)
        self.say("z", run.number, run.over)

    def drop(self, run: Run) -> None:
        for fd in list(run.pipes):
            self.close(fd)
        if run.stdin >= 0:
            self.close(run.stdin)
        run.pipes, run.stdin = {}, -1
        del self.runs[run.number]

    def look_at_the_clock(self) -> None:
        reap(self.ends)
        self.let_go()
        now = time.monotonic()
        for run in list(self.runs.values()):
            if run.close_at is not None and now >= run.close_at:
                self.drain(run)
                if run.number not in self.runs:
                    continue
                # Where the service or the connection is slow, what was written must not get lost.
                held = run.credit <= 0 or (self.waiting >= FULL and run.told < run.most)
                if held:
                    run.close_at = now + CLOSE_SECONDS
                else:
                    self.finish(run)
            elif now >= run.limit and run.warden is not None:
                send_signal(run.pid, _signal.SIGKILL)  # it does not answer; its end is seen on the socket
                run.limit = float("inf")

    # Wardens and folders.

    def add_warden(self) -> None:
        here, there = _socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            here.close()
            there.close()
            raise
        if pid == 0:
            try:
                become_warden(there)
            finally:
                os._exit(1)
        there.close()
        self.wardens.add(pid)
        self.idle.append((here, pid))

    def let_go(self) -> None:
        """Forget what has ended of ours: its number may come again, and would spare a process that is another's."""
        self.wardens.difference_update(self.ends)
        self.folders.removers.difference_update(self.ends)
        self.ends.clear()

    def keep(self, link: _socket.socket, pid: int, *, alone: bool) -> None:
        """Use a warden again, but for one that something of its last run has outlived: that would be counted to the next."""
        if alone and len(self.idle) < IDLE_WARDENS:
            self.idle.append((link, pid))
            return
        link.close()
        self.wardens.discard(pid)

    def end(self) -> None:
        """Leave nothing: each warden ends its run when its socket closes."""
        for link, _ in self.idle:
            link.close()
        for run in self.runs.values():
            if run.warden is not None:
                run.warden.close()
            for fd in list(run.pipes):
                os.close(fd)
        give_up = time.monotonic() + STUCK_SECONDS
        while reap(self.ends) and time.monotonic() < give_up:
            time.sleep(0.005)
        kill_all(self.ends, self.folders.removers, 2.0)
        self.folders.forget_all()
        give_up = time.monotonic() + REMOVE_SECONDS
        while reap(self.ends) and time.monotonic() < give_up:
            time.sleep(0.005)


def main() -> None:
    """Say hello as the only thing for which the service waits, and serve."""
    words = [os.fsencode(word) for word in sys.argv]
    token, silence, count = words[1], float(words[2]), int(words[3])
    probe, rest = words[4 : 4 + count], words[4 + count :]
    adopts = adopt_orphans()
    os.write(1, token + b"P\n")
    guard = Guard(token, silence, rest)
    guard.say("H", 0, struct.pack("!BI", adopts, os.getpid()) + b"".join(word + b"\0" for word in probe))
    try:
        guard.serve()
    finally:
        guard.end()


if __name__ == "__main__":
    main()
