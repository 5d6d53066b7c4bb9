"""Rights over jobs of others: `diff` is held against `right_over`, job by job, and the words of both verbs once."""

from functools import cache
from itertools import permutations, product

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.oversee import Overseen, right_over
from cmdhttp.policy.review.diff import What, diff
from cmdhttp.policy.review.meaning import Sign
from cmdhttp.policy.review.oversight import overseers
from cmdhttp.policy.review.table import Wanted
from tests.unit.policies import NOW, compiled

BASE = """
ssh_profiles: {s: {user: u, auth: {key: "file:k"}, host_keys: {known_hosts: k}}}
hosts: {a: {address: a, ssh: s}, b: {address: b, ssh: s}}
commands:
  stop: {effect: change, run: [/bin/x, <u>], on: [a, b], params: {u: {type: enum, values: [p, q]}}}
  look: {effect: read, run: [/bin/y], on: a}
principals: {lead: {}, ann: {}, ben: {}}
grants: [{to: lead, roles: lead}, {to: [ann, ben], roles: run}]
"""
LINES = [
    "",
    "{commands: stop, hosts: [a, b], jobs: cancel}",
    "{commands: stop, hosts: [a, b], jobs: read}",
    "{commands: stop, hosts: a, jobs: cancel, of: ann}, {commands: stop, hosts: b, jobs: read, of: ben}",
    "{commands: stop, hosts: [a, b], jobs: cancel, of: ann}, {commands: stop, hosts: [a, b], jobs: cancel, of: ben}",
    '{commands: stop, hosts: [a, b], jobs: cancel, of: "role:run"}',
    "{commands: stop, hosts: [a, b], jobs: cancel, params: {u: p}}",
    "{commands: stop, hosts: [a, b], jobs: cancel, params: {u: [p, q]}}",
    '{commands: "*", hosts: "*", jobs: read}',
    "{commands: stop, hosts: a, jobs: read}, {commands: stop, hosts: b, jobs: cancel, of: ann}",
    "{commands: look, hosts: [a, b], jobs: cancel}",
]
JOBS = [
    Overseen(owner=owner, command=command, hosts=hosts, params=params)
    for owner, command, hosts, params in product(
        ("ann", "ben", "lost"), ("stop", "look"), (["a"], ["b"], ["a", "b"]), ({"u": "p"}, {"u": "q"}, {})
    )
]


@cache
def made(lines: str, base: str = BASE) -> Policy:
    return compiled(base, f'roles: {{run: [{{commands: "*", hosts: "*"}}], lead: [{lines}]}}')


@pytest.mark.parametrize(("old", "new"), list(permutations(LINES, 2)))
def test_whoever_may_do_more_or_less_is_told(old: str, new: str) -> None:
    before, now = made(old), made(new)
    signs = {found.sign for found in diff(before, now, since=NOW)}
    shifts = [right_over(now, "lead", job) - right_over(before, "lead", job) for job in JOBS]
    assert Sign.GAINED in signs or max(shifts) <= 0
    assert Sign.LOST in signs or min(shifts) >= 0


@pytest.mark.parametrize("lines", LINES)
def test_what_did_not_change_is_not_told(lines: str) -> None:
    assert (
        diff(
            made(lines), compiled(BASE, f'roles: {{run: [{{commands: "*", hosts: "*"}}], lead: [{lines}]}}'), since=NOW
        )
        == []
    )


@pytest.mark.parametrize(("one", "other"), [LINES[4:6]])
def test_the_same_owners_in_other_words_are_the_same(one: str, other: str) -> None:
    assert diff(made(one), made(other), since=NOW) == diff(made(other), made(one), since=NOW) == []


@pytest.mark.parametrize(
    ("before", "now", "signs"),
    [
        ("on: [a, b]", "on: a", {Sign.LOST}),
        ("values: [p, q]", "values: [p, q, r]", {Sign.GAINED}),
        ("[ann, ben], roles: run", "[ann], roles: run", {Sign.LOST}),
        ("to: lead,", "to: [lead, ben],", {Sign.GAINED}),
        ("{commands: look", "{commands: look", set()),
    ],
)
def test_what_stands_elsewhere_counts(before: str, now: str, signs: set[Sign]) -> None:
    """The hosts of the command, its types, who holds the owners' role, and who holds the overseers' role."""
    lines = '{commands: stop, hosts: "*", jobs: cancel, of: "role:run", params: {u: [p, q]}}'
    changed = made(lines.replace("[p, q]}}", "[p, q, r]}}"), BASE.replace(before, now)) if "r]" in now else None
    found = diff(made(lines), changed or made(lines, BASE.replace(before, now)), since=NOW)
    assert {one.sign for one in found if one.what is What.JOBS} == signs


def test_the_words() -> None:
    (gained,) = diff(made(LINES[2]), made(LINES[6]), since=NOW)[:1]
    assert (gained.what, gained.principal, gained.command, gained.hosts) == (What.JOBS, "lead", "stop", ("a", "b"))
    assert (gained.subject, gained.before) == ("lead", "read, of everybody, with any values")
    assert gained.now == "cancel, of everybody, with u: p"
    (fresh,) = diff(made(""), made('{commands: stop, hosts: a, jobs: read, of: "role:lead"}'), since=NOW)
    assert (fresh.before, fresh.now) == ("nothing", "read, of lead, with any values")


def test_the_table() -> None:
    policy = made(LINES[3] + ", {commands: look, hosts: b, jobs: read}")
    found = overseers(policy, Wanted(principal="lead"))
    assert [(one.command.name, sorted(one.hosts), one.right, one.owners, one.values) for one in found] == [
        ("stop", ["a"], "cancel", ["ann"], {}),
        ("stop", ["b"], "read", ["ben"], {}),
    ]
    assert [one.right for one in overseers(policy, Wanted(host="b"))] == ["read"]
    assert overseers(policy, Wanted(command="look")) == []
    assert overseers(policy, Wanted(principal="ann")) == []
