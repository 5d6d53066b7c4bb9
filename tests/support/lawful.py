"""Random policies in which everything happens that the law speaks of: kinds of values, times, approvals, strangers.

The hosts and roles are those of `random_policies`; two commands are enough. Every value is text, as a policy says it.
"""

from random import Random
from typing import Any

from tests.support.random_policies import (
    HOSTS,
    LABELS,
    OPTIONAL,
    PRINCIPALS,
    PROFILE,
    ROLES,
    WORDS,
    Call,
    Doc,
    host_selector,
    some,
)

COMMANDS = ("c1", "c2")
DAYS = ("2026-01-01", "2026-01-31T23:00:00Z", "2026-02-01", "2026-02-01T01:30:00+01:00", "2026-03-01")
WINDOWS = ((), DAYS[:2], DAYS[2:4], DAYS[2::2], ("2026-01-15", "2026-02-15"))

PARAMS: dict[str, tuple[Doc, ...]] = {
    "u": ({"type": "enum", "values": WORDS, **OPTIONAL}, {"type": "enum", "values": WORDS}),
    "n": ({"type": "int", "min": "1", "max": "9", **OPTIONAL}, {"type": "int", "max": "8", "default": "5"}),
    "f": ({"type": "path", "under": ["/var", "/srv/x"], **OPTIONAL}, {"type": "path", "default": "/var/a"}),
    "a": (
        {"type": "ip", "in": ["10.0.0.0/8"], "not_in": ["10.9.0.0/16", "10.1.2.3/32"], **OPTIONAL},
        {"type": "ip", "not_in": ["10.128.0.0/9"], **OPTIONAL},
    ),
    "l": ({"type": "list", "of": {"type": "enum", "values": WORDS}, **OPTIONAL},),
}
"""Each parameter in its shapes; all commands of one policy declare it alike, so that rules may narrow it."""

VALUES: dict[str, tuple[Any, ...]] = {
    "u": WORDS,
    "n": (1, "3", 5, 8),
    "f": ("/var", "/var/a", "/var//a/./b/", "/srv/x/y"),
    "a": ("10.1.2.4", "10.2.0.1", "10.10.0.7"),
    "l": ([], ["x"], ["y", "z"], ["x", "x", "y"]),
}
BAD: dict[str, tuple[Any, ...]] = {
    "u": ("w", ""),
    "n": (0, "09", 10, "-1", ""),
    "f": ("var", "/var/../etc", "/v", "/varx/a", "/srv/xy"),
    "a": ("10.9.0.1", "10.1.2.3", "10.200.0.1", "11.0.0.1", "10.1", "10.01.2.4"),
    "l": (["x", "w"], "x"),
}
NARROWINGS: dict[str, tuple[Any, ...]] = {
    "u": ("x", ["y", "z"], {"values": ["x", "y"]}),
    "n": ("5", ["1", "3"], {"max": "4"}, {"min": "3", "max": "6"}, {"min": "2", "values": ["3", "5"]}),
    "f": ("/var/a", {"under": ["/var/a"]}, {"under": ["/var/a/b/", "/srv/x"]}),
    "a": (["10.1.2.4", "10.2.0.1"], {"in": ["10.2.0.0/15"]}, {"not_in": ["10.0.0.0/12"]}),
    "l": ("x", ["x", "y"], {"max_items": "1"}),
}
"""What a rule may say of a parameter, whatever its shape."""


def lawful_policy(chance: Random) -> Doc:
    params = {name: chance.choice(PARAMS[name]) for name in some(chance, tuple(PARAMS))[:2]}
    return {
        "ssh_profiles": {"s": PROFILE},
        "hosts": {name: {"address": "a", "ssh": "s", "labels": _labels(chance)} for name in HOSTS},
        "groups": {name: host_selector(chance, groups=False) for name in ("g1", "g2")},
        "commands": {name: _command(chance, name, params) for name in COMMANDS},
        "principals": {name: {} for name in PRINCIPALS},
        "roles": {name: [lawful_line(chance, params) for _ in range(chance.randint(0, 2))] for name in ROLES},
        "grants": [lawful_grant(chance) for _ in range(chance.randint(2, 3))],
        "deny": [lawful_deny(chance, params, f"w{number}") for number in range(chance.randint(0, 2))],
    }


def params_of(doc: Doc) -> Doc:
    params: Doc = next(iter(doc["commands"].values()))["params"]
    return params


def lawful_line(chance: Random, params: Doc) -> Doc:
    return {"commands": _commands(chance), "hosts": _mostly_all(chance), **_narrowing(chance, params)}


def lawful_grant(chance: Random) -> Doc:
    return {
        "to": some(chance, PRINCIPALS),
        "roles": chance.choice([some(chance, ROLES, least=2), chance.choice(ROLES)]),
    }


def lawful_deny(chance: Random, params: Doc, why: str) -> Doc:
    window = dict(zip(("from", "until"), chance.choice(WINDOWS), strict=False))
    optional = {
        "to": chance.choice(["*", "p1", ["p2", "role:r1"], "role:r2"]),
        "commands": _commands(chance),
        "hosts": host_selector(chance),
    }
    kept = {key: value for key, value in optional.items() if chance.random() < 0.8}
    return {"why": why, **kept, **window, **_narrowing(chance, params)}


def lawful_call(chance: Random, doc: Doc) -> Call:
    """Who, what, where, with which values, when; now and then something unknown or wrong."""
    values: Doc = {}
    for name in params_of(doc):
        if chance.random() < 0.75:
            values[name] = chance.choice(VALUES[name] if chance.random() < 0.95 else BAD[name])
    if chance.random() < 0.02:
        values["unknown"] = "x"
    by, command, host = (
        chance.choice(names) if chance.random() < 0.98 else "unknown"
        for names in (PRINCIPALS, COMMANDS, (*HOSTS, "local"))
    )
    return by, command, host, values, chance.choice(DAYS)


def _labels(chance: Random) -> Doc:
    return {key: chance.choice(LABELS) for key in "ab"}


def _command(chance: Random, name: str, params: Doc) -> Doc:
    what: Doc = {"run": ["/bin/true"]} if chance.random() < 0.7 else {"script": name, "interpreter": "sh"}
    approval = {"approval": {"by": chance.choice([["p1"], ["p2", "role:r1"]])}} if chance.random() < 0.4 else {}
    tags = ["t"] if name == "c1" or chance.random() < 0.3 else []
    effect = chance.choice(["read", "change"])
    return {**what, **approval, "effect": effect, "tags": tags, "on": _mostly_all(chance), "params": params}


def _commands(chance: Random) -> Any:
    simple: list[Any] = ["*", chance.choice(COMMANDS), {"effect": chance.choice(["read", "change"])}, {"tag": "t"}]
    return chance.choice([*simple, chance.sample(simple, 2)])


def _mostly_all(chance: Random) -> Any:
    """A host selector that leaves enough rights to look at."""
    return "*" if chance.random() < 0.4 else host_selector(chance)


def _narrowing(chance: Random, params: Doc) -> Doc:
    if chance.random() < 0.6:
        return {}
    names = chance.sample(sorted(params), chance.choice((1, 1, min(2, len(params)))))
    return {"params": {name: chance.choice(NARROWINGS[name]) for name in names}}
