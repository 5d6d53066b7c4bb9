"""A service that runs already with this data folder: whether there is one, and what it says of itself.

Nothing here disturbs it: the lock of its data folder is only tried, and its addresses get a GET without a credential.
"""

import fcntl
import http.client
import json
import os
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmdhttp.settings import Settings

_SECONDS = 3.0
_MOST_BYTES = 1 << 20

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running service; `ready` is the answer of `/readyz` on the address for operations, None if there is none."""

    ready: Document | None

    @property
    def rung(self) -> str:
        return str((self.ready or {}).get("containment", ""))


def find_running(settings: Settings) -> Running | None:
    """The service that holds the data folder. Raises OSError if its lock may not be looked at."""
    if not _is_held(settings.data / "lock"):
        return None
    answer = ask(settings.ops_listen, "/readyz")
    return Running(ready=answer if answer is not None and "containment" in answer else None)


def answers_here(address: str) -> bool:
    """Whether the API of a cmdhttp answers there."""
    answer = ask(address, "/v1/me")
    return answer is not None and answer.get("code") == "unauthenticated"


def ask(address: str, path: str) -> Document | None:
    """The JSON object that a GET gets there, whatever its status; None if there is no such answer."""
    try:
        with closing(_connection(address)) as connection:
            connection.request("GET", path)
            document = json.loads(connection.getresponse().read(_MOST_BYTES))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return document if isinstance(document, dict) else None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _connection(address: str) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)
