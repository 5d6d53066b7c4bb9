"""The indexed decision against a model that reads the policy's own text, rule by rule, slowly."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Question, Verdict, bind, decide
from tests.support.random_policies import Call, Doc, compiled, every_call, policies, random_call, random_deny

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


# -- the tests


def allowed(policy: Policy, call: Call) -> bool:
    by, command, host, values, day = call
    arguments = bind(policy.commands.get(command, policy.commands["c1"]), values)
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    verdict = decide(policy, Question(principal=by, command=command, host=host, arguments=arguments, at=at)).verdict
    assert verdict is not Verdict.INVALID
    return verdict is Verdict.ALLOW


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
