"""The broker's loop: orders come from the front, guards come and go, and the end of the front is the end of all."""

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cmdhttp.broker.check import Refused
from cmdhttp.execution.local.guards import Guards
from cmdhttp.execution.local.wire import Message, close_all, receive, send

_TIDY_SECONDS = 10.0
_STREAMS = 3
"""stdout, stderr and control; stdin comes after them if there is one."""

MakeOrder = Callable[[Message, int | None], dict[str, Any]]


class Broker:
    """Serves one front. `make_order(message, stdin)` returns an order or raises Refused; `stdin` is a descriptor or None."""

    def __init__(self, front: socket.socket, *, make_order: MakeOrder, refresh: Callable[[], str], ready: int) -> None:
        self._front = front
        self._make_order = make_order
        self._refresh = refresh
        self._selector = selectors.DefaultSelector()
        self._guards = Guards(selector=self._selector, ready=ready)

    def serve(self) -> None:
        """Serve until the front has gone; then nothing is left of what was started."""
        self._selector.register(self._front, selectors.EVENT_READ)
        try:
            while self._round():
                self._guards.thin_out()
        finally:
            self._guards.close()
            self._selector.close()

    def _round(self) -> bool:
        """Do what there is to do. Returns False once the front has gone."""
        for key, _ in self._selector.select(_TIDY_SECONDS):
            if key.fileobj is not self._front:
                lost = self._guards.lost
                self._guards.heard(key.data)
                if self._guards.lost > lost:
                    self.tell({"log": "a guard has died; what it ran was ended"})
            elif not self._hear():
                return False
        return True

    def _hear(self) -> bool:
        try:
            received = receive(self._front)
        except (OSError, ValueError):
            return False
        if received is None:
            return False
        message, descriptors = received
        match message.pop("do", None):
            case "run" if len(descriptors) in (_STREAMS, _STREAMS + 1):
                self._run(message, descriptors)
            case "policy":
                close_all(descriptors)
                self.tell({"policy": self._refresh()})
            case _:
                close_all(descriptors)
        return True

    def _run(self, message: Message, descriptors: list[int]) -> None:
        stdin = descriptors[_STREAMS] if len(descriptors) > _STREAMS else None
        try:
            order = self._make_order(message, stdin)
        except Refused as refused:
            with socket.socket(fileno=descriptors.pop(2)) as control, suppress(OSError):
                send(control, {"refused": refused.detail, "hint": refused.hint})
            close_all(descriptors)
        else:
            self._guards.run(order, descriptors)

    def tell(self, message: Message) -> None:
        """Tell the front something."""
        with suppress(OSError):  # a front that does not listen has gone, which its socket says
            send(self._front, message)
