"""`cmdhttp check` and `cmdhttp test`: say what `serve` would say, and what the policy's own tests cover."""

import json
import sys
from pathlib import Path

from cmdhttp.errors import ConfigError
from cmdhttp.policy.cases import Coverage, Outcome, coverage
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.load import Inputs, Loaded, load

_CANNOT_READ = ("P101", "P109")
"""The first and the last code that say that there was nothing to judge."""


def run_check(folder: Path, inputs: Inputs, *, strict: bool, as_json: bool) -> int:
    """Validate a folder and run its tests. Returns 0, 1 with errors (`strict`: or warnings), or 2 when it cannot be read."""
    loaded = load(folder, inputs)
    code = _verdict(loaded, strict=strict)
    if as_json:
        print(json.dumps(_document(loaded, ok=code == 0), indent=2))
        return code
    _print_findings(loaded, strict=strict)
    if loaded.policy is not None:
        counts = ", ".join(f"{number} {name}" for name, number in _counts(loaded.policy).items())
        print(f"{folder}: {counts}; {loaded.policy.digest}")
        if not loaded.policy.tokens:
            print("no principal has a token: make one with 'cmdhttp token new NAME', or 'serve' will not start")
    return code


def run_test(folder: Path, inputs: Inputs, *, only: str | None, as_json: bool) -> int:
    """Run the policy's tests and print what no test touches. Returns 0, 1 when one fails, or 2 when it cannot be read."""
    loaded = load(folder, inputs)
    outcomes = [outcome for outcome in loaded.outcomes if only is None or only in outcome.name]
    failed = [outcome for outcome in outcomes if outcome.failure]
    if only is not None and loaded.outcomes and not outcomes:
        raise ConfigError(f"no test has '{only}' in its name", hint="'cmdhttp test' lists all.")
    if loaded.compiled is None or any(finding.code != "P501" for finding in loaded.errors):
        if as_json:
            print(json.dumps(_document(loaded, ok=False), indent=2))
        else:
            _print_findings(loaded)
        return _verdict(loaded, strict=False)
    covered = coverage(loaded.compiled, loaded.outcomes)
    if as_json:
        print(json.dumps(_test_document(outcomes, covered), indent=2))
    else:
        _print_outcomes(outcomes, covered if only is None else None)
        print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _verdict(loaded: Loaded, *, strict: bool) -> int:
    first, last = _CANNOT_READ
    if any(first <= finding.code <= last for finding in loaded.errors):
        return 2
    return 1 if loaded.errors or (strict and loaded.warnings) else 0


def _print_findings(loaded: Loaded, *, strict: bool = False) -> None:
    for finding in loaded.findings:
        print(finding, file=sys.stderr)
    if loaded.findings:
        counts = f"{_number(len(loaded.errors), 'error')}, {_number(len(loaded.warnings), 'warning')}"
        print(counts + (": not passed, because of --strict" if strict and not loaded.errors else ""), file=sys.stderr)


def _print_outcomes(outcomes: list[Outcome], covered: Coverage | None) -> None:
    for outcome in outcomes:
        print(f"{'FAIL' if outcome.failure else 'pass'}  {outcome.name}  ({outcome.at})")
        if outcome.failure:
            print(f"      {outcome.failure}")
    if covered is None:
        return
    for place in covered.untouched:
        print(f"{place}: no test touches this line")
    touched = covered.rules - len(covered.untouched)
    print(f"the tests touch {touched} of {_number(covered.rules, 'role line or deny', 'role lines and denies')}")


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _counts(policy: Policy) -> dict[str, int]:
    return {
        "commands": len(policy.commands),
        "hosts": len(policy.hosts),
        "principals": len(policy.principals),
        "tokens": len(policy.tokens),
    }


def _document(loaded: Loaded, *, ok: bool) -> dict[str, object]:
    findings = {"ok": ok, "findings": [finding_document(finding) for finding in loaded.findings]}
    if loaded.policy is None:
        return findings
    return {**findings, "policy": loaded.policy.digest, **_counts(loaded.policy)}


def _test_document(outcomes: list[Outcome], covered: Coverage) -> dict[str, object]:
    return {
        "ok": not any(outcome.failure for outcome in outcomes),
        "tests": [
            {"name": outcome.name, "at": str(outcome.at), "passed": not outcome.failure, "failure": outcome.failure}
            for outcome in outcomes
        ],
        "rules": covered.rules,
        "untouched": [str(place) for place in covered.untouched],
    }


def finding_document(finding: Finding) -> dict[str, object]:
    """A finding as JSON shows it."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "file": finding.at.file,
        "line": finding.at.line,
        "column": finding.at.column,
        "message": finding.message,
        "hint": finding.hint,
    }
