"""An explanation in full, and each kind of step and advice with its words."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Arguments, Question, Reason, Verdict, bind, decide
from cmdhttp.policy.review.advice import Kind, changes
from cmdhttp.policy.review.explain import Check, Explanation, explain
from tests.unit.policies import NOW, compiled

HOSTS = """
ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}
hosts:
  web1: {address: 10.0.0.1, ssh: linux, labels: {role: web, env: prod}}
  web2: {address: 10.0.0.2, ssh: linux, labels: {role: web, env: staging}}
  db1: {address: 10.0.0.3, ssh: linux, labels: {role: db, env: prod}}
"""
COMMANDS = """
commands:
  restart:
    effect: change
    run: [/bin/restart, <unit>, [<mode>]]
    params:
      unit: {type: enum, values: [nginx, redis, app]}
      mode: {type: enum, values: [soft, hard], required: false}
    on: {role: [web, db]}
  find:
    effect: read
    run: [/bin/find, --, <path>, [--name, <name>]]
    params:
      path: {type: path, under: [/var, /srv]}
      name: {type: string, pattern: "[a-z]+", required: false}
    on: {role: web}
  flush: {effect: destroy, run: [/bin/flush], on: db1, approval: {needed: 1, by: [alice, bob], not_self: true}}
  hold:
    run: [/bin/hold, "<units...>"]
    params: {units: {type: list, of: {type: enum, values: [nginx, redis]}, max_items: 2}}
    on: web1
  tell: {run: [/bin/tell, <who>], params: {who: {type: username}}, on: web1}
  alone: {run: [/bin/alone], on: web1}
"""
ACCESS = """
principals: {alice: {}, bob: {}, carol: {}, dan: {}}
roles:
  web: [{commands: restart, hosts: {role: web}, params: {unit: [nginx, app]}}]
  both: [{commands: restart, hosts: "*", params: {unit: redis, mode: hard}}]
  finder: [{commands: find, hosts: web1, params: {path: {under: [/var/log]}}}]
  dba: [{commands: [flush, hold, tell], hosts: "*"}]
  unheld: [{commands: find, hosts: "*"}]
grants:
  - {to: [alice], roles: [web, finder]}
  - {to: [bob], roles: [both, dba]}
  - {to: [dan], roles: [web, dba]}
deny:
  - {why: freeze, to: [alice, dan], commands: {effect: change}, hosts: {env: prod}, from: 2026-12-20, until: 2027-01-03}
  - {why: no redis, commands: hold, params: {units: redis}}
  - {why: not dan, to: dan, commands: restart, hosts: web2}
  - {why: not root, commands: tell, params: {who: root}}
