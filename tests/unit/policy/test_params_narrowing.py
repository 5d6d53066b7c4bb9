"""Role lines narrow a parameter and never widen it."""

import re
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
        ({"type": "int", "max": "10"}, {"min": "2", "max": "10"}, 2, 1),
        ({"type": "int", "min": "1"}, {"min": "1", "max": "5"}, 5, 6),
        (COUNT, {"min": "1", "max": "9"}, 1, 10),
        (COUNT, {"min": "2", "max": "10"}, 10, 1),
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


@pytest.mark.parametrize(
    ("spec", "by", "text"),
    [
        (UNIT, ["nginx", "mysql"], "value 2 is not one this parameter can have: is not one of the listed values"),
        (UNIT, [], "an empty list of values allows nothing; leave the role line out instead"),
        (UNIT, {}, "an empty mapping narrows nothing; leave the parameter out instead"),
        (UNIT, {"valuse": []}, "unknown key 'valuse' to narrow a parameter of type enum; did you mean 'values'?"),
        (UNIT, {1: []}, "unknown key 1 to narrow a parameter of type enum; known here: values"),
        (COUNT, {"xyz": 1}, "unknown key 'xyz' to narrow a parameter of type int; known here: max, min, values"),
        (COUNT, {"max": "11"}, "max: a role can only narrow, and this is wider than the command allows"),
        (COUNT, {"min": "6", "max": "5"}, "min is above max: no value could pass"),
        (
            IPS,
            {"x": 1},
            "unknown key 'x' to narrow a parameter of type list; known here: in, max_items, min_items, not_in, values, version",
        ),
        (
            IPS,
            {"max_items": "2", "in": ["::/0", "x"]},
            "in.1: must be a network, like 10.0.0.0/8, or an address",
        ),
        (
            PATH,
            {"under": ["a", "/var", "b"]},
            "under.0: must be an absolute path, starting with '/'; under.2: must be an absolute path, starting with '/'",
        ),
        (
            PATH,
            {"under": ["/var", "/etc"]},
            "under: lies outside what the command allows: lies outside the directories that are allowed",
        ),
        ({"type": "secret"}, ["hunter22"], "a parameter of type secret cannot be narrowed to values"),
        ({"type": "file"}, ["x"], "a parameter of type file cannot be narrowed to values"),
        (
            {"type": "file"},
            {"values": ["x"]},
            "unknown key 'values' to narrow a parameter of type file; known here: max",
        ),
    ],
    ids=count(),
)
def test_what_a_refused_line_says(spec: dict[str, Any], by: object, text: str) -> None:
    """The author of a line reads which word of it is wrong, and what would be right."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        param(**spec).narrowed(by)


@pytest.mark.parametrize(
    ("spec", "by", "parts"),
    [
        (UNIT, ["nginx"], {"among"}),
        (UNIT, {"values": ["nginx"]}, {"among"}),
        (COUNT, {"max": "5"}, {"within"}),
        (COUNT, {"max": "5", "values": ["2"]}, {"among", "within"}),
        (IPS, ["192.0.2.1"], {"each"}),
        (IPS, {"in": ["192.0.2.0/24"]}, {"each"}),
        (IPS, {"max_items": "2"}, {"within"}),
        (IPS, {"max_items": "2", "values": ["192.0.2.1"]}, {"within", "each"}),
    ],
    ids=count(),
)
def test_a_line_holds_what_it_says(spec: dict[str, Any], by: object, parts: set[str]) -> None:
    """A narrowing knows its parameter and has a part for each word that the line gives, and for no other."""
    read = param(**spec)
    narrowing = read.narrowed(by)
    assert narrowing.spec is read
    assert {part for part in ("among", "within", "each") if getattr(narrowing, part) is not None} == parts


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


@pytest.mark.parametrize(
    ("spec", "by", "met", "spared"),
    [
        (
            {"type": "cidr"},
            {"in": ["10.0.0.0/8"]},
            [
                "10.1.0.0/16",
                "10.0.0.0/7",
                "0.0.0.0/0",
                "::/0",
                "::ffff:10.0.0.0/104",
                "64:ff9b::a00:0/104",
                "2002::/15",
            ],
            ["11.0.0.0/8", "2001:db8::/32", "64:ff9b::b00:0/104"],
        ),
        ({"type": "cidr"}, {"not_in": ["10.0.0.0/8"]}, ["0.0.0.0/0", "10.0.0.0/7", "11.0.0.0/8"], ["10.1.0.0/16"]),
        ({"type": "cidr"}, {"in": ["10.0.0.0/8"], "min_prefix": "8"}, ["10.0.0.0/8"], ["10.0.0.0/7"]),
        ({"type": "cidr"}, {"in": ["10.0.0.0/8"], "max_prefix": "8"}, ["10.0.0.0/7"], ["10.0.0.0/9"]),
        ({"type": "cidr", "not_in": ["10.1.0.0/16"]}, {"in": ["10.0.0.0/8"]}, ["10.2.0.0/16"], ["11.0.0.0/8"]),
        ({"type": "cidr", "in": ["10.0.0.0/8"]}, {"not_in": ["10.1.0.0/16"]}, ["10.0.0.0/8"], ["10.1.2.0/24"]),
        ({"type": "cidr"}, ["10.0.0.0/8"], ["10.0.0.0/8", "::ffff:10.0.0.0/104"], ["10.0.0.0/7", "10.0.0.0/9"]),
        (
            {"type": "ip"},
            {"in": ["10.0.0.0/8"]},
            ["10.1.2.3", "::ffff:10.1.2.3", "::10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "2001:0:1::"],
            ["11.0.0.1", "2001:db8::1", "64:ff9b::11.0.0.1"],
        ),
        (
            {"type": "ip"},
            ["10.0.0.1", "10.0.0.2"],
            ["10.0.0.2", "64:ff9b::10.0.0.1"],
            ["10.0.0.3", "64:ff9b::10.0.0.3"],
        ),
        ({"type": "ip"}, {"not_in": ["10.0.0.0/8"]}, ["11.0.0.1", "64:ff9b::10.1.2.3"], ["10.1.2.3"]),
        ({"type": "ip"}, {"in": ["10.0.0.0/8"], "version": "6"}, ["64:ff9b::10.1.2.3"], ["10.1.2.3"]),
        (
            {"type": "email"},
            ["Root@x.test"],
            ["root@x.test", "ROOT@X.test", "Root@x.test"],
            ["root@y.test", "toor@x.test"],
        ),
    ],
    ids=count(),
)
def test_no_other_form_gets_around_a_deny(spec: dict[str, Any], by: object, met: list[str], spared: list[str]) -> None:
    """A deny meets what touches its networks, in whatever form; a role line in the same words allows nothing more."""
    read = param(**spec)
    narrowing = read.narrowed(by)
    assert [value for value in met if not narrowing.touches(read.normalise(value))] == []
    assert [value for value in spared if narrowing.touches(read.normalise(value))] == []
    every = [read.normalise(value) for value in (*met, *spared)]
    assert [value for value in every if narrowing.allows(value) and not narrowing.touches(value)] == []


def test_what_is_no_list_does_not_pass_for_its_characters() -> None:
    """A text in the place of a list is neither allowed nor met, though each of its characters would be."""
    narrowing = param(type="list", of={"type": "enum", "values": ["x", "y"]}).narrowed(["x"])
    assert narrowing.allows(("x", "x"))
    for text in ("xx", ""):
        assert not narrowing.allows(text)
        assert not narrowing.touches(text)


def test_equal_lines_are_equal() -> None:
    """Two readings of one line compare equal, so that policies can be compared."""
    for by in (["192.0.2.1"], {"max_items": "2"}, {"in": ["192.0.2.0/24"]}):
        assert param(**IPS).narrowed(by) == param(**IPS).narrowed(by)
