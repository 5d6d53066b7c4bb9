"""What every check is given, and what it says."""

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from cmdhttp.cli.doctor.running import Running
from cmdhttp.errors import ConfigError
from cmdhttp.settings import Settings


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a check saw. The hint says how to mend it, or what follows."""

    state: State
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What all checks look at: the settings, and the service that runs with them if there is one.

    `blind` says why that cannot be told, if it cannot.
    """

    settings: Settings
    running: Running | None = None
    blind: str = ""

    @property
    def uid(self) -> int:
        """The account of the service, which keeps the data. Raises ConfigError."""
        if not self.settings.user:
            return os.geteuid()
        try:
            return pwd.getpwnam(self.settings.user).pw_uid
        except KeyError:
            hint = "Make it, or name another."
            raise ConfigError(f"there is no account '{self.settings.user}' (--user)", hint=hint) from None


Check = Callable[[Case], Iterator[Seen]]


def ok(what: str) -> Seen:
    return Seen(state=State.OK, what=what)


def warn(what: str, hint: str) -> Seen:
    return Seen(state=State.WARN, what=what, hint=hint)


def fail(what: str, hint: str) -> Seen:
    return Seen(state=State.FAIL, what=what, hint=hint)


def name_of(uid: int) -> str:
    with suppress(KeyError):
        return f"'{pwd.getpwuid(uid).pw_name}' (uid {uid})"
    return f"uid {uid}"
