"""The parsers of the library jc, if it is installed: where it is, and what it knows. Nothing here imports it.

jc loads whatever it finds in a folder of its user, so it is never loaded into the service: a process with an environment
made from nothing names its parsers, and others run them.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from cmdhttp.errors import ConfigError
from cmdhttp.results import child
from cmdhttp.results.builtin import BUILTIN

ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent", "XDG_DATA_HOME": "/nonexistent"}
_INSTALL = "pip install '.[parsers]' in a checkout of cmdhttp"
_LIST_SECONDS = 20.0
_TOUCHES_FILES = frozenset({"plist"})
"""Parsers that write what they read to a file first."""


def find_library() -> Path | None:
    """The folder from which jc is imported."""
    spec = importlib.util.find_spec("jc")
    return Path(spec.origin).parent.parent if spec and spec.origin else None


def child_command(library: Path, *arguments: str) -> list[str]:
    """The argv of the process that loads jc: no settings of Python's, no folder but the library's."""
    return [sys.executable, "-I", "-S", "-B", child.__file__, str(library), *arguments]


@cache
def library_parsers(library: Path) -> frozenset[str]:
    """The names of the parsers that take a whole text and touch no file. Raises ConfigError if the library cannot say."""
    try:
        listed = subprocess.run(  # noqa: S603 - our own program
            child_command(library), env=ENVIRONMENT, cwd="/", capture_output=True, timeout=_LIST_SECONDS, check=True
        )
        names = json.loads(listed.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        message = "jc is installed and cannot name its parsers"
        raise ConfigError(message, hint=f"Install it anew: {_INSTALL}") from error
    return frozenset(names) - _TOUCHES_FILES


class KnownParsers(Collection[str]):
    """Every name that `result` may give. The library is asked only if a name is not one of ours."""

    def __init__(self, library: Path | None) -> None:
        self._library = library

    @property
    def more(self) -> str:
        """How to come by more names, if there is a way."""
        return "" if self._library else f"the parsers of jc come with: {_INSTALL}"

    def __contains__(self, name: object) -> bool:
        return name in BUILTIN or name in self._others()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*BUILTIN, *self._others()}))

    def __len__(self) -> int:
        return len({*BUILTIN, *self._others()})

    def _others(self) -> frozenset[str]:
        return library_parsers(self._library) if self._library else frozenset()
