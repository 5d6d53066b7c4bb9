"""What the words of two types, narrowings or networks prove, and what they leave open."""

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.policy.containment import deny_within, line_within, narrowing_within, networks_within, spec_within
from cmdhttp.policy.params import AnyParam, ParamSpec
from tests.unit.policies import compiled

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)


def spec(kind: str, **words: object) -> ParamSpec:
    made: ParamSpec = _ADAPTER.validate_python({"type": kind, **words})
    return made


INT = {"type": "int"}


@pytest.mark.parametrize(
    ("kind", "inner", "outer", "proved"),
    [
        ("int", {}, {}, True),
        ("int", {"summary": "one", "required": "false"}, {}, True),
        ("int", {"max": "3"}, {"max": "4"}, True),
        ("int", {"max": "4"}, {"max": "3"}, False),
        ("int", {"max": "4"}, {}, True),
        ("int", {}, {"max": "4"}, False),
        ("int", {"min": "3"}, {"min": "2"}, True),
        ("int", {"leading_dash": "true"}, {}, False),
        ("int", {}, {"leading_dash": "true"}, True),
        ("bool", {"flag": "-a"}, {"flag": "-b"}, True),
        ("enum", {"values": ["a"]}, {"values": ["b", "a"]}, True),
        ("enum", {"values": ["a", "b"]}, {"values": ["b"]}, False),
        ("username", {"pattern": "a"}, {}, True),
        ("username", {"pattern": "a"}, {"pattern": "a|b"}, False),
        ("path", {"under": ["/a/b"]}, {"under": ["/c", "/a"]}, True),
        ("path", {"under": ["/ab"]}, {"under": ["/a"]}, False),
        ("path", {}, {"under": ["/"]}, False),
        ("hostname", {"under": ["a.example"]}, {"under": ["example"]}, True),
        ("email", {"under": ["example.com"]}, {"under": ["com"]}, True),
        ("hash", {"algorithms": ["md5"]}, {}, True),
        ("url", {"hosts": ["a.test"]}, {"hosts": ["a.test", "b.test"]}, True),
        ("url", {"hosts": ["a.test"]}, {}, False),
        ("url", {"ports": []}, {"ports": [8443]}, False),
        ("url", {"ports": [8443]}, {"ports": [8443, 443]}, True),
        ("ip", {"in": ["10.1.0.0/16"]}, {"in": ["10.0.0.0/8"]}, True),
        ("ip", {"not_in": ["10.0.0.0/8"]}, {"not_in": ["10.1.0.0/16"]}, True),
        ("ip", {"not_in": ["10.1.0.0/16"]}, {"not_in": ["10.0.0.0/8"]}, False),
        ("ip", {"version": "4"}, {"version": "6"}, False),
        ("list", {"of": INT, "unique": "true"}, {"of": INT}, True),
        ("list", {"of": INT}, {"of": INT, "unique": "true"}, False),
        ("list", {"of": INT, "min_items": "2"}, {"of": INT, "min_items": "1"}, True),
        ("list", {"of": INT, "required": "false"}, {"of": INT}, False),
        ("list", {"of": {**INT, "max": "1"}}, {"of": INT}, True),
        ("list", {"of": INT}, {"of": {**INT, "max": "1"}}, False),
    ],
)
def test_types(kind: str, inner: dict[str, Any], outer: dict[str, Any], proved: bool) -> None:
    """A type lies within another if each word that differs reaches no further; what is not known proves nothing."""
    assert spec_within(spec(kind, **inner), spec(kind, **outer)) is proved


def test_other_types_prove_nothing() -> None:
    """What one type takes may have another normal form in another."""
    assert not spec_within(spec("port"), spec("int"))


LIST = {"type": "list", "of": {"type": "enum", "values": ["a", "b"]}, "max_items": "3"}
SHORT = {"type": "path"}


@pytest.mark.parametrize(
    ("kind", "inner", "outer", "proved"),
    [
        (INT, ["1"], None, True),
        (INT, None, ["1"], False),
        (INT, ["1"], ["1", "2"], True),
        (INT, ["1", "9"], {"max": "5"}, False),
        (INT, {"max": "4"}, {"max": "5"}, True),
        (INT, {"max": "5"}, {"max": "4"}, False),
        (INT, {"max": "5"}, ["1"], False),
        (INT, None, {"max": "5"}, False),
        ({**INT, "max": "4"}, None, {"max": "4", "min": "0"}, False),
        ({"type": "bool"}, None, ["true", "false"], True),
        ({"type": "bool"}, None, ["true"], False),
        (SHORT, {"under": ["/a/b"]}, {"under": ["/a"]}, True),
        ({"type": "json"}, ["1", "2"], ["1"], False),
        ({"type": "json"}, ["1"], ["1", "2"], True),
        ({"type": "json"}, None, ["1"], False),
        ({"type": "json"}, {"max": "1KiB"}, ["1"], False),
        (LIST, ["a"], ["a", "b"], True),
        (LIST, ["a", "b"], ["a"], False),
        (LIST, None, ["a", "b"], True),
        (LIST, {"max_items": "1"}, {"max_items": "2"}, True),
        (LIST, {"max_items": "1"}, ["a"], False),
    ],
)
def test_narrowings(kind: dict[str, Any], inner: Any, outer: Any, proved: bool) -> None:
    """A narrowing lies within another if its values, its words and its items do."""
    of = spec(kind["type"], **{key: value for key, value in kind.items() if key != "type"})
    rules = [None if by is None else of.narrowed(by) for by in (inner, outer)]
    assert narrowing_within(of, rules[0], rules[1]) is proved


