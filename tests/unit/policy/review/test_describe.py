"""Rules in words."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.policy.params import AnyParam, ParamSpec, Secret
from cmdhttp.policy.review.describe import (
    instant,
    narrowings_left,
    one_of,
    shortened,
    shown,
    values_left,
    values_taken,
    window,
)

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)


def spec(**words: object) -> ParamSpec:
    made: ParamSpec = _ADAPTER.validate_python(words)
    return made


LIST = {"type": "list", "of": {"type": "ip", "not_in": ["10.0.0.0/8"]}, "max_items": "3"}
HUNDRED = [f"v{number:03}" for number in range(100)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"type": "uuid"}, "uuid"),
        ({"type": "enum", "values": ["b", "a"]}, "b | a"),
        ({"type": "enum", "values": HUNDRED[:11]}, " | ".join(HUNDRED[:11])),
        ({"type": "enum", "values": HUNDRED}, " | ".join(HUNDRED[:10]) + " and 90 more"),
        ({"type": "int", "min": "1", "max": "60", "default": "5"}, "int at least 1, at most 60"),
        ({"type": "number", "max": "0.5"}, "number at most 0.5"),
        ({"type": "path", "under": ["/a", "/b"]}, "path under /a | /b"),
        ({"type": "string", "pattern": "[a-z]+", "unicode": "true"}, "string like [a-z]+, unicode true"),
        ({"type": "filename", "hidden": "false"}, "filename hidden false"),
        ({"type": "datetime", "min": "2026-01-01"}, "datetime at least 2026-01-01"),
        (LIST, "list of ip not in 10.0.0.0/8, max_items 3"),
        ({**LIST, "min_items": "1"}, "list of ip not in 10.0.0.0/8, min_items 1, max_items 3"),
    ],
)
def test_what_a_type_takes(words: dict[str, Any], text: str) -> None:
    """Its values, or its name with what its words say."""
    assert values_taken(spec(**words)) == text


@pytest.mark.parametrize(
    ("words", "by", "text"),
    [
        ({"type": "uuid"}, None, "any"),
        ({"type": "enum", "values": ["b", "a", "c"]}, ["a", "b"], "b | a"),
        ({"type": "int", "max": "9"}, ["3", "1"], "1 | 3"),
        ({"type": "int", "max": "9"}, {"max": "5"}, "at most 5"),
        ({"type": "int", "max": "9"}, {"values": ["1", "2"], "min": "2"}, "1 | 2, at least 2"),
        (LIST, {"max_items": "1", "version": "4"}, "max_items 1, each version 4"),
        (LIST, ["192.0.2.1"], "each 192.0.2.1"),
    ],
)
def test_what_a_narrowing_leaves(words: dict[str, Any], by: Any, text: str) -> None:
    """Only what is narrower than the type."""
    of = spec(**words)
    assert values_left(of, None if by is None else of.narrowed(by)) == text


def test_rules_in_one_line() -> None:
    """Parameters stand in the order of their names."""
    unit, count = spec(type="enum", values=["x", "y"]), spec(type="int")
    rules = {"unit": unit.narrowed("x"), "count": count.narrowed({"max": "3"})}
    assert narrowings_left({"unit": unit, "count": count}, rules) == "count: at most 3; unit: x"


def test_names() -> None:
    """Few names stand in full, many are counted, and never is one name counted."""
    names = [f"web{number}" for number in range(1, 6)]
    assert shortened(names, most=2) == "web1, web2 and 3 more"
    assert shortened(names, most=4) == "web1, web2, web3, web4, web5"
    assert (one_of(["a"]), one_of(["a", "b"])) == ("a", "one of a, b")
    assert (one_of(["a"], kind="host"), one_of(["a", "b"], kind="host")) == ("the host a", "one of the hosts a, b")


def test_moments() -> None:
    """Midnight UTC is a date; everything else is told in UTC."""
    late = datetime(2026, 12, 20, 1, tzinfo=timezone(timedelta(hours=2)))
    assert (instant(datetime(2026, 12, 20, tzinfo=UTC)), instant(late)) == ("2026-12-20", "2026-12-19T23:00:00Z")
    assert window(None, None) == "always"
    assert window(late, None) == "from 2026-12-19T23:00:00Z"
    assert window(None, late) == "until 2026-12-19T23:00:00Z"


def test_values() -> None:
    """Text as it is, the rest as JSON, a secret never."""
    assert shown(spec(type="uuid"), "a") == "a"
    assert shown(spec(**LIST), ("192.0.2.1",)) == '["192.0.2.1"]'
    assert shown(spec(type="secret"), Secret("hunter2")) == "***"
