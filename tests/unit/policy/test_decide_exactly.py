"""Decisions and refusals to the last field, for whoever reads them: callers, records, the policy's own tests."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cmdhttp.errors import FieldError
from cmdhttp.policy.compiled import Line, Policy
from cmdhttp.policy.decide import Arguments, Decision, Question, Reason, Verdict, bind, matching
from cmdhttp.policy.findings import Position
from tests.unit.policies import NOW, ask, compiled

POLICY = """
ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}
hosts: {web1: {address: a, ssh: s}, web2: {address: b, ssh: s}}
commands:
  say:
    run: [/bin/echo, <word>, <unit>]
    params: {word: {type: enum, values: [yes, no], summary: What to say}, unit: {type: int, default: '1'}}
    on: [web1, local]
  bare: {run: [/bin/true], on: web1}
principals: {p: {}, q: {}}
roles:
  r: [{commands: '*', hosts: '*'}]
  s: [{commands: say, hosts: web1, params: {word: [yes]}}]
grants: [{to: p, roles: [r, s]}]
deny:
  - {why: no local, hosts: local}
  - {why: no no, to: [p], commands: say, params: {word: [no]}}
  - {why: over, until: 2020-01-01}
"""


def place(line: int, column: int) -> Position:
    return Position(file="a.yaml", line=line, column=column)


SAY, ROLE, NO_LOCAL, NO_NO, OVER = place(6, 3), place(13, 7), place(17, 5), place(18, 5), place(19, 5)
NARROW = place(14, 7)


@pytest.mark.parametrize(
    ("call", "decision"),
    [
        ({"command": "say", "by": "x"}, Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_PRINCIPAL)),
        ({"command": "says", "by": "x"}, Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_PRINCIPAL)),
        ({"command": "says"}, Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_COMMAND)),
        ({"command": "says", "host": "web3"}, Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_COMMAND)),
        ({"command": "say", "host": "web3"}, Decision(verdict=Verdict.DENY, reason=Reason.UNKNOWN_HOST)),
        (
            {"command": "say", "host": "web2"},
            Decision(verdict=Verdict.DENY, reason=Reason.NOT_MADE_FOR_HOST, at=SAY),
        ),
        ({"command": "say"}, Decision(verdict=Verdict.INVALID, reason=Reason.BAD_PARAMETER, at=SAY)),
        (
            {"command": "say", "word": "no"},
            Decision(verdict=Verdict.DENY, reason=Reason.DENY_RULE, at=NO_NO, why="no no"),
        ),
        (
            {"command": "say", "word": "yes", "host": "local"},
            Decision(verdict=Verdict.DENY, reason=Reason.DENY_RULE, at=NO_LOCAL, why="no local"),
        ),
        (
            {"command": "say", "word": "yes"},
            Decision(verdict=Verdict.ALLOW, reason=Reason.ROLE_LINE, at=NARROW, why="s"),
        ),
        ({"command": "bare"}, Decision(verdict=Verdict.ALLOW, reason=Reason.ROLE_LINE, at=ROLE, why="r")),
        ({"command": "say", "word": "yes", "by": "q"}, Decision(verdict=Verdict.DENY, reason=Reason.NO_ROLE_LINE)),
    ],
)
def test_the_whole_decision(call: dict[str, Any], decision: Decision) -> None:
    """A decision is its verdict, its reason, the line that made it and that line's own words, and nothing else."""
    asked = {"command": call["command"], "host": call.get("host", "web1"), "by": call.get("by", "p")}
    values = {"word": call["word"]} if "word" in call else {}
    assert ask(compiled(POLICY), **asked, **values) == decision


@pytest.mark.parametrize(
    ("command", "raw", "error"),
    [
        (
            "say",
            {"word": "yes", "untt": 1},
            FieldError(
                pointer="/params/untt",
                code="unknown_parameter",
                detail="unknown parameter",
                hint="did you mean 'unit'?",
            ),
        ),
        (
            "say",
            {"word": "yes", "x/~": 1},
            FieldError(
                pointer="/params/x~1~0",
                code="unknown_parameter",
                detail="unknown parameter",
                hint="the parameters are: word, unit",
            ),
        ),
        (
            "bare",
            {"word": "yes"},
            FieldError(
                pointer="/params/word",
                code="unknown_parameter",
                detail="unknown parameter",
                hint="the parameters are: none",
            ),
        ),
        (
            "say",
            {},
            FieldError(pointer="/params/word", code="missing", detail="this parameter is required", hint="What to say"),
        ),
        (
            "say",
            {"word": "maybe"},
            FieldError(
                pointer="/params/word",
                code="not_in_values",
                detail="is not one of the listed values",
                hint="Send one of: yes, no.",
            ),
        ),
    ],
)
def test_the_whole_refusal_of_a_value(command: str, raw: dict[str, object], error: FieldError) -> None:
    """What is wrong with a value is said by pointer, code, text and hint."""
    assert bind(compiled(POLICY).commands[command], raw).errors == (error,)


def test_unknown_parameters_are_told_up_to_twenty() -> None:
    """A call with thousands of made-up names gets an answer of bounded size, and is still refused."""
    bound = bind(compiled(POLICY).commands["say"], {"word": "yes"} | {f"x{number:02}": 1 for number in range(25)})
    assert [error.pointer for error in bound.errors] == [f"/params/x{number:02}" for number in range(20)]


def touched(policy: Policy, host: str = "web1", **values: object) -> list[Position]:
    command = policy.commands["say"]
    question = Question(principal="p", command="say", host=host, arguments=bind(command, values), at=NOW)
    return [rule.at for rule in matching(policy, question)]


def test_every_rule_that_takes_in_a_call() -> None:
    """All denies that match, then all role lines of the caller, whichever of them decided."""
    policy = compiled(POLICY)
    assert touched(policy, word="no") == [NO_NO, ROLE]
    assert touched(policy, word="yes") == [NARROW, ROLE]
    assert touched(policy, "local", word="no") == [NO_NO, NO_LOCAL, ROLE]


def test_no_rule_takes_in_a_call_that_cannot_be() -> None:
    """Where the command is unknown, not made for the host, or given bad values, no rule counts as touched."""
    policy = compiled(POLICY)
    assert touched(policy, "web2", word="yes") == []
    assert touched(policy, "web1", word="maybe") == []
    nothing = Question(principal="p", command="says", host="web1", arguments=Arguments(values={}), at=NOW)
    assert list(matching(policy, nothing)) == []
    past = Question(
        principal="q", command="bare", host="web1", arguments=Arguments(values={}), at=datetime(2019, 1, 1, tzinfo=UTC)
    )
    assert [rule.at for rule in matching(policy, past)] == [OVER]
    assert not any(isinstance(rule, Line) for rule in matching(policy, past))
