"""What a terminal is sent of a command's output."""

import random
import unicodedata

import pytest

from cmdhttp.cli.calls.escaping import Escaper, escaped


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain\n\ttext", "plain\n\ttext"),
        ("é ü 漢 🙂 a\u00a0b".encode(), "é ü 漢 🙂 a\u00a0b"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b1m\x9d52;\x9c".encode(), "\\x9b1m\\x9d52;\\x9c"),
        (b"\x9b1m", "\\x9b1m"),
        (b"a\x08b\x7fc\x00", "a\\x08b\\x7fc\\x00"),
        ("a\u202eb\u2066c\u2069\u200bd\ufeff".encode(), "a\\u202eb\\u2066c\\u2069\\u200bd\\ufeff"),
        ("a\u2028b\u2029\U000e0041".encode(), "a\\u2028b\\u2029\\U000e0041"),
        (b"dos\r\nline", "dos\nline"),
        (b"seen\rhidden", "seen\\rhidden"),
        (b"end\r", "end\\r"),
        (b"\r\r\n", "\\r\n"),
        (b"\xff\xfe\xc3", "\\xff\\xfe\\xc3"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_what_is_shown(data: bytes, shown: str) -> None:
    """Text passes; what steers, hides or turns is shown as an escape, and so are bytes that are no text."""
    assert Escaper().feed(data, last=True) == shown


def test_pieces_make_no_difference() -> None:
    """However the output is cut into pieces, the same is shown, and never a control character but line feed and tab."""
    rng = random.Random(7)
    for _ in range(300):
        data = bytes(rng.choice(b"a\n\r\x1b\x9b\xc3\xa9\xe2\x80\xae\xf0\x9f\x99\x82\t\x00") for _ in range(40))
        whole, piecewise, place = Escaper(), Escaper(), 0
        shown = ""
        while place < len(data):
            size = rng.randrange(1, 6)
            shown += piecewise.feed(data[place : place + size])
            place += size
        shown += piecewise.feed(b"", last=True)
        assert shown == whole.feed(data, last=True)
        assert not {char for char in shown if unicodedata.category(char)[0] == "C"} - {"\n", "\t"}


def test_text_is_escaped_alike() -> None:
    """A name or a message is treated as output is."""
    assert escaped("web\x1b[2J\r") == "web\\x1b[2J\\r"
    assert escaped("half \ud800") == "half \\ud800"
