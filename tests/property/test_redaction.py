"""What is masked does not hang on how the bytes came in, and is exactly what spells a secret."""

import base64
import json
import random
import re
import string
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Protocol
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cmdhttp.execution.redaction import MASK, Redactor, Rules
from cmdhttp.execution.spellings import FLOOR, spellings

CUTS = st.lists(st.integers(0, 400), max_size=8)
SECRETS = st.binary(min_size=FLOOR, max_size=40).filter(lambda secret: len(secret.strip()) >= FLOOR)


class Stream(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def rest(self) -> bytes: ...


class ByReads:
    """What is often done: every read by itself."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._spellings = sorted(
            {spelled for secret in secrets for spelled in spellings(secret)}, key=len, reverse=True
        )

    def feed(self, data: bytes) -> bytes:
        for spelled in self._spellings:
            data = data.replace(spelled, MASK)
        return data

    def rest(self) -> bytes:
        return b""


def redactor(*secrets: bytes, masks: tuple[str, ...] = ()) -> Redactor:
    rules = Rules.of(secrets, masks)
    assert rules is not None
    return Redactor(rules)


def parts(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    yield from (data[start:end] for start, end in pairwise(places))


def told(stream: Stream, data: bytes, cuts: Iterable[int] = ()) -> bytes:
    return b"".join(stream.feed(part) for part in parts(data, cuts)) + stream.rest()


def after_encoding(secret: bytes, before: bytes, after: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """What real encoders make of some text with the secret in it, and which part of that the secret alone decides."""
    first, last = -(-len(before) * 8 // 6), (len(before) + len(secret)) * 8 // 6
    for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
        yield name, encode(before + secret + after), encode(before + secret + after)[first:last]
    hexed = (before + secret + after).hex()
    part = slice(2 * len(before), 2 * (len(before) + len(secret)))
    yield "hex", hexed.encode(), hexed[part].encode()
    yield "HEX", hexed.upper().encode(), hexed.upper()[part].encode()
    yield "raw", before + secret + after, secret
    yield "percent", quote(before + secret + after, safe="").encode(), quote(secret, safe="").encode()
    yield "form", quote_plus(before + secret + after).encode(), quote_plus(secret).encode()


def check_hidden(make: Callable[[bytes], Stream], secret: bytes, before: bytes, after: bytes, cuts: list[int]) -> None:
    """No encoder's spelling of the secret comes out, wherever the reads fell."""
    for name, text, part in after_encoding(secret, before, after):
        seen = told(make(secret), text, cuts)
        assert part not in seen, name
        assert MASK in seen, name


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SECRETS.filter(lambda secret: secret == secret.strip()), st.binary(max_size=7), st.binary(max_size=7), CUTS)
def test_no_spelling_is_left(secret: bytes, before: bytes, after: bytes, cuts: list[int]) -> None:
    """Any secret, at any place of what is encoded, in any encoding, over any reads."""
    check_hidden(redactor, secret, before, after, cuts)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(min_size=4, max_size=30), st.text(max_size=5), CUTS)
def test_no_json_spelling_is_left(secret: str, before: str, cuts: list[int]) -> None:
    """As text in JSON, in ASCII and not."""
    assume(secret == secret.strip() and len(secret.encode()) >= FLOOR)
    for ascii_only in (True, False):
        text = json.dumps({before: f"{before}{secret}"}, ensure_ascii=ascii_only).encode()
        spelled = json.dumps(secret, ensure_ascii=ascii_only)[1:-1].encode()
        assert spelled not in told(redactor(secret.encode()), text, cuts)


def test_masking_each_read_by_itself_is_not_enough() -> None:
    """The same check fails for what looks at one read at a time, so it can fail."""
    check_hidden(lambda secret: ByReads([secret]), b"correct-horse", b"", b"", [])
    with pytest.raises(AssertionError):
        check_hidden(lambda secret: ByReads([secret]), b"correct-horse", b"", b"", [5])


def test_how_many_leak_by_reads() -> None:
    """Of many secrets cut at random, masking each read leaks most, and this leaks none."""
    chance, leaks = random.Random(4), {"reads": 0, "stream": 0}
    for _ in range(400):
        secret = "".join(chance.choices(string.ascii_letters + string.digits, k=24)).encode()
        _, text, part = chance.choice(list(after_encoding(secret, b"x" * chance.randrange(40), b"y" * 40)))
        cuts = range(chance.randrange(1, 16), len(text), 16)
        for way, stream in (("reads", ByReads([secret])), ("stream", redactor(secret))):
            leaks[way] += part in told(stream, text, cuts)
    assert leaks["stream"] == 0
    assert leaks["reads"] > 300


