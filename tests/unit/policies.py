"""Policies from text, without a disk: one string is one file, named `a.yaml`, `b.yaml` and so on."""

import string
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

from cmdhttp.policy.compile import Compiled, Folders, compile_all, compile_policy
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Decision, Question, bind, decide
from cmdhttp.policy.files import SourceFile, folder_digest
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.merge import collect, merge

NOW = datetime(2026, 11, 2, tzinfo=UTC)
NOWHERE = Path("/nowhere")
PARSERS = ("df", "json", "lines")


def compiled(*texts: str, policies: Path = NOWHERE, may_switch: bool = False) -> Policy:
    """The policy of files with these texts; `version: 1` is put before each."""
    files = sources(*texts)
    places = folders(policies, may_switch=may_switch)
    return compile_policy(merge(files), folders=places, digest=folder_digest(files))


def sources(*texts: str) -> list[SourceFile]:
    return [
        SourceFile(path=f"{name}.yaml", data=("version: 1\n" + dedent(text)).encode())
        for name, text in zip(string.ascii_lowercase, texts, strict=False)
    ]


def folders(policies: Path = NOWHERE, *, may_switch: bool = False) -> Folders:
    return Folders(policies=policies, secrets=Path("/secrets"), parsers=PARSERS, may_switch=may_switch)


def judged(*texts: str, policies: Path = NOWHERE) -> tuple[Compiled, list[str]]:
    """What compiling came to, right or wrong, and everything there is to say, as an admin reads it."""
    files = sources(*texts)
    merged = collect(files)
    made = compile_all(merged, folders=folders(policies), digest=folder_digest(files))
    return made, [str(finding) for finding in PolicyError([*merged.findings, *made.findings]).findings]


def findings(*texts: str, policies: Path = NOWHERE) -> list[str]:
    """Everything that there is to say of such files, warnings included; there must be something."""
    _, found = judged(*texts, policies=policies)
    assert found
    return found


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


def unmarked(text: str) -> tuple[str, str]:
    """The text without its `^`, and the place where that stood; `version: 1` is the line before the text."""
    before, _, after = text.partition("^")
    line = before.count("\n") + 2
    return before + after, f"a.yaml:{line}:{len(before) - before.rfind(chr(10))}"
