"""The connection that a request came on, as the answer has to know it: whether it is lost, told at the moment when it is.

ASGI's own way, to wait for a message, takes a task for each answer that goes on; a call back takes nothing. The server puts
one into the state of each request.
"""

from collections.abc import Callable
from typing import Any

from starlette.types import Scope

_KEY = "connection"


class Connection:
    """One answer at a time goes out on a connection, so there is one at most who wants to be told."""

    __slots__ = ("_on_loss", "lost")

    def __init__(self) -> None:
        self.lost = False
        self._on_loss: Callable[[], object] | None = None

    def lose(self) -> None:
        """Never called while the answer's task runs, only between its steps."""
        self.lost = True
        on_loss, self._on_loss = self._on_loss, None
        if on_loss is not None:
            on_loss()

    def tell(self, on_loss: Callable[[], object]) -> None:
        """Call this once when the connection is lost, unless `forget` comes first."""
        self._on_loss = on_loss

    def forget(self) -> None:
        self._on_loss = None

    def put_into(self, state: dict[str, Any]) -> None:
        state[_KEY] = self


def connection_of(scope: Scope) -> Connection:
    """Return the connection of a request. Raises KeyError under a server that puts none there."""
    connection: Connection = scope["state"][_KEY]
    return connection
