"""The process above a front that has given up its rights, or above that of a container: it does nothing but start brokers.

It forks the front, which may take another account for good: then the keeper alone stays root. The front asks for a broker and
gets a socket to it; so a front that was taken over can have no more than what the broker's own copy of the policy allows. As the
first process of a container the keeper also takes the status of every process that has lost its parent, which nobody else there
would. It passes on the signals of the service manager, ends with the front, and leaves nothing behind.
"""

import logging
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

_log = logging.getLogger("cmdhttp.keeper")
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


def keep(front: Callable[[socket.socket], int], *, account: pwd.struct_passwd | None, brokers: OwnBrokers) -> int:
    """Run `front` as `account` in a process of its own, and brokers for it as they are asked for. Returns its exit code.

    None: as the account of this process. `front` gets the socket for `KeptBrokers`.
    """
    tree.become_subreaper()
    ours, theirs = pair()
    me = os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # until there is somebody to pass them on to
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ours.close()
        _be_front(front, theirs, keeper=me, account=account)
    theirs.close()
    with ours:
        status = _Keeper(front=pid, socket=ours, brokers=brokers).watch()
    brokers.bury()  # its front has gone, so it ends what it runs, and then itself
    tree.end_all(within=_END_SECONDS)
    return status if status >= 0 else _KILLED - status


def _be_front(
    front: Callable[[socket.socket], int], to_keeper: socket.socket, *, keeper: int, account: pwd.struct_passwd | None
) -> None:
    """Be the front, and end with the keeper. Never returns; what went wrong is told, because nobody else is there to do it."""
    code = 1
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if account is not None:
            take_account(account)
        tree.die_with_parent(keeper)
        tree.hide_memory()
        code = front(to_keeper)
    except Exception:  # noqa: BLE001 - the law: it never returns
        _log.exception("the service has failed")
    finally:
        os._exit(code)


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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        self._reap(bell)  # it may have ended before there was anything to hear it by
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
