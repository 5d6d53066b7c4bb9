"""Where a stream is cut: between characters, whatever the reads were."""

import pytest

from cmdhttp.jobs.recorder import Splitter

TEXT = "aé€😀\u0301z\n"


@pytest.mark.parametrize("cut", range(len(TEXT.encode()) + 1))
def test_cut_at_every_byte(cut: int) -> None:
    """Wherever a read ends, what is told is whole characters, and the rest follows."""
    data, splitter = TEXT.encode(), Splitter()
    first, second, rest = splitter.feed(data[:cut]), splitter.feed(data[cut:]), splitter.rest()
    assert first.decode() + second.decode() == TEXT
    assert rest == b""
    assert cut - len(first) <= 3


@pytest.mark.parametrize(
    ("data", "told", "held"),
    [
        (b"", b"", b""),
        (b"abc", b"abc", b""),
        (b"a\xc3", b"a", b"\xc3"),
        (b"a\xe2\x82", b"a", b"\xe2\x82"),
        (b"a\xf0\x9f\x98", b"a", b"\xf0\x9f\x98"),
        (b"\x80\x80\x80", b"\x80\x80\x80", b""),
        (b"\xff", b"\xff", b""),
        (b"a\xc0\x80", b"a\xc0\x80", b""),
        (b"a\xf5", b"a\xf5", b""),
        (b"\xc3\xa9\x80", b"\xc3\xa9\x80", b""),
    ],
)
def test_what_is_held(data: bytes, told: bytes, held: bytes) -> None:
    """Only the start of a character that could still be completed is held back."""
    splitter = Splitter()
    assert (splitter.feed(data), splitter.rest()) == (told, held)
