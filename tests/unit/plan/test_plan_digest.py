"""The digest of a plan: the same for the same plan from any policy, another for any other plan."""

from dataclasses import replace

import pytest

from cmdhttp.plan.digest import plan_digest
from cmdhttp.plan.model import LocalTarget, Plan, Step

STEP = Step(run=0, host="a", target=LocalTarget(), argv=("x",), env={}, timeout=60, output_limit=99)
PLAN = Plan(
    command="c",
    policy="sha256:0",
    shown_params={"p": 1},
    steps=(STEP,),
    success_codes=frozenset({0, 3}),
    max_parallel=1,
    batch=1,
)


def test_the_policy_does_not_matter() -> None:
    """A policy that changed elsewhere gives the same plan."""
    assert plan_digest(replace(PLAN, policy="sha256:1")) == plan_digest(PLAN)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, command="d"),
        replace(PLAN, shown_params={"p": 2}),
        replace(PLAN, steps=(STEP, replace(STEP, run=1))),
        replace(PLAN, steps=(replace(STEP, host="b"),)),
        replace(PLAN, steps=(replace(STEP, argv=("x", "y")),)),
        replace(PLAN, steps=(replace(STEP, target=LocalTarget(account="root")),)),
        replace(PLAN, steps=(replace(STEP, timeout=61),)),
        replace(PLAN, steps=(replace(STEP, stdin=b""),)),
        replace(PLAN, steps=(replace(STEP, masks=(b"s",)),)),
        replace(PLAN, steps=(replace(STEP, redact=("t",)),)),
        replace(PLAN, success_codes=frozenset({0})),
        replace(PLAN, max_parallel=2),
        replace(PLAN, batch=2),
        replace(PLAN, max_failures=0),
        replace(PLAN, parser="df"),
    ],
)
def test_anything_else_does(other: Plan) -> None:
    """Whatever else a plan says is in its digest."""
    assert plan_digest(other) != plan_digest(PLAN)
