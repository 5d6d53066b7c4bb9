"""Role lines narrow a parameter and never widen it."""

from itertools import count
from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.policy.params import AnyParam, ParamSpec

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)


def param(**spec: object) -> ParamSpec:
    read: ParamSpec = _ADAPTER.validate_python(spec)
    return read


UNIT = {"type": "enum", "values": ["nginx", "redis", "app"]}
COUNT = {"type": "int", "min": "1", "max": "10"}
PATH = {"type": "path", "under": ["/var", "/srv"]}
IP = {"type": "ip", "not_in": ["10.0.0.0/8"]}
IPS = {"type": "list", "of": IP, "max_items": "4"}
NAME = {"type": "string", "pattern": "[a-z_]+"}


@pytest.mark.parametrize(
    ("spec", "by", "good", "bad"),
    [
        (UNIT, ["nginx", "app"], "app", "redis"),
        (UNIT, "nginx", "nginx", "redis"),
        (UNIT, {"values": ["nginx"]}, "nginx", "redis"),
        (COUNT, {"max": "5"}, 5, 6),
        (COUNT, ["1", "3"], "3", 2),
        (COUNT, {"values": ["2", "7"], "max": "5"}, 2, 7),
        ({"type": "port"}, {"min": "1024"}, 1024, 1023),
        ({"type": "bool"}, "false", False, True),
        ({"type": "bool", "flag": "--force"}, "false", False, True),
        ({"type": "number"}, {"max": "0.5"}, 0.5, 0.6),
        (PATH, {"under": ["/var/log"]}, "/var/log/x", "/var/logs"),
        (PATH, "/srv//", "/srv", "/srv/x"),
        (IP, {"in": ["192.0.2.0/24"]}, "192.0.2.1", "192.0.3.1"),
        (IP, {"not_in": ["192.0.2.0/24"]}, "192.0.3.1", "::ffff:192.0.2.1"),
        (IP, {"version": "6"}, "2001:db8::1", "192.0.2.1"),
        ({"type": "cidr"}, {"min_prefix": "24"}, "192.0.2.0/24", "192.0.0.0/16"),
        (NAME, {"pattern": "app_.*"}, "app_x", "xapp_x"),
        (NAME, {"max_length": "3"}, "abc", "abcd"),
        ({"type": "hostname"}, {"under": ["example.com"]}, "a.example.com", "aexample.com"),
        ({"type": "email", "under": ["example.com"]}, {"under": ["x.example.com"]}, "a@x.example.com", "a@example.com"),
        ({"type": "hash"}, {"algorithms": ["sha256"]}, "ab" * 32, "ab" * 16),
        ({"type": "date"}, {"max": "2026-01-01"}, "2026-01-01", "2026-01-02"),
        ({"type": "datetime"}, {"min": "2026-01-01"}, "2026-01-01T00:00:00Z", "2026-01-01T00:30:00+01:00"),
        ({"type": "duration", "max": "1h"}, {"max": "5m"}, "300s", "6m"),
        ({"type": "url"}, {"hosts": ["a.example"]}, "https://a.example", "https://b.example"),
        ({"type": "json"}, ['{"a": 1}'], {"a": 1}, {"a": True}),
        ({"type": "json"}, {"max": "8B"}, [1, 2], [1, 2, 3, 4]),
        ({"type": "secret"}, {"min_length": "8"}, "12345678", "1234567"),
        (IPS, ["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"], ["192.0.2.1", "192.0.2.3"]),
        (IPS, {"in": ["192.0.2.0/24"]}, ["192.0.2.9"], ["192.0.2.9", "192.0.3.9"]),
        (IPS, {"max_items": "1"}, ["192.0.2.9"], ["192.0.2.9", "192.0.2.8"]),
        (IPS, {"max_items": "1", "values": ["192.0.2.9"]}, ["192.0.2.9"], ["192.0.2.8"]),
    ],
    ids=count(),
)
def test_a_line_lets_through_what_it_names(spec: dict[str, Any], by: object, good: object, bad: object) -> None:
    """A value that the line names passes; one that only the type allows does not."""
    read = param(**spec)
    narrowing = read.narrowed(by)
    assert narrowing.allows(read.normalise(good))
    assert not narrowing.allows(read.normalise(bad))


