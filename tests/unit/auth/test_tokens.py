"""Tokens: made once, proved by every one of their characters."""

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest

from cmdhttp.auth.principal import Authenticator, Evidence, Principal
from cmdhttp.auth.tokens import ENTROPY_BYTES, NewToken, TokenRecord, digest, mint, verify
from cmdhttp.errors import Unauthenticated

TOKEN = mint(bytes(range(ENTROPY_BYTES)))
OTHER = mint(bytes(range(1, ENTROPY_BYTES + 1)))
RECORD = TokenRecord(id=TOKEN.id, principal="p", sha256=bytes.fromhex(TOKEN.sha256), expires=None)
TABLE = {TOKEN.id: RECORD}


def authenticate(
    *headers: bytes, source: str | None = "192.0.2.1", table: Mapping[str, TokenRecord] = TABLE, now: float = 0.0
) -> Principal:
    chain = Authenticator(tokens=lambda: table, now=lambda: now)
    return chain.authenticate(Evidence(authorization=headers, source=source))


def bearer(token: str = TOKEN.token) -> bytes:
    return b"Bearer " + token.encode()


def test_the_form() -> None:
    """A token has its form, shows its id, and is known by the sha256 of the whole."""
    assert re.fullmatch(r"cmdh_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", TOKEN.token)
    assert TOKEN.token[5:13] == TOKEN.id
    assert TOKEN.sha256 == hashlib.sha256(TOKEN.token.encode()).hexdigest()


def test_a_token_is_made_of_all_its_bytes() -> None:
    """The same random bits make the same token: id from the last eight bytes, secret from the rest, checksum at the end."""
    assert mint(bytes(range(ENTROPY_BYTES))) == NewToken(
        token="cmdh_UyNnS4W7_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1yB6Nm",
        id="UyNnS4W7",
        sha256="8b3604a1d9a89f05cf0efde638ff082a1355950728afeac967c4e01b85659e20",
    )


@pytest.mark.parametrize("entropy", [bytes(ENTROPY_BYTES), b"\xff" * ENTROPY_BYTES])
def test_every_entropy_makes_a_token(entropy: bytes) -> None:
    """The least and the greatest number of random bits make tokens of the same form."""
    new = mint(entropy)
    assert verify(new.token, table={new.id: replace(RECORD, sha256=digest(new.token))}, now=0)


@pytest.mark.parametrize("size", [0, ENTROPY_BYTES - 1, ENTROPY_BYTES + 1])
def test_entropy_is_never_too_short(size: int) -> None:
    """Less or more entropy than asked for makes no token."""
    with pytest.raises(ValueError, match="40 bytes"):
        mint(bytes(size))


def test_another_byte_another_token() -> None:
    """Each single byte of entropy has its part in the token."""
    tokens = {
        mint(bytes(7 if place == changed else 0 for place in range(ENTROPY_BYTES))).token for changed in range(40)
    }
    assert len(tokens) == ENTROPY_BYTES


def test_a_live_token() -> None:
    """The token itself is accepted, with no end or before its end."""
    assert verify(TOKEN.token, table=TABLE, now=1e12) is RECORD
    dying = {TOKEN.id: replace(RECORD, expires=100.0)}
    assert verify(TOKEN.token, table=dying, now=99.999) is dying[TOKEN.id]


@pytest.mark.parametrize("now", [100.0, 100.001, 1e12])
def test_an_expired_token(now: float) -> None:
    """From the second of its end on a token proves nothing."""
    assert verify(TOKEN.token, table={TOKEN.id: replace(RECORD, expires=100.0)}, now=now) is None


def test_one_character_off() -> None:
    """Every change of any one character, and every one dropped or doubled, is refused."""
    token = TOKEN.token
    for place, char in enumerate(token):
        other = "A" if char != "A" else "B"
        for changed in (
            token[:place] + other + token[place + 1 :],
            token[:place] + token[place + 1 :],
            token[:place] + char + token[place:],
        ):
            assert changed == token or verify(changed, table=TABLE, now=0) is None


def test_the_checksum_alone_is_not_enough() -> None:
    """A well-formed token with the right id and a right checksum is refused if its secret is another."""
    forged = mint(bytes(32) + bytes(range(32, 40)))
    assert forged.id == TOKEN.id
    assert verify(forged.token, table=TABLE, now=0) is None


