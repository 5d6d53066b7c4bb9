"""An explanation says what `decide` said, and its advice works."""

import random

import pytest

from cmdhttp.policy.decide import Reason, Verdict, decide, matching
from cmdhttp.policy.review.advice import Kind
from cmdhttp.policy.review.explain import Check, explain
from tests.support.random_policies import Call, compiled, question, wide_call, wide_policy

SETTLED = {
    Reason.ROLE_LINE: Check.ROLE_LINE,
    Reason.UNKNOWN_PRINCIPAL: Check.PRINCIPAL,
    Reason.UNKNOWN_COMMAND: Check.COMMAND,
    Reason.UNKNOWN_HOST: Check.HOST,
    Reason.NOT_MADE_FOR_HOST: Check.MADE_FOR_HOST,
    Reason.BAD_PARAMETER: Check.PARAMETERS,
    Reason.DENY_RULE: Check.DENY,
    Reason.NO_ROLE_LINE: Check.DEFAULT,
}
PASSES = (Verdict.ALLOW, Verdict.NEEDS_APPROVAL)


def strange(rng: random.Random, call: Call) -> Call:
    """The call, now and then with a name that nothing bears or a value that fits nothing."""
    by, command, host, values, day = call
    spoilt = {
        "by": ("p9", command, host, values, day),
        "command": (by, "c9", host, values, day),
        "host": (by, command, "h9", values, day),
        "value": (by, command, host, {**values, "u": "w", "q": 1}, day),
    }
    return spoilt[rng.choice(sorted(spoilt))] if rng.random() < 0.2 else call


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_the_steps_agree_with_the_decision(start: int) -> None:
    """One step settles it, at the place of the decision; each rule holds exactly if the decision's own matching says so."""
    seen = set()
    for seed in range(start, start + 40):
        rng = random.Random(seed)
        policy = compiled(wide_policy(rng))
        for call in [strange(rng, wide_call(rng)) for _ in range(12)]:
            asked = question(policy, call)
            explanation, decision = explain(policy, asked), decide(policy, asked)
            assert explanation.decision == decision
            (settled,) = [step for step in explanation.steps if step.settled]
            assert (settled.check, settled.at) == (SETTLED[decision.reason], decision.at), call
            if decision.reason in (Reason.ROLE_LINE, Reason.DENY_RULE, Reason.NO_ROLE_LINE):
                rules = {rule.at for rule in matching(policy, asked)}
                met = {step.at for step in explanation.steps if step.holds is (step.check is Check.ROLE_LINE)}
                checks = {step.at for step in explanation.steps if step.check in (Check.DENY, Check.ROLE_LINE)}
                assert met & checks == rules, call
            seen.add(decision.reason)
    assert seen == set(SETTLED)


@pytest.mark.parametrize("start", range(1000, 1200, 40))
def test_what_is_advised_works(start: int) -> None:
    """Each change that can be tried as it is leads to a call that passes, and a call that passes needs none."""
    tried: set[Kind] = set()
    for seed in range(start, start + 40):
        rng = random.Random(seed)
        policy = compiled(wide_policy(rng))
        for call in [strange(rng, wide_call(rng)) for _ in range(12)]:
            explanation = explain(policy, question(policy, call))
            if explanation.decision.verdict is Verdict.ALLOW:
                assert explanation.changes == ()
                continue
            assert explanation.changes, call
            for change in explanation.changes:
                assert change.text
                assert all(decide(policy, other).verdict in PASSES for other in change.tried), (call, change)
                tried.add(change.kind)
    assert tried >= {Kind.VALUES, Kind.HOST, Kind.PRINCIPAL, Kind.POLICY}
