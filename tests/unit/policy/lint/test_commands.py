"""Commands without a limit, with too many rights, or with something left over."""

from functools import cache

import pytest

from cmdhttp.policy.findings import Finding
from tests.unit.policy.lint.linting import HOSTS, each, found, shown

CODES = ("P323", "P324", "P326", "P329", "P330", "P335", "P415", "P417", "P419")
CASES: dict[str, tuple[str, str]] = {
    # the keys of a command, and the codes that must be said of it
    "nothing to say": ("effect: read, timeout: 5s, run: [/bin/a, <x>], params: {x: {type: int}}", ""),
    "no timeout": ("effect: read, run: [/bin/a]", "P323"),
    "as root": ("effect: read, timeout: 5s, run: [/bin/a], on: web1, as: root", "P324"),
    "as another": ("effect: read, timeout: 5s, run: [/bin/a], on: web1, as: rooter", ""),
    "a parameter that goes nowhere": ("effect: read, timeout: 5s, run: [/bin/a], params: {x: {type: int}}", "P326"),
    "a parameter in a group": (
        "effect: read, timeout: 5s, run: [/bin/a, [-x, <x>]], params: {x: {type: int, required: false}}",
        "",
    ),
    "a parameter that a script can reach": (
        "effect: read, timeout: 5s, script: env, interpreter: python, params: {x: {type: int}}",
        "",
    ),
    "a secret in a variable": ("effect: read, timeout: 5s, run: [/bin/a], env: {DB_PASSWORD: hunter}", "P329"),
    "a key in a variable": ("effect: read, timeout: 5s, run: [/bin/a], env: {API_KEY: 0123-4567}", "P329"),
    "the place of a secret": (
        "effect: read, timeout: 5s, run: [/bin/a], env: {A_SECRET_FILE: a.txt, TOKEN: /run/token, SECRET: nones, TOKENS: 100000}",
        "",
    ),
    "a path without folders": (
        "effect: read, timeout: 5s, run: [/bin/a, <x>], params: {x: {type: path}}",
        "P330",
    ),
    "a list of paths without folders": (
        "effect: read, timeout: 5s, run: [/bin/a, '<x...>'], params: {x: {type: list, of: {type: path}}}",
        "P330",
    ),
    "a path that is any on purpose": (
        "effect: read, timeout: 5s, run: [/bin/a, <x>], params: {x: {type: path, under: [/]}}",
        "",
    ),
    "a change that is not tested": ("effect: change, timeout: 5s, run: [/bin/a]", "P419"),
    "a change on every host": ("effect: change, timeout: 5s, run: [/bin/a], on: '*'", "P415 P419"),
    "a change on every host, in a list": ("effect: change, timeout: 5s, run: [/bin/a], on: [local, '*']", "P415 P419"),
    "a look at every host": ("effect: read, timeout: 5s, run: [/bin/a], on: '*'", ""),
    "one host in batches": ("effect: read, timeout: 5s, run: [/bin/a], on: web1, batch: 1, max_failures: 0", "P335 P335"),
    "one host in a list, one at a time": ("effect: read, timeout: 5s, run: [/bin/a], on: [local], max_parallel: 1", "P335"),
    "two hosts in batches": ("effect: read, timeout: 5s, run: [/bin/a], on: [web1, local], batch: 1, max_failures: 0", ""),
    "one host of a label in batches": ("effect: read, timeout: 5s, run: [/bin/a], on: {role: web}, batch: 1", ""),
    "every host in batches": ("effect: read, timeout: 5s, run: [/bin/a], on: '*', batch: 1", ""),
    "destroyed by one": ("effect: destroy, timeout: 5s, run: [/bin/a]", "P417 P419"),
    "destroyed by two": ("effect: destroy, timeout: 5s, run: [/bin/a], approval: {by: [p]}", "P419"),
}  # fmt: skip


@cache
def said() -> dict[str, list[Finding]]:
    return each({name: text for name, (text, _) in CASES.items()}, HOSTS + "principals: {p: {}}")


