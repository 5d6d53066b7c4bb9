"""What the loader, lint and the policy's own tests have to say, each at a place: `policies/web.yaml:14:9: P203 ...`."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cmdhttp.errors import ConfigError


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in a policy file. Lines and columns count from 1; line 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One message. `code` is stable and has its own section in `docs/reference/findings.md`."""

    code: str
    message: str
    at: Position
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        label = "" if self.severity is Severity.ERROR else "warning: "
        text = f"{self.at}: {self.code} {label}{self.message}"
        return f"{text}\n    hint: {self.hint}" if self.hint else text


class PolicyError(ConfigError):
    """The policy does not load. `findings` holds every reason at once, in file order."""

    code = "policy"
    title = "The policy does not load"

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: (finding.at, finding.code, finding.message)))
        super().__init__("\n".join(str(finding) for finding in self.findings))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known name, or an empty text."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""
