"""Role lines and denies as they are compiled: what they take in, and what is said of those that cannot be."""

from typing import Any

import pytest

from cmdhttp.policy.compiled import Oidc
from cmdhttp.policy.decide import Verdict
from tests.unit.policies import ask, compiled, findings, judged, unmarked

BASE = """\
ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}
hosts:
  web1: {address: a, ssh: s, labels: {role: web, env: prod}}
  web2: {address: b, ssh: s, labels: {role: web, env: test}}
commands:
  one: {run: [/bin/one, <n>], params: {n: {type: int, max: 9}}, on: [web1, web2]}
  two: {run: [/bin/two, <n>], params: {n: {type: int, max: 9}}, on: [web1, web2]}
  bare: {run: [/bin/bare], on: web1}
principals: {p: {}}
"""


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "deny: [{why: w, commands: [one, bare], params: {n: ^[1]}}]",
            "P213 the command 'bare' has no parameter 'n'",
        ),
        (
            "deny: [{why: w, commands: one, params: {n: ^{maxx: 1}}}]",
            "P213 'n' cannot be narrowed so: unknown key 'maxx' to narrow a parameter of type int; did you mean 'max'?",
        ),
        (
            "roles: {r: [{commands: ^none, hosts: '*', params: {n: [1]}}]}",
            "P205 there is no command 'none'\n    hint: did you mean 'one'?",
        ),
        (
            "roles: {r: [{commands: one, hosts: {role: ^[]}}]}",
            "P206 a label's value must be text, or a list of texts",
        ),
        (
            "roles: {r: [{commands: one, hosts: {role: ^[web, {env: prod}]}}]}",
            "P206 a label's value must be text, or a list of texts",
        ),
    ],
)
def test_a_rule_that_cannot_be(rule: str, message: str) -> None:
    """A deny is told as a role line is: at its place, with its message."""
    text, place = unmarked(BASE + rule)
    assert findings(text) == [f"{place}: {message}"]


def test_commands_that_declare_a_parameter_alike_share_its_narrowing() -> None:
    """One line may narrow a parameter of several commands if all of them mean the same by it."""
    policy = compiled(
        BASE + "roles: {r: [{commands: [one, two], hosts: '*', params: {n: {max: 5}}}]}\ngrants: [{to: p, roles: r}]"
    )
    for command in ("one", "two"):
        assert ask(policy, command, n=5).verdict is Verdict.ALLOW
        assert ask(policy, command, n=6).verdict is Verdict.DENY


@pytest.mark.parametrize(
    "selector",
    [
        "{efect: change}",
        "{effect: [change]}",
        "{effect: {a: b}}",
        "{effect: ''}",
        "{tags: change}",
        "{tag: [change]}",
        "{effect: change, tag: change}",
        "{}",
    ],
)
def test_a_class_of_commands_is_an_effect_or_a_tag(selector: str) -> None:
    """Any other map is refused and selects nothing, so a misspelt key cannot widen a rule."""
    text, place = unmarked(BASE + f"deny: [{{why: w, commands: ^{selector}}}]")
    message = "a command selector is a name, {effect: read|change|destroy}, {tag: NAME}, a list of these, or '*'"
    assert findings(text) == [f"{place}: P206 {message}"]
    made, _ = judged(text.replace("^", ""))
    assert [rule.atoms for rule in made.policy.rules] == [frozenset()]


def test_a_star_within_a_list_of_on_leaves_local_out() -> None:
    """A command for every host is not made for this machine, however deep in a list the star stands."""
    text = "commands: {a: {run: [/bin/a], on: ['*']}, b: {run: [/bin/b], on: [[web1, ['*']]]}}"
    policy = compiled(BASE.partition("commands:")[0] + text)
    assert [command.hosts for command in policy.commands.values()] == [frozenset({"web1", "web2"})] * 2


UNDONE = "what needs it never runs\n    hint:"
REFUSED = "leave it out, or expect such calls to be refused as 'needs_approval'"
JWT = "issuer: 'https://i.example', aud: x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"principals: {{a: {{oidc: ^{{{JWT}, email: e}}}}}}",
            f"P216 warning: this version cannot do a login by oidc: {UNDONE} nobody can log in so: give the principal 'tokens'",
        ),
        (
            "callbacks: {^c: {url: file:u}}",
            f"P216 warning: this version cannot do callbacks: {UNDONE} leave it out: nobody is told of the end of a job",
        ),
        (
            "commands: {c: {on: local, run: [/bin/c], approval: ^{by: a}}}\nprincipals: {a: {}}",
            f"P216 warning: this version cannot do approvals: {UNDONE} {REFUSED}",
        ),
    ],
)
def test_what_is_read_and_not_done_is_said_at_its_place(text: str, message: str) -> None:
    """What this version reads and cannot do yet is a warning at the key that asks for it."""
    text, place = unmarked(text)
    assert findings(text) == [f"{place}: {message}"]


def test_networks_hold_for_tokens_and_for_a_jwt() -> None:
    """`from` is compiled into every way in, and a network that is none is said once."""
    made, found = judged(
        f"principals:\n  a: {{oidc: {{{JWT}, email: e}}, from: [10.0.0.0/8]}}\n  b: {{oidc: {{{JWT}, email: f}}}}"
    )
    assert [list(map(str, oidc.sources)) for oidc in made.policy.oidc] == [["10.0.0.0/8"], []]
    assert not [line for line in found if "P201" in line]
    _, found = judged(f"principals:\n  a: {{oidc: {{{JWT}, email: e}}, from: [10.0.0.1/8]}}")
    assert len([line for line in found if "P201" in line]) == 1


def test_each_principal_with_a_jwt_has_its_own() -> None:
    """A JWT is known by issuer, audience and one claim; principals without one are passed over."""
    made, _ = judged(
        f"principals:\n  a: {{}}\n  b: {{oidc: {{{JWT}, email: e}}}}\n  c: {{}}\n  d: {{oidc: {{{JWT}, common_name: e}}}}"
    )
    proof: dict[str, Any] = {"issuer": "https://i.example", "audience": "x", "value": "e"}
    assert made.policy.oidc == (
        Oidc(principal="b", claim="email", **proof),
        Oidc(principal="d", claim="common_name", **proof),
    )


def test_a_jwt_that_proves_another_already() -> None:
    """The second principal of one JWT is told who has it, at its own key."""
    text, place = unmarked(
        f"principals:\n  a: {{oidc: {{{JWT}, common_name: n}}}}\n  b: {{oidc: ^{{{JWT}, common_name: n}}}}"
    )
    message = "P214 the same JWT proves 'a' already\n    hint: one of them must differ"
    assert [line for line in findings(text) if "P216" not in line] == [f"{place}: {message}"]
