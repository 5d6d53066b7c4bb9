"""Which masks are taken, what they match, and that nothing of a run's patterns stays behind."""

import time

import pytest
import re2  # type: ignore[import-untyped]

from cmdhttp.linear import MAX_MASK, compile_any_of, compile_mask


@pytest.mark.parametrize(
    ("pattern", "text", "spans"),
    [
        (r"(?i)bearer [a-z0-9._-]+", b"Authorization: BEARER a.b-c\n", [(15, 27)]),
        (r"token=\S+", b"token=a\xff\xfeb c", [(0, 10)]),
        (r"a.c", b"a\xffc a\nc", [(0, 3)]),
        (r"^b.*$", b"a\nbcc\nbd", [(2, 5), (6, 8)]),
        (r"token=[^ ]+", b"token=a\nb", [(0, 7)]),
        (r"a\D+", b"a\nb ab", [(4, 6)]),
        (r"caf\xc3\xa9", "un café".encode(), [(3, 8)]),
        (r"a|b", b"aab b", [(0, 3), (4, 5)]),
        (r"(?P<x>a)(?:b)(?i:C)", b"abc", [(0, 3)]),
        (r"\\n", b"\\n\n", [(0, 2)]),
        (r"x*y", b"xxy xx", [(0, 3)]),
        (r"x(y|$)", b"x\n", [(0, 1)]),
    ],
)
def test_what_a_mask_matches(pattern: str, text: bytes, spans: list[tuple[int, int]]) -> None:
    """Bytes of one line, whatever they are; matches that touch are one."""
    assert list(compile_mask(pattern).find(text)) == spans


def test_what_is_before_is_looked_back_at() -> None:
    """A search that begins later knows that a line and a word began before."""
    assert list(compile_mask("^b").find(b"abc", since=1)) == []
    assert list(compile_mask(r"\bb").find(b"a b", since=2)) == [(2, 3)]
    assert list(compile_mask(r"x|\bb").find(b"ab x", since=1)) == [(3, 4)]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "the pattern is empty"),
        ("x" * (MAX_MASK + 1), "longer than 2000 characters"),
        ("(?=x)", "look-around is refused"),
        ("(?<!x)y", "look-around is refused"),
        (r"(a)\1", "back-references are refused"),
        ("(?P<a>x)(?P=a)", "back-references are refused"),
        ("(a", "the pattern does not compile: missing ): (a"),
        ("a)|(b", "the pattern does not compile: unexpected ): a)|(b"),
        ("[a", "the pattern does not compile: missing ]"),
        ("a**", "the pattern does not compile: bad repetition operator"),
        ("((a{100}){100}){100}", "the pattern does not compile: invalid repetition size"),
        (r"\q", "the pattern does not compile: invalid escape sequence"),
        ("x*", "matches the empty text"),
        ("a|", "matches the empty text"),
        ("^", "matches the empty text"),
        (r"\b", "matches the empty text"),
        (r"\B", "matches the empty text"),
        ("a\nb", "cannot hold a line break"),
        (r"a\nb", "cannot hold a line break"),
        (r"\Aab", "write ^ for the start of a line"),
        (r"ab\z", "write $ for the end of a line"),
        (r"ab\Z", "write $ for the end of a line"),
        (r"a\Cb", "write . for any byte"),
        (r"\pL+", "a mask matches bytes"),
        (r"\P{Greek}x", "a mask matches bytes"),
        ("caf\u00e9", r"character 4 is not ASCII: a mask matches bytes; write \xc3\xa9"),
        ("\ud800x", r"write \xed\xa0\x80"),
        ("(?s)a.b", r"of the flags only (?i) is taken"),
        ("(?m)^a", r"of the flags only (?i) is taken"),
        ("(?-m:^a)", r"of the flags only (?i) is taken"),
        ("(?x)a b", r"of the flags only (?i) is taken"),
        ("(?i-s:a)", r"of the flags only (?i) is taken"),
    ],
)
def test_what_no_mask_is(pattern: str, reason: str) -> None:
    """Each with a reason that says what to write."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is what is looked at
        compile_mask(pattern)
    assert reason in str(caught.value)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "a*a*a*a*a*b", "(.*)(.*)(.*)(.*)x"])
def test_no_output_makes_a_mask_slow(pattern: str) -> None:
    """What takes a backtracking engine ages takes time linear in the output."""
    mask, since = compile_mask(pattern), time.monotonic()
    assert list(mask.find(b"a" * 300_000)) == []
    assert time.monotonic() - since < 5


def test_any_of_many_texts_is_found_as_it_stands() -> None:
    """Also what would mean something in a pattern, NUL and line breaks, and among very many."""
    texts = [b"a.b", b"c|d", b"(e", b"\0\n\xff", *(b"number%dx" % number for number in range(5000))]
    pattern = compile_any_of(texts)
    for text in texts[:50]:
        found = pattern.search(b"axb cd e " + text + b" ")
        assert found is not None
        assert (found.start(), found.end()) == (9, 9 + len(text))
    assert pattern.search(b"axb cd e number5000x") is None


def test_no_pattern_stays_in_the_library() -> None:
    """What is made of a secret is gone with its run."""
    compile_any_of([b"a secret"])
    assert re2._Regexp._make.cache_info().currsize == 0
