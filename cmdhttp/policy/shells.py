"""What a host takes, by its shell, of what a command asks for.

Plain facts about the families of login shells that a profile can name, in one place, for the load, for lint and for the
plan. What cannot be sent is never bent into something that can.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cmdhttp.policy.template import Argument, Group, Ref, Template

if TYPE_CHECKING:
    from cmdhttp.policy.compiled import Command

POSIX, RAW = "posix", "raw"
WINDOWS = ("powershell", "cmd")
POWERSHELL = ("/usr/bin/env", "pwsh", "-NoProfile", "-NonInteractive", "-File")
"""The interpreter `powershell`. On Windows hosts what reads the line reads the script; elsewhere it cannot be used yet."""

_PLAIN = re.compile(r"[A-Za-z0-9._/:,=@+-]+\Z")
_WINDOWS_PROGRAM = re.compile(
    r'[A-Za-z]:[\\/](?:[^\\/:*?"<>|\x00-\x1f]+[\\/])*([^\\/:*?"<>|\x00-\x1f]+\.(?:exe|com))\Z', re.IGNORECASE
)
_READ_ANEW = ("cmd.exe", "command.com")


def is_plain(item: str) -> bool:
    """Whether no command language of an appliance could read the item as anything but a word."""
    return _PLAIN.match(item) is not None


def is_windows_program(path: str) -> bool:
    """Whether Windows can start the file with arguments that nothing reads anew: an .exe or .com, and not cmd.exe.

    The name must end so: Windows takes `x.bat.` and `x.bat ` for `x.bat`.
    """
    found = _WINDOWS_PROGRAM.match(path)
    return found is not None and found[1].lower() not in _READ_ANEW


def is_program(path: str, shell: str) -> bool:
    """Whether a host with this shell can be told to start the program; no search path is consulted."""
    if shell == RAW:
        return is_plain(path)
    return is_windows_program(path) if shell in WINDOWS else path.startswith("/")


def obstacles(command: "Command", shell: str) -> Iterator[tuple[str, str]]:
    """Yield (key, what) for each thing that the command asks for and no host with this shell can be sent."""
    on = f"hosts with the shell {shell}"
    if command.script is not None:
        if shell == RAW:
            yield "script", f"scripts on {on}"
        elif (command.script.interpreter == POWERSHELL) is not (shell in WINDOWS):
            where = f"others than powershell on {on}" if shell in WINDOWS else "powershell"
            yield "interpreter", f"scripts for {where}"
    elif not is_program(_program(command.template), shell):
        yield "run", f"this program on {on}"
    if shell == RAW:
        yield from _not_raw(command, on)


def _not_raw(command: "Command", on: str) -> Iterator[tuple[str, str]]:
    if command.script is None and not all(map(is_plain, constants(command.template))):
        yield "run", f"an argument that is not plain on {on}"
    if command.env:
        yield "env", f"variables on {on}"
    if command.stdin is not None and command.stdin.secret:
        yield "stdin", f"a secret by stdin on {on}"


def constants(template: Template) -> Iterator[str]:
    """Yield the constant text of each argument; that of an argument without any, which a value fills, is left out."""
    for item in template:
        if isinstance(item, Group):
            yield from constants(item.items)
        elif isinstance(item, Argument):
            texts = [part.text for part in item.parts if not isinstance(part, Ref)]
            if texts:
                yield "".join(texts)


def _program(template: Template) -> str:
    first = template[0] if template else None
    return first.constant or "" if isinstance(first, Argument) else ""