def test_a_wrong_checksum_is_refused_even_if_recorded() -> None:
    """A text without its checksum is no token, whatever digest the policy holds."""
    text = TOKEN.token[:-6] + "000000"
    assert verify(text, table={TOKEN.id: replace(RECORD, sha256=digest(text))}, now=0) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cmdh_",
        OTHER.token,
        TOKEN.token + "\n",
        " " + TOKEN.token,
        TOKEN.token.upper(),
        TOKEN.token.replace("_", "-"),
        TOKEN.token[:-1] + "é",
        TOKEN.token[:-1] + "\x00",
        TOKEN.token[:-1] + "\ud800",
        "\u212a" * 63,
        "😀" * 63,
        "cmdh_" + "\u0661" * 8 + "_" + "A" * 49,
        "cmdh_" + "A" * 100_000,
        "\x00",
    ],
)
def test_anything_else(text: str) -> None:
    """Unknown ids, other scripts, half characters and very long texts are refused without an exception."""
    assert verify(text, table=TABLE, now=0) is None


def test_a_digest_of_zeros_matches_nothing() -> None:
    """A record whose digest is the stand-in for unknown ids proves nobody."""
    assert verify(TOKEN.token, table={TOKEN.id: replace(RECORD, sha256=bytes(32))}, now=0) is None


def test_secrets_are_not_shown() -> None:
    """Neither a new token nor a record shows its secret in a log or traceback."""
    assert TOKEN.token not in repr(TOKEN)
    assert repr(RECORD.sha256) not in repr(RECORD)
    assert isinstance(TOKEN, NewToken)


def test_who_it_is() -> None:
    """One live token is a principal, with the token's id as credential and the peer as source."""
    expected = Principal(name="p", method="token", credential=TOKEN.id, source="192.0.2.1")
    for scheme in (b"Bearer", b"bearer", b"BEARER"):
        assert authenticate(scheme + b" " + TOKEN.token.encode()) == expected
    assert authenticate(bearer() + b" ") == expected


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (b"",),
        (b"Bearer",),
        (b"Bearer ",),
        (TOKEN.token.encode(),),
        (b"Basic " + TOKEN.token.encode(),),
        (b"Bearer" + TOKEN.token.encode(),),
        (b"Bearer\t" + TOKEN.token.encode(),),
        (bearer(), bearer()),
        (bearer(), b""),
        (bearer() + b"," + bearer(),),
        (bearer(OTHER.token),),
        (b"Bearer \xff\xfe",),
        (b"Bearer " + bytes(range(256)),),
        (b"\xc3\xa9 " + TOKEN.token.encode(),),
        (b"Bearer " + b"x" * 40_000,),
    ],
)
def test_one_answer_for_every_failure(headers: tuple[bytes, ...]) -> None:
    """Whatever is wrong, the answer is the same refusal and never an error of another kind."""
    with pytest.raises(Unauthenticated) as caught:
        authenticate(*headers)
    assert str(caught.value) == str(Unauthenticated())


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("198.51.100.7", True),
        ("198.51.101.7", False),
        ("::ffff:198.51.100.7", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        (None, False),
        ("", False),
        ("unix:", False),
        ("198.51.100.7:80", False),
        ("198.51.100.07", False),
    ],
)
def test_where_it_comes_from(source: str | None, *, allowed: bool) -> None:
    """A token bound to networks holds from an address in one of them and from nowhere else."""
    bound = {TOKEN.id: replace(RECORD, sources=(ip_network("198.51.100.0/24"), ip_network("2001:db8::/64")))}
    if allowed:
        assert authenticate(bearer(), source=source, table=bound).source == source
    else:
        with pytest.raises(Unauthenticated):
            authenticate(bearer(), source=source, table=bound)


def test_a_token_ends_while_the_service_runs() -> None:
    """The clock is read at each call, so a token proves somebody until its last moment and nobody from then on."""
    dying = {TOKEN.id: replace(RECORD, expires=100.0)}
    assert authenticate(bearer(), table=dying, now=99.0).name == "p"
    with pytest.raises(Unauthenticated):
        authenticate(bearer(), table=dying, now=100.0)


def test_the_table_is_read_at_each_call() -> None:
    """A token that a new policy no longer holds is refused at once."""
    tables = [TABLE, {}]
    chain = Authenticator(tokens=lambda: tables.pop(0), now=lambda: 0.0)
    evidence = Evidence(authorization=[bearer()], source=None)
    assert chain.authenticate(evidence).name == "p"
    with pytest.raises(Unauthenticated):
        chain.authenticate(evidence)


def test_base62_only() -> None:
    """A token holds letters, digits and two underscores, so scanners and shells take it whole."""
    assert set(TOKEN.token) <= set(string.ascii_letters + string.digits + "_")
