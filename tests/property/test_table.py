"""The table says that a right exists exactly where some call passes."""

import random
from datetime import UTC, datetime
from itertools import product

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Verdict, decide
from cmdhttp.policy.review.table import Wanted, table
from tests.support.random_policies import (
    COMMANDS,
    DAYS,
    HOSTS,
    PRINCIPALS,
    WIDE_VALUES,
    WORDS,
    Call,
    Doc,
    compiled,
    question,
    random_policy,
    wide_policy,
)

Right = tuple[str, str, str]
PLACES = (*HOSTS, "local")
PLAIN: list[Doc] = [
    {name: value for name, value in (("u", word), ("l", items)) if value is not None}
    for word, items in product((None, *WORDS), (None, [], ["x"], ["y"], ["z"], ["x", "y"], ["x", "y", "z"]))
]


def said(policy: Policy, day: str) -> set[Right]:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    rows = table(policy, Wanted(), at=at)
    return {(row.principal, row.command.name, host) for row in rows for host in row.hosts}


def passes(policy: Policy, call: Call) -> bool:
    return decide(policy, question(policy, call)).verdict in (Verdict.ALLOW, Verdict.NEEDS_APPROVAL)


@pytest.mark.parametrize("start", range(0, 100, 20))
def test_a_right_is_in_the_table_exactly_if_some_call_passes(start: int) -> None:
    """For each principal, command, host and day of random policies, over every call that their rules can tell apart."""
    both = {True: 0, False: 0}
    for seed in range(start, start + 20):
        policy = compiled(random_policy(random.Random(seed)))
        for day in DAYS[:2]:
            rights = said(policy, day)
            for by, command, host in product(PRINCIPALS, COMMANDS, PLACES):
                some = any(passes(policy, (by, command, host, values, day)) for values in PLAIN)
                assert ((by, command, host) in rights) is some, (by, command, host, day, seed)
                both[some] += 1
    assert min(both.values()) > 100


def test_no_right_is_missing_where_it_cannot_be_told() -> None:
    """With numbers and paths too, every call that passes has its right in the table."""
    seen = 0
    for seed in range(5_000, 5_030):
        rng = random.Random(seed)
        policy = compiled(wide_policy(rng))
        rights = said(policy, DAYS[0])
        for by, command, host in product(PRINCIPALS, COMMANDS, PLACES):
            for _ in range(25):
                values = {name: rng.choice(kinds) for name, kinds in WIDE_VALUES.items() if rng.random() < 0.5}
                sent = {name: value for name, value in values.items() if value is not None}
                if passes(policy, (by, command, host, sent, DAYS[0])):
                    assert (by, command, host) in rights, (by, command, host, sent, seed)
                    seen += 1
    assert seen > 300


def test_flags_only_narrow() -> None:
    """The rows of one principal, command or host are those rows of the whole table."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for seed in range(9_000, 9_040):
        policy = compiled(random_policy(random.Random(seed)))
        whole = table(policy, Wanted(), at=at)
        for by, command in product((None, *PRINCIPALS), (None, *COMMANDS)):
            some = table(policy, Wanted(principal=by, command=command), at=at)
            assert some == [row for row in whole if by in (None, row.principal) and command in (None, row.command.name)]
        for host in PLACES:
            here = table(policy, Wanted(host=host), at=at)
            assert {(row.principal, row.command.name) for row in here if row.hosts} == {
                (row.principal, row.command.name) for row in whole if host in row.hosts
            }
