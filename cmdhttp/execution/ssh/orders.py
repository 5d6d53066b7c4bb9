"""What goes between the service and a guard: a start, the folder of a run, and an end."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

CREDIT = 2 << 20
"""Bytes of output that a run may have told ahead of what was taken."""

_ORDER = struct.Struct("!ddIBHH")
_WITH_FOLDER, _WITH_STDIN = 1, 2


class By(Enum):
    """Who ended a run on the host."""

    END = 0
    STOP = 1
    DEADLINE = 2
    GUARD = 3
    NOBODY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The end of a run as its guard saw it. `status` is negative for a signal, None if nobody saw it; `alive` live on."""

    status: int | None
    alive: int
    by: By


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a guard is to run. `seconds` is its own deadline, `drain` how many a child may go on behind the command.

    `folder` is where it runs, None for the account's home.
    """

    argv: Sequence[bytes]
    env: Mapping[str, str] = field(repr=False)
    seconds: float
    drain: float
    with_stdin: bool = False

    def packed(self, *, in_folder: bool) -> bytes:
        """In the folder that was made for the run, or in the account's home. Raises ValueError for a word with a NUL."""
        flags = (_WITH_FOLDER if in_folder else 0) | (_WITH_STDIN if self.with_stdin else 0)
        settings = [f"{name}={value}".encode() for name, value in self.env.items()]
        words = [*self.argv, *settings]
        if any(b"\0" in word for word in words):
            raise ValueError("a NUL in an argument")
        head = _ORDER.pack(self.seconds, self.drain, CREDIT, flags, len(self.argv), len(settings))
        return head + b"".join(word + b"\0" for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The private folder of a run on a host, whose guard removes it in the end: one part to work in, one for what is sent."""

    path: str
    number: int = 0

    @property
    def work(self) -> str:
        return f"{self.path}/work"

    @property
    def inputs(self) -> str:
        return f"{self.path}/in"
