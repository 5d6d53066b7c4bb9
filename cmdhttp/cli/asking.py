"""What `explain`, `can` and `diff` share: a policy to ask, a moment to ask for, and names that must be known."""

import os
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cmdhttp.cli.inputs import policy_inputs
from cmdhttp.errors import ConfigError
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.fields import read_instant
from cmdhttp.policy.findings import Position, suggestion
from cmdhttp.policy.load import load, load_policy
from cmdhttp.policy.review.describe import instant

_FAILED_TEST = "P501"


def usable_policy(folder: Path) -> Policy:
    """Return the policy of a folder. Raises PolicyError if it does not load."""
    return load_policy(folder, policy_inputs(os.environ))


def explainable_policy(folder: Path) -> Policy:
    """Return the policy of a folder, also if only its own tests fail: explaining is how to find out why."""
    loaded = load(folder, policy_inputs(os.environ))
    failed = [finding for finding in loaded.errors if finding.code == _FAILED_TEST]
    if loaded.compiled is None or len(failed) < len(loaded.errors):
        return loaded.usable()
    if failed:
        print(f"note: this policy is not in force: {len(failed)} of its tests fail ('cmdhttp test')", file=sys.stderr)
    return loaded.compiled


def moment(text: str | None) -> datetime:
    """Return the moment of `--at`, else now. Raises ConfigError."""
    if text is None:
        return policy_inputs(os.environ).now.replace(microsecond=0)
    try:
        return read_instant(text)
    except ValueError as error:
        raise ConfigError(f"--at {error}") from None


def check_known(kind: str, name: str | None, known: Iterable[str]) -> None:
    """Raise ConfigError for a name that nothing bears."""
    names = list(known)
    if name is not None and name not in names:
        hint = suggestion(name, names) or f"there are: {', '.join(sorted(names)[:20]) or 'none'}"
        raise ConfigError(f"there is no {kind} '{name}' in this policy", hint=hint)


def place(at: Position | None) -> str | None:
    """Return a place as JSON carries it."""
    return None if at is None else str(at)


def time(at: datetime | None) -> str | None:
    """Return a moment as JSON carries it."""
    return None if at is None else instant(at)
