"""What the words prove holds for the values: types, narrowings, and the few values that stand for all."""

import random
from itertools import combinations_with_replacement, product
from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.errors import BadValue
from cmdhttp.policy.containment import narrowing_within, spec_within
from cmdhttp.policy.params import AnyParam, Narrowing, ParamSpec, Value
from cmdhttp.policy.space import space

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)
Words = dict[str, list[Any]]
NETWORKS = [["10.0.0.0/8"], ["10.1.0.0/16"], ["192.0.2.0/24", "10.0.0.0/8"], ["2001:db8::/32"]]
ADDRESSES = ["10.0.0.1", "10.1.2.3", "192.0.2.1", "2001:db8::1", "::ffff:10.1.0.1", "64:ff9b::a01:203"]
SWITCH = ["true", "false"]

TYPES: dict[str, tuple[Words, list[Any]]] = {
    "enum": ({"values": [["a"], ["a", "b"], ["b", "c"]]}, ["a", "b", "c", "d"]),
    "bool": ({"flag": ["--yes", "--no"]}, [True, "false", "x"]),
    "int": ({"min": ["0", "2"], "max": ["3", "5"], "leading_dash": SWITCH}, [-1, 0, 1, 2, 3, 4, 5, 6, "5"]),
    "number": ({"min": ["0", "0.5"], "max": ["1", "2.5"]}, [0, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 3]),
    "port": ({"min": ["1", "22"], "max": ["80", "443"]}, [1, 21, 22, 80, 81, 443, 444]),
    "string": (
        {"pattern": ["[a-c]+", ".+"], "min_length": ["0", "2"], "max_length": ["2", "3"], "unicode": SWITCH},
        ["a", "ab", "abc", "abcd", "\u00e9\u00e9", "-a"],
    ),
    "username": ({"pattern": ["a.*"]}, ["a", "ab", "b"]),
    "filename": ({"pattern": ["a.*", ".+"], "hidden": SWITCH}, ["a", ".a", "b"]),
    "hostname": ({"under": [["a.example"], ["example"], ["b.example", "example"]]}, ["a.example", "x.example", "c"]),
    "email": ({"under": [["a.example"], ["example"]]}, ["x@a.example", "x@b.example", "x@c.test"]),
    "path": ({"under": [["/a"], ["/a/b"], ["/a", "/b"], ["/"]]}, ["/a", "/a/b", "/a/bc", "/b", "/c"]),
    "ip": ({"version": ["4", "6"], "in": NETWORKS, "not_in": NETWORKS}, ADDRESSES),
    "cidr": (
        {"in": NETWORKS, "not_in": NETWORKS, "min_prefix": ["8", "24"], "max_prefix": ["24", "32"]},
        ["10.0.0.0/8", "10.1.0.0/24", "192.0.2.0/24", "192.0.2.1/32", "2001:db8::/32"],
    ),
    "url": (
        {
            "schemes": [["https"], ["http", "https"]],
            "hosts": [["a.test"], ["a.test", "*.b.test"], ["192.0.2.1"]],
            "ports": [[8443], [8443, 443]],
            "max_length": ["20", "40"],
        },
        ["https://a.test/", "http://a.test/", "https://x.b.test:8443/", "https://192.0.2.1/", "https://c.test/long/path"],
    ),
    "hash": ({"algorithms": [["md5"], ["md5", "sha1"]]}, ["0" * 32, "1" * 40, "2" * 64]),
    "date": ({"min": ["2026-01-01", "2026-02-01"], "max": ["2026-03-01"]}, ["2026-01-15", "2026-02-15", "2026-04-01"]),
    "datetime": ({"min": ["2026-01-01", "2026-02-01"]}, ["2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z"]),
    "duration": ({"min": ["1s", "1m"], "max": ["1m", "1h"]}, ["1s", "30s", "1m", "2m", "2h"]),
    "uuid": ({}, ["123e4567-e89b-42d3-a456-426614174000"]),
    "json": ({"max": ["8B", "1KiB"], "max_depth": ["1", "3"]}, [1, "a", [1], [[1]], {"a": "bcdefghi"}]),
    "secret": ({"min_length": ["2", "3"], "max_length": ["3", "9"], "max": ["4B", "1KiB"]}, ["a", "ab", "abc", "abcdefgh"]),
    "list": (
        {
            "min_items": ["0", "1", "2"],
            "max_items": ["2", "3"],
            "unique": SWITCH,
            "of": [{"type": "int", "max": "2"}, {"type": "int"}, {"type": "enum", "values": ["1", "2"]}],
        },
        [[], [1], [3], [1, 2], [1, 1], [1, 2, 3], ["1", "2"]],
    ),
}  # fmt: skip


