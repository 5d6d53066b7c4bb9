"""The lines of a known_hosts file or of a file of authorities, as far as one can tell a key from anything else.

A line is blank, a comment, or `[@marker] hosts type key`, the key in base64; of an authority only `type key`. Whether it is
the right key is not asked.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

_MARKERS = (b"@cert-authority", b"@revoked")
_TYPE = re.compile(rb"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9-]+(@openssh\.com)?\Z")
_FEWEST = 2
_MOST = 1 << 20


def read_beginning(path: Path) -> bytes:
    """Return the whole lines of the first MiB of a file; nothing if it cannot be read from here."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST)
    except OSError:
        return b""
    return data if len(data) < _MOST else data[: data.rfind(b"\n") + 1]


def bad_lines(data: bytes, *, hosts: bool = True) -> Iterator[int]:
    """Yield the numbers, from 1, of the lines that are no keys; `hosts` says whether each names its hosts."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        words = line.split()
        if words and not words[0].startswith(b"#") and not _is_key(_after_hosts(words) if hosts else words):
            yield number


def _after_hosts(words: list[bytes]) -> list[bytes]:
    return words[2:] if words[0] in _MARKERS else words[1:]


def _is_key(fields: list[bytes]) -> bool:
    return len(fields) >= _FEWEST and bool(_TYPE.match(fields[0])) and _is_base64(fields[1])


def _is_base64(text: bytes) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False
