"""A folder becomes a policy, whole or not at all."""

from pathlib import Path

from cmdhttp.policy.compile import Folders, compile_policy
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.files import check_permissions, folder_digest, read_folder
from cmdhttp.policy.findings import PolicyError, Severity
from cmdhttp.policy.merge import merge


def load_policy(policies: Path, *, secrets: Path) -> Policy:
    """Read, validate and compile every file of the folder. Raises PolicyError with all findings at once."""
    files = read_folder(policies)
    writable = [finding for finding in check_permissions(policies, files) if finding.severity is Severity.ERROR]
    if writable:
        raise PolicyError(writable)
    return compile_policy(
        merge(files), folders=Folders(policies=policies, secrets=secrets), digest=folder_digest(files)
    )
