"""Who may read or stop a job of another: a table of rights, each law of the module once."""

from dataclasses import replace
from typing import Any

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Question, Verdict, bind, decide
from cmdhttp.policy.oversee import Overseen, Right, right_over
from tests.unit.policies import NOW, compiled, findings

POLICY = """
    ssh_profiles: {s: {user: u, auth: {key: "file:k"}, host_keys: {known_hosts: k}}}
    hosts: {a: {address: a, ssh: s}, b: {address: b, ssh: s}, c: {address: c, ssh: s}}
    commands:
      stop:
        {summary: s, effect: change, run: [/bin/x, [<u>]], on: [a, b], timeout: 1m,
         params: {u: {type: enum, values: [p, q], required: false}}}
      other: {summary: s, effect: read, run: [/bin/y], on: [a], timeout: 1m}
    principals: {owner: {}, runner: {}, boss: {}, reader: {}, split: {}, mixed: {}, picky: {}, star: {}, pair: {}}
    roles:
      run: [{commands: "*", hosts: "*"}]
      boss: [{commands: stop, hosts: "*", jobs: cancel}]
      reader: [{commands: stop, hosts: "*", jobs: read, of: ["role:run"]}]
      split:
        - {commands: stop, hosts: a, jobs: cancel, params: {u: p}}
        - {commands: stop, hosts: b, jobs: cancel}
      mixed:
        - {commands: stop, hosts: a, jobs: read}
        - {commands: stop, hosts: b, jobs: cancel}
      picky: [{commands: stop, hosts: a, jobs: cancel, of: [owner], params: {u: p}}]
      star: [{commands: "*", hosts: "*", jobs: read, of: ["*"]}]
    grants:
      - {to: [owner, runner], roles: [run]}
      - {to: [boss], roles: [boss]}
      - {to: [reader], roles: [reader]}
      - {to: [split], roles: [split]}
      - {to: [mixed], roles: [mixed]}
      - {to: [picky], roles: [picky]}
      - {to: [star], roles: [star]}
    deny: [{why: freeze, to: "*", commands: "*", hosts: "*"}]
"""
JOB = Overseen(owner="owner", command="stop", hosts=["a"], params={"u": "p"})


class _Broken(dict[str, Any]):
    def get(self, *_: object) -> Any:
        raise RuntimeError


@pytest.fixture(scope="module")
def policy() -> Policy:
    return compiled(POLICY)


@pytest.mark.parametrize(
    ("who", "job", "right"),
    [
        ("boss", {}, Right.CANCEL),
        ("boss", {"hosts": ["a", "b"]}, Right.CANCEL),
        ("boss", {"command": "other"}, Right.NONE),
        ("boss", {"command": "gone"}, Right.NONE),
        ("boss", {"hosts": ["a", "gone"]}, Right.NONE),
        ("boss", {"hosts": ["c"]}, Right.NONE),
        ("star", {"hosts": ["b"], "command": "other", "params": {}}, Right.NONE),
        ("boss", {"hosts": []}, Right.NONE),
        ("nobody", {}, Right.NONE),
        ("runner", {}, Right.NONE),
        ("pair", {}, Right.NONE),
        ("reader", {}, Right.READ),
        ("reader", {"owner": "boss"}, Right.NONE),
        ("reader", {"owner": "gone"}, Right.NONE),
        ("split", {"hosts": ["a", "b"]}, Right.CANCEL),
        ("split", {"hosts": ["a", "b"], "params": {"u": "q"}}, Right.NONE),
        ("split", {"hosts": ["b"], "params": {"u": "q"}}, Right.CANCEL),
        ("mixed", {"hosts": ["a", "b"]}, Right.READ),
        ("mixed", {"hosts": ["b"]}, Right.CANCEL),
        ("picky", {}, Right.CANCEL),
        ("picky", {"hosts": ["a", "b"]}, Right.NONE),
        ("picky", {"owner": "boss"}, Right.NONE),
        ("picky", {"params": {}}, Right.NONE),
        ("picky", {"params": {"u": "no value of it"}}, Right.NONE),
        ("star", {"command": "other", "params": {}}, Right.READ),
    ],
)
def test_right(policy: Policy, who: str, job: dict[str, Any], right: Right) -> None:
    assert right_over(policy, who, replace(JOB, **job)) is right


def test_a_parameter_that_the_command_lost_is_never_taken_in(policy: Policy) -> None:
    command = replace(policy.commands["stop"], params={})
    less = replace(policy, commands={**policy.commands, "stop": command})
    assert right_over(less, "picky", JOB) is Right.NONE


def test_an_error_is_no_right(policy: Policy) -> None:
    broken = replace(policy, principals=_Broken(policy.principals))
    assert right_over(broken, "boss", JOB) is Right.NONE


@pytest.mark.parametrize("who", ["boss", "reader", "split", "mixed", "picky", "star"])
def test_who_oversees_may_run_nothing(policy: Policy, who: str) -> None:
    free = replace(policy, denies={}, rules=())
    for host in ("a", "b"):
        asked = Question(
            principal=who, command="stop", host=host, arguments=bind(free.commands["stop"], {"u": "p"}), at=NOW
        )
        assert decide(free, asked).verdict is Verdict.DENY
        assert decide(free, replace(asked, principal="runner")).verdict is Verdict.ALLOW


def test_an_unknown_owner_is_a_finding_with_its_place() -> None:
    found = "\n".join(findings(POLICY.replace("of: [owner]", "of: [ownr]")))
    assert "P205" in found
    assert "did you mean 'owner'?" in found


def test_of_needs_jobs() -> None:
    found = "\n".join(findings(POLICY.replace("jobs: cancel, of: [owner]", "of: [owner]")))
    assert "needs 'jobs: read' or 'jobs: cancel'" in found
