"""What the loader, lint and the policy's own tests have to say, each at a place: `policies/web.yaml:14:9: P203 ...`."""

import difflib
import string
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from cmdhttp.errors import ConfigError

_LONGEST = 2000
_FEW = 100
_LONGEST_NAME = 64
_NAME_CHARACTERS = string.ascii_letters + string.digits + "._-"


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


def one_line(text: str) -> str:
    """The text as one line that can be shown: names come from files, and may hold line breaks or be of any length."""
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return (
        short if short.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in short)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One message. `code` is stable and has its own section in `docs/reference/findings.md`."""

    code: str
    message: str
    at: Position
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __post_init__(self) -> None:
        # Frozen for everyone else; this is still its own construction.
        object.__setattr__(self, "message", one_line(self.message))
        object.__setattr__(self, "hint", one_line(self.hint))

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


def suggestion(name: str, known: Collection[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known name, or an empty text.

    Among few names the likeness may be loose; among many it is one wrong, missing, added or swapped character, which is
    found without looking at each of them.
    """
    if len(name) > _LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(name, known, n=1) if len(known) <= _FEW else _one_edit_away(name, known)
    return f"did you mean '{near[0]}'?" if near else ""


def _one_edit_away(name: str, known: Collection[str]) -> list[str]:
    splits = [(name[:place], name[place:]) for place in range(len(name) + 1)]
    edits = {left + right[1:] for left, right in splits}
    edits |= {left + right[1::-1] + right[2:] for left, right in splits}
    edits |= {left + char + right[skip:] for left, right in splits for char in _NAME_CHARACTERS for skip in (0, 1)}
    names = known if isinstance(known, Mapping | AbstractSet) else frozenset(known)
    return sorted(edit for edit in edits if edit in names)
