"""What compiling has to say, in one place, and which names may be asked for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cmdhttp.policy.findings import Finding, Position, Severity, suggestion
from cmdhttp.policy.merge import Merged

NOT_DONE = "leave it out, or expect such calls to end as 'unsupported'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where references lead: key files in `secrets`, known_hosts and script files in `policies`.

    `interpreters` are argv prefixes by name, beside the built-in ones. `parsers` are the names that `result` may give;
    `more_parsers` says how an admin comes by others. `may_switch`: whether whoever starts local processes may start them as
    other accounts; None where that is not known, and then nothing is said of it.
    """

    policies: Path
    secrets: Path
    interpreters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parsers: Collection[str] = ()
    more_parsers: str = ""
    may_switch: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Findings, and the definitions that they are about."""

    merged: Merged
    folders: Folders
    found: list[Finding] = field(default_factory=list)

    def say(self, code: str, message: str, at: Position, hint: str = "") -> None:
        self.found.append(Finding(code=code, message=message, at=at, hint=hint))

    def warn(self, code: str, message: str, at: Position, hint: str = "") -> None:
        self.found.append(Finding(code=code, message=message, at=at, hint=hint, severity=Severity.WARNING))

    def unknown(self, kind: str, name: str, at: Position, known: Collection[str]) -> None:
        """Say that nothing bears a name, unless what bears it may be among what could not be read."""
        self.missing(f"there is no {kind} '{name}'", name, at, known)

    def missing(self, message: str, name: str, at: Position, known: Collection[str]) -> None:
        if self.merged.complete:
            self.say("P205", message, at, suggestion(name, known))

    def doubt(self, message: str, name: str, at: Position, known: Collection[str]) -> None:
        """Say that a label's value is nobody's, unless the host that has it may be among what could not be read."""
        if self.merged.complete and not self.merged.broken["hosts"]:
            self.warn("P221", message, at, suggestion(name, known) or "it selects nothing until a host has it")

    def is_broken(self, section: str, name: str) -> bool:
        """Whether a definition of this name is there and could not be read, which has been said already."""
        return name in self.merged.broken[section]

    def check_known(self, name: str, known: Collection[str], *, section: str, kind: str, at: Position) -> bool:
        """Whether the name is among `known`; if not, that is a finding."""
        if name in known:
            return True
        if not self.is_broken(section, name):
            self.unknown(kind, name, at, known)
        return False

    def not_done(self, what: str, at: Position, hint: str = NOT_DONE) -> str:
        """Say that this version reads something and cannot do it, so that nothing runs that needs it; returns `what`."""
        self.warn("P216", f"this version cannot do {what}: what needs it never runs", at, hint)
        return what

    def not_remote(self, what: str, at: Position) -> None:
        """Say that something is for local runs, of a command that runs on SSH hosts too."""
        message = f"{what} is for local runs: this version does not apply it on SSH hosts"
        self.warn("P217", message, at, "do not rely on it there, or write a command of its own for local")
