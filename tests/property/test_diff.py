"""A diff never passes over a right that somebody gained."""

import random
from datetime import UTC, datetime
from itertools import combinations, product

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Verdict, decide
from cmdhttp.policy.review.diff import Difference, What, diff
from cmdhttp.policy.review.meaning import Sign
from tests.support.random_policies import (
    COMMANDS,
    HOSTS,
    PRINCIPALS,
    WIDE_DAYS,
    WORDS,
    Call,
    Doc,
    compiled,
    mutated,
    question,
    random_policy,
    wide_call,
    wide_deny,
    wide_policy,
)

EARLY, LATER = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
GAINED = (Sign.GAINED, Sign.CHANGED)
LOST = (Sign.LOST, Sign.CHANGED)
PLACES = (*HOSTS, "local")
LISTS: list[list[str] | None] = [None, *(list(some) for size in range(4) for some in combinations(WORDS, size))]
EVERY: list[Doc] = [
    {name: value for name, value in (("u", word), ("l", items)) if value is not None}
    for word, items in product((None, *WORDS), LISTS)
]
RIGHTS = (What.RIGHT, What.VALUES, What.DENY)


def passes(policy: Policy, call: Call) -> bool:
    return decide(policy, question(policy, call)).verdict in (Verdict.ALLOW, Verdict.NEEDS_APPROVAL)


def reported(found: list[Difference], signs: tuple[Sign, ...]) -> set[tuple[str, str, str]]:
    rights = (one for one in found if one.sign in signs and one.what in RIGHTS)
    return {(one.principal, one.command, host) for one in rights for host in one.hosts}


@pytest.mark.parametrize("start", range(0, 160, 20))
def test_what_is_gained_or_lost_is_reported(start: int) -> None:
    """Every call that only one of two policies lets through is a gain or loss of that principal, command and host."""
    gains = losses = 0
    for seed in range(start, start + 20):
        rng = random.Random(seed)
        doc = wide_policy(rng)
        old, new = compiled(doc), compiled(mutated(rng, doc))
        for since in (EARLY, LATER):
            found = diff(old, new, since=since)
            gained, lost = reported(found, GAINED), reported(found, LOST)
            for call in [wide_call(rng) for _ in range(150)]:
                if datetime.fromisoformat(call[4]).replace(tzinfo=UTC) < since:
                    continue
                before, now = passes(old, call), passes(new, call)
                assert now <= before or call[:3] in gained, (seed, call)
                assert before <= now or call[:3] in lost, (seed, call)
                gains += now > before
                losses += before > now
    assert gains > 3
    assert losses > 3


@pytest.mark.parametrize("start", range(20_000, 20_032, 8))
def test_what_can_be_told_is_exact(start: int) -> None:
    """Where every value can be tried, a gain or loss is reported exactly where some call is gained or lost."""
    seen = {True: 0, False: 0}
    for seed in range(start, start + 8):
        rng = random.Random(seed)
        doc = random_policy(rng)
        old, new = compiled(doc), compiled({**random_policy(rng), "commands": doc["commands"]})
        found = diff(old, new, since=EARLY)
        for signs, before, now in (((Sign.GAINED,), old, new), ((Sign.LOST,), new, old)):
            told = reported(found, signs)
            for right in product(PRINCIPALS, COMMANDS, PLACES):
                calls = [(*right, values, day) for values in EVERY for day in WIDE_DAYS]
                some = any(passes(now, call) and not passes(before, call) for call in calls)
                assert (right in told) is some, (seed, right, signs)
                seen[some] += 1
    assert min(seen.values()) > 50


def test_nothing_changes_between_a_policy_and_itself() -> None:
    """The same definitions, in files of other names and in another order, differ in nothing."""
    for seed in range(30_000, 30_030):
        rng = random.Random(seed)
        doc = wide_policy(rng)
        commands = list(doc["commands"].items())
        parts: list[Doc] = [{"commands": dict([one])} for one in commands]
        parts += [{key: value} for key, value in doc.items() if key != "commands"]
        assert diff(compiled(doc), compiled(*rng.sample(parts, len(parts))), since=EARLY) == []


def test_a_deny_gains_nobody_anything() -> None:
    """Whatever deny is added, nothing is gained, and taking it out again loses nobody anything."""
    taken = 0
    for seed in range(40_000, 40_030):
        rng = random.Random(seed)
        doc = wide_policy(rng)
        without, held = compiled(doc), compiled({**doc, "deny": [*doc["deny"], wide_deny(rng, doc)]})
        assert {one.sign for one in diff(without, held, since=EARLY)} <= {Sign.LOST}, seed
        back = diff(held, without, since=EARLY)
        assert {one.sign for one in back} <= {Sign.GAINED}, seed
        taken += bool(back)
    assert taken > 10
