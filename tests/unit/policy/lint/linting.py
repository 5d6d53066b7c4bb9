"""Lint over policies from text. Many cases make one policy, a definition on each line, so that a table costs one load."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from cmdhttp.policy.compile import compile_all
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint import lint
from cmdhttp.policy.merge import collect
from tests.unit.policies import NOW, NOWHERE, folders, sources

HOSTS = """\
ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}
hosts:
  web1: {address: 10.0.0.1, ssh: linux, labels: {role: web}}
  web2: {address: 10.0.0.2, ssh: linux, labels: {role: web}}
  db1: {address: 10.0.0.3, ssh: linux, labels: {role: db}}
"""


def found(*texts: str, now: datetime = NOW, policies: Path = NOWHERE, as_root: bool = False) -> list[Finding]:
    """What lint says of files with these texts, which must compile."""
    merged = collect(sources(*texts))
    made = compile_all(merged, folders=folders(policies), digest="")
    errors = [str(finding) for finding in (*merged.findings, *made.findings) if finding.severity == "error"]
    assert errors == []
    return lint(made.policy, merged, now=now, as_root=as_root)


def shown(findings: Iterable[Finding], *codes: str) -> list[str]:
    """The findings with one of the codes, as an admin reads them, without their hints."""
    return [str(finding).partition("\n")[0] for finding in findings if not codes or finding.code in codes]


def each(cases: Mapping[str, str], *rest: str) -> dict[str, list[Finding]]:
    """Lint one policy with a command of each case, and return what is said of each; local unless a case says otherwise."""
    texts = (text if ", on: " in text else f"on: local, {text}" for text in cases.values())
    lines = [f"  c{number}: {{{text}}}" for number, text in enumerate(texts)]
    said: dict[str, list[Finding]] = {name: [] for name in cases}
    names = list(cases)
    for finding in found("commands:\n" + "\n".join(lines), *rest):
        if finding.at.file == "a.yaml":
            said[names[finding.at.line - 3]].append(finding)
    return said
