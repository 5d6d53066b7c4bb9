"""A folder becomes a policy, whole or not at all: read, merged, compiled, linted, and held against its own tests.

All that there is to say comes at once. The order of the stages only decides what can be said: what a file means is judged
as far as it could be read; lint and tests speak only of what compiles.
"""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cmdhttp.policy.cases import Outcome, Resolve, run_cases
from cmdhttp.policy.compile import Folders, compile_all
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.files import SourceFile, check_permissions, folder_digest, read_folder
from cmdhttp.policy.findings import Finding, PolicyError, Severity
from cmdhttp.policy.lint import lint, lint_text
from cmdhttp.policy.merge import collect
from cmdhttp.policy.permissions import check_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a load takes from outside the files.

    `resolve` makes an argv. `secrets` is None where the secrets folder is not known; then nothing is said of its files.
    `interpreters` are argv prefixes by name, beside the built-in ones. `now` is the moment for lint and for tests without `at`.
    `parsers` are the names that `result` may give; `more_parsers` says how an admin comes by others.
    `may_switch`: whether local runs can have an account of their own, which takes root; None where that is not known.
    """

    resolve: Resolve
    now: datetime
    secrets: Path | None = None
    interpreters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parsers: Collection[str] = ()
    more_parsers: str = ""
    may_switch: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """All that a load came to. `policy` is None if there is an error; a failed test is one.

    `compiled` is what the tests ran against: the policy, even if some of its tests failed. It is not for use.
    """

    policy: Policy | None
    findings: tuple[Finding, ...]
    outcomes: tuple[Outcome, ...] = ()
    compiled: Policy | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity is Severity.WARNING)

    def usable(self) -> Policy:
        """The policy. Raises PolicyError with every error."""
        if self.policy is None:
            raise PolicyError(self.errors)
        return self.policy


def load(policies: Path, inputs: Inputs) -> Loaded:
    """Load a folder and say all that there is to say of it. Never raises for what is in it."""
    with _collector_paused():
        try:
            files = read_folder(policies)
        except PolicyError as error:
            return Loaded(policy=None, findings=error.findings)
        return load_files(files, inputs, policies=policies, findings=check_permissions(policies, files))


def load_files(
    files: Collection[SourceFile], inputs: Inputs, *, policies: Path, findings: Iterable[Finding] = ()
) -> Loaded:
    """Load files that were read already. `policies` is the folder that their references count from.

    `findings` are those of the reading, to go with the others. Never raises for what is in the files.
    """
    found = [*findings, *lint_text(files)]
    merged = collect(files)
    found += merged.findings
    folders = Folders(
        policies=policies,
        secrets=inputs.secrets or Path("secrets"),
        interpreters=inputs.interpreters,
        parsers=inputs.parsers,
        more_parsers=inputs.more_parsers,
        may_switch=inputs.may_switch,
    )
    compiled = compile_all(merged, folders=folders, digest=folder_digest(files))
    found += compiled.findings
    outcomes: list[Outcome] = []
    if not _errors([*merged.findings, *compiled.findings]):
        found += lint(compiled.policy, merged, now=inputs.now, as_root=inputs.may_switch is True)
        found += check_targets(compiled.policy, merged, policies=policies, secrets=inputs.secrets)
        outcomes = run_cases(compiled.policy, merged.tests, resolve=inputs.resolve, now=inputs.now)
        found += [finding for outcome in outcomes if (finding := outcome.finding)]
    return Loaded(
        policy=None if _errors(found) else compiled.policy,
        findings=PolicyError(found).findings,
        outcomes=tuple(outcomes),
        compiled=compiled.policy,
    )


def load_policy(policies: Path, inputs: Inputs) -> Policy:
    """Load a folder. Raises PolicyError with all errors at once."""
    return load(policies, inputs).usable()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A load makes hundreds of thousands of objects and no garbage; to walk them over and over takes half of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _errors(findings: list[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)
