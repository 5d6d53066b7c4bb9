"""One number for a step: who made the same step from the same policy gets the same one. Pure."""

import hashlib
import json
from dataclasses import asdict

from cmdhttp.plan.model import Step


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
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
