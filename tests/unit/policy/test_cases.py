"""The policy's own tests: each way to pass and to fail, with its message."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.cases import Coverage, Outcome, Resolve, coverage, run_cases
from cmdhttp.policy.compile import Folders, compile_policy
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.decide import Reason
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.merge import merge
from cmdhttp.policy.params import Value

RULES = """\
version: 1
hosts: {}
commands:
  say: {run: [/bin/echo, --, <word>], params: {word: {type: enum, values: [yes, no]}, size: {type: int, default: 1}}, on: local}
principals: {p: {}, q: {}}
roles:
  r:
    - {commands: say, hosts: local, params: {word: [yes]}}
    - {commands: say, hosts: local, params: {word: [no]}}
grants: [{to: p, roles: r}]
deny:
  - {why: closed, to: p, commands: say, from: 2026-12-20, until: 2027-01-03}
tests:
"""
OPEN, CLOSED = "2026-11-02", "2026-12-24"


def outcomes_of(*cases: str, resolve: Resolve = resolve_argv) -> tuple[Policy, list[Outcome]]:
    text = RULES + "".join(f"  - {{{case}}}\n" for case in cases)
    merged = merge([SourceFile(path="a.yaml", data=dedent(text).encode())])
    policy = compile_policy(merged, folders=Folders(policies=Path(), secrets=Path()), digest="d")
    return policy, run_cases(policy, merged.tests, resolve=resolve, now=datetime(2026, 11, 2, tzinfo=UTC))


def case(expect: str, *, by: str = "p", run: str = "say", word: str = "yes", at: str = OPEN, more: str = "") -> str:
    return f"as: {by}, run: {run}, on: local, with: {{word: {word}}}, at: {at}, expect: {expect}{more}"


@pytest.mark.parametrize(
    "written",
    [
        case("allow"),
        case("allow", more=", argv: [/bin/echo, --, yes]"),
        case("deny", by="q"),
        case("deny", at=CLOSED),
        case("deny", at=CLOSED, more=", because: closed"),
        case("invalid", word="maybe"),
    ],
)
def test_a_case_that_comes_out_passes(written: str) -> None:
    """A case whose expectations all hold is no finding."""
    _, outcomes = outcomes_of(written)
    assert [(outcome.failure, outcome.finding) for outcome in outcomes] == [("", None)]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (case("deny"), "expected deny, and the decision is allow (role_line by a.yaml:8:7)"),
        (case("allow", by="q"), "expected allow, and the decision is deny (no_role_line)"),
        (case("allow", at=CLOSED), "expected allow, and the decision is deny (deny_rule by a.yaml:12:5)"),
        (
            case("allow", word="maybe"),
            "expected allow, and the decision is invalid (bad_parameter by a.yaml:4:3); word: is not one of the listed values",
        ),
        (
            case("allow").replace("word: yes", "word: maybe, size: big"),
            (
                "expected allow, and the decision is invalid (bad_parameter by a.yaml:4:3)"
                "; word: is not one of the listed values"
                "; size: must be a whole number in plain decimals, without a leading zero"
            ),
        ),
        (
            case("deny", by="q", more=", because: closed"),
            "expected a deny because of 'closed', and it is because of 'no_role_line'",
        ),
        (
            case("deny", at=CLOSED, more=", because: freeze"),
            "expected a deny because of 'freeze', and it is because of 'closed'",
        ),
        (
            case("allow", more=", argv: [/bin/echo, yes]"),
            "expected argv ['/bin/echo', 'yes'], and it is ['/bin/echo', '--', 'yes']",
        ),
        (case("deny", by="pp"), "there is no principal 'pp'; did you mean 'p'?"),
        (case("deny", run="sayy"), "there is no command 'sayy'; did you mean 'say'?"),
        ("as: p, run: say, on: elsewhere, expect: deny", "there is no host 'elsewhere'"),
        (
            "as: p, run: say, on: local, with: {wrod: maybe}, expect: invalid",
            "there is no parameter 'wrod'; did you mean 'word'?",
        ),
    ],
)
def test_a_case_that_does_not_come_out_says_why(written: str, message: str) -> None:
    """A failed case names what was expected, what came out, and the line that made it so."""
    _, outcomes = outcomes_of(written)
    finding = outcomes[0].finding
    assert finding is not None
    assert outcomes[0].failure == message
    assert "a.yaml:14:5: P501 test" in str(finding)


def test_a_case_without_a_time_is_asked_for_now() -> None:
    """Without `at` the present moment counts, so that a deny that has begun shows itself."""
    _, outcomes = outcomes_of("as: p, run: say, on: local, with: {word: yes}, expect: allow")
    assert outcomes[0].failure == ""
    assert outcomes[0].decision is not None
    assert outcomes[0].decision.reason is Reason.ROLE_LINE


def test_untouched_rules_are_named() -> None:
    """Every role line and deny that took in no case is listed, by its place."""
    covered = coverage(*outcomes_of(case("allow")))
    assert (covered.rules, [str(place) for place in covered.untouched]) == (3, ["a.yaml:9:7", "a.yaml:12:5"])
    policy, outcomes = outcomes_of(
        case("allow"), case("allow", word="no"), case("deny", at=CLOSED, more=", because: closed")
    )
    assert coverage(policy, outcomes) == Coverage(rules=3, untouched=())


def test_a_case_has_a_name_of_its_own_if_it_is_given_one() -> None:
    """`name` stands in messages; without it the case is called by what it asks."""
    _, outcomes = outcomes_of(case("allow", more=", name: the usual"), case("allow"))
    assert [outcome.name for outcome in outcomes] == ["the usual", "p runs say on local"]


def test_a_reason_goes_with_a_deny() -> None:
    """`because` says nothing of a call that is allowed, so it is a mistake there."""
    _, outcomes = outcomes_of(case("allow", more=", because: closed"))
    assert outcomes[0].failure == "'because' goes with a deny, and the decision is allow"


def test_an_argv_that_cannot_be() -> None:
    """Where no argv comes out, the case fails with the reason; an invalid call is not asked for one."""

    def refuse(command: Command, values: Mapping[str, Value]) -> tuple[str, ...]:
        raise BadValue("argv_too_long", f"too long for {command.name} of {len(values)}")

    cases = (case("allow", more=", argv: [/bin/echo]"), case("invalid", word="maybe", more=", argv: [/bin/echo]"))
    _, outcomes = outcomes_of(*cases, resolve=refuse)
    assert [outcome.failure for outcome in outcomes] == [
        "expected argv ['/bin/echo'], and there is none: too long for say of 2",
        "",
    ]


def test_what_is_printed_of_a_case_is_one_line() -> None:
    """Names that a case gives may hold line breaks; what is printed of it may not."""
    _, outcomes = outcomes_of(
        r'name: "a\nb", as: p, run: say, on: local, expect: deny', r'as: "p\tq", run: say, on: local, expect: deny'
    )
    assert outcomes[0].name == r"a\nb"
    assert outcomes[1].name == r"p\tq runs say on local"
    assert outcomes[1].failure.startswith(r"there is no principal 'p\tq'")


OVER = """\
    - {commands: say, hosts: local, jobs: cancel, of: p, params: {word: yes}}
    - {commands: say, hosts: local, jobs: read}
