"""Limits, rates, approvals, logins and callbacks: read as written, handed on as plain numbers, and honest about the rest."""

# ruff: noqa: ISC004 - a long message goes on in the next line

from pathlib import Path
from typing import Any

import pytest

from cmdhttp.plan.argv import Resolver
from cmdhttp.plan.build import Wish, build_plan
from cmdhttp.plan.model import LocalTarget, SshTarget, UnsupportedTarget
from cmdhttp.policy.compile import Folders, compile_all
from cmdhttp.policy.compiled import (
    Approval,
    Callback,
    Command,
    Concurrency,
    Host,
    KeyLogin,
    Limits,
    Oidc,
    OutputRules,
    Profile,
    Quota,
)
from cmdhttp.policy.decide import Arguments, Reason, Verdict, bind
from cmdhttp.policy.fields import Rate
from cmdhttp.policy.merge import collect
from tests.unit.policies import ask, compiled, findings, judged, sources, unmarked


def command(fields: str, *, params: str = "") -> Command:
    """A command with these fields that runs on local."""
    made, _ = judged(f"commands:\n  c: {{on: local, run: [/bin/c], params: {{{params}}}, {fields}}}\n")
    return made.policy.commands["c"]


def warnings(text: str) -> list[str]:
    """Code and message of each finding, without its place and hint."""
    return [line.partition("\n")[0].split(": ", 1)[1] for line in judged(text)[1]]


def test_limits_are_plain_numbers() -> None:
    """Limits are bytes, seconds and counts; what is not said is no limit."""
    made = command("limits: {memory: 256MiB, cpu: 20s, processes: 32, files: 256, file_size: 1GiB}")
    assert made.limits == Limits(memory=256 << 20, cpu=20.0, processes=32, files=256, file_size=1 << 30)
    assert command("limits: {cpu: 500ms}").limits == Limits(cpu=0.5)
    assert command("effect: read").limits == Limits()


def test_concurrency_rate_and_parser_are_handed_on() -> None:
    """They reach the compiled command as they were written."""
    made = command("concurrency: {per_host: 1, total: 5, when_busy: queue}, rate: 30/h, result: {parse: lines}")
    assert made.concurrency == Concurrency(per_host=1, total=5, when_busy="queue")
    assert made.rate == Rate(count=30, seconds=3600)
    assert made.parser == "lines"
    assert command("concurrency: {total: 2}").concurrency == Concurrency(per_host=None, total=2, when_busy="reject")


