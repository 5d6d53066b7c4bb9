"""The benchmarks measure what they say: their rules load, and their questions get the answers in their titles."""

import json
from dataclasses import replace
from random import Random

import pytest

from benchmarks.measure import Group, race
from benchmarks.policy import BAD, QUESTIONS, Ours, any_call, likely_call, loaded, policy_folder
from benchmarks.rules import TEN, TEN_THOUSAND, TWO_THOUSAND, Rules
from cmdhttp.policy.decide import Reason, decide

SMALL = replace(TEN_THOUSAND, commands=200, roles=10, grants=20, hosts=40, denies=20, tests=10)
REASONS = (Reason.ROLE_LINE, Reason.ROLE_LINE, Reason.NO_ROLE_LINE, Reason.DENY_RULE)


def engine(rules: Rules) -> Ours:
    with policy_folder(rules.files()) as folder:
        return Ours(policy=loaded(folder))


@pytest.mark.parametrize("rules", [TEN, SMALL], ids=["ten", "small"])
def test_the_questions_are_what_they_are_called(rules: Rules) -> None:
    """Each question is decided for the reason that its title gives, at the smallest size and at a larger one."""
    ours = engine(rules)
    found = [decide(ours.policy, ours.question(call)).reason for call in QUESTIONS.values()]
    assert (tuple(found), len(QUESTIONS)) == (REASONS, len(REASONS))
    assert decide(ours.policy, ours.question(BAD)).reason is Reason.BAD_PARAMETER


def test_random_questions_get_both_answers() -> None:
    """The questions on which all engines must agree are answered both ways, often."""
    ours = engine(SMALL)
    chance = Random(1)
    assert 20 < sum(ours.allows(likely_call(SMALL, chance)) for _ in range(100)) < 80
    assert sum(ours.allows(any_call(SMALL, chance)) for _ in range(100)) < 20


@pytest.mark.parametrize("rules", [TWO_THOUSAND, TEN_THOUSAND], ids=["2,000", "10,000"])
def test_the_sizes_are_what_they_are_called(rules: Rules) -> None:
    """The large policies hold as much as their sizes say, in files that are small enough to be read."""
    files = rules.files()
    assert max(map(len, files)) < 1 << 20
    text = "".join(files)
    counts = (text.count("    summary: "), text.count("  - {to: "), text.count("  - {why: "), text.count("expect: "))
    assert counts == (rules.commands, rules.grants, rules.denies, rules.tests)


def test_figures_are_shown_and_written() -> None:
    """Each contender is measured in every round; the table and the JSON say the same of it."""
    measured = race({"nothing": lambda: None, "a sum": lambda: sum(range(1000))}, rounds=3, seconds=0.001)
    group = Group(title="A race", measured=measured, notes=("It is short.",))
    assert [len(each.seconds) for each in measured] == [3, 3]
    assert group.text().splitlines()[0] == "A race"
    assert "It is short." in group.text()
    written = json.loads(json.dumps(group.document()))
    assert [each["name"] for each in written["measured"]] == ["nothing", "a sum"]
    assert written["measured"][0]["times_the_first"] == 1
