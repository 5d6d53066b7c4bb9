"""The law, rule by rule; `tests/property/test_decide.py` holds it against a naive model."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Arguments, Question, Reason, Verdict, bind, decide, known_hosts
from cmdhttp.policy.findings import Position
from tests.unit.policies import NOW, ask, compiled

HOSTS = """
ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}
hosts:
  web1: {address: 10.0.0.1, ssh: linux, labels: {role: web, env: prod}}
  web2: {address: 10.0.0.2, ssh: linux, labels: {role: web, env: staging}}
  db1: {address: 10.0.0.3, ssh: linux, labels: {role: db, env: prod}}
groups: {web-all: {role: web}, both: [web1, db1]}
"""
COMMANDS = """
commands:
  restart:
    effect: change
    tags: [units]
    run: [/bin/restart, <unit>]
    params: {unit: {type: enum, values: [nginx, redis, app]}}
    on: {role: [web, db]}
  look:
    effect: read
    run: [/bin/look, [--since, <since>]]
    params: {since: {type: int, required: false}}
    on: [local, web-all]
  block:
    effect: destroy
    run: [/bin/block, "<addresses...>"]
    params: {addresses: {type: list, of: {type: ip}}}
    on: web1
principals: {p: {}, q: {}, nobody: {}}
"""


def policy(access: str) -> Policy:
    return compiled(HOSTS, COMMANDS, access)


OPEN = """
roles: {all: [{commands: "*", hosts: "*"}]}
grants: [{to: [p, q], roles: all}]
"""


def denying(deny: str) -> Policy:
    return policy(f"{OPEN}deny: [{deny}]")


def allowing(line: str) -> Policy:
    return policy(f"roles: {{r: [{line}]}}\ngrants: [{{to: p, roles: r}}]")


@pytest.mark.parametrize(
    ("by", "command", "host", "values", "reason"),
    [
        ("stranger", "look", "web1", {}, Reason.UNKNOWN_PRINCIPAL),
        ("P", "look", "web1", {}, Reason.UNKNOWN_PRINCIPAL),
        ("p", "reboot", "web1", {}, Reason.UNKNOWN_COMMAND),
        ("p", "look", "web9", {}, Reason.UNKNOWN_HOST),
        ("p", "look", "", {}, Reason.UNKNOWN_HOST),
        ("p", "look", "web-all", {}, Reason.UNKNOWN_HOST),
        ("p", "look", "*", {}, Reason.UNKNOWN_HOST),
        ("p", "look", "db1", {}, Reason.NOT_MADE_FOR_HOST),
        ("p", "restart", "local", {"unit": "nginx"}, Reason.NOT_MADE_FOR_HOST),
        ("nobody", "look", "web1", {}, Reason.NO_ROLE_LINE),
        ("p", "look", "web1", {}, Reason.ROLE_LINE),
        ("p", "look", "local", {}, Reason.ROLE_LINE),
        ("p", "restart", "web1", {"unit": "nginx"}, Reason.ROLE_LINE),
        ("p", "restart", "web1", {"unit": "Nginx"}, Reason.BAD_PARAMETER),
        ("p", "restart", "web1", {}, Reason.BAD_PARAMETER),
        ("p", "restart", "web1", {"unit": None}, Reason.BAD_PARAMETER),
        ("p", "restart", "web1", {"unit": "nginx", "also": 1}, Reason.BAD_PARAMETER),
        ("p", "restart", "local", {"unit": "wrong"}, Reason.NOT_MADE_FOR_HOST),
    ],
)
def test_each_rule_in_its_order(by: str, command: str, host: str, values: dict[str, Any], reason: Reason) -> None:
    """What is unknown, not made for the host, bad or granted to nobody is refused, and the reason says which came first."""
    decision = ask(policy(OPEN), command, host, by=by, **values)
    assert decision.reason is reason
    verdicts = {Reason.ROLE_LINE: Verdict.ALLOW, Reason.BAD_PARAMETER: Verdict.INVALID}
    assert decision.verdict is verdicts.get(reason, Verdict.DENY)


def test_no_policy_allows_nothing() -> None:
    """A principal without any role may do nothing at all."""
    for command in ("restart", "look", "block"):
        assert ask(policy(""), command, unit="nginx").verdict is not Verdict.ALLOW


def test_the_answer_names_its_line() -> None:
    """An allow carries the role and the place of its line; a deny its reason and its place."""
    allowed = ask(allowing("{commands: look, hosts: web1}"), "look")
    assert (allowed.why, allowed.at) == ("r", Position(file="c.yaml", line=2, column=13))
    denied = ask(denying("{why: freeze}"), "look")
    assert denied.why == "freeze"
    assert denied.at is not None
    assert denied.at.file == "c.yaml"


@pytest.mark.parametrize(
    ("deny", "command", "host", "values", "hit"),
    [
        ("{why: w}", "look", "web1", {}, True),
        ("{why: w, to: p}", "look", "web1", {}, True),
        ("{why: w, to: q}", "look", "web1", {}, False),
        ("{why: w, to: [q, p]}", "look", "web1", {}, True),
        ("{why: w, to: 'role:all'}", "look", "web1", {}, True),
        ("{why: w, commands: look}", "look", "web1", {}, True),
        ("{why: w, commands: look}", "restart", "web1", {"unit": "app"}, False),
        ("{why: w, commands: {effect: change}}", "restart", "web1", {"unit": "app"}, True),
        ("{why: w, commands: {effect: change}}", "look", "web1", {}, False),
        ("{why: w, commands: {tag: units}}", "restart", "web1", {"unit": "app"}, True),
        ("{why: w, commands: [look, {tag: units}]}", "look", "web1", {}, True),
        ("{why: w, hosts: web2}", "look", "web1", {}, False),
        ("{why: w, hosts: {env: prod}}", "look", "web1", {}, True),
        ("{why: w, hosts: {env: prod, role: db}}", "look", "web1", {}, False),
        ("{why: w, hosts: {env: [staging, prod]}}", "look", "web1", {}, True),
        ("{why: w, hosts: both}", "look", "web1", {}, True),
        ("{why: w, hosts: {env: prod}}", "look", "local", {}, False),
        ("{why: w, hosts: '*'}", "look", "local", {}, True),
        ("{why: w, commands: restart, params: {unit: redis}}", "restart", "web1", {"unit": "redis"}, True),
        ("{why: w, commands: restart, params: {unit: redis}}", "restart", "web1", {"unit": "nginx"}, False),
        ("{why: w, commands: look, params: {since: {min: 5}}}", "look", "web1", {"since": 7}, True),
        ("{why: w, commands: look, params: {since: {min: 5}}}", "look", "web1", {"since": 3}, False),
        ("{why: w, commands: look, params: {since: {min: 5}}}", "look", "web1", {}, False),
    ],
)
def test_a_deny_beats_every_allow(deny: str, command: str, host: str, values: dict[str, Any], *, hit: bool) -> None:
    """A deny that matches in principal, command, host and values wins over a role that allows everything."""
    decision = ask(denying(deny), command, host, **values)
    assert decision.verdict is (Verdict.DENY if hit else Verdict.ALLOW)
    assert decision.reason is (Reason.DENY_RULE if hit else Reason.ROLE_LINE)


@pytest.mark.parametrize(
    ("at", "hit"),
    [
        (datetime(2026, 12, 19, 23, 59, 59, 999999, tzinfo=UTC), False),
        (datetime(2026, 12, 20, tzinfo=UTC), True),
        (datetime(2027, 1, 2, 23, 59, 59, 999999, tzinfo=UTC), True),
        (datetime(2027, 1, 3, tzinfo=UTC), False),
        (datetime.fromisoformat("2026-12-20T00:30:00+01:00"), False),
        (datetime.fromisoformat("2026-12-19T23:30:00-01:00"), True),
    ],
)
def test_a_deny_has_its_time(at: datetime, *, hit: bool) -> None:
    """A deny matches from its first instant until just before its last, whatever the zone of the clock that asks."""
    frozen = denying("{why: w, from: 2026-12-20, until: 2027-01-03}")
    assert (ask(frozen, "look", at=at).verdict is Verdict.DENY) is hit


@pytest.mark.parametrize(
    ("window", "before", "after"),
    [("from: 2026-12-20", False, True), ("until: 2026-12-20", True, False)],
)
def test_half_a_window(window: str, *, before: bool, after: bool) -> None:
    """A deny with one end only is open at the other."""
    half = denying(f"{{why: w, {window}}}")
    assert (ask(half, "look", at=datetime(1999, 1, 1, tzinfo=UTC)).verdict is Verdict.DENY) is before
    assert (ask(half, "look", at=datetime(2999, 1, 1, tzinfo=UTC)).verdict is Verdict.DENY) is after


@pytest.mark.parametrize(
    ("line", "command", "host", "values", "hit"),
    [
        ("{commands: restart, hosts: web1}", "restart", "web1", {"unit": "app"}, True),
        ("{commands: restart, hosts: web1}", "restart", "web2", {"unit": "app"}, False),
        ("{commands: restart, hosts: web1}", "look", "web1", {}, False),
        ("{commands: '*', hosts: local}", "look", "web1", {}, False),
        ("{commands: '*', hosts: {role: web}}", "look", "local", {}, False),
        ("{commands: {effect: read}, hosts: '*'}", "restart", "web1", {"unit": "app"}, False),
        ("{commands: restart, hosts: '*', params: {unit: [nginx, app]}}", "restart", "web1", {"unit": "app"}, True),
        ("{commands: restart, hosts: '*', params: {unit: [nginx, app]}}", "restart", "web1", {"unit": "redis"}, False),
        ("{commands: look, hosts: '*', params: {since: {max: 9}}}", "look", "web1", {"since": "9"}, True),
        ("{commands: look, hosts: '*', params: {since: {max: 9}}}", "look", "web1", {"since": 10}, False),
        ("{commands: look, hosts: '*', params: {since: {max: 9}}}", "look", "web1", {}, False),
        ("{commands: look, hosts: '*', params: {since: {max: 9}}}", "look", "web1", {"since": None}, False),
    ],
)
def test_a_role_line_needs_every_matcher(
    line: str, command: str, host: str, values: dict[str, Any], *, hit: bool
) -> None:
    """A line allows only what it names in command, host and values; a narrowed value that is absent is not allowed."""
    decision = ask(allowing(line), command, host, **values)
    assert decision.verdict is (Verdict.ALLOW if hit else Verdict.DENY)
    assert decision.reason is (Reason.ROLE_LINE if hit else Reason.NO_ROLE_LINE)


def test_two_lines_do_not_add_up() -> None:
    """The command of one line and the host of another make no right."""
    two = allowing("{commands: restart, hosts: web2}, {commands: look, hosts: web1}")
    assert ask(two, "restart", "web1", unit="app").reason is Reason.NO_ROLE_LINE
    assert ask(two, "restart", "web2", unit="app").verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("values", "allowed", "denied"),
    [
        (["10.0.0.1"], True, True),
        (["10.0.0.1", "10.0.0.2"], True, True),
        (["10.0.0.1", "192.0.2.1"], False, True),
        (["192.0.2.1"], False, False),
    ],
)
def test_lists(values: list[str], *, allowed: bool, denied: bool) -> None:
    """A role line must take in every item of a list, and a deny meets the list by any one item."""
    words = "params: {addresses: {in: [10.0.0.0/8]}}"
    line = allowing(f"{{commands: block, hosts: '*', {words}}}")
    deny = denying(f"{{why: w, commands: block, {words}}}")
    assert (ask(line, "block", addresses=values).verdict is Verdict.ALLOW) is allowed
    assert (ask(deny, "block", addresses=values).verdict is Verdict.DENY) is denied


def test_an_empty_list_is_no_way_round_a_role_line() -> None:
    """A list without items makes the same argv as one that is left out, and gets the same answer."""
    text = """
    commands:
      upgrade:
        run: [/bin/upgrade, "<packages...>"]
        params: {packages: {type: list, of: {type: enum, values: [nginx, redis]}, required: false}}
        on: web1
    """
    line = "roles: {r: [{commands: upgrade, hosts: web1%s}]}\ngrants: [{to: p, roles: r}]\nprincipals: {p: {}}"
    narrow, wide = (compiled(HOSTS, text, line % by) for by in (", params: {packages: [nginx]}", ""))
    asked: tuple[dict[str, Any], ...] = ({}, {"packages": []}, {"packages": ["nginx"]})
    assert [ask(narrow, "upgrade", **values).verdict for values in asked] == [Verdict.DENY, Verdict.DENY, Verdict.ALLOW]
    assert {ask(wide, "upgrade", **values).verdict for values in asked} == {Verdict.ALLOW}


def test_a_flag_that_is_left_out_is_no_way_round_a_deny() -> None:
    """Without the flag is without the flag: a call that sends false and one that sends nothing make the same argv."""
    text = """
    commands:
      prune:
        run: [/bin/prune, <dry_run>, <quiet>]
        params:
          dry_run: {type: bool, flag: --dry-run, required: false}
          quiet: {type: bool, flag: --quiet, required: false, default: true}
        on: web1
    """
    access = "principals: {p: {}}\n" + OPEN.replace("[p, q]", "p")
    dry = compiled(HOSTS, text, access, "deny: [{why: only dry, params: {dry_run: false}}]")
    asked: tuple[dict[str, Any], ...] = ({}, {"dry_run": False}, {"dry_run": True})
    assert [ask(dry, "prune", **values).verdict for values in asked] == [Verdict.DENY, Verdict.DENY, Verdict.ALLOW]
    assert bind(dry.commands["prune"], {}).values == {"dry_run": False, "quiet": True}


def test_a_folder_is_denied_with_all_below_it_and_not_above() -> None:
    """A deny is about the path that is sent; a command that walks is held by an `under` of its own, in its role line too."""
    text = """
    commands:
      walk: {run: [/bin/walk, --, <path>], params: {path: {type: path}}, on: web1}
      held: {run: [/bin/walk, --, <path>], params: {path: {type: path, under: [/srv]}}, on: web1}
    """
    access = "principals: {p: {}}\n" + OPEN.replace("[p, q]", "p")
    deny = compiled(HOSTS, text, access, "deny: [{why: not there, commands: walk, params: {path: {under: [/etc]}}}]")
    asked = {path: ask(deny, "walk", path=path).verdict for path in ("/etc", "/etc/ssl/x", "/etcetera", "/", "/srv")}
    assert [path for path, verdict in asked.items() if verdict is Verdict.DENY] == ["/etc", "/etc/ssl/x"]
    refused = [bind(deny.commands["held"], {"path": path}).errors for path in ("/", "/etc", "/srv")]
    assert [[error.code for error in errors] for errors in refused] == [["not_under"], ["not_under"], []]
    narrowed = (
        "roles: {r: [{commands: walk, hosts: web1, params: {path: {under: [/srv]}}}]}\ngrants: [{to: p, roles: r}]"
    )
    line = compiled(HOSTS, text, "principals: {p: {}}\n" + narrowed)
    assert [ask(line, "walk", path=path).verdict for path in ("/", "/srv/x")] == [Verdict.DENY, Verdict.ALLOW]


def test_a_deny_of_two_values_needs_both() -> None:
    """All parameters of one deny must match, as its line reads."""
    text = """
    commands:
      two:
        run: [/bin/two, <a>, <b>]
        params: {a: {type: enum, values: [x, y]}, b: {type: enum, values: [x, y]}}
        on: web1
    """
    both = compiled(
        HOSTS, text, "principals: {p: {}}\n" + OPEN.replace("[p, q]", "p"), "deny: [{why: w, params: {a: x, b: x}}]"
    )
    verdicts = {(a, b): ask(both, "two", a=a, b=b).verdict for a in "xy" for b in "xy"}
    assert [pair for pair, verdict in verdicts.items() if verdict is Verdict.DENY] == [("x", "x")]


def test_an_error_is_a_deny() -> None:
    """Whatever breaks while deciding, the answer is a deny and no exception."""
    broken = replace(policy(OPEN), denies={"*": (None,)})  # type: ignore[dict-item]
    decision = ask(broken, "look")
    assert (decision.verdict, decision.reason) == (Verdict.DENY, Reason.ERROR)


def test_a_clock_without_zone_is_a_deny() -> None:
    """A time that cannot be compared with a deny's window refuses the call."""
    frozen = denying("{why: w, from: 2026-12-20}")
    assert ask(frozen, "look", at=datetime(2026, 1, 1)).reason is Reason.ERROR  # noqa: DTZ001


