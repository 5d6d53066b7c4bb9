"""One number for a step, and one for a plan: who makes the same from a policy gets the same one. Pure."""

import hashlib
import json
from dataclasses import asdict

from cmdhttp.plan.model import Plan, Step


def step_digest(step: Step) -> str:
    """Return the sha256 of all that a step says but its stdin, as hex.

    Stdin is left out because it goes to the process by a descriptor of its own and not through whoever compares.
    """
    script = step.script
    told = [
        step.host,
        type(step.target).__name__,
        asdict(step.target),
        step.argv,
        dict(step.env),
        (script.interpreter, script.sha256) if script else None,
        step.timeout,
        step.output_limit,
        step.keep_ends,
        asdict(step.limits),
        [(file.place, file.mode, hashlib.sha256(file.data).hexdigest()) for file in step.staged],
        step.unplaced,
        asdict(step.collect) if step.collect else None,
    ]
    return _sum(told)


def plan_digest(plan: Plan) -> str:
    """Return the sha256 of all that a plan says, as hex, but of which policy it is: another one may give the same plan."""
    told = [
        plan.command,
        dict(plan.shown_params),
        [[step_digest(step), _secret_sums(step), step.redact] for step in plan.steps],
        sorted(plan.success_codes),
        plan.max_parallel,
        plan.batch,
        plan.max_failures,
        plan.parser,
    ]
    return _sum(told)


def _secret_sums(step: Step) -> list[str | None]:
    """What a step's own digest leaves out."""
    stdin = None if step.stdin is None else hashlib.sha256(step.stdin).hexdigest()
    return [stdin, *(hashlib.sha256(mask).hexdigest() for mask in step.masks)]


def _sum(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
