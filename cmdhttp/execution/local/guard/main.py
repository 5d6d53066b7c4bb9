"""The life of a guard: wait for an order, run it to its end, say that it is free, wait for the next."""

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Self

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.guard.folder import clear_all
from cmdhttp.execution.local.guard.run import Run
from cmdhttp.execution.local.wire import receive, send

_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def main() -> None:
    """Serve the broker whose socket is descriptor `sys.argv[1]` until it is closed."""
    gc.freeze()  # what was imported stays, and a look at all of it is what an end would take longest for
    _settle_signals()
    os.umask(0o077)
    tree.become_subreaper()
    tree.forbid_new_privileges()
    tree.hide_memory()
    with (
        socket.socket(fileno=int(sys.argv[1])) as broker,
        Bell() as bell,
        suppress(BrokenPipeError, ConnectionResetError),
    ):
        broker.set_inheritable(False)
        send(broker, {"free": True})
        while (received := receive(broker)) is not None:
            order, descriptors = received
            if "clear" in order:
                clear_all(order["folder"])
            else:
                Run(order, descriptors, broker=broker, bell=bell.descriptor).to_end()
            del received, order, descriptors  # nothing of a run stays here, least of all its secrets
            bell.quiet()
            send(broker, {"free": True})


class Bell:
    """A descriptor that can be read when a child has ended."""

    def __init__(self) -> None:
        self.descriptor, self._ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)

    def quiet(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass


def _settle_signals() -> None:
    """Take none of the signals that the terminal or a service manager sends to all; a program that is started gets its defaults.

    A handler becomes the default at an exec, and what is ignored stays ignored.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (*_TOLD, signal.SIGCHLD):
        signal.signal(number, _nothing)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)


def _nothing(*_: object) -> None:
    """The broker's socket tells a guard when to end, and the bell that a child has."""
