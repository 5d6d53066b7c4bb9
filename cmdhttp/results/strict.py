"""JSON that every reader understands alike. Pure.

Refused: a key twice, NaN and infinities, numbers beyond what a double holds, half of a surrogate pair, more than `DEPTH`
levels. The size of data is counted before it is written, so nothing small can be spelled out into something huge.
"""

import json
from json.encoder import encode_basestring_ascii
from math import isinf
from typing import NoReturn

from cmdhttp.results.model import malformed, too_large

DEPTH = 64
_DIGITS = 308
"""A whole number of so many digits still fits into a double, and reading it takes no time worth a word."""


def read_json(text: str) -> object:
    """Read one document. Raises Unreadable."""
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise malformed(f"not JSON at {line}column {error.colno}") from None
    except RecursionError:
        raise _too_deep() from None
    return value


def check_data(root: object, *, most: int) -> None:
    """Raise Unreadable if the data is deeper than `DEPTH`, or over `most` bytes when written as JSON in ASCII."""
    size = 0
    level = [root]
    for _ in range(DEPTH):
        following: list[object] = []
        for value in level:
            size += _size(value)
            if size > most:
                raise too_large(f"the data is over {most} bytes")
            if isinstance(value, dict):
                following += value.keys()
                following += value.values()
            elif isinstance(value, list):
                following += value
        level = following
        if not level:
            return
    raise _too_deep()


def _size(value: object) -> int:
    """The bytes of a value without its parts, and of what stands between it and the next."""
    if isinstance(value, str):
        if not value.isascii():
            _require_characters(value)
        return len(encode_basestring_ascii(value)) + 1
    return len("[],") if isinstance(value, dict | list) else len(repr(value)) + 1


def _require_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise malformed("a text holds half of a surrogate pair, which is no character") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise malformed("an object has the same key twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise malformed(f"{name} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise _too_large_number()
    return number


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise _too_large_number()
    return int(text)


def _too_large_number() -> Exception:
    return malformed("a number is too large to be one")


def _too_deep() -> Exception:
    return malformed(f"nested more than {DEPTH} levels deep")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_float, parse_int=_int)