def test_output_rules() -> None:
    """Cap, behaviour at the cap, and patterns."""
    made = command("output: {max: 1KiB, when_full: keep_ends, redact: ['(?i)bearer [a-z0-9._-]+', 'x+']}")
    assert made.output == OutputRules(max_bytes=1024, when_full="keep_ends", redact=("(?i)bearer [a-z0-9._-]+", "x+"))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", Rate(count=1, seconds=1)),
        ("5/sec", Rate(count=5, seconds=1)),
        ("120/min", Rate(count=120, seconds=60)),
        ("30/h", Rate(count=30, seconds=3600)),
        ("30/hour", Rate(count=30, seconds=3600)),
        ("999999999/d", Rate(count=999_999_999, seconds=86400)),
        ("2/day", Rate(count=2, seconds=86400)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    """A rate is a count, a slash and a unit."""
    assert command(f"rate: {text}").rate == rate


@pytest.mark.parametrize("text", ["0/h", "30", "30/", "/h", "30/week", "1.5/s", "-1/s", "30 /h", "1000000000/h", "٣/h"])
def test_what_is_no_rate(text: str) -> None:
    """Anything else is refused with the way to write it."""
    found = findings(f"commands: {{c: {{on: local, run: [/bin/c], rate: '{text}'}}}}")
    assert found == ["a.yaml:2:48: P201 c.rate: must be a rate: a count, '/' and s, min, h or d, like 120/min or 30/h"]


@pytest.mark.parametrize(
    "field",
    [
        "limits: {cpu: 1s}",
        "isolation: namespace",
        "output: {when_full: keep_ends}",
        "rate: 1/s",
        "concurrency: {total: 1}",
    ],
)
def test_what_local_runs_keep_to(field: str) -> None:
    """A command for this machine alone is warned of none of these, and may run."""
    text = f"commands: {{c: {{on: local, run: [/bin/c], {field}}}}}"
    assert (warnings(text), missing_here(text)) == ([], ())


def missing_here(text: str) -> tuple[str, ...]:
    policy = judged(text)[0].policy
    return policy.commands["c"].missing_on(policy.hosts["local"], {})


@pytest.mark.parametrize(
    ("field", "said"),
    [("limits: {cpu: 1s}", ["limits"]), ("isolation: namespace", ["isolation"]), ("isolation: none", [])],
)
@pytest.mark.parametrize("on", ["'*'", "[local, web1]"])
def test_what_is_for_local_runs_only(field: str, said: list[str], on: str) -> None:
    """A command that runs on SSH hosts, there alone or there too, is told what counts on local only."""
    hosts = (
        "ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}\n"
        "hosts: {web1: {address: a, ssh: linux}}\n"
    )
    assert warnings(hosts + f"commands: {{c: {{on: {on}, run: [/bin/c], {field}}}}}") == [
        f"P217 warning: '{name}' is for local runs: this version does not apply it on SSH hosts" for name in said
    ]


def test_isolation() -> None:
    """A PID namespace of its own is asked for by name, and not there by default."""
    made = [command(text).isolated for text in ("isolation: namespace", "isolation: none", "effect: read")]
    assert made == [True, False, False]
    found = findings("commands: {c: {on: local, run: [/bin/c], isolation: full}}")
    assert found == ["a.yaml:2:53: P201 c.isolation: must be 'namespace' or 'none'"]


@pytest.mark.parametrize(("may_switch", "codes"), [(True, []), (None, []), (False, ["P208"])])
@pytest.mark.parametrize("on", ["local", "[local, '*']"])
def test_an_account_on_local(may_switch: bool | None, codes: list[str], on: str) -> None:
    """It is refused where it is known that accounts cannot be switched, and nowhere else."""
    merged = collect(sources(f"commands: {{c: {{on: {on}, run: [/bin/c], as: www}}}}"))
    folders = Folders(policies=Path(), secrets=Path(), may_switch=may_switch)
    made = compile_all(merged, folders=folders, digest="d")
    assert [finding.code for finding in made.findings] == codes
    assert made.policy.commands["c"].account == "www"


def test_a_script_for_an_interpreter_that_cannot_be_tried() -> None:
    """PowerShell scripts are read, warned of where it is not Windows that they are for, and do not run there."""
    made, found = judged("commands: {c: {on: local, script: x, interpreter: powershell}}")
    assert made.policy.commands["c"].missing_on(made.policy.hosts["local"], {}) == ("scripts for powershell",)
    assert [line.split(" ", 3)[1] for line in found] == ["P216"]


def test_a_script_for_windows() -> None:
    """Where a command is for Windows hosts alone, a PowerShell script is no news."""
    hosts = (
        "ssh_profiles: {p: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, shell: powershell}}\n"
        "hosts: {h: {address: a, ssh: p}, i: {address: b, ssh: p}}\n"
    )
    made, found = judged(hosts + "commands: {c: {on: [h, i], script: x, interpreter: powershell}}")
    assert (made.policy.commands["c"].missing_on(made.policy.hosts["h"], {}), found) == ((), [])
    _, found = judged(hosts + "commands: {c: {on: [h, local], script: x, interpreter: powershell}}")
    said = "P216 warning: this version cannot do scripts for powershell: what needs it never runs"
    hint = "\n    hint: make it for Windows hosts alone, or expect such calls to end as 'unsupported' elsewhere"
    assert [line.partition(": ")[2] for line in found] == [said + hint]


def test_named_interpreters_come_from_outside() -> None:
    """An interpreter that the settings name is as good as a built-in one, and stands in the hint."""
    files = sources(
        "commands: {c: {on: local, script: x, interpreter: ruby}, d: {on: local, script: x, interpreter: php}}"
    )
    folders = Folders(policies=Path(), secrets=Path(), interpreters={"ruby": ("/usr/bin/ruby", "-W0")})
    made = compile_all(collect(files), folders=folders, digest="d")
    script = made.policy.commands["c"].script
    assert script is not None
    assert script.interpreter == ("/usr/bin/ruby", "-W0")
    assert [finding.hint for finding in made.findings] == ["one of: sh, bash, python, powershell, ruby"]


# Approvals.

APPROVAL = """\
commands:
  c: {on: local, run: [/bin/c], approval: {needed: 2, by: [bo, "role:dba"], not_self: false, within: 1h}}
  d: {on: local, run: [/bin/d]}
principals: {al: {}, bo: {}, cy: {}}
roles: {dba: [], run: [{commands: '*', hosts: local}]}
grants: [{to: cy, roles: dba}, {to: al, roles: run}]
"""


def test_an_approval_names_who_may_give_it() -> None:
    """Roles in `by` stand for all that hold them."""
    approval = compiled(APPROVAL).commands["c"].approval
    assert approval == Approval(needed=2, by=frozenset({"bo", "cy"}), not_self=False, within=3600.0)


def test_an_allowed_call_to_it_needs_approval() -> None:
    """The verdict is needs-approval where it would be allow, by the same line; a denied call stays denied."""
    policy = compiled(APPROVAL)
    decision = ask(policy, "c", "local", by="al")
    assert (decision.verdict, decision.reason, str(decision.at)) == (
        Verdict.NEEDS_APPROVAL,
        Reason.ROLE_LINE,
        "a.yaml:6:24",
    )
    assert ask(policy, "d", "local", by="al").verdict is Verdict.ALLOW
    assert ask(policy, "c", "local", by="bo").verdict is Verdict.DENY


@pytest.mark.parametrize(
    ("approval", "message"),
    [
        (
            "^{needed: 2, by: al}",
            "P219 2 must agree, and 1 may: nobody could ever run this"
            "\n    hint: name more principals or roles in 'by', or need fewer",
        ),
        (
            "^{by: 'role:none'}",
            "P219 1 must agree, and 0 may: nobody could ever run this"
            "\n    hint: name more principals or roles in 'by', or need fewer",
        ),
        ("{by: [^alx, al]}", "P205 there is no principal 'alx'\n    hint: did you mean 'al'?"),
        ("{by: [^'role:nune', al]}", "P205 there is no role 'nune'\n    hint: did you mean 'none'?"),
    ],
)
def test_an_approval_that_nobody_could_give(approval: str, message: str) -> None:
    """More must agree than may, or a name that nothing bears, is an error."""
    text, place = unmarked(
        f"commands: {{c: {{on: local, run: [/bin/c], approval: {approval}}}}}\nprincipals: {{al: {{}}}}\nroles: {{none: []}}"
    )
    assert [line for line in findings(text) if "P216" not in line] == [f"{place}: {message}"]


# Principals.


def test_what_a_principal_may_ask_for() -> None:
    """The limits of a principal stand with what it holds; one without has none."""
    held = compiled(
        "principals: {a: {limits: {rate: 120/min, concurrency: 20, queue: 100}}, b: {limits: {}}, c: {}}"
    ).principals
    assert held["a"].quota == Quota(rate=Rate(count=120, seconds=60), concurrency=20, queue=100)
    assert held["b"].quota == held["c"].quota == Quota()


def test_a_jwt_proves_one_principal() -> None:
    """Issuer, audience and one claim prove a principal, and never two."""
    made, found = judged(
        "principals:\n"
        "  a: {oidc: {issuer: 'https://i.example', aud: x, email: a@example.com}}\n"
        "  b: {oidc: {issuer: 'https://i.example', aud: x, common_name: a@example.com}}\n"
        "  c: {oidc: {issuer: 'https://i.example', aud: x, email: a@example.com}}\n"
    )
    proof: dict[str, Any] = {"issuer": "https://i.example", "audience": "x", "value": "a@example.com"}
    assert made.policy.oidc[1] == Oidc(principal="b", claim="common_name", **proof)
    assert [line for line in found if "P216" not in line] == [
        "a.yaml:5:13: P214 the same JWT proves 'a' already\n    hint: one of them must differ"
    ]


def test_callbacks_hold_references_only() -> None:
    """The URL of a callback is a secret's name, and what signs it too."""
    made, found = judged("callbacks: {done: {url: file:hook, sign: env:KEY}, bare: {url: env:HOOK}}")
    assert made.policy.callbacks == {
        "done": Callback(url="file:hook", sign="env:KEY"),
        "bare": Callback(url="env:HOOK", sign=None),
    }
    assert [line.split(" ")[1] for line in found] == ["P216", "P216"]


WRONG = {
    "an approval by nobody": (
        "commands: {c: {on: local, run: [/bin/c], approval: {by: ^[]}}}",
        "P201 approval.by: must have at least 1",
    ),
    "concurrency without a number": (
        "commands: {c: {on: local, run: [/bin/c], concurrency: ^{when_busy: queue}}}",
        "P201 c.concurrency: must have per_host, total, or both",
    ),
    "a limit of nothing": (
        "commands: {c: {on: local, run: [/bin/c], limits: {processes: ^0}}}",
        "P201 limits.processes: must be at least 1",
    ),
    "redactions that are no list": (
        "commands: {c: {on: local, run: [/bin/c], output: {redact: ^token}}}",
        "P201 output.redact: must be a list\n    hint: write [token]",
    ),
    "a redaction that does not compile": (
        "commands: {c: {on: local, run: [/bin/c], output: {redact: [x, ^'(?=x)', y]}}}",
        "P222 the output cannot be masked by this: look-around is refused: patterns run in a linear-time engine",
    ),
    "a redaction of everything": (
        "commands: {c: {on: local, run: [/bin/c], output: {redact: [^x*]}}}",
        "P222 the output cannot be masked by this: the pattern matches the empty text: it would mask nothing, or everything",
    ),
    "a redaction of nothing": (
        "commands: {c: {on: local, run: [/bin/c], output: {redact: [^'']}}}",
        "P222 the output cannot be masked by this: the pattern is empty: it would mask nothing",
    ),
    "a redaction that is no text": (
        "commands: {c: {on: local, run: [/bin/c], output: {redact: [^{a: b}]}}}",
        "P201 output.redact: must be a pattern, written as text",
    ),
    "a parser": (
        "commands: {c: {on: local, run: [/bin/c], result: {parse: ^/bin/df}}}",
        "P201 result.parse: must be the name of a parser, like json, lines or df",
    ),
    "a callback with an address": (
        "callbacks: {c: {url: ^'https://example.com/hook'}}",
        "P201 c.url: must be a reference to a secret, like file:ops_ed25519 (in the secrets folder) or env:NAME",
    ),
    "a jwt with two claims": (
        "principals: {a: {oidc: ^{issuer: 'https://i.example', aud: x, email: e, common_name: n}}}",
        "P201 a.oidc: must have exactly one of email and common_name",
    ),
    "a jwt over http": (
        "principals: {a: {oidc: {issuer: ^'http://i.example', aud: x, email: e}}}",
        "P201 oidc.issuer: must be an https URL, like https://acme.cloudflareaccess.com",
    ),
    "an item of run that is a map": (
        "commands: {c: {on: local, run: [^{a: b}]}}",
        "P201 c.run: must be one argument as text, or an inner list of arguments that is left out whole",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_at_its_place(name: str) -> None:
    """One mistake, one message, at the value."""
    text, message = WRONG[name]
    text, place = unmarked(text)
    assert findings(text) == [f"{place}: {message}"]


# What cannot be done never runs.

HERE = Host(name="local")


def target_of(made: Command, host: Host) -> object:
    policy = compiled("commands: {}")
    hosts = {host.name: host}
    plan = build_plan(
        type(policy)(**{name: getattr(policy, name) for name in policy.__slots__} | {"hosts": hosts}),
        made,
        [host.name],
        Arguments(values={}),
        Wish(),
    )
    return plan.steps[0].target


def test_a_marked_command_has_no_place_to_run() -> None:
    """A command or host that asks for what cannot be done is planned to end as unsupported, wherever it would run."""
    plain = command("effect: read")
    marked = judged("commands: {c: {on: local, script: x, interpreter: powershell}}")[0].policy.commands["c"]
    assert target_of(plain, HERE) == LocalTarget()
    assert target_of(marked, HERE) == UnsupportedTarget(what="scripts for powershell")
    good = Profile(account="u", login=KeyLogin(path="/k"), known_hosts="/known")
    assert isinstance(target_of(plain, Host(name="h", address="a", port=22, profile=good)), SshTarget)
    odd = Profile(account="u", login=KeyLogin(path="/k"), known_hosts="/known", unsupported=("a jump host",))
    assert target_of(plain, Host(name="h", address="a", port=22, profile=odd)) == UnsupportedTarget(what="a jump host")


def test_what_is_staged_shows_its_placeholder() -> None:
    """An upload has no path before the run has a folder, so an explained argv shows its placeholder, and no variable holds it."""
    made, _ = judged(
        "commands:\n"
        "  c: {on: local, run: [/bin/c, <f>, --in=<f>], params: {f: {type: file}}}\n"
        "  s: {on: local, script: x, interpreter: sh, args: [<f>], params: {f: {type: file}, n: {type: int}}}\n"
    )
    upload = {"f": {"name": "a.txt", "base64": "eA=="}}
    first, second = made.policy.commands["c"], made.policy.commands["s"]
    bound = bind(first, upload)
    assert Resolver(command=first, values=bound.values).argv() == ("/bin/c", "<f>", "--in=<f>")
    resolver = Resolver(command=second, values=bind(second, {**upload, "n": 5}).values)
    assert (resolver.argv(), resolver.env()) == (("<f>",), {"P_N": "5"})
    local = made.policy.hosts["local"]
    assert first.missing_on(local, {}) == second.missing_on(local, {}) == ()


# One broken definition does not hide the others.


def test_a_broken_definition_stays_known() -> None:
    """Each thing that is wrong is said once: no message about a name that is there and could not be read."""
    found = findings(
        "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
        "hosts: {good: {address: a, ssh: s}, bad: {address: '', ssh: s, labels: {role: web}}}\n"
        "groups: {g: bad, all: [good, {role: web}]}\n"
        "commands:\n"
        "  ok: {run: [/bin/ok], on: [good, bad, g]}\n"
        "  no: {run: [/bin/no], on: good, tags: [t], timeout: 5}\n"
        "principals: {p: {}, q: {token: x}}\n"
        "roles: {r: [{commands: [ok, no, {tag: t}], hosts: [bad, g, {role: web}]}], x: [{commands: ok}]}\n"
        "grants: [{to: [p, q], roles: [r, x]}]\n"
        "deny: [{why: w, to: [q, 'role:x'], commands: no}, {why: w, commands: typo}]\n"
    )
    assert [line.partition("\n")[0].split(" ", 2)[1:] for line in found] == [
        ["P201", "bad.address: must be a host name or an IP address"],
        ["P201", "no.timeout: must be a duration with its unit, like 500ms, 30s, 2m or 1h30m"],
        ["P203", "unknown key 'token'"],
        ["P202", "the key 'hosts' is missing"],
        ["P205", "there is no command 'typo'"],
    ]


def test_a_file_that_is_not_yaml_may_hold_what_is_missing() -> None:
    """While a file cannot be read, no name is called unknown; every other mistake is still said."""
    found = findings("commands: {c: {run: [c], on: web}}\nroles: {r: [{commands: d, hosts: h}]}", "hosts: [")
    assert [line.split(" ")[1] for line in found] == ["P301", "P123"]


def test_sections_of_the_wrong_kind() -> None:
    """A section that is a list where names are wanted, or the reverse, says how to write it."""
    assert findings("commands: [a]\ngrants: {to: a}\nroles: {'-x': []}") == [
        "a.yaml:2:11: P201 commands: must be a mapping\n    hint: write `name: definition` lines below it",
        "a.yaml:3:9: P201 grants: must be a list\n    hint: write `- ` before each entry",
        "a.yaml:4:9: P201 roles: must be a name: a letter or digit, then letters, digits, '.', '_' or '-', at most 64 in all",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groups: {}", "a.yaml:1:1: P202 the key 'version' is missing\n    hint: begin the file with `version: 1`"),
        ("version: 2", "a.yaml:1:10: P201 version: must be 1\n    hint: this program reads version 1 of the format"),
        ("version: [1]", "a.yaml:1:10: P201 version: must be 1\n    hint: this program reads version 1 of the format"),
    ],
)
def test_the_version(text: str, message: str) -> None:
    """A file says which version of the format it is, and there is one."""
    file = sources("")[0]
    merged = collect([type(file)(path="a.yaml", data=text.encode())])
    assert [str(finding) for finding in merged.findings] == [message]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (
            "commands: ^[], hosts: '*'",
            "P206 an empty list of commands selects nothing\n    hint: name a command, or '*'",
        ),
        ("commands: '*', hosts: ^[]", "P206 an empty list of hosts selects nothing\n    hint: name a host, or '*'"),
    ],
)
def test_an_empty_list_is_no_selector(selector: str, message: str) -> None:
    """A list that selects nothing is a mistake: in a deny it would be a hole that nobody sees."""
    text, place = unmarked(f"deny: [{{why: w, {selector}}}]")
    assert findings(text) == [f"{place}: {message}"]


