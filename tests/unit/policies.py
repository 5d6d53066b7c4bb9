"""Policies from text, without a disk: one string is one file, named `a.yaml`, `b.yaml` and so on."""

import string
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from cmdhttp.policy.compile import Folders, compile_policy
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Decision, Question, bind, decide
from cmdhttp.policy.files import SourceFile, folder_digest
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.merge import merge

NOW = datetime(2026, 11, 2, tzinfo=UTC)
NOWHERE = Path("/nowhere")


def compiled(*texts: str, policies: Path = NOWHERE) -> Policy:
    """The policy of files with these texts; `version: 1` is put before each."""
    files = [
        SourceFile(path=f"{name}.yaml", data=("version: 1\n" + dedent(text)).encode())
        for name, text in zip(string.ascii_lowercase, texts, strict=False)
    ]
    folders = Folders(policies=policies, secrets=Path("/secrets"))
    return compile_policy(merge(files), folders=folders, digest=folder_digest(files))


def findings(*texts: str, policies: Path = NOWHERE) -> list[str]:
    """Everything that is wrong with such files, as an admin reads it."""
    with pytest.raises(PolicyError) as caught:
        compiled(*texts, policies=policies)
    return [str(finding) for finding in caught.value.findings]


def ask(
    policy: Policy,
    command: str,
    host: str = "web1",
    *,
    by: str = "p",
    at: datetime = NOW,
    **values: Any,
) -> Decision:
    """The decision on a call; an unknown command has no parameters to bind."""
    found = policy.commands.get(command) or next(iter(policy.commands.values()))
    question = Question(principal=by, command=command, host=host, arguments=bind(found, values), at=at)
    return decide(policy, question)
