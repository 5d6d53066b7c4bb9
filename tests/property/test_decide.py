"""The indexed decision against a model that reads the policy's own text, rule by rule, slowly."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cmdhttp.policy.compile import Folders, compile_policy
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Question, Verdict, bind, decide
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


# -- the model


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def hosts_of(doc: Doc, selector: Any, star: set[str]) -> set[str]:
    if selector == "*":
        return star
    if isinstance(selector, list):
        return {host for item in selector for host in hosts_of(doc, item, star)}
    if isinstance(selector, dict):
        items = doc["hosts"].items()
        return {name for name, host in items if all(host["labels"][key] in many(selector[key]) for key in selector)}
    if selector in doc["groups"]:
        return hosts_of(doc, doc["groups"][selector], set(doc["hosts"]))
    return {selector}


def takes(doc: Doc, selector: Any, command: str) -> bool:
    if isinstance(selector, list):
        return any(takes(doc, item, command) for item in selector)
    if isinstance(selector, dict):
        spec = doc["commands"][command]
        return selector.get("effect") == spec["effect"] or selector.get("tag") in spec["tags"]
    return selector in ("*", command)


def meets(rule: Doc, values: Doc, *, every: bool) -> bool:
    for name, allowed in rule.get("params", {}).items():
        if name not in values:
            return False
        hits = [value in many(allowed) for value in many(values[name])]
        if not (all(hits) if every else any(hits)):
            return False
    return True


def model(doc: Doc, by: str, command: str, host: str, values: Doc, day: str) -> bool:
    remote, all_hosts = set(doc["hosts"]), {*doc["hosts"], "local"}
    if command not in doc["commands"] or host not in hosts_of(doc, doc["commands"][command]["on"], remote):
        return False
    held = {role for grant in doc["grants"] if by in many(grant["to"]) for role in many(grant["roles"])}
    for deny in doc["deny"]:
        who = many(deny.get("to", "*"))
        named = "*" in who or by in who or any(f"role:{role}" in who for role in held)
        open_now = deny.get("from", "") <= day < deny.get("until", "9")
        where = hosts_of(doc, deny.get("hosts", "*"), all_hosts)
        this = host in where and takes(doc, deny.get("commands", "*"), command)
        if named and open_now and this and meets(deny, values, every=False):
            return False
    lines = (line for role in held for line in doc["roles"][role])
    return any(
        takes(doc, line["commands"], command)
        and host in hosts_of(doc, line["hosts"], all_hosts)
        and meets(line, values, every=True)
        for line in lines
    )


# -- policies and calls


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


def compiled(*parts: Doc) -> Policy:
    """A policy of one file for each part; JSON is YAML."""
    texts = [json.dumps({"version": "1", **part}) for part in parts]
    files = [SourceFile(path=f"{place}.yaml", data=text.encode()) for place, text in enumerate(texts)]
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


def allowed(policy: Policy, call: Call) -> bool:
    by, command, host, values, day = call
    arguments = bind(policy.commands.get(command, policy.commands["c1"]), values)
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    verdict = decide(policy, Question(principal=by, command=command, host=host, arguments=arguments, at=at)).verdict
    assert verdict is not Verdict.INVALID
    return verdict is Verdict.ALLOW


def policies(start: int, count: int) -> Iterator[tuple[random.Random, Doc]]:
    for seed in range(start, start + count):
        rng = random.Random(seed)
        yield rng, random_policy(rng)


@pytest.mark.parametrize("start", range(0, 2000, 500))
def test_like_the_model(start: int) -> None:
    """Each of 2,000 random policies decides random calls exactly as the model does."""
    rights = 0
    for rng, doc in policies(start, 500):
        policy = compiled(doc)
        for call in [random_call(rng) for _ in range(10)]:
            expected = model(doc, *call)
            assert allowed(policy, call) is expected, (doc, call)
            rights += expected
    assert 500 < rights < 4500, "both answers must be common, or nothing was tested"


def every_call() -> list[Call]:
    values: list[Doc] = [{}, {"u": "x"}, {"u": "y", "l": []}, {"u": "z", "l": ["x", "y"]}, {"l": ["z"]}]
    return list(product(PRINCIPALS, COMMANDS, (*HOSTS, "local"), values, DAYS))


def test_a_deny_never_adds_a_right() -> None:
    """Whatever deny is added to a policy, no call is allowed that was not allowed before."""
    taken = 0
    for rng, doc in policies(10_000, 60):
        before = compiled(doc)
        after = compiled({**doc, "deny": [*doc["deny"], random_deny(rng)]})
        for call in every_call():
            had, has = allowed(before, call), allowed(after, call)
            assert had or not has, (doc, call)
            taken += had and not has
    assert taken > 100, "denies that take nothing prove nothing"


def test_files_have_no_order() -> None:
    """Renaming and reordering files changes neither a decision nor the digest."""
    for rng, doc in policies(20_000, 60):
        parts: list[Doc] = [{"commands": {name: spec}} for name, spec in doc.pop("commands").items()]
        parts += [{key: value} for key, value in doc.items()]
        parts.append({"deny": [random_deny(rng)]})
        first = compiled(*parts)
        second = compiled(*rng.sample(parts, len(parts)))
        assert first.digest == second.digest
        calls = rng.sample(every_call(), 40)
        assert [allowed(first, call) for call in calls] == [allowed(second, call) for call in calls]