grants: [{to: p, roles: r}, {to: q, roles: o}]
"""


def overseen(*cases: str) -> tuple[Policy, list[Outcome]]:
    text = RULES.replace("grants: [{to: p, roles: r}]\n", "  o:\n" + OVER).replace(
        "{p: {}, q: {}}", "{p: {}, q: {}, s: {}}"
    )
    merged = merge([SourceFile(path="a.yaml", data=(text + "".join(f"  - {{{one}}}\n" for one in cases)).encode())])
    policy = compile_policy(merged, folders=Folders(policies=Path(), secrets=Path()), digest="d")
    return policy, run_cases(policy, merged.tests, resolve=resolve_argv, now=datetime(2026, 11, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        ("as: q, cancel: say, of: p, on: local, with: {word: yes}, expect: allow", ""),
        ("as: q, cancel: say, of: p, on: local, with: {word: no}, expect: deny", ""),
        ("as: q, cancel: say, of: s, on: local, with: {word: yes}, expect: deny", ""),
        ("as: q, read: say, of: s, on: local, with: {word: no}, expect: allow", ""),
        ("as: p, read: say, of: q, on: local, with: {word: yes}, expect: deny", ""),
        (
            "as: q, cancel: say, of: p, on: local, with: {word: no}, expect: allow",
            "expected allow, and q may read and not cancel such a job",
        ),
        (
            "as: q, read: say, of: p, on: local, with: {word: yes}, expect: deny",
            "expected deny, and q may read and cancel such a job",
        ),
        (
            "as: p, read: say, of: q, on: local, with: {word: yes}, expect: allow",
            "expected allow, and p may neither read nor cancel such a job",
        ),
        (
            "as: p, read: say, of: p, on: local, with: {word: yes}, expect: allow",
            "'p' is the owner, who may read and cancel it always",
        ),
        ("as: q, read: say, of: pp, on: local, expect: deny", "there is no principal 'pp'; did you mean 'p'?"),
        ("as: q, read: sai, of: p, on: local, expect: deny", "there is no command 'sai'; did you mean 'say'?"),
        (
            "as: q, read: say, of: p, on: local, with: {word: maybe}, expect: deny",
            "word: is not one of the listed values",
        ),
    ],
)
def test_a_case_of_a_job_of_another(written: str, failure: str) -> None:
    _, outcomes = overseen(written)
    assert outcomes[0].failure == failure
    assert outcomes[0].decision is None


def test_lines_over_jobs_of_others_are_covered_by_tests_too() -> None:
    covered = coverage(*overseen("as: q, read: say, of: p, on: local, with: {word: no}, expect: allow"))
    assert (covered.rules, len(covered.untouched)) == (5, 4)
    covered = coverage(*overseen("as: q, cancel: say, of: p, on: local, with: {word: yes}, expect: allow"))
    assert (covered.rules, len(covered.untouched)) == (5, 3)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("as: q, on: local, expect: deny", "say one of 'run', 'read' and 'cancel'"),
        ("as: q, run: say, read: say, of: p, on: local, expect: deny", "say one of 'run', 'read' and 'cancel'"),
        ("as: q, read: say, on: local, expect: deny", "'of' names the owner of a job"),
        ("as: q, run: say, of: p, on: local, expect: deny", "'of' names the owner of a job"),
        ("as: q, read: say, of: p, on: local, expect: invalid", "expects 'allow' or 'deny'"),
        ("as: q, read: say, of: p, on: local, because: closed, expect: deny", "takes no 'at', 'because' or 'argv'"),
    ],
)
def test_a_case_asks_one_thing(written: str, message: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(message)):
        outcomes_of(written)
