"""The process above a front that has given up its rights: it alone stays root, and does nothing but start brokers.

It forks the front, which takes another account for good. The front asks for a broker and gets a socket to it; so a front that
was taken over can have no more than what the broker's own copy of the policy allows. The keeper passes on the signals of the
service manager, ends with the front, and leaves nothing behind.
"""

import os
import pwd
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.link import OwnBrokers
from cmdhttp.execution.local.wire import pair, receive, send

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END_SECONDS = 12.0
_KILLED = 128


class KeptBrokers:
    """Brokers that the keeper starts for a front that could not start them with rights of their own."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper

    def start(self) -> socket.socket:
        """Ask for a broker. Raises OSError if the keeper has gone."""
        send(self._keeper, {"do": "broker"})
        received = receive(self._keeper)
        if received is None or not received[1]:
            raise ConnectionResetError("the process that starts brokers has gone")
        to_broker = socket.socket(fileno=received[1][0])
        to_broker.settimeout(0)
        return to_broker

    def bury(self) -> str:
        """The keeper takes its status."""
        return "the keeper has its status"


def take_account(entry: pwd.struct_passwd) -> None:
    """Become an account for good: user, group and supplementary groups. Raises OSError."""
    os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    tree.forbid_new_privileges()
    os.environ.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)


def keep(front: Callable[[socket.socket], int], *, account: pwd.struct_passwd, brokers: OwnBrokers) -> int:
    """Run `front` as `account` in a process of its own, and brokers for it as they are asked for. Returns its exit code.

    `front` gets the socket for `KeptBrokers`.
    """
    tree.become_subreaper()
    ours, theirs = pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        code = 1
        try:
            take_account(account)
            code = front(theirs)
        finally:
            os._exit(code)
    theirs.close()
    with ours:
        status = _Keeper(front=pid, socket=ours, brokers=brokers).watch()
    brokers.bury()  # its front has gone, so it ends what it runs, and then itself
    tree.end_all(within=_END_SECONDS)
    return status if status >= 0 else _KILLED - status


class _Keeper:
    def __init__(self, *, front: int, socket: socket.socket, brokers: OwnBrokers) -> None:
        self._front = front
        self._socket = socket
        self._brokers = brokers
        self._status: int | None = None

    def watch(self) -> int:
        """Serve the front until it has ended; returns how."""
        bell, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _PASSED_ON:
            signal.signal(number, self._pass_on)
        with selectors.DefaultSelector() as selector:
            selector.register(bell, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            while self._status is None:
                for key, _ in selector.select():
                    if key.fileobj == bell:
                        self._reap(bell)
                    elif not self._serve():
                        selector.unregister(self._socket)
        return self._status

    def _pass_on(self, number: int, _: object) -> None:
        tree.kill(self._front, number)

    def _reap(self, bell: int) -> None:
        with suppress(BlockingIOError):
            os.read(bell, 4096)
        tree.reap(self._note)

    def _note(self, pid: int, status: int) -> None:
        if pid == self._front:
            self._status = os.waitstatus_to_exitcode(status)

    def _serve(self) -> bool:
        """Start a broker if the front asks for one. Returns False once the front says no more."""
        try:
            received = receive(self._socket)
            if received is None:
                return False
            with self._brokers.start() as to_broker:
                send(self._socket, {"broker": True}, [to_broker.fileno()])
        except (OSError, ValueError):
            return False
        return True
