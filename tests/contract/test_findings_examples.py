"""Every example of the findings page does what the page says: the bad one is told with its code, the good one is not.

An example is a part of a policy. The base below completes it, as the page says: hosts, commands, principals, a role; what
an example defines is granted and allowed, unless the example itself says who holds what.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.cases import run_cases
from cmdhttp.policy.compile import Folders, compile_all
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Finding, Severity
from cmdhttp.policy.lint import LintCode, lint, lint_text
from cmdhttp.policy.merge import collect

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "findings.md"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
BASE = """\
version: 1
ssh_profiles: {linux: {user: cmdhttp, auth: {key: file:ops_ed25519}, host_keys: {known_hosts: keys/known_hosts}}}
hosts:
  web1: {address: 10.0.1.11, ssh: linux, labels: {role: web, env: prod}}
  web2: {address: 10.0.1.12, ssh: linux, labels: {role: web, env: staging}}
  db1: {address: 10.0.2.11, ssh: linux, labels: {role: db, env: prod}}
commands:
  disk.usage:
    effect: read
    run: [/usr/bin/df, --, <path>]
    params: {path: {type: path, under: [/var, /srv], default: /var}}
    on: [local, web1, web2, db1]
    timeout: 10s
  service.restart:
    effect: change
    run: [/usr/bin/systemctl, restart, --, <unit>.service]
    params: {unit: {type: enum, values: [nginx, redis]}}
    on: {role: web}
    timeout: 2m
principals:
  ops:
    tokens:
      - {id: Ops0Ops0, sha256: 4be1f3a09c72d85e6b14a0973fd2c8651e09b7d4832fca6150e8d49b7c3a2f16, expires: 2027-01-31}
  boss:
    tokens:
      - {id: Boss0Bos, sha256: c80d97e25f13a46bb9072ce8d1f4563a2e71c05b98d6f4430a1be72d95c86f0e, expires: 2027-01-31}
roles:
  operator:
    - {commands: disk.usage, hosts: [local, web1, web2, db1]}
    - {commands: service.restart, hosts: {role: web}}
  checker:
    - {commands: disk.usage, hosts: local}
grants:
  - {to: ops, roles: operator}
  - {to: boss, roles: checker}
tests:
  - {as: ops, run: service.restart, on: web1, with: {unit: nginx}, at: 2026-11-02, expect: allow}
"""

_SECTION = re.compile(r"^### (P\d{3})\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^```yaml (bad|good)((?: \+P\d{3})*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# ([a-z-]+\.yaml)\n", re.MULTILINE)
_NOT_AS_TEXT = {
    # what only a folder, a file mode or a very large file can show
    *(f"P1{number:02}" for number in range(1, 12)),
    *("P120", "P121", "P135", "P136"),
    *("P308", "P309", "P310", "P311", "P312", "P313"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One block: the code of its section, whether that must be told, what may be told beside it, and the text."""

    code: str
    bad: bool
    beside: frozenset[str]
    text: str

    @property
    def name(self) -> str:
        return f"{self.code}-{'bad' if self.bad else 'good'}"


def examples() -> list[Example]:
    return [
        Example(code=code, bad=kind == "bad", beside=frozenset(beside.replace("+", "").split()), text=text)
        for code, section in _SECTION.findall(PAGE.read_text())
        for kind, beside, text in _EXAMPLE.findall(section)
    ]


def files_of(example: Example) -> list[SourceFile]:
    """The files of an example; those on the meaning of a policy begin with their version without saying so."""
    names_and_texts = _FILE.split(example.text)
    pairs = list(zip(names_and_texts[1::2], names_and_texts[2::2], strict=True)) or [("example.yaml", example.text)]
    first = "version: 1\n" if example.code >= "P200" else ""
    return [SourceFile(path=name, data=(first + text).encode()) for name, text in pairs]


def completion(files: list[SourceFile]) -> SourceFile:
    """A file that allows and grants what the example defines and leaves open."""
    own = collect(files)
    sections = {line.partition(":")[0] for file in files for line in file.data.decode().splitlines()}
    text = "version: 1\n"
    roles = list(own.roles)
    if own.commands and "roles" not in sections:
        roles = ["example"]
        text += f"roles: {{example: [{{commands: [{', '.join(own.commands)}], hosts: [local, web1, web2, db1]}}]}}\n"
    if roles and "grants" not in sections:
        text += f"grants: [{{to: ops, roles: [{', '.join(roles)}]}}]\n"
    return SourceFile(path="completion.yaml", data=text.encode())


def told(example: Example, folder: Path) -> list[Finding]:
    """Everything that loading the example and the base would say, but for the files on this machine."""
    own = files_of(example)
    files = [*own, SourceFile(path="base.yaml", data=BASE.encode()), completion(own)]
    merged = collect(files)
    folders = Folders(policies=folder, secrets=folder, parsers=("df", "json", "lines"), may_switch=False)
    compiled = compile_all(merged, folders=folders, digest="")
    findings = [*merged.findings, *compiled.findings, *lint_text(files)]
    if not any(finding.severity is Severity.ERROR for finding in findings):
        findings += lint(compiled.policy, merged, now=NOW)
        outcomes = run_cases(compiled.policy, merged.tests, resolve=resolve_argv, now=NOW)
        findings += [finding for outcome in outcomes if (finding := outcome.finding)]
    return findings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy folder with the script that an example names."""
    root = tmp_path_factory.mktemp("policies")
    (root / "scripts").mkdir()
    (root / "scripts/look.sh").write_text("exec look\n")
    return root


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_does_what_the_page_says(example: Example, folder: Path) -> None:
    """A bad example is told with the code of its section; a good one loads and is not told anything of the kind."""
    findings = told(example, folder)
    wanted = {example.code} if example.bad else set()
    assert {finding.code for finding in findings} == wanted | example.beside, [str(finding) for finding in findings]


def test_every_code_has_examples() -> None:
    """Each section has a bad and a good example, in this order, unless text alone cannot show what it says."""
    sections = {code for code, _ in _SECTION.findall(PAGE.read_text())}
    names = [example.name for example in examples()]
    assert names == [f"{code}-{kind}" for code in sorted(sections - _NOT_AS_TEXT) for kind in ("bad", "good")]
    assert sections >= set(LintCode)


def test_the_base_is_no_news(folder: Path) -> None:
    """The base itself is told nothing, so whatever is told comes from an example."""
    nothing = Example(code="P299", bad=False, beside=frozenset(), text="")
    assert told(nothing, folder) == []
