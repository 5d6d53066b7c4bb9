"""Denies that never match, and tests that a deny will break one day."""

import pytest

from tests.unit.policy.lint.linting import HOSTS, found, shown

POLICY = """\
commands:
  restart: {run: [/bin/restart, <n>], params: {n: {type: int}}, on: {role: web}}
  look: {effect: read, run: [/bin/look], on: local}
principals: {alice: {}, bob: {}}
roles: {held: [{commands: "*", hosts: "*"}], idle: [{commands: "*", hosts: "*"}]}
grants: [{to: alice, roles: held}]
"""
NEVER: dict[str, tuple[str, str]] = {
    "always": ("commands: restart", ""),
    "by a role": ("to: 'role:held'", ""),
    "in a time that goes on": ("from: 2026-10-01, until: 2026-11-03", ""),
    "in a time to come": ("from: 2027-10-01", ""),
    "over": ("until: 2026-11-02", "its time is over"),
    "nobody": ("to: 'role:idle'", "nobody holds the roles that it names"),
    "no command": ("commands: {effect: destroy}", "it selects no command"),
    "no host": ("hosts: {role: none}", "it selects no host"),
    "other hosts": ("commands: restart, hosts: [local, db1]", "its commands are not made for any of its hosts"),
    "no value": ("commands: restart, params: {n: {values: [5], max: 3}}", "no value of 'n' fits"),
}


@pytest.mark.parametrize("name", NEVER)
def test_never(name: str) -> None:
    """A deny that protects nothing is told, with the reason."""
    keys, reason = NEVER[name]
    lines = shown(found(HOSTS + POLICY, f"deny: [{{why: w, {keys}}}]"), "P414")
    assert lines == ([f"b.yaml:2:8: P414 warning: this deny ('w') never matches: {reason}"] if reason else [])


CLOCK: dict[str, tuple[str, str, bool]] = {
    # a deny, a test, and whether the test depends on the date
    "a deny to come": ("from: 2026-12-20", "as: alice, run: restart, on: web1, expect: allow", True),
    "a deny that will end": ("until: 2026-12-20", "as: alice, run: restart, on: web1, expect: deny", True),
    "for somebody": ("to: alice, until: 2026-12-20", "as: alice, run: restart, on: web1, expect: deny", True),
    "a date": ("from: 2026-12-20", "as: alice, run: restart, on: web1, at: 2026-11-02, expect: allow", False),
    "no value": ("from: 2026-12-20", "as: alice, run: restart, on: web1, with: {n: x}, expect: invalid", False),
    "a deny for ever": ("to: alice", "as: alice, run: restart, on: web1, expect: deny", False),
    "a deny that began": ("from: 2026-01-01", "as: alice, run: restart, on: web1, expect: deny", False),
    "another caller": ("to: bob, from: 2026-12-20", "as: alice, run: restart, on: web1, expect: allow", False),
    "another host": ("hosts: web2, from: 2026-12-20", "as: alice, run: restart, on: web1, expect: allow", False),
    "another command": ("commands: look, from: 2026-12-20", "as: alice, run: restart, on: web1, expect: allow", False),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOCK)
def test_tests_by_the_clock(name: str) -> None:
    """A test without a date that a deny with dates concerns: one day the policy would not load."""
    deny, case, told = CLOCK[name]
    lines = shown(found(HOSTS + POLICY, f"deny: [{{why: w, {deny}}}]\ntests: [{{{case}}}]"), "P420")
    wanted = "b.yaml:3:9: P420 warning: this test will come out differently when 'w' begins or ends"
    assert lines == ([wanted] if told else [])
