"""Lines with `jobs` decide no call, and `diff` misses no right that they give: random policies, with and without such lines."""

from random import Random

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Arguments, Question, bind, decide
from cmdhttp.policy.oversee import Overseen, Right, right_over
from cmdhttp.policy.review.diff import What, diff
from cmdhttp.policy.review.meaning import Sign
from tests.support import model
from tests.support.lawful import COMMANDS, lawful_call, lawful_line, lawful_policy, params_of
from tests.support.random_policies import HOSTS, PRINCIPALS, ROLES, Call, Doc, compiled
from tests.unit.policies import NOW

POLICIES = 400
CALLS = 8
JOBS = 12


def with_oversight(chance: Random, doc: Doc) -> Doc:
    """The same policy, with some lines for jobs between those that let run."""
    roles = {name: list(lines) for name, lines in doc["roles"].items()}
    for _ in range(chance.randint(1, 4)):
        of = chance.choice([{}, {"of": "*"}, {"of": chance.choice(PRINCIPALS)}, {"of": f"role:{chance.choice(ROLES)}"}])
        line = {**lawful_line(chance, params_of(doc)), "jobs": chance.choice(["read", "cancel"]), **of}
        lines = roles[chance.choice(ROLES)]
        lines.insert(chance.randint(0, len(lines)), line)
    return {**doc, "roles": roles}


def asked(policy: Policy, call: Call) -> Question:
    by, name, host, values, day = call
    command = policy.commands.get(name)
    arguments = bind(command, values) if command else Arguments(values={})
    return Question(principal=by, command=name, host=host, arguments=arguments, at=model.moment(day))


def job(chance: Random, doc: Doc) -> Overseen:
    owner, _, _, values, _ = lawful_call(chance, doc)
    hosts = chance.sample((*HOSTS, "local"), chance.randint(1, 2))
    return Overseen(owner=owner, command=chance.choice(COMMANDS), hosts=hosts, params=values)


@pytest.mark.timeout(60)
def test_they_decide_no_call() -> None:
    overseeing = 0
    for seed in range(POLICIES):
        chance = Random(seed)
        doc = lawful_policy(chance)
        policy = compiled(with_oversight(chance, doc))
        overseeing += any(held.oversight for held in policy.principals.values())
        for call in [lawful_call(chance, doc) for _ in range(CALLS)]:
            assert decide(policy, asked(policy, call)).verdict == model.verdict(doc, *call), (doc, call)
    assert overseeing > POLICIES // 2


@pytest.mark.timeout(60)
def test_no_right_is_gained_or_lost_in_silence() -> None:
    gained = lost = 0
    for seed in range(POLICIES):
        chance = Random(seed)
        doc = lawful_policy(chance)
        old, new = compiled(with_oversight(chance, doc)), compiled(with_oversight(chance, doc))
        told = {(one.principal, one.command, one.sign) for one in diff(old, new, since=NOW) if one.what is What.JOBS}
        for one, by in ((job(chance, doc), chance.choice(PRINCIPALS)) for _ in range(JOBS)):
            before, now = right_over(old, by, one), right_over(new, by, one)
            gained, lost = gained + (now > before), lost + (now < before)
            assert now <= before or (by, one.command, Sign.GAINED) in told, (doc, by, one)
            assert now >= before or (by, one.command, Sign.LOST) in told, (doc, by, one)
        assert right_over(new, "unknown", job(chance, doc)) is Right.NONE
    assert min(gained, lost) > POLICIES // 10