def test_the_reason_of_a_deny_does_not_depend_on_its_place() -> None:
    """Of several denies that match, the same one is named whatever the order of the files."""
    base = "commands: {c: {on: local, run: [/bin/c]}}\nprincipals: {p: {}}"
    one, two = "deny: [{why: b, commands: c}]", "deny: [{why: a, commands: c}]"
    reasons = {
        ask(compiled(*texts), "c", "local").why for texts in [(base, one, two), (base, two, one), (one, two, base)]
    }
    assert reasons == {"a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "deny: [{why: w, hosts: {env: ^production}}]",
            "P221 warning: no host has env: production\n    hint: it selects nothing until a host has it",
        ),
        (
            "groups: {g: {env: [prod, ^stagging]}}",
            "P221 warning: no host has env: stagging\n    hint: did you mean 'staging'?",
        ),
        ("groups: {g: ^'web1, web2'}", "P205 there is no host or group 'web1, web2'\n    hint: write [web1, web2]"),
        (
            "roles: {admin: []}\ndeny: [{why: w, to: ^admin}]",
            "P205 there is no principal 'admin'\n    hint: did you mean 'role:admin'?",
        ),
    ],
)
def test_what_a_selector_may_have_meant(text: str, message: str) -> None:
    """A value that selects nothing is doubted, and what is meant is shown where it can be told."""
    hosts = (
        "\nssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
        "hosts: {web1: {address: a, ssh: s, labels: {env: prod}}, web2: {address: b, ssh: s, labels: {env: staging}}}"
    )
    text, place = unmarked(text)
    assert findings(text + hosts) == [f"{place}: {message}"]


