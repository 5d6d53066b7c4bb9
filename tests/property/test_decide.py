"""The indexed decision against a model that reads the policy's own text, rule by rule, slowly.

`CMDHTTP_POLICIES=N` decides by N random policies instead of 10,000.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any, cast

import pytest

from cmdhttp.policy.compiled import Deny, Line, Policy
from cmdhttp.policy.decide import Arguments, Decision, Question, Reason, Verdict, bind, decide
from cmdhttp.policy.findings import Position
from cmdhttp.policy.params import Narrowing, ParamSpec, Value
from tests.support import model
from tests.support.lawful import (
    COMMANDS,
    DAYS,
    lawful_call,
    lawful_deny,
    lawful_grant,
    lawful_line,
    lawful_policy,
    params_of,
)
from tests.support.random_policies import HOSTS, PRINCIPALS, ROLES, Call, Doc, compiled

POLICIES = int(os.environ.get("CMDHTTP_POLICIES", "10000"))
PARTS = 10
CALLS = 6
EACH: Doc = {"u": "y", "n": 3, "f": "/var/a", "a": "10.2.0.1", "l": ["x"]}


def decision(policy: Policy, call: Call) -> Decision:
    by, name, host, values, day = call
    command = policy.commands.get(name)
    arguments = bind(command, values) if command else Arguments(values={})
    at = model.moment(day)
    return decide(policy, Question(principal=by, command=name, host=host, arguments=arguments, at=at))


def allowed(policy: Policy, call: Call) -> bool:
    return decision(policy, call).verdict in (Verdict.ALLOW, Verdict.NEEDS_APPROVAL)


def policies(start: int, count: int) -> Iterator[tuple[Random, Doc]]:
    for seed in range(start, start + count):
        chance = Random(seed)
        yield chance, lawful_policy(chance)


@pytest.mark.timeout(120 if POLICIES <= 10_000 else 0)
@pytest.mark.parametrize("part", range(PARTS))
def test_like_the_model(part: int) -> None:
    """Each of 10,000 random policies decides random calls exactly as the model does."""
    count = POLICIES // PARTS
    seen: Counter[str] = Counter()
    for chance, doc in policies(part * count, count):
        policy = compiled(doc)
        for call in [lawful_call(chance, doc) for _ in range(CALLS)]:
            expected = model.verdict(doc, *call)
            assert decision(policy, call).verdict == expected, (doc, call)
            seen[expected] += 1
    assert all(seen[verdict] > count * CALLS // 25 for verdict in Verdict), "every answer must be common"


def every_call(doc: Doc) -> list[Call]:
    values: list[Doc] = [{}, *({name: value} for name, value in EACH.items()), EACH]
    kept = [{name: value for name, value in each.items() if name in params_of(doc)} for each in values]
    return list(product(PRINCIPALS, COMMANDS, (*HOSTS, "local"), kept, DAYS[::2]))


def test_a_deny_never_adds_a_right() -> None:
    """Whatever deny is added to a policy, no call is allowed that was not allowed before."""
    taken = 0
    for chance, doc in policies(100_000, 60):
        before = compiled(doc)
        after = compiled({**doc, "deny": [*doc["deny"], lawful_deny(chance, params_of(doc), "added")]})
        for call in every_call(doc):
            had, has = allowed(before, call), allowed(after, call)
            assert had or not has, (doc, call)
            taken += had and not has
    assert taken > 200, "denies that take nothing prove nothing"


@pytest.mark.parametrize("what", ["line", "grant"])
def test_a_role_line_or_grant_never_removes_a_right(what: str) -> None:
    """Whatever is given in addition, no call is denied that was allowed before, as long as no deny names a role."""
    given = 0
    for chance, doc in policies(200_000, 60):
        doc["deny"] = [deny for deny in doc["deny"] if "role:" not in str(deny.get("to"))]
        before = compiled(doc)
        if what == "line":
            role = chance.choice(ROLES)
            doc["roles"][role].append(lawful_line(chance, params_of(doc)))
        else:
            doc["grants"].append(lawful_grant(chance))
        after = compiled(doc)
        for call in every_call(doc):
            had, has = allowed(before, call), allowed(after, call)
            assert has or not had, (doc, call)
            given += has and not had
    assert given > 100, "rights that give nothing prove nothing"


def reasons(policy: Policy, calls: list[Call]) -> list[tuple[str, str, str]]:
    """Everything that a decision says, but for the place."""
    found = [decision(policy, call) for call in calls]
    return [(each.verdict, each.reason, each.why) for each in found]


def parts_of(doc: Doc) -> list[Doc]:
    """The policy in as many files as it has definitions, rules and grants; a role stays whole."""
    named: list[Doc] = []
    for section, entries in doc.items():
        items = entries.items() if isinstance(entries, dict) else enumerate(entries)
        named += [{section: {name: entry} if isinstance(entries, dict) else [entry]} for name, entry in items]
    return named


def test_files_have_no_order() -> None:
    """Renaming and reordering files changes neither a decision, nor its reason, nor the digest."""
    answers: Counter[tuple[str, str, str]] = Counter()
    for chance, doc in policies(300_000, 60):
        doc["deny"] += [lawful_deny(chance, params_of(doc), why) for why in ("w0", "w1", "w0")]
        parts = parts_of(doc)
        first = compiled(*parts)
        second = compiled(*chance.sample(parts, len(parts)), names="z")
        assert first.digest == second.digest
        calls = chance.sample(every_call(doc), 60)
        assert reasons(first, calls) == reasons(second, calls), doc
        answers.update(reasons(first, calls))
    assert len(answers) > 10, "the reasons must differ, or nothing was tested"


def unplaced(policy: Policy) -> dict[str, Any]:
    """What a policy is, without the places where it stands and without the digest of its files."""
    nowhere = Position(file="")

    def lines(found: tuple[Any, ...]) -> list[Any]:
        return [replace(each, at=nowhere) for each in found]

    return {
        "commands": {name: replace(command, at=nowhere) for name, command in policy.commands.items()},
        "hosts": policy.hosts,
        "groups": policy.groups,
        "roles": {role: lines(found) for role, found in policy.roles.items()},
        "held": {
            name: (held.roles, {atom: lines(found) for atom, found in held.lines.items()})
            for name, held in policy.principals.items()
        },
        "rules": lines(policy.rules),
        "denies": {atom: lines(found) for atom, found in policy.denies.items()},
    }


def test_files_may_be_split() -> None:
    """A policy in many files is the same policy as in one, but for the places."""
    for _, doc in policies(400_000, 100):
        whole, split = compiled(doc), compiled(*parts_of(doc))
        assert unplaced(whole) == unplaced(split), doc


class Corrupt(ParamSpec):
    """A parameter that cannot even be asked what a value is."""

    def identity(self, value: Value) -> str:
        raise RuntimeError("corrupt")


def test_an_error_inside_a_decision_denies() -> None:
    """With one rule of a policy corrupted, each call gets the answer that it had before, or a deny because of the error."""
    errors = 0
    for chance, doc in policies(500_000, 60):
        policy = compiled(doc)
        calls = every_call(doc)
        before = [decision(policy, call) for call in calls]
        rules: list[Deny | Line] = [*policy.rules, *(line for lines in policy.roles.values() for line in lines)]
        narrowed = [rule.narrowings for rule in rules if rule.narrowings]
        if not narrowed:
            continue
        narrowings = cast("dict[str, Narrowing]", chance.choice(narrowed))
        name = chance.choice(list(narrowings))
        narrowings[name] = replace(narrowings[name], spec=Corrupt(type="corrupt"), among=frozenset())
        for call, old in zip(calls, before, strict=True):
            new = decision(policy, call)
            assert new == old or (new.verdict, new.reason) == (Verdict.DENY, Reason.ERROR), (doc, call)
            errors += new.reason is Reason.ERROR
    assert errors > 100, "no error was met, so nothing was tested"
