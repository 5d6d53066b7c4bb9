"""`cmdhttp check` and `cmdhttp test`: say what `serve` would say, and what the policy's own tests cover."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.cases import untouched
from cmdhttp.policy.findings import Finding, PolicyError
from cmdhttp.policy.load import load_and_test, load_policy

_UNKNOWN_SECRETS = Path("secrets")
_CANNOT_READ = ("P101", "P109")
"""The first and the last code that say that there was nothing to judge."""


def run_check(folder: str, *, as_json: bool) -> int:
    """Validate a folder and run its tests. Returns 0, 1 with findings, or 2 when it cannot be read."""
    try:
        policy = load_policy(Path(folder), secrets=_UNKNOWN_SECRETS, resolve=resolve_argv)
    except PolicyError as error:
        return _report(error.findings, as_json=as_json)
    counts = {
        "commands": len(policy.commands),
        "hosts": len(policy.hosts),
        "principals": len(policy.principals),
        "tokens": len(policy.tokens),
    }
    if as_json:
        print(json.dumps({"ok": True, "policy": policy.digest, "findings": [], **counts}, indent=2))
    else:
        print(f"{folder}: {', '.join(f'{number} {name}' for name, number in counts.items())}; {policy.digest}")
    return 0


def run_test(folder: str, *, only: str | None) -> int:
    """Run the policy's tests and print what no test touches. Returns 0, 1 when one fails, or 2 when it cannot be read."""
    try:
        tested = load_and_test(Path(folder), secrets=_UNKNOWN_SECRETS, resolve=resolve_argv)
    except PolicyError as error:
        return _report(error.findings, as_json=False)
    outcomes = [outcome for outcome in tested.outcomes if only is None or only in outcome.name]
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in outcomes:
        print(f"{'FAIL' if outcome.failure else 'pass'}  {outcome.name}  ({outcome.at})")
        if outcome.failure:
            print(f"      {outcome.failure}")
    if only is None:
        for place in untouched(tested.policy, tested.outcomes):
            print(f"{place}: no test touches this line")
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _report(findings: Sequence[Finding], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"ok": False, "findings": [_document(finding) for finding in findings]}, indent=2))
    else:
        print("\n".join(str(finding) for finding in findings), file=sys.stderr)
        print(f"{len(findings)} findings", file=sys.stderr)
    first, last = _CANNOT_READ
    return 2 if any(first <= finding.code <= last for finding in findings) else 1


def _document(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "file": finding.at.file,
        "line": finding.at.line,
        "column": finding.at.column,
        "message": finding.message,
        "hint": finding.hint,
    }
