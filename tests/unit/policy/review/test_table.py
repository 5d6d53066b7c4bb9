"""The effective table: what is left of a role line once the denies have taken theirs."""

from datetime import UTC, datetime

import pytest

from cmdhttp.policy.review.table import Row, Wanted, table
from tests.unit.policies import NOW, compiled

HOSTS = """
ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}
hosts:
  web1: {address: 10.0.0.1, ssh: linux, labels: {role: web, env: prod}}
  web2: {address: 10.0.0.2, ssh: linux, labels: {role: web, env: staging}}
commands:
  restart:
    effect: change
    run: [/bin/restart, <unit>]
    params: {unit: {type: enum, values: [nginx, redis, app]}, later: {type: int, max: 60, required: false}}
    on: {role: web}
  look: {effect: read, run: [/bin/look], on: [local, web1]}
  tell: {effect: read, run: [/bin/tell, <who>], params: {who: {type: username}}, on: local}
principals: {alice: {}, bob: {}}
"""
ACCESS = """
roles:
  web: [{commands: restart, hosts: {role: web}, params: {unit: [redis, nginx]}}]
  look: [{commands: {effect: read}, hosts: "*"}]
grants: [{to: alice, roles: [web, look]}, {to: bob, roles: look}]
"""


def rows(deny: str = "", wanted: Wanted | None = None, at: datetime = NOW) -> list[Row]:
    policy = compiled(HOSTS, ACCESS, f"deny: [{deny}]" if deny else "")
    return table(policy, wanted or Wanted(command="restart"), at=at)


def told(found: list[Row]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(row.principal, row.command.name, row.hosts) for row in found]


def test_rows_are_sorted_and_say_what_is_left() -> None:
    """By principal and command, each with hosts, values and the line it comes from."""
    found = rows(wanted=Wanted())
    assert told(found) == [
        ("alice", "look", ("local", "web1")),
        ("alice", "restart", ("web1", "web2")),
        ("alice", "tell", ("local",)),
        ("bob", "look", ("local", "web1")),
        ("bob", "tell", ("local",)),
    ]
    assert found[1].values == {"unit": "nginx | redis", "later": "any"}
    assert (found[1].line.role, str(found[1].line.at), found[1].cuts) == ("web", "b.yaml:4:9", ())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(principal="bob"), [("bob", "look", ("local", "web1")), ("bob", "tell", ("local",))]),
        (Wanted(host="web2"), [("alice", "restart", ("web2",))]),
        (Wanted(host="web1", principal="bob"), [("bob", "look", ("web1",))]),
        (Wanted(command="tell", principal="alice"), [("alice", "tell", ("local",))]),
        (Wanted(command="tell", host="web1"), []),
    ],
)
def test_wanted_narrows(wanted: Wanted, expected: list[tuple[str, str, tuple[str, ...]]]) -> None:
    """Each of principal, command and host takes rows away, and together they narrow."""
    assert told(rows(wanted=wanted)) == expected


@pytest.mark.parametrize(
    ("deny", "hosts", "cuts"),
    [
        ("{why: w, hosts: {env: prod}}", ("web2",), [(("web1",), {})]),
        (
            "{why: w, commands: restart, params: {unit: nginx}}",
            ("web1", "web2"),
            [(("web1", "web2"), {"unit": "nginx"})],
        ),
        ("{why: w, commands: restart, params: {unit: app}}", ("web1", "web2"), []),
        ("{why: w, to: bob}", ("web1", "web2"), []),
        ("{why: w, until: 2026-11-02}", ("web1", "web2"), []),
        ("{why: w, from: 2026-11-03}", ("web1", "web2"), []),
        ("{why: w, hosts: local}", ("web1", "web2"), []),
        ("{why: w}", (), [(("web1", "web2"), {})]),
        (
            "{why: w, commands: restart, params: {unit: [nginx, redis]}}",
            (),
            [(("web1", "web2"), {"unit": "nginx | redis"})],
        ),
        (
            "{why: w, commands: restart, params: {unit: nginx}}, {why: w, commands: restart, params: {unit: redis}, hosts: web1}",
            ("web2",),
            [(("web1", "web2"), {"unit": "nginx"}), (("web1",), {"unit": "redis"})],
        ),
        (
            "{why: w, commands: restart, params: {unit: [nginx, redis], later: {min: 0}}}",
            ("web1", "web2"),
            [(("web1", "web2"), {"unit": "nginx | redis", "later": "at least 0"})],
        ),
    ],
)
def test_denies_cut(deny: str, hosts: tuple[str, ...], cuts: list[tuple[tuple[str, ...], dict[str, str]]]) -> None:
    """A deny takes whole hosts, or stands beside the row as an exception; one that meets nothing of it is left out."""
    (row,) = rows(deny)
    assert row.hosts == hosts
    assert [(cut.hosts, cut.values) for cut in row.cuts] == cuts


def test_a_deny_counts_only_in_its_window() -> None:
    """The table is of one moment."""
    deny = "{why: w, from: 2026-12-20, until: 2027-01-03}"
    assert rows(deny)[0].hosts == ("web1", "web2")
    assert rows(deny, at=datetime(2026, 12, 24, tzinfo=UTC))[0].hosts == ()


def test_what_cannot_be_told_is_a_right() -> None:
    """Whether a user name is left that no deny meets is not worked out: the row stays, with its exception."""
    (row,) = rows("{why: w, commands: tell, params: {who: {pattern: '.*'}}}", Wanted(principal="bob", command="tell"))
    assert row.hosts == ("local",)
    assert [cut.values for cut in row.cuts] == [{"who": "like .*"}]


def test_a_deny_of_everything_is_told_whatever_the_values() -> None:
    """A deny without values closes a row also where nothing else can be told."""
    denies = "{why: v, commands: tell, params: {who: {pattern: '.*'}}}, {why: w, commands: tell}"
    (row,) = rows(denies, Wanted(principal="bob", command="tell"))
    assert row.hosts == ()


def test_a_right_to_json_values_is_shown() -> None:
    """A role line that lists JSON values is a right, until a deny meets each of them."""
    text = """
    commands: {send: {script: cat, interpreter: sh, params: {doc: {type: json}}, on: local}}
    principals: {alice: {}}
    roles: {r: [{commands: send, hosts: local, params: {doc: ['{"a": 1}']}}]}
    grants: [{to: alice, roles: [r]}]
    """
    assert [row.hosts for row in table(compiled(text), Wanted(), at=NOW)] == [("local",)]
    closed = compiled(text, """deny: [{why: w, params: {doc: ['{"a":1}', '2']}}]""")
    assert [row.hosts for row in table(closed, Wanted(), at=NOW)] == [()]
