"""The greeting by which a guard begins its output, behind whatever a login shell prints.

Nobody knew the token before, so no noise can pass for a greeting.
"""

from enum import Enum

LONGEST_NOISE = 1 << 20
"""Bytes that a login shell may print before it starts what it was told to start."""
_LONGEST_SAID = 32


class Hello(Enum):
    """What answered the line that starts a guard."""

    PYTHON = b"P"
    SHELL = b"R"
    NONE = b"N"


class Greeting:
    """Finds one greeting in a stream. `said` is what stands between the token and the end of its line."""

    def __init__(self, token: str) -> None:
        self.said: bytes | None = None
        self._token = token.encode()
        self._noise = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> bytes:
        """Return what follows the greeting. Raises ValueError if there is too much noise before it."""
        if self.said is not None:
            return data
        self._noise += data
        at = self._noise.find(self._token)
        if at < 0:
            self._drop(len(self._noise) - len(self._token) + 1)
            return b""
        said = bytes(self._noise[at + len(self._token) : at + len(self._token) + _LONGEST_SAID])
        end = said.find(b"\n")
        if end < 0:
            if len(said) == _LONGEST_SAID:
                raise ValueError("a greeting without an end")
            return b""
        self.said = said[:end]
        rest = bytes(self._noise[at + len(self._token) + end + 1 :])
        self._noise.clear()
        return rest

    def _drop(self, size: int) -> None:
        if size <= 0:
            return
        del self._noise[:size]
        self._dropped += size
        if self._dropped > LONGEST_NOISE:
            raise ValueError("too much noise")