def made(rng: random.Random, kind: str) -> ParamSpec | None:
    """A spec of the type with some of its words; None if they do not go together."""
    words, _ = TYPES[kind]
    needed = {name for name in ("values", "pattern", "of") if name in words and kind in ("enum", "string", "list")}
    often = rng.choice([0.1, 0.6])
    said = {name: rng.choice(ways) for name, ways in words.items() if name in needed or rng.random() < often}
    try:
        spec: ParamSpec = _ADAPTER.validate_python({"type": kind, **said, **rng.choice([{}, {"required": "false"}])})
    except ValueError:
        return None
    return spec


def read(spec: ParamSpec, value: object) -> str | None:
    """The identity of the value's normal form, or None."""
    try:
        return spec.identity(spec.normalise(value))
    except BadValue:
        return None


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_type_within_another_takes_nothing_else(kind: str) -> None:
    """If the words say that one type lies within another, so does every value, in the same form."""
    rng = random.Random(kind)
    proved = 0
    for _ in range(400):
        inner, outer = made(rng, kind), made(rng, kind)
        if inner is None or outer is None or not spec_within(inner, outer):
            continue
        proved += inner != outer
        for value in TYPES[kind][1]:
            form = read(inner, value)
            assert form is None or read(outer, value) == form, (inner, outer, value)
    assert proved or kind == "uuid"


def narrowed(rng: random.Random, spec: ParamSpec, kind: str) -> Narrowing | None:
    words, values = TYPES[kind]
    tighter = {name: rng.choice(ways) for name, ways in words.items() if name in spec.narrow_by and rng.random() < 0.5}
    ways = [tighter, rng.sample(values, 1), rng.sample(values, min(2, len(values))), {"values": values[:2], **tighter}]
    if kind == "list":
        ways = [tighter, [1], [1, 2], {"max": "2", **tighter}, {"values": [1], **tighter}]
    try:
        return spec.narrowed(rng.choice(ways))
    except ValueError:
        return None


@pytest.mark.parametrize("kind", sorted(set(TYPES) - {"uuid", "bool"}))
def test_a_narrowing_within_another_takes_nothing_else(kind: str) -> None:
    """If the words say that one narrowing lies within another, each value that passes it passes the other."""
    rng = random.Random(kind)
    proved = {True: 0, False: 0}
    for _ in range(600):
        spec = made(rng, kind)
        pair = [narrowed(rng, spec, kind) if spec else None for _ in range(2)]
        inner, outer = rng.choice([pair[0], None]), pair[1]
        for touching in (True, False):
            if spec is None or outer is None or not narrowing_within(spec, inner, outer, touching=touching):
                continue
            proved[touching] += 1
            for value in (spec.normalise(raw) for raw in TYPES[kind][1] if read(spec, raw) is not None):
                assert not met(inner, value, touching=touching) or met(outer, value, touching=touching), (inner, outer)
    assert min(proved.values()) > 5


def met(rule: Narrowing | None, value: Value, *, touching: bool) -> bool:
    if rule is None:
        return True
    return rule.touches(value) if touching else rule.allows(value)


COUNTED = ("enum", "bool", "int", "port", "number", "list")


@pytest.mark.parametrize(("kind", "other"), list(combinations_with_replacement(COUNTED, 2)))
def test_a_whole_space_stands_for_all_values(kind: str, other: str) -> None:
    """Every value that some type takes is told apart from all of a whole space's values by no type and no narrowing."""
    rng = random.Random(kind + other)
    whole = 0
    for _ in range(100):
        pairs = [(spec, one) for one in (kind, other) if (spec := made(rng, one))]
        specs = [spec for spec, _ in pairs]
        rules = [rule for spec, one in pairs for _ in range(2) if (rule := narrowed(rng, spec, one))]
        inside = rng.choice([None, *rules])
        found = space(specs, rules, inside=inside) if specs else None
        if not found or not found.whole:
            continue
        whole += 1
        kinds = {seen(value, specs, rules) for value in found.values}
        for value in [*TYPES[kind][1], *TYPES[other][1]]:
            if any(read(spec, value) is not None for spec in specs) and (inside is None or passes(inside, value)):
                assert seen(value, specs, rules) in kinds, (specs, rules, value)
    assert whole > 30 or kind != other


def seen(value: object, specs: list[ParamSpec], rules: list[Narrowing]) -> tuple[bool, ...]:
    taken = tuple(read(spec, value) is not None for spec in specs)
    ways = product(rules, (False, True))
    return (*taken, *(passes(rule, value, touching=touching) for rule, touching in ways))


def passes(rule: Narrowing, value: object, *, touching: bool = False) -> bool:
    return read(rule.spec, value) is not None and met(rule, rule.spec.normalise(value), touching=touching)


def test_all_pairs_of_types_are_apart() -> None:
    """A type lies within no other type, whatever its words: their normal forms are not the same."""
    rng = random.Random(1)
    specs = [spec for kind in TYPES if (spec := made(rng, kind))]
    assert not any(spec_within(one, other) for one, other in product(specs, specs) if one.type != other.type)
