"""A folder becomes a policy, whole or not at all: read, merged, compiled, and held against its own tests."""

from dataclasses import dataclass
from pathlib import Path

from cmdhttp.policy.cases import Outcome, Resolve, run_cases
from cmdhttp.policy.compile import Folders, compile_policy
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.files import check_permissions, folder_digest, read_folder
from cmdhttp.policy.findings import PolicyError, Severity
from cmdhttp.policy.merge import merge


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A policy, and what its own tests came to, passed or not."""

    policy: Policy
    outcomes: list[Outcome]


def load_policy(policies: Path, *, secrets: Path, resolve: Resolve) -> Policy:
    """Load the folder and run its tests. Raises PolicyError with all findings at once; a failed test is one."""
    tested = load_and_test(policies, secrets=secrets, resolve=resolve)
    failed = [finding for outcome in tested.outcomes if (finding := outcome.finding)]
    if failed:
        raise PolicyError(failed)
    return tested.policy


def load_and_test(policies: Path, *, secrets: Path, resolve: Resolve) -> Tested:
    """Load the folder and run its tests, and leave it to the caller what a failed test means. Raises PolicyError."""
    files = read_folder(policies)
    writable = [finding for finding in check_permissions(policies, files) if finding.severity is Severity.ERROR]
    if writable:
        raise PolicyError(writable)
    merged = merge(files)
    folders = Folders(policies=policies, secrets=secrets)
    policy = compile_policy(merged, folders=folders, digest=folder_digest(files))
    return Tested(policy=policy, outcomes=run_cases(policy, merged.tests, resolve=resolve))