@pytest.mark.parametrize(
    ("spec", "by", "text"),
    [
        (UNIT, ["mysql"], "value 1 is not one"),
        (UNIT, [], "empty list"),
        (UNIT, {}, "empty mapping"),
        (UNIT, {"valuse": ["nginx"]}, "did you mean 'values'"),
        (UNIT, {"type": "string"}, "unknown key 'type'"),
        (COUNT, {"leading_dash": "true"}, "unknown key"),
        (COUNT, {"maxx": "5"}, "did you mean 'max'"),
        (COUNT, {"max": "11"}, "can only narrow"),
        (COUNT, {"min": "0"}, "can only narrow"),
        (COUNT, {"min": "6", "max": "5"}, "min is above max"),
        (COUNT, {"max": "five"}, "max: must be a whole number"),
        (COUNT, ["11"], "value 1 is not one"),
        (COUNT, None, "value 1 is not one"),
        (NAME, {"max_length": "300"}, "can only narrow"),
        (NAME, {"pattern": "(?=a)"}, "look-around"),
        (NAME, {"unicode": "true"}, "unknown key"),
        (PATH, {"under": ["/etc"]}, "outside what the command allows"),
        (PATH, {"under": ["/"]}, "outside what the command allows"),
        (PATH, {"under": "/var"}, "under: "),
        (IPS, {"max_items": "9"}, "can only narrow"),
        (IPS, {"maxitems": "1"}, "did you mean 'max_items'"),
        (IPS, ["10.0.0.1"], "value 1 is not one"),
        (IPS, {"of": {"type": "int"}}, "unknown key 'of'"),
        ({"type": "hostname", "under": ["example.com"]}, {"under": ["example.org"]}, "outside what"),
        ({"type": "email", "under": ["example.com"]}, {"under": ["example.org"]}, "outside what"),
        ({"type": "secret"}, ["hunter22"], "cannot be narrowed to values"),
        ({"type": "secret"}, {"values": ["hunter22"]}, "unknown key 'values'"),
        ({"type": "file"}, "x", "cannot be narrowed to values"),
        ({"type": "json"}, ["{"], "value 1 is not one"),
        ({"type": "duration", "max": "1h"}, {"max": "2h"}, "can only narrow"),
    ],
    ids=count(),
)
def test_a_line_that_cannot_hold_is_an_error(spec: dict[str, Any], by: object, text: str) -> None:
    """A line that widens, never applies or is misspelt is refused with a text for its author."""
    with pytest.raises(ValueError, match=text):
        param(**spec).narrowed(by)


def test_a_pattern_of_a_line_does_not_replace_the_commands_own() -> None:
    """A value passes the type first; the line's wider pattern gives nothing back."""
    read = param(**NAME)
    assert read.narrowed({"pattern": ".*"}).allows(read.normalise("abc"))
    with pytest.raises(ValueError, match="pattern"):
        read.normalise("ABC")


def test_a_deny_meets_a_list_by_one_item() -> None:
    """What a deny names cannot be hidden among other items."""
    read = param(**IPS)
    value = read.normalise(["192.0.2.1", "192.0.2.2"])
    assert read.narrowed(["192.0.2.1"]).touches(value)
    assert read.narrowed({"in": ["192.0.2.2"]}).touches(value)
    assert not read.narrowed(["192.0.2.3"]).touches(value)
    assert not read.narrowed(["192.0.2.1"]).allows(value)
    assert param(**COUNT).narrowed({"max": "5"}).touches(5)
    assert not param(**COUNT).narrowed({"max": "5"}).touches(6)


def test_equal_lines_are_equal() -> None:
    """Two readings of one line compare equal, so that policies can be compared."""
    for by in (["192.0.2.1"], {"max_items": "2"}, {"in": ["192.0.2.0/24"]}):
        assert param(**IPS).narrowed(by) == param(**IPS).narrowed(by)
