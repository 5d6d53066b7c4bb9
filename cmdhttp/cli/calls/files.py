"""Files that the command line names: read whole, under a bound, stdin once at most; secrets with a look at who else may."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from cmdhttp.errors import ConfigError

_LARGEST = 64 << 20
_LARGEST_SECRET = 64 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Inputs:
    """Reads files, and stdin (`-`) for one of them."""

    def __init__(self) -> None:
        self._stdin_taken = False

    def read(self, path: str) -> bytes:
        """Return the content. Raises ConfigError."""
        try:
            if path != "-":
                with Path(path).open("rb") as file:
                    return _bounded(file.read(_LARGEST + 1), path)
            if self._stdin_taken:
                raise ConfigError("stdin can be read only once", hint="Only one of the values may be '-'.")
            self._stdin_taken = True
            return _bounded(sys.stdin.buffer.read(_LARGEST + 1), "stdin")
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from None


def read_private(path: str, *, what: str, warn: Callable[[str], None]) -> str:
    """Return the text of a file that holds a secret. It warns if others may read the file. Raises ConfigError."""
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LARGEST_SECRET + 1)
    except OSError as error:
        raise ConfigError(
            f"the {what} {path} cannot be read: {error.strerror or error}",
            hint="Make it, for this account alone (chmod 600), or name another.",
        ) from None
    if len(content) > _LARGEST_SECRET:
        raise ConfigError(f"the {what} {path} has more than {_LARGEST_SECRET} bytes")
    if stat.S_ISREG(status.st_mode) and status.st_mode & _OTHERS:
        warn(f"the {what} {path} is open to other accounts of this machine (chmod 600)")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"the {what} {path} has characters beyond ASCII") from None


def _bounded(content: bytes, what: str) -> bytes:
    if len(content) > _LARGEST:
        raise ConfigError(f"{what} has more than {_LARGEST} bytes")
    return content