def all_needles(secrets: Iterable[bytes]) -> set[bytes]:
    return {spelled for secret in secrets for spelled in spellings(secret) if len(spelled) >= FLOOR}


def by_the_law(data: bytes, needles: set[bytes]) -> bytes:
    """What should come out of the whole: every occurrence masked, those that overlap as one; an open end likewise."""
    spans = sorted(
        (match.start(), match.start() + len(needle))
        for needle in needles
        for match in re.finditer(b"(?=" + re.escape(needle) + b")", data)
    )
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    held = next(at for at in range(len(data) + 1) if any(n.startswith(data[at:]) and n != data[at:] for n in needles))
    if len(data) - held >= FLOOR:
        merged = [span for span in merged if span[0] < held]
        if merged and held < merged[-1][1]:
            merged[-1] = merged[-1][0], len(data)
        else:
            merged.append((held, len(data)))
    out, place = b"", 0
    for start, end in merged:
        out, place = out + data[place:start] + MASK, end
    return out + data[place:]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    st.lists(st.text("ab", min_size=4, max_size=9).map(str.encode), min_size=1, max_size=3),
    st.one_of(st.text("abc", max_size=60), st.text("ab", max_size=4).map(lambda text: f"{text * 25}c{text * 15}")).map(
        str.encode
    ),
    CUTS,
)
def test_exactly_what_spells_a_secret_is_masked(secrets: list[bytes], data: bytes, cuts: list[int]) -> None:
    """Also where secrets overlap, repeat themselves or begin like each other: the same as a slow search of the whole."""
    assert told(redactor(*secrets), data, cuts) == by_the_law(data, all_needles(secrets))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(SECRETS, min_size=1, max_size=3), st.binary(max_size=200), CUTS)
def test_other_text_is_unchanged(secrets: list[bytes], data: bytes, cuts: list[int]) -> None:
    """Where no spelling is, nothing changes, is lost or moved."""
    pieces = [secret.strip() for secret in secrets] + [
        line.strip() for secret in secrets for line in secret.splitlines()
    ]
    assume(not any(needle[:FLOOR] in data for needle in all_needles(pieces)))
    assert told(redactor(*secrets), data, cuts) == data


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SECRETS, st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 40))
def test_only_the_start_of_a_spelling_is_held(secret: bytes, reads: list[bytes], size: int) -> None:
    """After each read, what has not been told could still become a secret, and is shorter than its longest spelling."""
    stream = redactor(secret)
    (stage,) = stream._stages
    for read in [*reads, secret[:size]]:
        stream.feed(read)
        held = stage._held  # type: ignore[union-attr]
        assert not held or any(needle.startswith(held) and needle != held for needle in stage._secrets._needles)  # type: ignore[union-attr]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("ab= \n", max_size=80).map(str.encode), CUTS)
def test_masks_are_applied_line_by_line(data: bytes, cuts: list[int]) -> None:
    """As if each line stood alone: nothing spans two, and ^ and $ are its ends."""
    masks = ("a=[^x]*b", "^b+", " $")
    seen = told(redactor(masks=masks), data, cuts)
    expected = []
    for line in data.split(b"\n"):
        covered = {
            at for mask in masks for m in re.finditer(b"(?:" + mask.encode() + b")+", line) for at in range(*m.span())
        }
        expected.append(bytes(byte for at, byte in enumerate(line) if at not in covered))
    assert seen.replace(MASK, b"") == b"\n".join(expected)
    assert seen.count(b"\n") == data.count(b"\n")


def test_the_most_that_a_call_can_send_is_masked() -> None:
    """A mebibyte of short lines, and many bytes that are no text; only white space is left of it."""
    lines = b"\n".join(b"%06d" % number for number in range(140_000))
    rules = Rules.of((lines,), ())
    assert rules is not None
    assert told(Redactor(rules), lines).translate(None, MASK + string.whitespace.encode()) == b""
    assert told(Redactor(rules), b"000001 and 000999") == b"*** and ***"
    noise = random.Random(7).randbytes(1 << 17)
    assert told(redactor(noise), noise).translate(None, MASK + string.whitespace.encode()) == b""


def test_a_row_that_repeats_itself_is_masked_in_no_time() -> None:
    """Whether it is a secret over and over, or nearly one: it takes no search for each byte."""
    since = time.process_time()
    assert told(redactor(b"abababab"), b"ab" * 1_000_000) == MASK
    assert told(redactor(b"a" * 25 + b"b"), b"a" * 2_000_000 + b"c") == b"a" * 2_000_000 + b"c"
    assert told(redactor(b"0123456789abcdefgh"), b"0123456789abcdefgh" * 100_000) == MASK * 100_000
    assert time.process_time() - since < 3
