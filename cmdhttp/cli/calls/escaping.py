r"""Output of a command for a terminal: what could steer the terminal is shown, not sent. Pure.

Line feeds and tabs pass. Every other control character (C0, C1, so no escape sequence, no OSC 52), every character that
turns the direction of text or cannot be seen, and every byte that is no UTF-8 stands as `\x1b`, `\u202e` and the like. A
carriage return passes only before a line feed: alone, it would let a line hide what stands before it.
"""

import codecs
import unicodedata

_PASS = frozenset("\n\t")


def escaped(text: str) -> str:
    """Return a text that shows everything that is in it."""
    if text.isprintable():
        return text
    return "".join(char if _passes(char) else _name(char) for char in text)


def escaped_line(text: str) -> str:
    """Return it as one line: a line feed would let what others say pass for a line of ours."""
    return escaped(text).replace("\n", "\\n")


class Escaper:
    """Escapes one stream, whose pieces may end anywhere: within a character, or between CR and LF."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._held = ""

    def feed(self, data: bytes, *, last: bool = False) -> str:
        text = self._held + self._decoder.decode(data, final=last)
        self._held = "\r" if text.endswith("\r") and not last else ""
        return escaped(text.removesuffix(self._held).replace("\r\n", "\n"))


def _passes(char: str) -> bool:
    return char in _PASS or char.isprintable() or unicodedata.category(char) == "Zs"


def _name(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # what surrogateescape makes of a byte
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
