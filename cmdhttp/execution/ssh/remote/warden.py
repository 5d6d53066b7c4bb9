"""The warden: it runs one command at a time for the guard, and is the parent of every orphan of it."""

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import os
import select
import struct
import time

from cmdhttp.execution.ssh.remote.messages import DEADLINE, END, GUARD, OVER, STOP, Order, hear, tell
from cmdhttp.execution.ssh.remote.processes import adopt_orphans, kill_all, reap

KILL_SECONDS = 8.0


class Warden:
    """Runs what the guard orders, until the guard is gone."""

    def __init__(self, link: _socket.socket, *, adopts: bool) -> None:
        self.link = link
        self.adopts = adopts
        self.ends: dict[int, int] = {}
        self.times: list[float] = []
        self.asked = self.drained = False
        self.bell, bell = os.pipe()
        for end in (self.bell, bell):
            os.set_blocking(end, False)
        _signal.signal(_signal.SIGCHLD, lambda _number, _frame: None)
        _signal.set_wakeup_fd(bell)
        self.poll = select.poll()
        self.poll.register(link.fileno(), select.POLLIN)
        self.poll.register(self.bell, select.POLLIN)

    def serve(self) -> None:
        while True:
            kind, body, descriptors = hear(self.link)
            if kind == "":
                return
            if kind == "S":
                self.run(Order(body), descriptors)

    def run(self, order: Order, descriptors: list[int]) -> None:
        self.ends = {}
        home, on = os.open(".", os.O_PATH), b"folder"  # which the account may enter, and perhaps not read
        try:
            if order.folder is not None:
                os.chdir(order.folder)
            on = b"program"
            leader = start(order.argv, order.environment(), descriptors)
        except (OSError, ValueError) as error:
            tell(self.link, "f", struct.pack("!I", getattr(error, "errno", None) or errno.EINVAL) + on)
            return
        finally:
            os.fchdir(home)
            for fd in (home, *descriptors):
                os.close(fd)
        tell(self.link, "s", struct.pack("!I", leader))
        by = self.watch(leader, order)
        if not self.adopts:
            signal_group(leader, _signal.SIGKILL)  # all of its orphans that can be found
        alive = kill_all(self.ends, set(), KILL_SECONDS)
        status = self.ends.get(leader)
        code = 0 if status is None else -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        tell(self.link, "z", OVER.pack(status is not None, code, alive, by))

    def watch(self, leader: int, order: Order) -> int:
        """Return who ended the run."""
        deadline = time.monotonic() + order.seconds
        self.times, self.asked, self.drained = [deadline], False, False
        while True:
            ready = [fd for fd, _ in self.poll.poll(max(0.0, min(self.times) - time.monotonic()) * 1000 + 1)]
            if self.bell in ready and self.all_over(leader, order.drain):
                return STOP if self.asked else END
            if self.link.fileno() in ready and not self.obey(leader):
                return GUARD
            now = time.monotonic()
            if now >= min(self.times):
                return STOP if self.asked else DEADLINE if now >= deadline else END

    def all_over(self, leader: int, drain: float) -> bool:
        """Take the status of what has ended. Whether nothing is left."""
        os.read(self.bell, 4096)
        before = leader in self.ends
        if not reap(self.ends):
            return True
        if leader in self.ends and not before:
            self.times.append(time.monotonic() + (0.0 if self.drained else drain))
        return False

    def obey(self, leader: int) -> bool:
        """Do what the guard says. Whether it is still there."""
        kind, body, _ = hear(self.link)
        if kind == "X":
            self.asked = True
            grace = struct.unpack("!d", body)[0]
            self.times.append(time.monotonic() + grace)
            if leader not in self.ends and grace > 0:
                signal_group(leader, _signal.SIGTERM)
        elif kind == "D":
            self.drained = True
            self.times += [time.monotonic()] if leader in self.ends else []
        return kind != ""


def signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except OSError:
        pass


def start(argv: list[bytes], environment: dict[bytes, bytes], streams: list[int]) -> int:
    """Start a program in a session of its own, with these three descriptors and no other. Raises OSError."""
    actions = (
        [(os.POSIX_SPAWN_DUP2, fd, stream) for stream, fd in enumerate(streams)] if hasattr(os, "posix_spawn") else []
    )
    try:
        return os.posix_spawn(
            argv[0], argv, environment, file_actions=actions, setsid=True, setsigdef=[_signal.SIGPIPE, _signal.SIGXFSZ]
        )
    except (AttributeError, NotImplementedError):
        return fork_and_execute(argv, environment, streams)


def fork_and_execute(argv: list[bytes], environment: dict[bytes, bytes], streams: list[int]) -> int:
    """The same for a Python or C library that knows no posix_spawn with a new session."""
    told, tell_it = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell_it)
        said = os.read(told, 16)
        os.close(told)
        if said:
            os.waitpid(pid, 0)
            raise OSError(int(said), os.strerror(int(said)))
        return pid
    try:
        os.setsid()
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(number, _signal.SIG_DFL)
        for stream, fd in enumerate(streams):
            os.dup2(fd, stream)
        os.execve(argv[0], argv, environment)
    except OSError as error:
        os.write(tell_it, b"%d" % (error.errno or errno.EINVAL))
    finally:
        os._exit(127)


def become_warden(link: _socket.socket) -> None:
    """Keep nothing of the guard but the socket, and serve."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != link.fileno():
            try:
                os.close(fd)
            except OSError:
                pass
    adopts = adopt_orphans()
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    Warden(link, adopts=adopts).serve()
