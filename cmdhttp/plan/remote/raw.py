"""The line for appliances, which have a command language of their own and no shell.

Nobody knows the syntax of all of them, so nothing is quoted: the argv joined with single spaces, and every item made of
plain characters alone, which no command language reads as anything but a word. Whatever else is refused.
"""

from cmdhttp.errors import BadValue
from cmdhttp.plan.remote.fit import fitting
from cmdhttp.policy.shells import is_plain

MAX_RAW = 4_000
"""Bytes. Appliances do not say what they take; a line of a terminal has at most 4,096."""

_HINT = "Letters, digits and ._/:,=@+- are sent as they are; nothing else can be."


def raw_line(argv: tuple[str, ...]) -> str:
    """Return the line. Raises BadValue: `not_plain`, or `argv_too_long`."""
    if not all(map(is_plain, argv)):
        raise not_plain("an argument")
    return fitting(" ".join(argv), most=MAX_RAW)


def not_plain(what: str, *, param: str = "") -> BadValue:
    return BadValue("not_plain", f"{what} cannot be sent to a host with the shell raw", hint=_HINT, param=param)
