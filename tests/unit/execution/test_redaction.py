"""What is masked in output, when it is told, and what is held back."""

import base64
import gc
import weakref

import pytest

from cmdhttp.execution import redaction
from cmdhttp.execution.redaction import LONGEST_LINE, MASK, OVERLAP, Redactor, Rules
from cmdhttp.execution.spellings import FLOOR, LONGEST_PIECE, spellings

PEM = b"-----BEGIN PRIVATE KEY-----\n" + b"\n".join(
    base64.b64encode(bytes(range(start, start + 48))) for start in range(0, 192, 48)
)
PEM += b"\n-----END PRIVATE KEY-----\n"


def redactor(*secrets: bytes, masks: tuple[str, ...] = ()) -> Redactor:
    rules = Rules.of(secrets, masks)
    assert rules is not None
    return Redactor(rules)


def told(data: bytes, *secrets: bytes, masks: tuple[str, ...] = (), size: int = 1 << 20) -> bytes:
    stream = redactor(*secrets, masks=masks)
    reads = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(map(stream.feed, reads)) + stream.rest()


@pytest.mark.parametrize("secrets", [(), (b"",), (b"abc",), (b" \n ",), (b"a\nb\n ",)])
def test_nothing_to_mask_is_no_rules(secrets: tuple[bytes, ...]) -> None:
    """Without a secret of some length and without a mask there is nothing to do, and nobody to do it."""
    assert Rules.of(secrets, ()) is None


def test_runs_at_the_same_time_share_rules() -> None:
    """They are made once, and gone with the last run that uses them."""
    first, second = Rules.of((b"shared-one",), ("x=y",)), Rules.of((b"shared-one",), ("x=y",))
    assert first is second is not None
    seen = weakref.ref(first)
    assert "shared-one" not in repr(first)
    del first, second
    gc.collect()
    assert seen() is None
    assert not [secrets for secrets, _ in redaction._in_use if b"shared-one" in secrets]


@pytest.mark.parametrize(
    ("secret", "spelled"),
    [
        (b"pa ss/w\xc3\xb6rd", b"pa ss/w\xc3\xb6rd"),
        (b"pa ss/w\xc3\xb6rd", b"70612073732f77c3b67264"),
        (b"pa ss/w\xc3\xb6rd", b"70612073732F77C3B67264"),
        (b"pa ss/w\xc3\xb6rd", b"pa%20ss%2Fw%C3%B6rd"),
        (b"pa ss/w\xc3\xb6rd", b"pa%20ss%2fw%c3%b6rd"),
        (b"pa ss/w\xc3\xb6rd", b"pa%20ss/w%C3%B6rd"),
        (b"pa ss/w\xc3\xb6rd", b"pa+ss%2Fw%C3%B6rd"),
        (b"pa ss/w\xc3\xb6rd", b"pa ss/w\\u00f6rd"),
        (b"pa ss/w\xc3\xb6rd", b"pa ss/w\\u00F6rd"),
        (b"pa ss/w\xc3\xb6rd", b"pa ss\\/w\xc3\xb6rd"),
        (b'a"b<c>\\d', b'a\\"b<c>\\\\d'),
        (b'a"b<c>\\d', b'a\\"b\\u003cc\\u003e\\\\d'),
        (b"it's(1)", b"it's(1)"),
        (b"it's#(1)", b"it's%23(1)"),
        (b"\xfb\xff\xbf\xfb\xff\xbf", b"-_-_-_-_"),
        (b"\xfb\xff\xbf\xfb\xff\xbf", b"+/+/+/+/"),
    ],
)
def test_known_spellings(secret: bytes, spelled: bytes) -> None:
    """As it is, hex, percent, JSON and base64, in the ways that common encoders write them."""
    assert spelled in set(spellings(secret))
    assert told(b"<" + spelled + b">", secret) == b"<***>"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_key_of_many_lines_is_masked(size: int) -> None:
    """Whole, and each of its lines wherever it stands; its line breaks may be others and its lines moved in."""
    assert told(b"key: " + PEM, PEM, size=size) == b"key: ***\n"
    lines = PEM.splitlines()
    seen = told(b"".join(b"   %s\r\n" % line for line in lines), PEM, size=size)
    assert seen == b"   ***\r\n" * len(lines)
    assert told(b"x" + lines[2] + b"x", PEM, size=size) == b"x***x"