@pytest.mark.parametrize("name", CASES)
def test_of_a_command_is_said(name: str) -> None:
    """Each command gets exactly the findings that it deserves."""
    assert sorted(finding.code for finding in said()[name] if finding.code in CODES) == CASES[name][1].split()


def test_a_tested_change_is_no_news() -> None:
    """A test of a command is enough, whatever it expects."""
    text = (
        "commands: {c: {run: [/bin/a], on: local}}\nprincipals: {p: {}}\n"
        "tests: [{as: p, run: c, on: local, expect: deny}]"
    )
    assert shown(found(text), "P419") == []


def test_a_profile_that_logs_in_as_root() -> None:
    """Said once, at the profile."""
    assert shown(found(HOSTS.replace("user: u", "user: root")), "P324") == [
        "a.yaml:2:30: P324 warning: the profile 'linux' logs in as root"
    ]


@pytest.mark.parametrize(
    ("as_root", "said"), [(True, ["'bare' runs as root on local, as the service does"]), (False, [])]
)
def test_a_local_command_of_a_service_that_runs_as_root(as_root: bool, said: list[str]) -> None:
    """It runs as root too, unless it has an account of its own or never runs on local."""
    text = HOSTS + (
        "commands:\n  bare: {run: [/bin/a], on: [local, web1]}\n  own: {run: [/bin/a], on: web1, as: www}\n"
        "  far: {run: [/bin/a], on: web1}\n"
    )
    lines = shown(found(text, as_root=as_root), "P324")
    assert [line.partition("warning: ")[2] for line in lines] == said


APPROVED = """\
commands: {{c: {{run: [/bin/a], on: local, approval: {{{approval}}}}}, d: {{run: [/bin/a], on: local, approval: {{by: [bob]}}}}}}
principals: {{alice: {{}}, bob: {{}}, carl: {{}}}}
roles: {{r: [{{commands: c, hosts: local}}]}}
grants: [{{to: [alice], roles: r}}]
"""
APPROVALS: dict[str, tuple[str, list[str]]] = {
    "another": ("by: [bob]", []),
    "the caller and another": ("by: [alice, bob]", []),
    "the caller alone": ("by: [alice]", ["'alice' may run 'c', and without it too few are left to approve"]),
    "two, of whom one is the caller": (
        "by: [alice, bob], needed: 2",
        ["'alice' may run 'c', and without it too few are left to approve"],
    ),
    "itself": ("by: [alice, bob], not_self: false", ["'alice' may run 'c' and approve it alone"]),
    "itself and another": ("by: [alice, bob], not_self: false, needed: 2", []),
    "others, and itself if it could": ("by: [bob], not_self: false", []),
}  # fmt: skip


@pytest.mark.parametrize("name", APPROVALS)
def test_who_approves(name: str) -> None:
    """An approval is a second person's, and somebody is left to give it."""
    approval, wanted = APPROVALS[name]
    lines = shown(found(APPROVED.format(approval=approval)), "P418")
    assert [line.partition("warning: ")[2] for line in lines] == wanted


def test_a_change_that_is_none_perhaps() -> None:
    """Who did not say what a command does is told why it counts as a change."""
    cases = {"said": "effect: change, run: [/bin/a], on: '*'", "not said": "run: [/bin/a], on: '*'"}
    roles = "roles: {r: [{commands: c0, hosts: '*'}, {commands: c1, hosts: '*'}]}"
    lines = "\n".join(f"  c{number}: {{{keys}}}" for number, keys in enumerate(cases.values()))
    hints = [finding.hint for finding in found(f"commands:\n{lines}\n{roles}", HOSTS) if finding.code == "P415"]
    because = "; it counts as change because it says no 'effect': say 'effect: read' if it only reads"
    named, open_ones = "name groups or labels", "name hosts, groups or labels"
    assert hints == [named, f"{named}{because}", open_ones, f"{open_ones}{because}"]
