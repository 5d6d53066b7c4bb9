"""How Windows reads a command line, written after Microsoft's documentation, so that tests can read what we write.

`encoded_text` undoes `-EncodedCommand`; `tokens` reads PowerShell text as far as ours goes: bare words and single-quoted
literals (about_Quoting_Rules); `arguments` takes a command line apart as the C runtime does ("Parsing C command-line
arguments") and `CommandLineToArgvW`.
"""

import base64
from collections.abc import Iterator
from itertools import takewhile

QUOTES = "'\u2018\u2019\u201a\u201b"
CALL = "powershell.exe -NoProfile -NonInteractive -OutputFormat Text -EncodedCommand "


def encoded_text(line: str) -> str:
    """Return what PowerShell is asked to run."""
    assert line.startswith(CALL)
    return base64.b64decode(line.removeprefix(CALL), validate=True).decode("utf-16-le")


def parts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is a literal, the text) in order. A literal ends at a quote of any kind that no other follows."""
    bare, at = "", 0
    while at < len(text):
        if text[at] not in QUOTES:
            bare += text[at]
            at += 1
            continue
        yield False, bare
        bare, value, at = "", "", at + 1
        while True:
            if text[at] not in QUOTES:
                value += text[at]
                at += 1
            elif at + 1 < len(text) and text[at + 1] in QUOTES:
                value += text[at + 1]
                at += 2
            else:
                at += 1
                break
        yield True, value
    yield False, bare


def skeleton(text: str) -> tuple[str, list[str]]:
    """Return the text with `{}` for each literal, and the literals."""
    found = list(parts(text))
    return "".join("{}" if literal else part for literal, part in found), [part for literal, part in found if literal]


def arguments(line: str) -> list[str]:
    """Take the arguments of a command line apart; its program is not in it.

    2n backslashes and a quote are n backslashes and a delimiter, 2n+1 and a quote are n and a quote; two quotes within a
    quoted part are one quote, and the part goes on; other backslashes are themselves.
    """
    found: list[str] = []
    at = 0
    while at < len(line):
        if line[at] in " \t":
            at += 1
            continue
        argument, at = _argument(line, at)
        found.append(argument)
    return found


def _argument(line: str, at: int) -> tuple[str, int]:
    value, within = "", False
    while at < len(line) and (within or line[at] not in " \t"):
        slashes = len(list(takewhile(lambda char: char == "\\", line[at:])))
        at += slashes
        if at == len(line) or line[at] != '"':
            value += "\\" * slashes
            if not slashes:
                value += line[at]
                at += 1
            continue
        value += "\\" * (slashes // 2)
        at += 1
        if slashes % 2:
            value += '"'
        elif within and at < len(line) and line[at] == '"':
            value += '"'
            at += 1
        else:
            within = not within
    return value, at
