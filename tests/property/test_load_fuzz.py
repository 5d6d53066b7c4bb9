"""Whatever a policy file says, loading it ends in a policy or in findings that can be shown.

Real policies (`tests.support.slices`) are damaged in two ways (`tests.support.damage`): their text, so that YAML is what
suffers, and their trees, so that good YAML says odd things. Each file goes through the whole load: read, merged, compiled,
held against its own tests, printed; a policy that loads all the same must then answer. `CMDHTTP_FUZZ=N` loads N files
instead of 10,000; `make test LONG=1` loads 20,000. A failure shows the seed, the number and the bytes.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from random import Random

import pytest

from cmdhttp.cli.check import finding_document
from cmdhttp.errors import BadValue
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Question, Reason, bind, decide
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.load import Inputs, Loaded, load_files
from tests.support.damage import damaged_text, damaged_tree
from tests.support.slices import POLICIES, ROOT, slices
from tests.unit.policies import PARSERS

FILES = int(os.environ.get("CMDHTTP_FUZZ", "10000"))
TEXT_PARTS, TREE_PARTS = 2, 4
TEXTS, TREES = FILES // 2 // TEXT_PARTS, FILES // 2 // TREE_PARTS
NOW = datetime(2026, 11, 2, tzinfo=UTC)
INPUTS = Inputs(resolve=resolve_argv, now=NOW, parsers=PARSERS)
RAW: tuple[object, ...] = ("x", "1", "/var", "192.0.2.7", "2026-12-20", "5m", ["x"], True, 7, 1e308, {"a": [None]})

Damage = Callable[[Random], bytes]


@cache
def bases() -> tuple[str, ...]:
    return tuple(json.dumps(doc) for doc in slices())


def of_text(chance: Random) -> bytes:
    return damaged_text(chance, [base.encode() for base in bases()])


def of_tree(chance: Random) -> bytes:
    return damaged_tree(chance, bases())


@cache
def documented() -> frozenset[str]:
    page = (ROOT / "docs" / "reference" / "findings.md").read_text()
    return frozenset(re.findall(r"^### (P[0-9]{3})\b", page, re.MULTILINE))


def load(*texts: bytes) -> Loaded:
    files = [SourceFile(path=f"{name}.yaml", data=text) for name, text in zip("ab", texts, strict=False)]
    return load_files(files, INPUTS, policies=POLICIES)


def check_finding(finding: Finding, lines: dict[str, list[bytes]]) -> None:
    """It has a code that the documentation explains, it can be printed on a terminal, and it points into its file."""
    assert finding.code in documented()
    assert finding.message
    assert finding.message.isprintable()
    assert finding.hint.isprintable()
    place = finding.at
    assert str(finding).encode().startswith(f"{place.file}:".encode())
    text = lines[place.file]
    assert 0 <= place.line <= len(text)
    assert (place.line == 0) == (place.column == 0)
    assert place.line == 0 or place.column <= len(text[place.line - 1].decode(errors="replace")) + 1


def check_answers(policy: Policy) -> None:
    """A policy that loaded answers every question without an error inside, whatever is sent."""
    for name, command in policy.commands.items():
        json.dumps({each: spec.json_schema() for each, spec in command.params.items()})
        for raw in RAW:
            arguments = bind(command, dict.fromkeys(command.params, raw))
            for host in sorted(command.hosts)[:2]:
                for caller in policy.principals:
                    question = Question(principal=caller, command=name, host=host, arguments=arguments, at=NOW)
                    assert decide(policy, question).reason is not Reason.ERROR
            if not arguments.errors:
                try:
                    argv = resolve_argv(command, arguments.values)
                except BadValue:
                    continue
                assert all(isinstance(item, str) for item in argv)


def check(*texts: bytes) -> Loaded:
    """Load the files, and hold what comes out to what holds for all files."""
    loaded = load(*texts)
    lines = {f"{name}.yaml": text.split(b"\n") for name, text in zip("ab", texts, strict=False)}
    for finding in loaded.findings:
        check_finding(finding, lines)
    json.dumps([finding_document(finding) for finding in loaded.findings], allow_nan=False)
    assert (loaded.policy is None) is bool(loaded.errors)
    for outcome in loaded.outcomes:
        assert f"{outcome.name} {outcome.failure}".isprintable()
    if loaded.policy is not None:
        check_answers(loaded.policy)
    return loaded


def run(damage: Damage, *, seed: int, files: int) -> Counter[str]:
    """Load files with this damage, one in twenty together with a second one; returns how often each code came."""
    chance = Random(seed)
    seen: Counter[str] = Counter()
    for number in range(files):
        texts = [damage(chance) for _ in range(1 if chance.random() < 0.95 else 2)]
        try:
            loaded = check(*texts)
        except BaseException as error:
            error.add_note(f"{damage.__name__}, seed {seed}, file {number}: {texts!r}")
            raise
        seen.update({str(finding.code) for finding in loaded.findings} | ({"loaded"} if loaded.policy else set()))
    return seen


@pytest.mark.parametrize("number", range(len(slices())))
def test_the_undamaged_policies_load(number: int) -> None:
    """What is damaged was good before: a real policy, cut down to one command, without an error."""
    loaded = load(bases()[number].encode())
    assert [str(finding) for finding in loaded.errors] == []
    assert loaded.policy is not None
    assert loaded.outcomes or not slices()[number]["tests"]


@pytest.mark.timeout(120 if FILES <= 20_000 else 0)
@pytest.mark.parametrize("part", range(TEXT_PARTS))
def test_damaged_text_ends_in_a_policy_or_in_findings(part: int) -> None:
    """Thousands of policies whose text was damaged: some load, most do not, and only findings come out."""
    seen = run(of_text, seed=1000 + part, files=TEXTS)
    assert TEXTS < 1000 or {"loaded", "P121", "P122", "P123", "P201", "P203", "P205"} <= seen.keys()


@pytest.mark.timeout(120 if FILES <= 20_000 else 0)
@pytest.mark.parametrize("part", range(TREE_PARTS))
def test_damaged_trees_end_in_a_policy_or_in_findings(part: int) -> None:
    """Thousands of policies that say odd things in good YAML: what loads answers, the rest is findings of all kinds."""
    seen = run(of_tree, seed=2000 + part, files=TREES)
    common = {"loaded", "P134", "P201", "P202", "P203", "P205", "P206", "P210", "P213", "P216", "P218", "P501"}
    assert TREES < 1000 or common <= seen.keys()
    assert TREES < 1000 or TREES / 20 < seen["loaded"] < TREES / 2
