"""Which values stand for all, and where that is not promised."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.policy.params import AnyParam, ParamSpec, Value
from cmdhttp.policy.space import Space, calls, space

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)


def spec(**words: object) -> ParamSpec:
    made: ParamSpec = _ADAPTER.validate_python(words)
    return made


WORDS = {"type": "enum", "values": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("words", "rules", "values", "whole"),
    [
        (WORDS, [], ("a", "b", "c"), True),
        ({"type": "bool"}, [["true"]], (True, False), True),
        ({"type": "string", "pattern": "[a-z]"}, [["x", "y"]], ("x", "y"), False),
        ({"type": "path", "under": ["/a"]}, [{"under": ["/a/b"]}], ("/a", "/a/b"), False),
        ({"type": "hostname", "under": ["a.test"], "default": "b.a.test"}, [], ("b.a.test", "a.test"), False),
        ({"type": "date", "min": "2026-01-01"}, [], ("2026-01-01",), False),
        ({"type": "duration", "max": "1m"}, [], ("60s",), False),
        ({"type": "secret", "max": "1KiB"}, [], (1024,), False),
    ],
)
def test_scalars(words: dict[str, Any], rules: list[Any], values: tuple[Value, ...], whole: bool) -> None:
    """Words and switches are listed; of everything else what the words of types and rules name is tried."""
    of = spec(**words)
    assert space([of], [of.narrowed(by) for by in rules]) == Space(values=values, whole=whole)


def test_numbers() -> None:
    """Every bound and listed number, its neighbours, and a number between each two, exact for whole numbers."""
    of = spec(type="int", min="0", max="10")
    found = space([of], [of.narrowed(["5"])])
    assert found.whole
    assert sorted(found.values) == [-1, 0, 1, 2, 4, 5, 6, 7, 9, 10, 11]  # type: ignore[type-var] # they are numbers
    assert {0.25, 0.5} <= set(space([spec(type="number", min="0", max="0.5")], []).values)


def test_types_that_differ_are_only_tried() -> None:
    """A list beside a scalar, or a word beside a number, gives candidates of both and promises nothing."""
    assert space([spec(**WORDS), spec(type="int", max="9")], []) == Space(values=("a", "b", "c", 9), whole=False)
    assert space([spec(**WORDS), spec(type="list", of=WORDS)], []) == Space(values=("a", "b", "c"), whole=False)


@pytest.mark.parametrize(
    ("words", "by", "values", "whole"),
    [
        (WORDS, ["a"], ("a",), True),
        ({"type": "username"}, ["x"], ("x",), True),
        ({"type": "path"}, {"under": ["/a"]}, ("/a",), False),
        ({"type": "list", "of": {"type": "username"}, "max_items": "1"}, ["x"], (("x",),), True),
        ({"type": "json"}, ['{"a": [1]}', "2", '"x"'], ({"a": (1,)}, 2, "x"), True),
    ],
)
def test_inside(words: dict[str, Any], by: Any, values: tuple[Value, ...], whole: bool) -> None:
    """Inside a narrowing to values, those are all there are, whatever the type."""
    of = spec(**words)
    found = space([of], [], inside=of.narrowed(by))
    assert found.whole is whole
    assert all(of.normalise(value) in [of.normalise(one) for one in found.values] for value in values)
    assert all(of.narrowed(by).allows(of.normalise(value)) for value in found.values)


def test_inside_reads_the_value_first() -> None:
    """A value that the narrowed type does not take is not inside."""
    of = spec(type="int", max="5")
    assert space([of, spec(type="enum", values=["x"])], [], inside=of.narrowed({"max": "3"})).values == (3,)


def test_lists() -> None:
    """Every set of items, at every length from which on a rule changes its mind; b and c are of one kind."""
    of = spec(type="list", of=WORDS, min_items="0", max_items="2")
    found = space([of], [of.narrowed(["a"]), of.narrowed({"max_items": "1"})])
    assert found == Space(values=((), ("a",), ("b",), ("a", "b"), ("a", "a"), ("b", "b")), whole=True)


def test_lists_of_numbers() -> None:
    """Of the numbers that the same types and rules take, one stands in a list for all."""
    of = spec(type="list", of={"type": "int", "min": "0", "max": "9"}, max_items="1")
    found = space([of], [of.narrowed({"max": "5"})])
    assert found.whole
    assert [value for value in found.values if len(value) == 1] == [(-1,), (0,), (6,)]  # type: ignore[arg-type]


def test_items_that_a_deny_tells_apart() -> None:
    """Two addresses that no role line in some words allows are of two kinds if a deny in these words meets only one."""
    of = spec(type="list", of={"type": "ip"}, max_items="1")
    mapped, other = "64:ff9b::a00:1", "2001:db8::1"
    found = space([of], [of.narrowed({"in": ["10.0.0.0/8"]})], inside=of.narrowed([mapped, other]))
    assert found.whole
    assert {(mapped,), (other,)} <= set(found.values)


def test_lists_without_repetition() -> None:
    """Where no item may stand twice each item counts, if they can be counted."""
    words = spec(type="list", of=WORDS, unique="true")
    assert ("a", "b", "c") in space([words], []).values
    assert space([words], []).whole
    assert not space([spec(type="list", of={"type": "int", "min": "0", "max": "1"}, unique="true")], []).whole


def test_long_lists_are_only_tried() -> None:
    """With many different items only small lists are tried."""
    many = {"type": "enum", "values": [f"v{number}" for number in range(9)]}
    found = space([spec(type="list", of=many, unique="true", max_items="9")], [])
    assert not found.whole
    assert ("v0", "v8") in found.values
    assert ("v0", "v1", "v2") not in found.values


def test_calls() -> None:
    """Each parameter is also left out; too many combinations stand for nothing."""
    few = calls({"a": Space(values=(1, 2), whole=True), "b": Space(values=("x",), whole=True)})
    assert few.whole
    assert few.values == ({}, {"b": "x"}, {"a": 1}, {"a": 1, "b": "x"}, {"a": 2}, {"a": 2, "b": "x"})
    assert not calls({"a": Space(values=(1,), whole=False)}).whole
    wide = Space(values=tuple(range(99)), whole=True)
    many = calls({"a": wide, "b": wide})
    assert (len(many.values), many.whole) == (4000, False)
