"""`cmdhttp check`: says what `serve` would say."""

import json
import sys
from pathlib import Path

from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.load import load_policy

_UNKNOWN_SECRETS = Path("secrets")


def run_check(folder: str, *, as_json: bool) -> int:
    """Validate a folder. Returns 0, or 2 when the policy does not load."""
    try:
        policy = load_policy(Path(folder), secrets=_UNKNOWN_SECRETS)
    except PolicyError as error:
        if as_json:
            findings = [
                {
                    "code": finding.code,
                    "severity": finding.severity,
                    "file": finding.at.file,
                    "line": finding.at.line,
                    "column": finding.at.column,
                    "message": finding.message,
                    "hint": finding.hint,
                }
                for finding in error.findings
            ]
            print(json.dumps({"ok": False, "findings": findings}, indent=2))
        else:
            print(error.detail, file=sys.stderr)
            print(f"{len(error.findings)} findings", file=sys.stderr)
        return 2
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
