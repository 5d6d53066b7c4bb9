"""A run that has waited, held against the policy in force when it would start."""

from dataclasses import replace

import pytest

from cmdhttp.execution.model import Order, RunError, RunErrorCode
from cmdhttp.jobs.permit import Permits
from cmdhttp.plan.build import Wish, build_plan
from cmdhttp.plan.model import Step
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import bind
from tests.unit.policies import NOW, compiled

POLICY = """
commands:
  c:
    run: [/bin/c, <x>]
    params: {x: {type: enum, values: [a, b]}}
    on: local
    timeout: 10s
    stdin: {max: 10B}
    env: {A: "1"}
principals: {p: {}}
roles: {r: [{commands: c, hosts: local}]}
grants: [{to: p, roles: r}]
"""
VALUES = {"x": "a"}


class Clock:
    """Stands at one moment."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return 0.0


def asked(policy: Policy, *, stdin: bytes | None = None, timeout: float | None = None) -> tuple[Order, Step]:
    wish = Wish(stdin=stdin, timeout=timeout)
    plan = build_plan(policy, policy.commands["c"], ["local"], bind(policy.commands["c"], VALUES), wish)
    order = Order(principal="p", command="c", policy=policy.digest, params=VALUES, timeout=timeout)
    return order, replace(plan.steps[0], run=7)


def renewed(
    before: Policy,
    now: Policy,
    *,
    at: float = NOW.timestamp(),
    stdin: bytes | None = None,
    timeout: float | None = None,
) -> tuple[Order, Step] | RunError:
    order, step = asked(before, stdin=stdin, timeout=timeout)
    return Permits(policy=lambda: now, clock=Clock(at)).renew(order, step)


def test_the_same_policy_changes_nothing() -> None:
    """What was planned is what runs."""
    policy = compiled(POLICY)
    assert renewed(policy, policy, stdin=b"x") == asked(policy, stdin=b"x")


def test_a_deny_that_has_begun() -> None:
    """Also under the same policy, time decides anew."""
    policy = compiled(POLICY + "deny: [{to: p, commands: c, hosts: local, why: w, from: 2026-12-01}]\n")
    assert not isinstance(renewed(policy, policy), RunError)
    error = renewed(policy, policy, at=NOW.timestamp() + 40 * 86400)
    assert isinstance(error, RunError)
    assert (error.code, "does not allow" in error.detail) == (RunErrorCode.POLICY_CHANGED, True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("timeout: 10s", "timeout: 3s"),
        ("timeout: 10s", "timeout: 10s\n    limits: {cpu: 1s}"),
        ("timeout: 10s", "timeout: 10s\n    output: {max: 9KiB, when_full: keep_ends}"),
        ("timeout: 10s", "timeout: 10s\n    output: {redact: [x]}"),
        ("timeout: 10s", "timeout: 10s\n    concurrency: {total: 1}\n    rate: 1/h"),
        ("stdin: {max: 10B}", "stdin: {max: 1B}"),
    ],
)
def test_new_limits_are_taken_over(before: str, after: str) -> None:
    """The step is the new policy's, and so is the order, so that whoever checks both finds them equal."""
    now = compiled(POLICY.replace(before, after))
    found = renewed(compiled(POLICY), now, stdin=b"x")
    assert not isinstance(found, RunError)
    assert found == asked(now, stdin=b"x")


def test_the_callers_own_time_limit_stays() -> None:
    """Lower than the new one, it holds; higher, the new one does."""
    now = compiled(POLICY.replace("timeout: 10s", "timeout: 5s"))
    for wish, expected in ((2.0, 2.0), (8.0, 5.0)):
        found = renewed(compiled(POLICY), now, timeout=wish)
        assert not isinstance(found, RunError)
        assert (found[0].timeout, found[1].timeout) == (wish, expected)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[/bin/c, <x>]", "[/bin/d, <x>]", "something else"),
        ("[/bin/c, <x>]", "[/bin/c, <x>, <x>]", "something else"),
        ("A: ", "B: ", "something else"),
        ("timeout: 10s", "timeout: 10s\n    as: www", "something else"),
        ("values: [a, b]", "values: [b]", "does not allow"),
        ("stdin: {max: 10B}", "stdin: {max: 1B}", "does not allow"),
        ("    stdin: {max: 10B}\n", "", "does not allow"),
        ("commands: c,", "commands: d,", "does not allow"),
        ("\n  c:", "\n  d:", "does not allow"),
        ("grants: [{to: p, roles: r}]", "", "does not allow"),
        ("principals: {p: {}}", "principals: {q: {}}", "does not allow"),
        ("on: local", "on: web", "does not allow"),
        ("on: local", "on: local\n    approval: {by: q}", "does not allow"),
    ],
)
def test_what_may_not_run_any_more(before: str, after: str, said: str) -> None:
    """A right that is gone, and a step that would be another one than is on record."""
    text = POLICY.replace(before, after)
    if "q" in after and "principals" not in after:
        text = text.replace("principals: {p: {}}", "principals: {p: {}, q: {}}")
    if after.startswith("principals"):
        text = text.replace("to: p", "to: q")
    if "commands: d," in text:
        text = text.replace("commands:\n", "commands:\n  d: {run: [/bin/d], on: local, timeout: 1s}\n")
    if after == "\n  d:":
        text = text.replace("commands: c", "commands: d")
    if "on: web" in after:
        text += (
            "hosts: {web: {address: 10.0.0.1, ssh: s}}\n"
            "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
        )
    error = renewed(compiled(POLICY), compiled(text, may_switch=True), stdin=b"xy")
    assert isinstance(error, RunError)
    assert (error.code, said in error.detail, "nothing has run" in error.detail) == (
        RunErrorCode.POLICY_CHANGED,
        True,
        True,
    )
