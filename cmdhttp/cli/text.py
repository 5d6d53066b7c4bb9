"""Text for a terminal: nothing that is printed can move the cursor, hide or turn round what stands beside it.

Policy files hold no such characters, but a command line may.
"""

import shlex
import sys
from collections.abc import Iterable, Sequence

from cmdhttp.errors import CmdHttpError


def visible(text: str) -> str:
    """Return the text with each character that cannot be seen written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def quoted(argv: Iterable[str]) -> str:
    """Return an argv as a shell would take it, for reading; nothing here is ever given to a shell."""
    return visible(shlex.join(argv))


def say(text: str = "") -> None:
    """Print one line."""
    print(visible(text))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return each row as one line, its cells below each other, no wider than they need."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_error(error: CmdHttpError) -> None:
    """Tell a person on stderr why the program ends."""
    lines = [visible(line) for line in error.detail.split("\n")]
    print("\n".join(lines) if len(lines) > 1 else f"cmdhttp: {lines[0]}", file=sys.stderr)
    if error.hint:
        print(f"    hint: {visible(error.hint)}", file=sys.stderr)
