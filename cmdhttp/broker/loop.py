"""The broker's loop: orders come from the front, guards come and go, and the end of the front is the end of all."""

import os
import resource
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cmdhttp.broker.check import Copies, Refused
from cmdhttp.execution.local.guards import Guard, Guards
from cmdhttp.execution.local.wire import Message, close_all, is_end_of_pair, receive, send

_TIDY_SECONDS = 10.0
_STREAMS = 3
"""stdout, stderr and control; stdin comes after them if there is one."""
_SPARE = 8

MakeOrder = Callable[[Message, int | None], dict[str, Any]]


class Broker:
    """Serves one front. `make_order(message, stdin)` returns an order or raises Refused; `stdin` is a descriptor or None."""

    def __init__(
        self,
        front: socket.socket,
        *,
        make_order: MakeOrder,
        refresh: Callable[[], Copies],
        look: Callable[[], Copies | None] = lambda: None,
        ready: int,
        most: int = 64,
        runs: str = "",
    ) -> None:
        """`look` is called every few seconds, and loads the policy if it should; `most` runs go on at once.

        `runs` is the folder of all runs.
        """
        self._front = front
        self._look = look
        self._most = 2 * most + _SPARE  # the front may hear of the end of each a moment before this side does
        self._make_order = make_order
        self._refresh = refresh
        self._selector = selectors.DefaultSelector()
        self._guards = Guards(selector=self._selector, ready=ready, files=_raise_descriptor_limit(), runs=runs)

    def serve(self) -> None:
        """Serve until the front has gone; then nothing is left of what was started."""
        self._selector.register(self._front, selectors.EVENT_READ)
        bell, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(bell, selectors.EVENT_READ, bell)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        try:
            while self._round():
                self._guards.thin_out()
                if (copies := self._look()) is not None:
                    self.tell(copies.message())
        finally:
            signal.set_wakeup_fd(-1)
            self._guards.close()
            self._selector.close()
            close_all([bell, ring])

    def _round(self) -> bool:
        """Do what there is to do. Returns False once the front has gone."""
        lost = self._guards.lost
        for key, _ in self._selector.select(_TIDY_SECONDS):
            if key.fileobj is self._front:
                if not self._hear():
                    return False
            elif isinstance(key.data, Guard):
                self._guards.heard(key.data)
            else:
                self._answer_bell(key.data)
        if self._guards.lost > lost:
            self.tell({"log": "a guard has died or was stopped; what it ran was ended"})
        return True

    def _answer_bell(self, bell: int) -> None:
        """A child has ended, which its socket says too, or was stopped."""
        with suppress(BlockingIOError):
            os.read(bell, 4096)
        self._guards.bury_stopped()

    def _hear(self) -> bool:
        try:
            received = receive(self._front)
        except (OSError, ValueError):
            return False
        if received is None:
            return False
        message, descriptors = received
        match message.pop("do", None):
            case "run" if len(descriptors) in (_STREAMS, _STREAMS + 1) and is_end_of_pair(descriptors[2]):
                self._run(message, descriptors)
            case "policy":
                close_all(descriptors)
                self.tell({**self._refresh().message(), "asked": message.get("asked")})
            case _:
                close_all(descriptors)
        return True

    def _run(self, message: Message, descriptors: list[int]) -> None:
        stdin = descriptors[_STREAMS] if len(descriptors) > _STREAMS else None
        try:
            order = self._checked(message, stdin)
        except Refused as refused:
            self._refuse(descriptors, refused)
        else:
            self._guards.run(order, descriptors)

    def _checked(self, message: Message, stdin: int | None) -> dict[str, Any]:
        """Make the order. Raises Refused, whatever goes wrong on the way."""
        if self._guards.in_hand >= self._most:
            raise Refused("more runs are under way than the service is set to run at once")
        try:
            order = self._make_order(message, stdin)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - the law: what cannot be checked does not start
            raise Refused(f"it could not be checked ({type(error).__name__})") from None
        if self._guards.has(order["folder"]):
            raise Refused("this run of the job is under way")
        return order

    def _refuse(self, descriptors: list[int], refused: Refused) -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptors[2])) as control:
            send(control, {"refused": refused.detail, "hint": refused.hint})
        close_all(descriptors)

    def tell(self, message: Message) -> None:
        """Tell the front something."""
        with suppress(OSError):  # a front that does not listen has gone, which its socket says
            send(self._front, message)


def _raise_descriptor_limit() -> tuple[int, int]:
    """Make room for the pipes of the orders that wait. Returns the limit as it was, which is what a command gets."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before