"""
WINDOW = "from 2026-12-20 until 2027-01-03"
FREEZE = "the deny 'freeze' (c.yaml:15:5)"
FROZEN = datetime(2026, 12, 24, tzinfo=UTC)


@cache
def policy() -> Policy:
    return compiled(HOSTS, COMMANDS, ACCESS)


def call(by: str, command: str, host: str, at: datetime = NOW, **values: Any) -> Question:
    found = policy().commands.get(command)
    arguments = bind(found, values) if found else Arguments(values={})
    return Question(principal=by, command=command, host=host, arguments=arguments, at=at)


def asked(by: str, command: str, host: str, at: datetime = NOW, **values: Any) -> Explanation:
    return explain(policy(), call(by, command, host, at, **values))


def step(explanation: Explanation, check: Check) -> str:
    return next(one.text for one in explanation.steps if one.check is check)


def test_every_step_in_order() -> None:
    """An allowed call: each step with its words and place, the role line settles it, and nothing has to change."""
    found = asked("alice", "restart", "web1", unit="nginx")
    assert (found.decision.verdict, found.changes) == (Verdict.ALLOW, ())
    told = [(one.check.value, one.holds, one.settled, one.text, str(one.at or "")) for one in found.steps]
    assert told == [
        ("principal", True, False, "alice holds finder, web", ""),
        ("command", True, False, "restart is published", "b.yaml:4:3"),
        ("host", True, False, "web1 is known", ""),
        ("made_for_host", True, False, "restart is made for web1", "b.yaml:4:3"),
        ("parameters", True, False, "the values fit: unit=nginx", "b.yaml:4:3"),
        ("deny", True, False, "'not dan' does not meet the call: it is for dan; it is for web2", "c.yaml:17:5"),
        ("deny", True, False, f"'freeze' does not meet the call: it holds {WINDOW}", "c.yaml:15:5"),
        ("role_line", True, True, "web allows it", "c.yaml:5:9"),
    ]


@pytest.mark.parametrize(
    ("explanation", "check", "text"),
    [
        (("alic", "restart", "web1"), Check.PRINCIPAL, "there is no principal 'alic'; did you mean 'alice'?"),
        (("carol", "restart", "web1"), Check.PRINCIPAL, "carol holds no role"),
        (("alice", "restarts", "web1"), Check.COMMAND, "there is no command 'restarts'; did you mean 'restart'?"),
        (("alice", "zzz", "web1"), Check.COMMAND, "there is no command 'zzz'"),
        (("alice", "restart", "web3"), Check.HOST, "there is no host 'web3'; did you mean 'web2'?"),
        (("alice", "find", "db1"), Check.MADE_FOR_HOST, "made for web1, web2, not for db1"),
        (("bob", "flush", "db1"), Check.PARAMETERS, "there are no values"),
        (("alice", "restart", "web1"), Check.PARAMETERS, "1 of the values cannot be used"),
        (
            ("bob", "flush", "db1"),
            Check.APPROVAL,
            "runs once it is approved: 1 of alice, bob within 900 s, not the caller",
        ),
        (("carol", "flush", "db1"), Check.DEFAULT, "denied unless allowed: no role line of carol names flush"),
        (("alice", "find", "web2"), Check.DEFAULT, "denied unless allowed: no role line of alice takes this call in"),
        (
            ("alice", "find", "web2"),
            Check.ROLE_LINE,
            "finder does not take it in: it is for web1; path must be under /var/log, and the call has none that can be used",
        ),
    ],
)
def test_words_of_a_step(explanation: tuple[str, str, str], check: Check, text: str) -> None:
    """Each step says in plain words what holds or what does not."""
    assert step(asked(*explanation), check) == text


def test_words_of_a_value_that_a_rule_misses() -> None:
    """The value that was sent stands beside what the rule wants; one that was left out is said to be."""
    found = asked("bob", "restart", "web1", unit="nginx")
    assert step(found, Check.ROLE_LINE) == (
        "both does not take it in: unit must be redis, and the call has nginx; mode must be hard, and the call has none"
    )
    met = asked("bob", "hold", "web1", units=["redis"])
    told = [(one.text, one.settled) for one in met.steps if one.check is Check.DENY]
    assert ("'no redis' meets the call", True) in told
    one_of_two = asked("bob", "hold", "web1", units=["nginx", "redis"])
    assert [one.settled for one in one_of_two.steps if one.text == "'no redis' meets the call"] == [True]
    spared = asked("bob", "hold", "web1", units=["nginx"])
    assert "'no redis' does not meet the call: units must be each redis, and the call has [\"nginx\"]" in {
        one.text for one in spared.steps
    }


def test_errors_of_values_stand_with_the_step() -> None:
    """The step of the parameters carries each error with pointer and hint."""
    found = asked("alice", "restart", "web1", unti="nginx")
    (parameters,) = [one for one in found.steps if one.check is Check.PARAMETERS]
    assert [(error.pointer, error.code, error.hint) for error in parameters.errors] == [
        ("/params/unti", "unknown_parameter", "did you mean 'unit'?"),
        ("/params/unit", "missing", ""),
    ]


ADVICE: list[tuple[str, Question, list[str]]] = [
    (
        "another value, or a wider line; not a role that would not do either",
        call("alice", "restart", "web1", unit="redis"),
        ["send unit as one of nginx, app", "add redis to 'unit' in 'params' of the role line of web (c.yaml:5:9)"],
    ),
    (
        "a role that somebody holds",
        call("carol", "restart", "web1", unit="nginx"),
        ["call as one of the principals alice, dan", "grant the role web (c.yaml:5:9) to carol"],
    ),
    (
        "two values at once, where one does not do",
        call("bob", "restart", "web1", unit="nginx"),
        [
            "send unit as redis; send mode as hard",
            "call as one of the principals alice, dan",
            "grant the role web (c.yaml:5:9) to bob",
        ],
    ),
    (
        "a value that was left out",
        call("bob", "restart", "web1", unit="redis"),
        ["send mode as hard", "take 'mode' out of 'params' of the role line of both (c.yaml:6:10)"],
    ),
    (
        "a value that stands for many, and a role that nobody holds",
        call("alice", "find", "web1", path="/var"),
        [
            "send path as /var/log, or as another that is under /var/log",
            "grant the role unheld (c.yaml:9:12) to alice",
            "add /var to 'path' in 'params' of the role line of finder (c.yaml:7:12)",
        ],
    ),
    (
        "another host, or more hosts",
        call("alice", "find", "web2", path="/var/log"),
        [
            "name the host web1",
            "grant the role unheld (c.yaml:9:12) to alice",
            "add web2 to 'hosts' of the role line of finder (c.yaml:7:12)",
        ],
    ),
    (
        "another host, or a command made for more",
        call("bob", "restart", "local", unit="redis", mode="hard"),
        ["name one of the hosts db1, web1, web2", "add local to 'on' of restart (b.yaml:4:3)"],
    ),
    (
        "what is in the way behind that",
        call("alice", "find", "db1", path="/var"),
        ["add db1 to 'on' of find (b.yaml:11:3); then grant the role unheld (c.yaml:9:12) to alice"],
    ),
    (
        "values that do not fit, replaced together",
        call("bob", "restart", "web1", unit="x", mode="y"),
        ["send unit as redis; send mode as hard"],
    ),
    (
        "and with them one that the role line lacks",
        call("bob", "restart", "web1", unit="x"),
        ["send unit as redis; send mode as hard"],
    ),
    (
        "a value that need not be sent",
        call("alice", "find", "web1", path="/var/log", name="A"),
        ["leave out name"],
    ),
    (
        "a typing error",
        call("alice", "restart", "web1", unti="nginx"),
        ["leave out unti; send unit as one of nginx, app"],
    ),
    (
        "only a name too many",
        call("alice", "restart", "web1", unit="nginx", unti="nginx"),
        ["leave out unti"],
    ),
    (
        "the words of the refusal, where no value helps",
        call("alice", "find", "web2", path="x"),
        [
            "first send another path (path under /var | /srv): the one that was sent must be an absolute path, starting with '/'",
        ],
    ),
    (
        "and what is missing",
        call("alice", "find", "web2", more=1),
        ["first leave out more; send path (path under /var | /srv)"],
    ),
    (
        "the end of a deny",
        call("alice", "restart", "web1", at=FROZEN, unit="nginx"),
        [
            "name the host web2",
            "wait: the deny 'freeze' (c.yaml:15:5) ends at 2027-01-03",
            "take this call out of the deny 'freeze' (c.yaml:15:5)",
        ],
    ),
    (
        "a deny, and no right behind it",
        call("alice", "restart", "db1", at=FROZEN, unit="nginx"),
        [
            "name the host web2",
            f"take this call out of {FREEZE}; then add db1 to 'hosts' of the role line of web (c.yaml:5:9)",
        ],
    ),
    (
        "a deny of some principals",
        call("dan", "restart", "web2", unit="nginx"),
        [
            "name the host web1",
            "call as the principal alice",
            "take this call out of the deny 'not dan' (c.yaml:17:5)",
        ],
    ),
    (
        "a deny of some values",
        call("bob", "hold", "web1", units=["redis"]),
        ['send units, for example as ["nginx"]', "take this call out of the deny 'no redis' (c.yaml:16:5)"],
    ),
    (
        "a deny of values for which no other can be made up",
        call("bob", "tell", "web1", who="root"),
        [
            "send values that the deny 'not root' does not meet: not who: root",
            "take this call out of the deny 'not root' (c.yaml:18:5)",
        ],
    ),
    (
        "an approval",
        call("bob", "flush", "db1"),
        ["get approved: 1 of alice, bob within 900 s, not the caller"],
    ),
    ("a command that there is not", call("alice", "nope", "db1"), ["define 'nope' under 'commands'"]),
    (
        "a principal that there is not",
        call("zed", "restart", "web1", unit="nginx"),
        [
            "call as one of the principals alice, dan",
            "define 'zed' under 'principals'; then grant the role web (c.yaml:5:9) to zed",
        ],
    ),
    (
        "a host that there is not",
        call("alice", "restart", "web9", unit="nginx"),
        ["name one of the hosts web1, web2", "define 'web9' under 'hosts', and ask again: its labels matter"],
    ),
    (
        "a right that no role gives",
        call("alice", "alone", "web1"),
        ["write a role line that gives alone on web1, and grant its role to alice"],
    ),
]


@pytest.mark.parametrize(("question", "expected"), [case[1:] for case in ADVICE], ids=[case[0] for case in ADVICE])
def test_advice(question: Question, expected: list[str]) -> None:
    """Each change stands in plain words, the nearest first; where another obstacle is behind it, with what comes then."""
    assert [change.text for change in explain(policy(), question).changes] == expected


def test_advice_that_was_tried() -> None:
    """A change that can be tried carries the questions that were let through; an edit of a file carries none."""
    found = asked("alice", "restart", "web1", at=FROZEN, unit="nginx")
    assert [(change.kind, len(change.tried)) for change in found.changes] == [
        (Kind.HOST, 1),
        (Kind.TIME, 1),
        (Kind.POLICY, 0),
    ]
    assert found.changes[1].tried[0].at == datetime(2027, 1, 3, tzinfo=UTC)


def test_a_role_whose_holders_are_all_held_back_is_not_advised() -> None:
    """Granting a role that a deny speaks of would not help."""
    held = "roles: {r: [{commands: alone, hosts: web1}]}\nprincipals: {a: {}, b: {}}\ngrants: [{to: a, roles: r}]\n"
    access = held + "deny: [{why: w, to: 'role:r'}]\n"
    made = compiled(HOSTS, "commands: {alone: {run: [/bin/alone], on: web1}}", access)
    question = Question(principal="b", command="alone", host="web1", arguments=Arguments(values={}), at=NOW)
    assert [change.text for change in explain(made, question).changes] == [
        "write a role line that gives alone on web1, and grant its role to b"
    ]


def test_a_secret_is_never_shown() -> None:
    """The value of a secret stands in no word of an explanation."""
    command = "commands: {login: {run: [/bin/login], on: web1, params: {key: {type: secret, max_length: 9}}}}\n"
    access = "principals: {p: {}}\nroles: {r: [{commands: login, hosts: web1, params: {key: {max_length: 3}}}]}\n"
    made = compiled(HOSTS, command + access + "grants: [{to: p, roles: r}]")
    arguments = bind(made.commands["login"], {"key": "hunter2"})
    found = explain(made, Question(principal="p", command="login", host="web1", arguments=arguments, at=NOW))
    assert found.decision.reason is Reason.NO_ROLE_LINE
    assert "key=***" in step(found, Check.PARAMETERS)
    assert "hunter2" not in " ".join([*(one.text for one in found.steps), *(change.text for change in found.changes)])


def test_an_error_while_deciding_needs_no_advice() -> None:
    """Where the decision itself failed there is nothing to advise, and the verdict is a deny all the same."""
    naive = datetime(2026, 12, 24)  # noqa: DTZ001 - comparing it with a deny's window raises
    question = call("alice", "restart", "web1", at=naive, unit="nginx")
    assert decide(policy(), question).reason is Reason.ERROR
    assert changes(policy(), question) == ()


UNDONE = """
ssh_profiles:
  linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}
  old: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, become: sudo, shell: raw}
  sudo: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, become: sudo}
