r"""Patterns that take nearly everything: `.*`, `\S`, a negated class, a range over all of ASCII.

A role line that narrows by such a pattern narrows nothing, unless the parameter's own pattern is tighter or the first
character is certain. In a deny a wide pattern is right: it refuses more.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from cmdhttp.policy.compiled import Line
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.words import Params
from cmdhttp.policy.params import ParamSpec, StringParam

_HINT = "name the characters that are meant, and how many, like [A-Za-z0-9._-]{1,64}"
_TOKEN = re.compile(
    r"""
    (?P<escape> \\(?:x[0-9A-Fa-f]{2}|[xuU]\{[0-9A-Fa-f]+\}|u[0-9A-Fa-f]{4}|[pP]\{[^}]*\}|.))
    | (?P<named> \[:\^?[a-z]+:\])
    | (?P<open> \[\^?\]?)
    | (?P<any> \.\)*(?=[*+{]))
    | (?P<char> .)
    """,
    re.VERBOSE | re.DOTALL,
)
_NEGATED = frozenset("SWDP")
_NAMED = ("[:graph:]", "[:print:]", "[:^")
_EVERYTHING = (".*", ".+")
_PREFIX = re.compile(r"(?:[A-Za-z0-9_/:@=, -]|\\[^A-Za-z0-9])(?![*?{])[^|]*\Z")
"""A literal character that every match begins with."""

_WIDEST = 32
"""How far a range may reach over ASCII unless both ends are digits, small or capital letters."""


def wide_patterns(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        params = Params(specs=command.params)
        for name in command.params:
            spec = params.scalar(name)
            if isinstance(spec, StringParam) and (part := wide_part(spec.pattern.text)):
                message = f"the pattern of '{name}' is wide: {_shown(spec.pattern.text, part)} takes nearly everything"
                at = defined.where("params", name, *(() if spec is command.params[name] else ("of",)), "pattern")
                yield LintCode.WIDE_PATTERN.found(message, at, _HINT)


def _shown(pattern: str, part: str) -> str:
    """The whole pattern, and the part of it that is wide, if that is not the same."""
    return f"'{part}'" if part == pattern else f"in '{pattern}', '{part}'"


def wide_narrowings(book: Book) -> Iterator[Finding]:
    for role, defined in book.merged.roles.items():
        runs = ((index, spec) for index, spec in enumerate(defined.spec) if spec.jobs is None)
        for line, (index, spec) in zip(book.policy.roles[role], runs, strict=True):
            for name, by in spec.params.items():
                text = by.get("pattern") if isinstance(by, Mapping) else None
                if isinstance(text, str) and _hardly_narrows(text, _own(book, line, name)):
                    message = f"'{name}' is hardly narrowed by '{text}', which takes nearly everything"
                    at = defined.where(index, "params", name, "pattern")
                    yield LintCode.WIDE_PATTERN.found(message, at, _HINT)


def _own(book: Book, line: Line, name: str) -> Iterator[ParamSpec]:
    """What the commands of a line say of the parameter, or of its items."""
    for command in book.taken(line.atoms):
        yield Params(specs=book.policy.commands[command].params).scalar(name)


def _hardly_narrows(pattern: str, own: Iterator[ParamSpec]) -> bool:
    """Whether a value that the parameter takes passes nearly always.

    What begins with a certain character narrows, and so may what is wide in a parameter whose own pattern is not.
    """
    if not wide_part(pattern) or _PREFIX.match(pattern):
        return False
    everything = pattern in _EVERYTHING
    return everything or any(isinstance(spec, StringParam) and wide_part(spec.pattern.text) for spec in own)


@lru_cache(maxsize=1024)
def wide_part(pattern: str) -> str:
    """The first part of the pattern that takes nearly every character; empty if none does."""
    depth = 0
    ends: list[str] = []  # of a range that may be going on inside a class
    for token in _TOKEN.finditer(pattern):
        text, kind = token[0], token.lastgroup
        if kind == "any" and not depth:
            return text + pattern[token.end()]
        if (kind == "escape" and text[1] in _NEGATED) or (kind == "named" and text.startswith(_NAMED)):
            return text
        if kind == "open" and text.startswith("[^") and not depth:
            return text.removesuffix("]")
        if kind == "open":
            depth, ends = depth + 1, []
        elif text == "]" and depth:
            depth, ends = depth - 1, []
        elif depth:
            ends = [*ends, text][-3:]
            if len(ends) == 3 and ends[1] == "-" and _far(ends[0], ends[2]):  # noqa: PLR2004 - first, '-', last
                return "".join(ends)
    return ""


def _far(first: str, last: str) -> bool:
    low, high = _character(first), _character(last)
    if not (low.isascii() and high.isascii()):
        return False
    alike = any(kind(low) and kind(high) for kind in (str.isdigit, str.islower, str.isupper))
    return not alike and ord(high) - ord(low) > _WIDEST


def _character(text: str) -> str:
    """The character that a literal or an escape stands for; of an escape that is a class, its letter."""
    digits = text[2:].strip("{}")
    if text[:2] in ("\\x", "\\u", "\\U") and digits:
        return chr(int(digits, 16))
    return text[-1]