@pytest.mark.parametrize("columns", [64, 76])
def test_base64_as_tools_break_it_is_masked(columns: int) -> None:
    """Line by line, as base64 and openssl print a long secret."""
    text = base64.b64encode(PEM)
    lines = [text[start : start + columns] for start in range(0, len(text), columns)]
    seen = told(b"\n".join(lines), PEM)
    assert not [line for line in lines if line[: columns * 2 // 3] in seen]
    assert seen.splitlines()[:-1] == [MASK] * (len(lines) - 1)


def test_hex_as_xxd_breaks_it_is_masked() -> None:
    """Thirty bytes a line, the last but its few."""
    lines = [PEM[start : start + 30].hex().encode() for start in range(0, len(PEM), 30)]
    assert told(b"\n".join(lines), PEM).splitlines()[:-1] == [MASK] * (len(lines) - 1)


def test_a_long_secret_is_masked_in_pieces() -> None:
    """However long it is, nothing of it comes out, and what is held back stays small."""
    secret = b"".join(b"%05d" % number for number in range(2500))
    stream = redactor(secret)
    seen = stream.feed(secret[:-1])
    assert seen == MASK * (len(seen) // 3)
    assert len(seen) // 3 == -(-len(secret) // LONGEST_PIECE) - 1
    assert stream.feed(secret[-1:] + b".") == b"***."
    text = "".join(chr(0x4E00 + number) for number in range(2000)).encode()
    assert told(text, text).strip(b"*") == b""
    binary = bytes(0x80 | number % 64 for number in range(2000))
    assert told(binary, binary).strip(b"*") == b""


def test_secrets_that_overlap_are_one_mask() -> None:
    """No byte of either is left over."""
    assert told(b"xabcXYZw", b"abcX", b"cXYZ") == b"x***w"
    assert told(b"abcdabcd", b"abcd") == b"******"


@pytest.mark.parametrize(("secret", "masks"), [(b"aaaa", 1), (b"abab", 1), (b"abcabcab", 100)])
def test_a_secret_that_repeats_itself(secret: bytes, masks: int) -> None:
    """An endless row of it is masked as it comes; where one overlaps the next, that is one mask, told once."""
    stream = redactor(secret)
    assert b"".join(stream.feed(secret) for _ in range(100)) == MASK * masks
    assert stream.feed(b".x") == b".x"


@pytest.mark.parametrize(
    ("held", "rest"),
    [(b"hun", b"hun"), (b"hunt", MASK), (b"hunter", MASK), (b"6875", MASK), (b"xx", b"")],
)
def test_a_start_at_the_end_is_masked(held: bytes, rest: bytes) -> None:
    """The run may have been cut off in the midst of a secret; a few bytes are too few to tell."""
    stream = redactor(b"hunter2")
    stream.feed(b"..." + held)
    assert stream.rest() == rest
    assert stream.rest() == b""


def test_the_end_of_what_is_masked_already() -> None:
    """What is held and belongs to a mask that was told does not come again."""
    stream = redactor(b"abcdab")
    assert stream.feed(b"abcdab") == MASK
    assert stream.rest() == b""
    stream = redactor(b"abcdabcd")
    assert stream.feed(b"abcdabcd") + stream.rest() == MASK


def test_lines_are_told_at_once() -> None:
    """Nothing waits that is not the start of a secret."""
    stream = redactor(b"hunter2", PEM)
    for line in (b"ready\n", b"no newline!", b"hurry\n", b"\n", b"- item\n"):
        assert stream.feed(line) == line
    assert stream.feed(b"a h") == b"a "
    assert stream.feed(b"at\n") == b"hat\n"
    assert stream.feed(b"hunter") == b""
    assert stream.feed(b"2\n") == b"***\n"


def test_a_mask_holds_a_line_until_it_ends() -> None:
    """And no longer."""
    stream = redactor(masks=("token=[^ ]+",))
    assert stream.feed(b"a tok") == b""
    assert stream.feed(b"en=xyz b\nnext") == b"a *** b\n"
    assert stream.feed(b"\nlast token=x") == b"next\n"
    assert stream.rest() == b"last ***"
    assert stream.rest() == b""


def test_masks_see_what_is_left_of_secrets() -> None:
    """Both nets work together, and bytes that are no text stop neither."""
    seen = told(b"token=hunter2\xff\xfe z hunter2\n", b"hunter2", masks=("token=[^ ]+",))
    assert seen == b"*** z ***\n"


def test_matches_that_touch_or_overlap_are_one_mask() -> None:
    """Of one mask or of several."""
    assert told(b"1111 22 ab\n", masks=("[0-9]",)) == b"*** *** ab\n"
    assert told(b"xabcdx\n", masks=("abc", "cd")) == b"x***x\n"


@pytest.mark.parametrize("size", [999, 4096, 70_000])
@pytest.mark.parametrize("length", [1, 40, OVERLAP - 6])
def test_a_match_at_the_border_of_a_long_line(length: int, size: int) -> None:
    """A line without an end is told in parts, and what is matched is masked wherever a part ends."""
    secret = b"token=" + b"s" * length
    for before in range(LONGEST_LINE - OVERLAP - 20, LONGEST_LINE + OVERLAP + 20, 701):
        line = b"." * before + secret + b"." * 3 * LONGEST_LINE
        assert told(line + b"\n", masks=("token=s+",), size=size) == line.replace(secret, MASK) + b"\n"


def test_a_long_line_is_not_held() -> None:
    """At most the bound and a read wait, and the start of a part is no start of a line."""
    stream = redactor(masks=("^x", r"\bword\b"))
    fed = seen = 0
    for _ in range(100):
        fed += 10_000
        seen += len(stream.feed(b"x" * 10_000))
        assert fed - seen <= LONGEST_LINE + 2
    assert seen + len(stream.rest()) == fed + 2


def test_a_match_without_an_end_masks_the_rest_of_its_line() -> None:
    """What goes on for longer than a line may wait is masked until the line ends, and the next line is not."""
    line = b"a token=" + b"s" * 4 * LONGEST_LINE + b" and this\nnext token=s\n"
    for size in (5_000, 50_000, LONGEST_LINE + 1):
        assert told(line, masks=("token=s+",), size=size) == b"a ***\nnext ***\n"
    assert told(line[: 3 * LONGEST_LINE], masks=("token=s+",), size=5_000) == b"a ***"


def test_two_masks_that_lead_to_the_end_of_a_long_line() -> None:
    """Matches that overlap are held together, so that the second does not come out of the first."""
    line = b"." * (LONGEST_LINE - OVERLAP) + b"a" * OVERLAP + b"b" * OVERLAP
    assert (
        told(line, masks=("a+b?", "ba?b*"), size=LONGEST_LINE + 5) == line.replace(b"a", b"").replace(b"b", b"") + MASK
    )


def test_short_secrets_are_not_masked() -> None:
    """Fewer bytes than the floor would mask every output."""
    assert told(b"pin 123 of 1234", b"123", b"1234") == b"pin 123 of ***"
    assert FLOOR == 4
