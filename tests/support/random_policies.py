"""Random policies of a small world, and every kind of call to them, for tests of what holds for all policies."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from cmdhttp.policy.compile import Folders, compile_policy
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Arguments, Question, bind
from cmdhttp.policy.files import SourceFile, folder_digest
from cmdhttp.policy.merge import merge

Doc = dict[str, Any]
HOSTS, COMMANDS, PRINCIPALS, ROLES = ("h1", "h2", "h3"), ("c1", "c2", "c3", "c4"), ("p1", "p2"), ("r1", "r2", "r3")
WORDS, DAYS = ("x", "y", "z"), ("2026-01-01", "2026-02-01", "2026-03-01")
LABELS = ("x", "y")
PROFILE = {"user": "u", "auth": {"key": "file:k"}, "host_keys": {"known_hosts": "known"}}
OPTIONAL = {"required": "false"}
PARAMS = {
    "u": {"type": "enum", "values": WORDS, **OPTIONAL},
    "l": {"type": "list", "of": {"type": "enum", "values": WORDS}, **OPTIONAL},
}


def some(rng: random.Random, items: tuple[str, ...], *, least: int = 1) -> list[str]:
    return rng.sample(items, rng.randint(least, len(items)))


def host_selector(rng: random.Random, *, groups: bool = True) -> Any:
    labels = {key: rng.choice([rng.choice(LABELS), some(rng, LABELS)]) for key in some(rng, ("a", "b"))}
    simple = ["*", rng.choice(HOSTS), labels, *(["local", "g1", "g2"] if groups else [])]
    return rng.choice([*simple, rng.sample(simple, rng.randint(1, 2))])


def command_selector(rng: random.Random) -> Any:
    simple: list[Any] = ["*", rng.choice(COMMANDS), {"effect": rng.choice(["read", "change"])}, {"tag": "t"}]
    return rng.choice([*simple, rng.sample(simple, 2)])


def narrowing(rng: random.Random) -> Doc:
    if rng.random() < 0.5:
        return {}
    return {"params": {name: rng.choice([rng.choice(WORDS), some(rng, WORDS)]) for name in some(rng, ("u", "l"))}}


def random_deny(rng: random.Random) -> Doc:
    window = dict(zip(("from", "until"), rng.choice([DAYS[:2], DAYS[1:], ()]), strict=False))
    optional = {
        "to": rng.choice(["*", "p1", ["p2", "role:r1"], "role:r2"]),
        "commands": command_selector(rng),
        "hosts": host_selector(rng),
    }
    kept = {key: value for key, value in optional.items() if rng.random() < 0.8}
    return {"why": "w", **kept, **window, **narrowing(rng)}


def random_policy(rng: random.Random) -> Doc:
    def command(name: str) -> Doc:
        what = {"run": ["/bin/true"]} if rng.random() < 0.7 else {"script": name, "interpreter": "sh"}
        tags = ["t"] if name == "c1" or rng.random() < 0.3 else []
        effect = rng.choice(["read", "change"])
        return {**what, "effect": effect, "tags": tags, "on": host_selector(rng), "params": PARAMS}

    def labels() -> Doc:
        return {key: rng.choice(LABELS) for key in "ab"}

    def line() -> Doc:
        return {"commands": command_selector(rng), "hosts": host_selector(rng), **narrowing(rng)}

    return {
        "ssh_profiles": {"s": PROFILE},
        "hosts": {name: {"address": "a", "ssh": "s", "labels": labels()} for name in HOSTS},
        "groups": {name: host_selector(rng, groups=False) for name in ("g1", "g2")},
        "commands": {name: command(name) for name in COMMANDS},
        "principals": {name: {} for name in PRINCIPALS},
        "roles": {name: [line() for _ in range(rng.randint(0, 3))] for name in ROLES},
        "grants": [{"to": some(rng, PRINCIPALS), "roles": some(rng, ROLES)} for _ in range(rng.randint(1, 2))],
        "deny": [random_deny(rng) for _ in range(rng.randint(0, 2))],
    }


def compiled(*parts: Doc, names: str = "") -> Policy:
    """A policy of one file for each part, whose names begin with `names`; JSON is YAML."""
    texts = [json.dumps({"version": "1", **part}) for part in parts]
    files = [SourceFile(path=f"{names}{place}.yaml", data=text.encode()) for place, text in enumerate(texts)]
    folders = Folders(policies=Path("/p"), secrets=Path("/s"))
    return compile_policy(merge(files), folders=folders, digest=folder_digest(files))


Call = tuple[str, str, str, Doc, str]


def random_call(rng: random.Random) -> Call:
    values: Doc = {}
    if rng.random() < 0.7:
        values["u"] = rng.choice(WORDS)
    if rng.random() < 0.7:
        values["l"] = [rng.choice(WORDS) for _ in range(rng.randint(0, 2))]
    command = rng.choice([*COMMANDS, "c9"]) if rng.random() < 0.1 else rng.choice(COMMANDS)
    return rng.choice(PRINCIPALS), command, rng.choice([*HOSTS, "local"]), values, rng.choice(DAYS)


def policies(start: int, count: int) -> Iterator[tuple[random.Random, Doc]]:
    for seed in range(start, start + count):
        rng = random.Random(seed)
        yield rng, random_policy(rng)


def every_call() -> list[Call]:
    values: list[Doc] = [{}, {"u": "x"}, {"u": "y", "l": []}, {"u": "z", "l": ["x", "y"]}, {"l": ["z"]}]
    return list(product(PRINCIPALS, COMMANDS, (*HOSTS, "local"), values, DAYS))


# Wider: numbers and paths too, and everything else that a policy can say of a right.

WIDE_DAYS = (*DAYS, "2025-12-01")
WIDE_VALUES: dict[str, list[Any]] = {
    "u": [None, *WORDS],
    "l": [None, [], ["x"], ["z"], ["x", "y"], ["x", "y", "z"]],
    "n": [None, *range(7)],
    "p": [None, "/a", "/a/b", "/a/b/c", "/b", "/c"],
}


def wide_params(rng: random.Random) -> Doc:
    """Parameters of every kind: told apart wholly, and only by examples."""
    low = rng.choice([0, 1])
    words = some(rng, WORDS, least=2)
    return {
        "u": {"type": "enum", "values": words, **rng.choice([OPTIONAL, {}, {"default": words[0]}])},
        "l": {"type": "list", "of": {"type": "enum", "values": words}, "max_items": rng.choice([1, 3]), **OPTIONAL},
        "n": {"type": "int", "min": low, "max": rng.choice([3, 5]), **rng.choice([OPTIONAL, {"default": "2"}])},
        "p": {"type": "path", "under": some(rng, ("/a", "/b")), **OPTIONAL},
    }


def wide_narrowing(rng: random.Random, params: Doc) -> Doc:
    words, under = params["u"]["values"], params["p"]["under"]
    ways: dict[str, list[Any]] = {
        "u": [words[0], words],
        "l": [words[0], words[:2]],
        "n": [2, [1, 3], {"max": 2}, {"min": 2}],
        "p": [under[0], {"under": [under[0] + "/b"]}, {"under": under[:1]}],
    }
    return {"params": {name: rng.choice(ways[name]) for name in some(rng, tuple(ways)) if rng.random() < 0.5}}


def wide_policy(rng: random.Random) -> Doc:
    """A random policy whose commands share wide parameters."""
    doc, params = random_policy(rng), wide_params(rng)
    for command in doc["commands"].values():
        command["params"] = params
        if rng.random() < 0.2:
            command["approval"] = {"needed": 1, "by": ["p1", "p2"]}
    for rule in (*doc["deny"], *(line for lines in doc["roles"].values() for line in lines)):
        rule.pop("params", None)
        rule.update(wide_narrowing(rng, params) if rng.random() < 0.6 else {})
    return doc


def mutated(rng: random.Random, doc: Doc) -> Doc:
    """Another policy that differs in one to three ways."""
    other: Doc = json.loads(json.dumps(doc))
    for _ in range(rng.randint(1, 3)):
        rng.choice(_MUTATIONS)(rng, other)
    return other


def _one_line(rng: random.Random, doc: Doc) -> Doc:
    lines = [line for lines in doc["roles"].values() for line in lines]
    return rng.choice(lines) if lines else {}


def _narrow_line(rng: random.Random, doc: Doc) -> None:
    line = _one_line(rng, doc)
    line.pop("params", None)
    line |= wide_narrowing(rng, doc["commands"]["c1"]["params"]) if line else {}


def _move_line(rng: random.Random, doc: Doc) -> None:
    line = _one_line(rng, doc)
    line |= {"hosts": host_selector(rng)} if line else {}


def _other_deny(rng: random.Random, doc: Doc) -> None:
    if doc["deny"] and rng.random() < 0.6:
        doc["deny"].pop(rng.randrange(len(doc["deny"])))
    else:
        doc["deny"].append(wide_deny(rng, doc))


def wide_deny(rng: random.Random, doc: Doc) -> Doc:
    deny = random_deny(rng)
    deny.pop("params", None)
    return {**deny, **(wide_narrowing(rng, doc["commands"]["c1"]["params"]) if rng.random() < 0.6 else {})}


def _other_place(rng: random.Random, doc: Doc) -> None:
    doc["commands"][rng.choice(COMMANDS)]["on"] = host_selector(rng)


def _other_grant(rng: random.Random, doc: Doc) -> None:
    doc["grants"].append({"to": some(rng, PRINCIPALS), "roles": some(rng, ROLES)})
    if rng.random() < 0.5:
        doc["grants"].pop(0)


def _wider_types(_: random.Random, doc: Doc) -> None:
    """Wider types only: what the rules say must stay within them."""
    params = json.loads(json.dumps(doc["commands"]["c1"]["params"]))
    params["u"]["values"] += [word for word in WORDS if word not in params["u"]["values"]]
    params["n"] |= {"min": 0, "max": 6}
    params["p"]["under"] = ["/a", "/b"]
    for command in doc["commands"].values():
        command["params"] = params


_MUTATIONS = (_narrow_line, _move_line, _other_deny, _other_place, _other_grant, _wider_types)


def wide_call(rng: random.Random) -> Call:
    """A call that sends about half of the values."""
    values = {name: rng.choice(kinds) if rng.random() < 0.5 else None for name, kinds in WIDE_VALUES.items()}
    sent = {name: value for name, value in values.items() if value is not None}
    return rng.choice(PRINCIPALS), rng.choice(COMMANDS), rng.choice((*HOSTS, "local")), sent, rng.choice(WIDE_DAYS)


def question(policy: Policy, call: Call) -> Question:
    """The question that a call asks of a policy; a command that it does not have takes no values."""
    by, name, host, values, day = call
    command = policy.commands.get(name)
    arguments = bind(command, values) if command else Arguments(values={})
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Question(principal=by, command=name, host=host, arguments=arguments, at=at)
