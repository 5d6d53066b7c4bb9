"""Time-ordered identifiers: a prefix and a ULID (48 bits of milliseconds, 80 random bits, Crockford base32).

The server makes every id; none is ever taken from a caller, so an id is safe as a file name.
Format after https://github.com/ulid/spec.
"""

import re

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_CHARS = 26
_RANDOM_BITS = 80
_JOB_ID = re.compile(r"job_[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


def ulid(*, unix_ms: int, entropy: bytes) -> str:
    """Return 26 characters that sort by time. `entropy` must be 10 random bytes."""
    if len(entropy) * 8 != _RANDOM_BITS:
        raise ValueError("a ULID takes 10 bytes of entropy")
    number = ((unix_ms & ((1 << 48) - 1)) << _RANDOM_BITS) | int.from_bytes(entropy, "big")
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(_ULID_CHARS)))


def job_id(*, unix_ms: int, entropy: bytes) -> str:
    return "job_" + ulid(unix_ms=unix_ms, entropy=entropy)


def is_job_id(text: str) -> bool:
    return _JOB_ID.match(text) is not None