@pytest.mark.parametrize(
    ("kind", "inner", "outer"),
    [
        ("ip", ["10.0.0.1"], {"version": "4"}),
        ("cidr", {"values": ["10.0.0.0/8"], "not_in": ["10.1.0.0/16"]}, {"in": ["11.0.0.0/8"]}),
        ("email", ["a@x.test"], {"values": ["a@x.test"], "under": ["y.test", "x.test"]}),
    ],
)
def test_what_a_deny_meets_beside_its_values(kind: str, inner: Any, outer: Any) -> None:
    """A deny that lists addresses meets them in other forms too, which its values do not tell: nothing is proved of it."""
    of = spec(kind)
    rules = of.narrowed(inner), of.narrowed(outer)
    assert narrowing_within(of, *rules)
    assert not narrowing_within(of, *rules, touching=True)
    assert narrowing_within(of, rules[0], rules[0], touching=True)


@pytest.mark.parametrize("touching", [True, False])
def test_an_empty_list_has_none_of_the_items(touching: bool) -> None:
    """A rule of every list of some length is within one of lists with some item only where no list can be empty."""
    of = spec("list", of={"type": "enum", "values": ["a", "b"]}, min_items="0")
    short, some, items = (of.narrowed(by) for by in ({"max_items": "2"}, {"min_items": "1"}, ["a", "b"]))
    assert not narrowing_within(of, short, items, touching=touching)
    assert narrowing_within(of, some, items, touching=touching)


@pytest.mark.parametrize(
    ("inner", "outer", "proved"),
    [
        (["10.1.0.0/16"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.1.0.0/16"], False),
        (["10.0.0.0/8"], ["2001:db8::/32"], False),
        (["2001:db8::/48"], ["10.0.0.0/8", "2001:db8::/32"], True),
        (["2001:db8::/48"], ["10.0.0.0/8"], False),
        ([], ["10.0.0.0/8"], True),
    ],
)
def test_networks(inner: list[str], outer: list[str], proved: bool) -> None:
    """Each network must lie inside one of the others, of its own version."""
    assert networks_within(map(ip_network, inner), map(ip_network, outer)) is proved


RULES = """
commands: {c: {run: [/bin/c], on: local, params: {%s}}}
roles: {r: [{commands: c, hosts: local%s}]}
deny: [{why: w%s}]
"""
N, DEFAULT, OPTIONAL = "n: {type: int}", "n: {type: int, default: '2'}", "n: {type: int, required: false}"
ONE = ", params: {n: 1}"


@pytest.mark.parametrize(
    ("inner", "outer", "proved"),
    [
        ((N, ""), (N, ""), True),
        ((N, ONE), (N, ""), True),
        ((N, ""), (N, ONE), False),
        ((N, ""), ("", ""), False),
        (("", ""), (N, ""), False),
        (("", ""), (OPTIONAL, ""), True),
        (("", ""), (OPTIONAL, ONE), False),
        ((N, ""), (DEFAULT, ""), True),
        ((DEFAULT, ""), (N, ""), False),
        ((DEFAULT, ONE), (N, ""), True),
        ((OPTIONAL, ""), (N, ""), False),
        ((OPTIONAL, ONE), (N, ""), True),
        (("n: {type: enum, values: ['1', '2']}", ""), (N, ""), True),
        (("n: {type: enum, values: ['1', '2']}", ""), (N, ONE), False),
        (("n: {type: enum, values: [a, '1']}", ""), (N, ""), False),
    ],
)
def test_lines(inner: tuple[str, str], outer: tuple[str, str], proved: bool) -> None:
    """A line takes in no more than another if no parameter does, one that is left out included."""
    one, other = (compiled(RULES % (params, by, "")) for params, by in (inner, outer))
    lines = one.roles["r"][0], other.roles["r"][0]
    specs, outer_specs = one.commands["c"].params, other.commands["c"].params
    assert line_within(lines[0], lines[1], specs=specs, outer_specs=outer_specs) is proved


@pytest.mark.parametrize(
    ("inner", "outer", "proved"),
    [
        ((N, ""), (N, ""), True),
        ((N, ONE), (N, ""), True),
        ((N, ""), (N, ONE), False),
        ((N, ONE), (N, ONE), True),
        ((N, ONE), (DEFAULT, ONE), False),
        ((DEFAULT, ONE), ("n: {type: int, default: '1'}", ONE), False),
        (("n: {type: enum, values: ['1']}", ONE), (N, ONE), False),
        (("n: {type: list, of: {type: int}}", ONE), ("n: {type: list, of: {type: port}}", ONE), False),
    ],
)
def test_denies(inner: tuple[str, str], outer: tuple[str, str], proved: bool) -> None:
    """A deny meets no more than another if each value that it names is named, in the same form."""
    one, other = (compiled(RULES % (params, "", by)) for params, by in (inner, outer))
    specs, outer_specs = one.commands["c"].params, other.commands["c"].params
    assert deny_within(one.rules[0], other.rules[0], specs=specs, outer_specs=outer_specs) is proved
