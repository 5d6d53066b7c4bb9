"""Patterns: anchored whatever they hold, linear whatever they say."""

import time

import pytest

from cmdhttp.policy.params.patterns import MAX_PATTERN, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", "empty"),
        ("a" * (MAX_PATTERN + 1), "longer than"),
        ("(?=a)a", "look-around"),
        ("(?!a)b", "look-around"),
        ("(?<=a)b", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "back-references"),
        ("(?P<n>a)(?P=n)", "back-references"),
        ("a)|(?:.*", "unopened group"),
        ("a)", "unopened group"),
        ("(a", "unclosed group"),
        ("[a", "unclosed character class"),
        ("a\\", "incomplete escape"),
        ("(?x)a # comment", "verbose mode"),
        ("(?xi)a # comment", "verbose mode"),
        ("(?i-x)a", "verbose mode"),
        ("(?x:a # )\n)", "verbose mode"),
        ("a(?#comment)", "does not compile"),
        ("(?>a)", "does not compile"),
        ("(a{1000}){1000}", "too large"),
    ],
    ids=ascii,
)
def test_a_pattern_that_cannot_be_trusted_does_not_load(pattern: str, text: str) -> None:
    """The reason is in the error, in words for the policy's author."""
    with pytest.raises(ValueError, match=text):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("a|b", "b", "ab"),
        ("a|b", "a", "a\n"),
        ("^a|b$", "a", "ab"),
        ("(?m)^a$", "a", "x\na"),
        ("(?s).", "\n", "ab"),
        ("(?i)a", "A", "AA"),
        (r"\(?x\)?", "(x)", "y"),
        (r"[)]", ")", "]"),
        (r"\Aa\z", "a", "aa"),
        (r"a\\", "a\\", "a"),
        ("#", "#", "##"),
    ],
    ids=ascii,
)
def test_a_pattern_matches_the_whole_value_only(pattern: str, good: str, bad: str) -> None:
    """Alternatives, flags and anchors within a pattern do not open its ends."""
    compiled = compile_pattern(pattern)
    assert compiled.matches(good)
    assert not compiled.matches(bad)


def test_a_pattern_takes_linear_time() -> None:
    """The classic trap of a backtracking engine is over at once."""
    started = time.perf_counter()
    assert not compile_pattern("(a+)+b").matches("a" * 8000)
    assert time.perf_counter() - started < 1


def test_two_compilations_of_one_text_are_equal() -> None:
    """A pattern is its text."""
    first = compile_pattern("a+")
    compile_pattern.cache_clear()
    assert first == compile_pattern("a+")


@pytest.mark.parametrize(
    ("pattern", "schema"),
    [
        ("[a-z]{1,8}", "^(?:[a-z]{1,8})$"),
        (r"a|\d+\.b", r"^(?:a|\d+\.b)$"),
        ("(?i)a", None),
        (r"\pL", None),
        (r"\Aa\z", None),
        ("[a&&b]", None),
        ("[[:alpha:]]", None),
        ("(?P<n>a)", None),
    ],
    ids=ascii,
)
def test_a_json_schema_gets_only_what_ecma_reads_alike(pattern: str, schema: str | None) -> None:
    """What only the Rust engine understands stays out of the JSON Schema."""
    assert compile_pattern(pattern).for_json_schema == schema
