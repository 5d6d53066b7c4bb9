"""Bearer tokens: `cmdh_<8 id>_<43 secret><6 crc32>`, base62 throughout.

The id is public and finds the record; the 43 characters hold 256 random bits; the checksum lets scanners and typing
errors be told apart from guesses. Only the sha256 of the whole token is kept, and it is compared in constant time as
bytes. A plain hash is right for 256 random bits; a slow one would only help whoever wants to exhaust the service.
"""

import hashlib
import hmac
import re
import string
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARS, _SECRET_CHARS, _CRC_CHARS = 8, 43, 6
_TOKEN = re.compile(r"cmdh_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})\Z")
_NO_DIGEST = bytes(32)

ENTROPY_BYTES = 40
"""How many random bytes `mint` takes: 32 for the secret, 8 for the id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What the policy knows of a token. `expires` is a Unix time; the token is dead from that second on."""

    id: str
    principal: str
    sha256: bytes = field(repr=False)
    expires: float | None
    sources: tuple[IPv4Network | IPv6Network, ...] = ()


TokenTable = Mapping[str, TokenRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token just made: `token` is shown once and kept nowhere."""

    token: str = field(repr=False)
    id: str
    sha256: str


def mint(entropy: bytes) -> NewToken:
    """Make a token from `ENTROPY_BYTES` random bytes."""
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a token takes {ENTROPY_BYTES} bytes of entropy")
    token_id = _base62(int.from_bytes(entropy[32:]), _ID_CHARS)
    body = f"cmdh_{token_id}_{_base62(int.from_bytes(entropy[:32]), _SECRET_CHARS)}"
    token = body + _checksum(body)
    return NewToken(token=token, id=token_id, sha256=digest(token).hex())


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def verify(token: str, *, table: TokenTable, now: float) -> TokenRecord | None:
    """Return the live record that `token` proves, or None. The work done does not tell which check failed."""
    shape = _TOKEN.match(token)
    well_formed = shape is not None and _checksum(token[:-_CRC_CHARS]) == shape[3]
    record = table.get(shape[1]) if shape else None
    same = hmac.compare_digest(digest(token), record.sha256 if record else _NO_DIGEST)
    if not (well_formed and record and same):
        return None
    return record if record.expires is None or now < record.expires else None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CRC_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_BASE62[rest])
    return "".join(reversed(digits))
