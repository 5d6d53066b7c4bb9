r"""One argv, one remote command line: the only place that knows about shells.

SSH always passes a command line through the account's login shell, and no quoting style is right in all of them. So the
line is a constant wrapper plus items in which every byte outside a small safe set is spelled `\0ooo`, in single quotes.
Every shell of the POSIX family, fish and csh hands those items over untouched; `/bin/sh` decodes them with `printf %b` and
replaces itself with the program. No byte of a value is ever read as syntax.
"""

import string

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import Step
from cmdhttp.policy.compiled import Script

_SAFE = frozenset((string.ascii_letters + string.digits + "_./:,=@+-").encode())
_SPELLED = tuple(chr(byte) if byte in _SAFE else f"\\0{byte:03o}" for byte in range(256))
_UNWRAP = 'for h do v=$(printf %b "${h}x"); set -- "$@" "${v%x}"; shift; done; exec "$@"'

MAX_LINE = 120_000
"""Bytes. Linux gives one argument of execve at most 131,072 bytes, and sshd passes the line as one argument."""


def posix_line(argv: tuple[str, ...]) -> str:
    """Return the command line that makes any Unix login shell run exactly `argv`.

    Raises BadValue (`argv_too_long`) if the line would not fit into one argument of the login shell.
    """
    items = " ".join("'" + "".join(_SPELLED[byte] for byte in item.encode()) + "'" for item in argv)
    line = f"exec /bin/sh -c '{_UNWRAP}' sh {items}"
    if len(line) > MAX_LINE:
        raise BadValue(
            "argv_too_long",
            f"the command line for SSH would be {len(line)} bytes, and {MAX_LINE} fit",
            hint="Send long values by stdin.",
        )
    return line


def remote_argv(step: Step) -> tuple[str, ...]:
    """Return what runs on the host: `env` sets the variables that sshd would refuse, then the program or interpreter."""
    body = _script_argv(step.script, step.argv) if step.script else step.argv
    settings = tuple(f"{name}={value}" for name, value in sorted(step.env.items()))
    return ("/usr/bin/env", *settings, *body) if settings else body


def _script_argv(script: Script, arguments: tuple[str, ...]) -> tuple[str, ...]:
    if any("python" in part.rpartition("/")[2] for part in script.interpreter):
        return (*script.interpreter, "-c", script.text, *arguments)
    return (*script.interpreter, "-c", script.text, "script", *arguments)
