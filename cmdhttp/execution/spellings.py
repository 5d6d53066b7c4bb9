"""How a secret is spelled in output: as it is, and as common encoders write it.

A long secret is spelled piece by piece and one of many lines also line by line, so that no spelling is long. Nothing
shorter than `FLOOR` is a spelling.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from urllib.parse import quote, quote_plus

FLOOR = 4
"""Bytes of the shortest text that counts as a secret, or as a spelling of one: shorter ones are in every output."""

LONGEST_PIECE = 512
"""A longer secret is looked for in pieces of about this size, each by itself, so what is held back stays small."""

MAX_LINES = 1000
"""Lines of the secrets of one run that are looked for by themselves. The whole texts always are."""

LONGEST_WRAPPED = 16 << 10
"""Bytes of the longest secret that is also looked for as tools break its encoding into lines."""

_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_BYTES_OF_BASE64_LINE = (48, 57)  # openssl and PEM; base64
_BYTES_OF_HEX_LINE = 30  # xxd -p


def needles(secrets: Iterable[bytes]) -> set[bytes]:
    """Every text to look for."""
    whole = [secret for secret in dict.fromkeys(secrets) if secret]
    lines = [line for secret in whole if b"\n" in secret or b"\r" in secret for line in secret.splitlines()]
    pieces = {piece for text in (*whole, *lines[:MAX_LINES]) for piece in _pieces(text.strip())}
    texts = {spelled for piece in pieces if len(piece) >= FLOOR for spelled in spellings(piece)}
    texts.update(line for secret in whole for line in _wrapped(secret))
    return {text for text in texts if len(text) >= FLOOR}


def spellings(secret: bytes) -> Iterator[bytes]:
    """Yield the secret as it is, and as hex, base64, percent-encoding and JSON spell it; shorter than `FLOOR` they may be."""
    yield secret
    yield from _as_hex(secret)
    yield from _as_base64(secret)
    yield from _as_percent(secret)
    yield from _as_json(secret)


def _as_hex(secret: bytes) -> Iterator[bytes]:
    text = secret.hex().encode()
    yield text
    yield text.upper()


def _as_base64(secret: bytes) -> Iterator[bytes]:
    """Wherever the secret begins in what is encoded: only the characters that it alone decides."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        text = encoded[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]
        yield text
        yield text.translate(_URL_SAFE)


def _as_percent(secret: bytes) -> Iterator[bytes]:
    for safe in ("", "/", "!'()*", ";,/?:@&=+$!*'()#"):  # RFC 3986, Python, encodeURIComponent, encodeURI
        yield from _both_cases(quote(secret, safe=safe))
    yield from _both_cases(quote_plus(secret))


def _both_cases(quoted: str) -> Iterator[bytes]:
    first, *others = quoted.split("%")
    yield quoted.encode()
    yield "%".join([first, *(other[:2].lower() + other[2:] for other in others)]).encode()


def _as_json(secret: bytes) -> Iterator[bytes]:
    """As encoders write it: in ASCII only or not, with slashes escaped or not, and the HTML-safe spelling."""
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    for ascii_only in (True, False):
        plain = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for spelled in (plain, plain.replace("/", "\\/"), "".join(_HTML.get(char, char) for char in plain)):
            first, *others = spelled.split("\\u")
            yield spelled.encode()
            yield "\\u".join([first, *(other[:4].upper() + other[4:] for other in others)]).encode()


def _pieces(text: bytes) -> Iterator[bytes]:
    """Cut a long text into even pieces, between characters where it is UTF-8."""
    count = -(-len(text) // LONGEST_PIECE)
    cuts = [0, *(_character_start(text, len(text) * number // count) for number in range(1, count)), len(text)]
    yield from (text[start:end].strip() for start, end in pairwise(cuts))


def _character_start(text: bytes, at: int) -> int:
    return next((place for place in range(at, at - 4, -1) if text[place] & 0xC0 != 0x80), at)  # noqa: PLR2004 - UTF-8


def _wrapped(secret: bytes) -> Iterator[bytes]:
    """Yield the lines that tools break a long secret into when they encode it from its beginning."""
    if len(secret) > LONGEST_WRAPPED:
        return
    for size in _BYTES_OF_BASE64_LINE:
        for line in _every(size, secret):
            text = base64.b64encode(line)[: len(line) * 8 // 6]
            yield from (text, text.translate(_URL_SAFE))
    for line in _every(_BYTES_OF_HEX_LINE, secret):
        yield from _as_hex(line)


def _every(size: int, secret: bytes) -> Iterator[bytes]:
    if len(secret) > size:
        yield from (secret[start : start + size] for start in range(0, len(secret) - FLOOR + 1, size))