def test_bind_tells_all_at_once() -> None:
    """Every unknown, bad and missing parameter is named by a pointer, and no value is repeated."""
    command = policy(OPEN).commands["restart"]
    bound = bind(command, {"unti": "CANARY", "a/b~c": 1, "unit": "CANARY"})
    assert [(error.pointer, error.code) for error in bound.errors] == [
        ("/params/unti", "unknown_parameter"),
        ("/params/a~1b~0c", "unknown_parameter"),
        ("/params/unit", "not_in_values"),
    ]
    assert bound.errors[0].hint == "did you mean 'unit'?"
    assert "CANARY" not in repr(bound.errors)
    assert [error.code for error in bind(command, {}).errors] == ["missing"]


def test_bind_takes_defaults_and_leaves_out_the_rest() -> None:
    """An absent or null value is its default where there is one, and absent where it is optional."""
    text = "commands: {c: {run: [/bin/c, <a>], params: {a: {type: int, default: '7'}}, on: local}}"
    command = compiled(text).commands["c"]
    assert bind(command, {}) == bind(command, {"a": None}) == Arguments(values={"a": 7})
    assert bind(policy(OPEN).commands["look"], {"since": None}) == Arguments(values={})


@pytest.mark.parametrize(("by", "known"), [("p", {"web1", "db1"}), ("q", set()), ("stranger", set())])
def test_who_may_know(by: str, known: set[str]) -> None:
    """A caller may hear of a command only where some line gives it with some values."""
    some = allowing(
        "{commands: restart, hosts: web1, params: {unit: nginx}}, {commands: {effect: change}, hosts: db1},"
        " {commands: look, hosts: web2}"
    )
    assert known_hosts(some, principal=by, command=some.commands["restart"]) == known


def test_nobody_knows_a_command_where_it_is_not_made_to_run() -> None:
    """A line for all hosts tells nothing of a command on a host that the command's own `on` leaves out."""
    every = allowing("{commands: '*', hosts: '*'}")
    assert known_hosts(every, principal="p", command=every.commands["restart"]) == {"web1", "web2", "db1"}


def test_a_question_is_decided_as_it_was_bound() -> None:
    """A value is matched in its normal form: `07` and `7` are not two spellings of one number."""
    command = policy(OPEN).commands["look"]
    for raw in ("07", "7 ", "7.0", "\N{ARABIC-INDIC DIGIT SEVEN}"):
        question = Question(principal="p", command="look", host="web1", arguments=bind(command, {"since": raw}), at=NOW)
        assert decide(policy(OPEN), question).verdict is Verdict.INVALID
