"""When a policy is loaded again, and how a load that failed is told."""

import pytest

from cmdhttp.errors import ConfigError
from cmdhttp.policy.findings import Finding, PolicyError, Position
from cmdhttp.reload.debounce import Debounce
from cmdhttp.reload.reloader import Failure

LOOK = 0.125
"""Seconds between two looks; three of them are a settle time and more."""


def due(states: str, *, every: float = LOOK) -> list[int]:
    """The looks, by number, that are told to load; state `a` is loaded at first."""
    debounce = Debounce(loaded="a")
    told = []
    for number, state in enumerate(states):
        if debounce.look(state, now=number * every, failing=False):
            told.append(number)
            debounce.load(now=number * every)
    return told


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("aaaaaaaaaa", []),
        ("abbbbbbbbbbb", [4]),
        ("abcdefffffff", [8]),
        ("abbbbbccccccc", [4, 9]),
        ("abbaaaaaaaaa", []),
        ("abbbbbaaaaaaa", [4, 9]),
        ("abcbcbbbbbbb", [8]),
    ],
    ids=["at rest", "one change", "many", "two in a row", "taken back", "loaded, then taken back", "to and fro"],
)
def test_a_change_is_loaded_once_it_has_come_to_rest(states: str, expected: list[int]) -> None:
    """Three tenths of a second without a change make one load of whatever came before."""
    assert due(states) == expected


def test_what_never_rests_is_loaded_all_the_same() -> None:
    """A source that changes at every look is loaded every ten seconds or so."""
    states = "a" + "bc" * 125
    assert due(states) == [81, 162, 243]


def test_rest_is_a_matter_of_time_not_of_looks() -> None:
    """However often or seldom somebody looks, a change has to last; a slow look sees that it did at once."""
    assert due("a" + "b" * 50, every=1 / 64) == [21]
    assert due("abb", every=2.0) == [2]


def test_a_failure_is_tried_again_by_and_by() -> None:
    """What failed may be well again though no file has changed, so it is tried again each half minute, never faster."""
    debounce = Debounce(loaded="a")
    assert debounce.look("a", now=0.0, failing=True)
    debounce.load(now=0.0)
    assert not debounce.look("a", now=29.9, failing=True)
    assert debounce.look("a", now=30.0, failing=True)
    debounce.load(now=30.0)
    assert not debounce.look("a", now=59.9, failing=True)
    assert debounce.look("a", now=60.0, failing=True)
    assert not debounce.look("a", now=90.0, failing=False)


def test_it_looks_closer_while_a_change_settles() -> None:
    """`restless` is true from the first sight of a change until there is none for the settle time."""
    debounce = Debounce(loaded="a")
    seen = []
    for number, state in enumerate("abbbbaba"):
        if debounce.look(state, now=number * LOOK, failing=False):
            debounce.load(now=number * LOOK)
        seen.append(debounce.restless)
    assert seen == [False, True, True, True, False, True, True, True]


def finding(line: int, code: str = "P203") -> Finding:
    return Finding(
        code=code, message=f"unknown key 'k{line}'", at=Position(file="p/a.yaml", line=line, column=1), hint="h"
    )


def test_findings_are_told_as_check_prints_them() -> None:
    """Each is its first line; how many there are, the first ones, and what stays in force are one line."""
    failure = Failure.of(PolicyError([finding(1), finding(2, "P202"), finding(3)]))
    assert failure.codes == ("P202", "P203")
    assert failure.told(digest="sha256:d", shown=1) == (
        "3 errors, the first: p/a.yaml:1:1: P203 unknown key 'k1'; the policy sha256:d stays in force"
    )
    assert failure.told(digest="sha256:d", shown=3).startswith("3 errors: p/a.yaml:1:1: ")
    one = Failure.of(PolicyError([finding(1)]))
    assert one.told(digest="d", shown=1).startswith("1 error: p/a.yaml:1:1: ")


def test_what_cannot_be_served_is_told_in_its_own_words() -> None:
    """A policy that the service would not start with is one error of code `config`."""
    failure = Failure.of(ConfigError("nobody could call", hint="Make a token."))
    assert (failure.codes, failure.reasons) == (("config",), ("nobody could call",))


def test_a_defect_is_told_without_its_words() -> None:
    """The text of an exception that is not ours goes to the log alone."""
    failure = Failure.of(RuntimeError("a secret"))
    assert failure.codes == ("internal",)
    assert "RuntimeError" in failure.told(digest="d", shown=1)
    assert "a secret" not in failure.told(digest="d", shown=1)


def test_a_long_message_is_cut() -> None:
    """Nothing in a policy file can make readiness or the log grow without bound."""
    huge = Finding(code="P203", message="x" * 10_000, at=Position(file="a.yaml"))
    assert len(Failure.of(PolicyError([huge])).reasons[0]) == 500