def test_a_value_is_not_doubted_while_hosts_cannot_be_read() -> None:
    """The host that has it may be the one that is wrong."""
    text = (
        "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
        "hosts: {a: {address: a, ssh: s, labels: {env: prod}}, b: {address: '', ssh: s, labels: {env: dev}}}\n"
        "groups: {g: {env: dev}}"
    )
    assert [line.split(" ")[1] for line in findings(text)] == ["P201"]


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("web1.corp.internal", True),
        ("10.0.0.1", True),
        ("fd00::1", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("web1.corp.internal:2222", False),
        ("10.0.0.1:22", False),
        ("a:b", False),
        ("", False),
    ],
)
def test_an_address_has_no_port(address: str, good: bool) -> None:
    """A name or an IP address; a port stands in `port`."""
    text = (
        "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
        f"hosts: {{h: {{address: '{address}', ssh: s}}}}"
    )
    _, found = judged(text)
    assert (found == []) is good


def test_a_misspelt_key_is_one_mistake() -> None:
    """That the key is missing for which another was probably meant goes without saying."""
    assert findings("roles: {r: [{command: x, hosts: '*'}]}\ngrants: [{to: p, role: r}]") == [
        "a.yaml:2:14: P203 unknown key 'command'\n    hint: did you mean 'commands'?",
        "a.yaml:3:18: P203 unknown key 'role'\n    hint: did you mean 'roles'?",
    ]
    both = findings("grants: [{roles: r, tto: p, why: x}]")
    assert [line.split(" ")[1] for line in both] == ["P203", "P203"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("commands: {c: {on: local, run: ^/bin/df -h}}", "P201 c.run: must be a list\n    hint: write [/bin/df, -h]"),
        ("commands: {c: {on: local, run: ^{a: b}}}", "P201 c.run: must be a list"),
        (
            "commands: {c: {on: local, run: [/bin/c], params: {u: {type: enum, values: ^a}}}}",
            "P201 u.values: must be a list\n    hint: write [a]",
        ),
        (f"commands: {{c: {{on: local, run: ^{'x' * 81}}}}}", "P201 c.run: must be a list"),
    ],
)
def test_a_plain_value_for_a_list(text: str, message: str) -> None:
    """The message shows the value as the list that was wanted, if it is short."""
    text, place = unmarked(text)
    assert findings(text) == [f"{place}: {message}"]
