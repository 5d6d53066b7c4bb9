"""Patterns over bytes that take time linear in what they read, whatever is in it: what is asked of RE2, in one place.

A mask is a pattern of the policy that hides a part of a line of output. It is compiled here for the check at load and for
the run alike, so what has been checked is what runs. It matches bytes, of which `.` is any one: output is not always text,
and a mask that ends at the first byte that is none would show the rest. It never matches a newline, and `^` and `$` are
the ends of a line, so many lines can be searched at once. Matches that touch are one.

No pattern stays in a cache of the library: those of a run are made of its secrets.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, cast

import re2  # type: ignore[import-untyped]

MAX_MASK = 2000
"""Characters of one mask."""

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_FLAGS = re.compile(r"\(\?(?!P?<|[=!])([A-Za-z]*-?[A-Za-z]*)[:)]")
_REFUSED = {
    "\\n": "a mask cannot hold a line break: lines are masked one by one",
    "\\A": "'\\A' is refused: write ^ for the start of a line",
    "\\z": "'\\z' is refused: write $ for the end of a line",
    "\\Z": "'\\Z' is refused: write $ for the end of a line",
    "\\C": "'\\C' is refused: write . for any byte",
    "\\p": "'\\p' is refused: a mask matches bytes, not letters",
    "\\P": "'\\P' is refused: a mask matches bytes, not letters",
}
_TEXTS_FOR_EMPTY = (b"", b"a", b" a ", b"- -")
_LEAST_MEMORY, _MOST_MEMORY, _MEMORY_OF_ONE = 8 << 20, 256 << 20, 16 << 10


class Match(Protocol):
    def start(self) -> int: ...

    def end(self) -> int: ...


class BytesPattern(Protocol):
    """A compiled pattern."""

    def search(self, text: bytes, pos: int = 0) -> Match | None: ...

    def finditer(self, text: bytes, pos: int = 0) -> Iterator[Match]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A compiled mask: `once` finds the first match soonest, `often` all that touch as one."""

    text: str
    once: BytesPattern = field(repr=False, compare=False)
    often: BytesPattern = field(repr=False, compare=False)

    def find(self, lines: bytes, *, since: int = 0) -> Iterator[tuple[int, int]]:
        """Yield where matches begin and end, in order. What is before `since` is looked back at only."""
        first = self.once.search(lines, since)
        for match in self.often.finditer(lines, first.start()) if first else ():
            if match.end() > match.start():
                yield match.start(), match.end()


@lru_cache(maxsize=4096)
def compile_mask(text: str) -> Mask:
    """The mask. Raises ValueError with a text for the policy's author; it never holds more than the pattern's own text."""
    if not text:
        raise ValueError("the pattern is empty: it would mask nothing")
    if len(text) > MAX_MASK:
        raise ValueError(f"the pattern is longer than {MAX_MASK} characters")
    _check_spelling(text)
    _compile(text.encode(), lines=True)  # alone first, so that it cannot close our group and open its own
    once = _compile(b"(?m:" + text.encode() + b")", lines=True)
    if any(found.start() == found.end() for probe in _TEXTS_FOR_EMPTY for found in once.finditer(probe)):
        raise ValueError("the pattern matches the empty text: it would mask nothing, or everything")
    return Mask(text=text, once=once, often=_compile(b"(?m:(?:" + text.encode() + b")+)", lines=True))


def compile_any_of(texts: Iterable[bytes]) -> BytesPattern:
    """A pattern that finds every one of the texts as it stands.

    The more texts there are, the more memory the search may take for its states, up to 256 MiB; it takes what it meets.
    """
    escaped = [re2.escape(text) for text in sorted(texts)]
    memory = min(max(_LEAST_MEMORY, len(escaped) * _MEMORY_OF_ONE), _MOST_MEMORY)
    return _compile(b"|".join(escaped), lines=False, memory=memory)


def _check_spelling(text: str) -> None:
    if not text.isascii():
        position = next(at for at, char in enumerate(text, start=1) if not char.isascii())
        spelled = "".join(f"\\x{byte:02x}" for byte in text[position - 1].encode("utf-8", "surrogatepass"))
        raise ValueError(
            f"character {position} is not ASCII: a mask matches bytes; write {spelled}, or . for each byte"
        )
    bare = _ESCAPE.sub("", text)
    if "\n" in text:
        raise ValueError(_REFUSED["\\n"])
    for escape in _ESCAPE.findall(text):
        if escape in _REFUSED:
            raise ValueError(_REFUSED[escape])
    if _LOOK_AROUND.search(bare):
        raise ValueError("look-around is refused: patterns run in a linear-time engine")
    if "(?P=" in bare or re.search(r"\\[1-9]", " ".join(_ESCAPE.findall(text))):
        raise ValueError("back-references are refused: patterns run in a linear-time engine")
    if any(flags.strip("i") for flags in _FLAGS.findall(bare)):
        raise ValueError("of the flags only (?i) is taken: a mask is applied to each line")


def _compile(pattern: bytes, *, lines: bool, memory: int = _LEAST_MEMORY) -> BytesPattern:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_nl = lines
    options.never_capture = True
    options.log_errors = False
    options.max_mem = memory
    try:
        return cast("BytesPattern", re2.compile(pattern, options))
    except re2.error as error:
        reason = error.args[0].decode("ascii", "backslashreplace")
        raise ValueError(f"the pattern does not compile: {reason}") from None
    finally:
        re2.purge()