hosts: {new: {address: 10.0.0.1, ssh: linux}, old: {address: 10.0.0.2, ssh: old}, sudo: {address: 10.0.0.3, ssh: sudo}}
commands:
  plain: {run: [/bin/plain], on: [new, old]}
  marked: {script: x, interpreter: powershell, on: [new, old]}
  sends: {run: [/bin/sends, [<f>]], on: [local, new, sudo], as: root, params: {f: {type: file, required: false}}}
  keeps: {run: [/bin/keeps], as: root, on: [local, new, sudo], files: {collect: [a]}}
  asked: {run: [/bin/asked], on: new, approval: {by: ann}}
principals: {ann: {}}
"""
SUDO = "become: sudo with the shell raw"


@pytest.mark.parametrize(
    ("command", "host", "f", "noted"),
    [
        ("sends", "local", True, False),
        ("sends", "new", True, False),
        ("sends", "sudo", True, True),
        ("sends", "sudo", False, False),
        ("keeps", "local", False, False),
        ("keeps", "new", False, False),
        ("keeps", "sudo", False, True),
    ],
)
def test_notes_of_files(command: str, host: str, f: bool, noted: bool) -> None:
    """Where files cannot go it is said, of a call that sends a file or would collect any."""
    made = compiled(UNDONE, may_switch=True)
    values = {"f": {"name": "a", "base64": ""}} if f else {}
    arguments = bind(made.commands[command], values)
    notes = explain(made, Question(principal="ann", command=command, host=host, arguments=arguments, at=NOW)).notes
    assert notes == (
        ("this version cannot do files of commands that sudo runs: the run would end as 'unsupported'",)
        if noted
        else ()
    )


@pytest.mark.parametrize(
    ("command", "host", "notes"),
    [
        ("plain", "new", []),
        ("plain", "old", [f"this version cannot do {SUDO}: the run would end as 'unsupported'"]),
        ("marked", "new", ["this version cannot do scripts for powershell: the run would end as 'unsupported'"]),
        (
            "marked",
            "old",
            [f"this version cannot do scripts on hosts with the shell raw, {SUDO}: the run would end as 'unsupported'"],
        ),
        ("asked", "new", ["this version cannot do approvals: the call would be refused as 'needs_approval'"]),
        ("plain", "nowhere", []),
        ("nothing", "new", []),
        ("nothing", "nowhere", []),
    ],
)
def test_notes_say_what_this_version_cannot_do(command: str, host: str, notes: list[str]) -> None:
    """Of the command and of the host's profile, and how the call would end; an unknown name has none."""
    question = Question(principal="ann", command=command, host=host, arguments=Arguments(values={}), at=NOW)
    assert list(explain(compiled(UNDONE, may_switch=True), question).notes) == notes
