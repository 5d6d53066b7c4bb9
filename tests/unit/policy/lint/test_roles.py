"""Role lines and denies that do nothing, or more than a reader may think."""

from dataclasses import replace

import pytest

from cmdhttp.policy.compiled import Line
from cmdhttp.policy.findings import Position
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.roles import _Index, impossible
from cmdhttp.policy.merge import collect
from cmdhttp.policy.params import IntParam, ListParam
from tests.unit.policies import NOW, compiled
from tests.unit.policy.lint.linting import HOSTS, found, shown

COMMANDS = """\
commands:
  restart:
    effect: change
    tags: [units]
    run: [/bin/restart, <unit>, [-n, <n>], "<many...>"]
    params:
      unit: {type: enum, values: [nginx, redis]}
      n: {type: int, required: false}
      many: {type: list, of: {type: int}, required: false}
    on: {role: web}
  look: {effect: read, tags: [units], run: [/bin/look], on: [local, {role: [web, db]}]}
  wipe: {effect: destroy, run: [/bin/wipe], on: db1}
"""
CODES = ("P412", "P413", "P415", "P416", "P421")


def of_role(*lines: str) -> list[str]:
    """What is said of a role with these lines, which begin at line 5 of their file."""
    role = "principals: {p: {}}\nroles:\n  r:\n" + "".join(f"    - {{{line}}}\n" for line in lines)
    text = role + "grants: [{to: p, roles: r}]\n"
    return [
        line.replace("b.yaml:", "").replace("warning: ", "") for line in shown(found(HOSTS + COMMANDS, text), *CODES)
    ]


def said(line: int, wider: int) -> str:
    return f"{line + 4}:7: P412 the line at {wider + 4}:7 of the same role allows all that this line allows"


SHADOWS: dict[str, tuple[list[str], list[str]]] = {
    "the same line twice": (
        ["commands: look, hosts: web1", "commands: [look], hosts: [web1]"],
        [said(2, 1)],
    ),
    "more hosts": (["commands: look, hosts: web1", "commands: look, hosts: {role: web}"], [said(1, 2)]),
    "more commands": (["commands: [look, restart], hosts: web1", "commands: look, hosts: web1"], [said(2, 1)]),
    "an effect that takes the command in": (
        ["commands: {effect: read}, hosts: web1", "commands: look, hosts: web1"],
        [said(2, 1)],
    ),
    "a tag that takes the command in": (
        ["commands: look, hosts: web1", "commands: {tag: units}, hosts: {role: web}"],
        [said(1, 2)],
    ),
    "a narrower line": (
        ["commands: restart, hosts: web1, params: {unit: nginx}", "commands: restart, hosts: web1"],
        [said(1, 2)],
    ),
    "fewer values": (
        [
            "commands: restart, hosts: web1, params: {unit: [nginx, redis], n: 1}",
            "commands: restart, hosts: web1, params: {unit: redis, n: 1}",
        ],
        [said(2, 1)],
    ),
    "a class of commands within itself": (
        ["commands: {effect: read}, hosts: web1", "commands: {effect: read}, hosts: {role: web}"],
        [said(1, 2)],
    ),
    "other hosts": (["commands: look, hosts: web1", "commands: look, hosts: web2"], []),
    "hosts that overlap": (["commands: look, hosts: [web1, web2]", "commands: look, hosts: [web1, db1]"], []),
    "other commands": (["commands: look, hosts: web1", "commands: restart, hosts: web1"], []),
    "commands of the day are not a class": (
        ["commands: [restart, look], hosts: web1", "commands: {tag: units}, hosts: web1"],
        [said(1, 2)],
    ),
    "other values": (
        [
            "commands: restart, hosts: web1, params: {unit: nginx}",
            "commands: restart, hosts: web1, params: {unit: redis}",
        ],
        [],
    ),
    "other parameters": (
        ["commands: restart, hosts: web1, params: {unit: nginx}", "commands: restart, hosts: web1, params: {n: 1}"],
        [],
    ),
    "tighter bounds": (
        [
            "commands: restart, hosts: web1, params: {n: {max: 5}}",
            "commands: restart, hosts: web1, params: {n: {max: 3}}",
        ],
        [said(2, 1)],
    ),
    "a value where none may be": (
        ["commands: restart, hosts: web1", "commands: restart, hosts: web1, params: {n: {max: 3}}"],
        [said(2, 1)],
    ),
    "every value that there is": (
        ["commands: restart, hosts: web1", "commands: restart, hosts: web1, params: {unit: [redis, nginx]}"],
        [said(2, 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHADOWS)
def test_shadows(name: str) -> None:
    """A line that could be taken out is told, and by which; of two equal ones, the later."""
    lines, wanted = SHADOWS[name]
    assert of_role(*lines) == wanted


@pytest.mark.parametrize(
    ("commands", "wider", "told"), [(20, ", params: {x: 1}", 1), (21, ", params: {x: 1}", 0), (21, "", 1)]
)
def test_values_of_many_commands_are_not_compared(commands: int, wider: str, told: int) -> None:
    """Twenty commands at most; a line that narrows nothing is wider whatever the number."""
    names = [f"c{number}" for number in range(commands)]
    command = "{run: [/bin/a, <x>], params: {x: {type: int}}, on: local}"
    line = f"commands: [{', '.join(names)}], hosts: local"
    text = "commands:\n" + "".join(f"  {name}: {command}\n" for name in names)
    role = f"roles: {{r: [{{{line}{wider}}}, {{{line}, params: {{x: 1}}}}]}}"
    assert len(shown(found(text + role), "P412")) == told


def test_everything_covers_everything() -> None:
    """A line for all commands on all hosts is told itself, and every other is too many."""
    assert of_role("commands: look, hosts: web1", "commands: '*', hosts: '*'") == [
        said(1, 2),
        "6:7: P415 this line allows 'restart' and 1 more on every host, also those added later",
        "6:7: P416 this line allows every command, also those added later",
    ]


REACH: dict[str, tuple[str, list[str]]] = {
    "a change everywhere": (
        "commands: restart, hosts: '*'",
        ["5:7: P415 this line allows 'restart' on every host, also those added later"],
    ),
    "a change everywhere, in a list": (
        "commands: restart, hosts: [local, '*']",
        ["5:7: P415 this line allows 'restart' on every host, also those added later"],
    ),
    "a look everywhere": ("commands: look, hosts: '*'", []),
    "a change on all hosts of today": ("commands: restart, hosts: [local, web1, web2, db1]", []),
    "hosts for which it is not made": (
        "commands: [restart, wipe], hosts: local",
        ["5:7: P413 this line never allows anything: its commands are not made for any of its hosts"],
    ),
    "no host": (
        "commands: look, hosts: {role: other}",
        ["5:7: P413 this line never allows anything: it selects no host"],
    ),
    "no value": (
        "commands: restart, hosts: web1, params: {n: {values: [5], max: 3}}",
        ["5:7: P413 this line never allows anything: no value of 'n' fits"],
    ),
    "some value": ("commands: restart, hosts: web1, params: {n: {values: [2, 5], max: 3}}", []),
}  # fmt: skip


@pytest.mark.parametrize("name", REACH)
def test_reach(name: str) -> None:
    """A line that does nothing, and a change that reaches every host."""
    line, wanted = REACH[name]
    assert of_role(line) == wanted


def test_no_command() -> None:
    """A class of commands that has none yet."""
    text = "roles: {r: [{commands: {effect: destroy}, hosts: local}]}"
    assert shown(found(text), "P413") == [
        "a.yaml:2:13: P413 warning: this line never allows anything: it selects no command"
    ]


def test_a_role_of_many_lines_is_not_compared_with_itself() -> None:
    """A line is held against a few others only: those on its hosts, for its command, and at most 50 of a kind."""
    policy = compiled(HOSTS + COMMANDS)
    book = Book.of(policy, collect([]), now=NOW)
    line = Line(role="r", atoms=frozenset({"name:look"}), hosts=frozenset({"h"}), narrowings={}, at=Position(file="a"))
    ways: dict[str, list[Line]] = {
        "each on its own host": [replace(line, hosts=frozenset({str(index)})) for index in range(1000)],
        "all on one host": [line] * 1000,
        "on a few sets of hosts": [replace(line, hosts=frozenset({"h", str(index % 5)})) for index in range(1000)],
    }
    most = {"each on its own host": 1, "all on one host": 50, "on a few sets of hosts": 50}
    for name, lines in ways.items():
        index = _Index()
        for each in lines:
            index.add(each)
        compared = sum(1 for each in lines for _ in index.wider(book, each))
        assert compared == most[name] * 1000
        assert sum(len(sets) for sets in index.sets.values()) <= 1000


def test_impossible() -> None:
    """Values that the rest of the narrowing refuses; where it cannot be told, it is possible."""
    number = IntParam.model_validate({"type": "int"})
    numbers = ListParam.model_validate({"type": "list", "of": {"type": "int"}})
    assert impossible(number.narrowed({"values": [5], "max": 3}))
    assert impossible(numbers.narrowed({"values": [5], "max": 3}))
    assert not impossible(number.narrowed({"values": [3, 5], "max": 3}))
    assert not impossible(number.narrowed([5]))
    assert not impossible(number.narrowed({"max": 3}))
    assert not impossible(numbers.narrowed({"max_items": 3}))


OVERSIGHT: dict[str, tuple[str, list[str]]] = {
    "no host of its commands": ("commands: restart, hosts: db1, jobs: cancel", ["not made for any of its hosts"]),
    "nobody's jobs": (
        "commands: look, hosts: web1, jobs: read, of: 'role:empty'",
        ["nobody holds the roles that 'of' names"],
    ),
    "every job": ("commands: '*', hosts: ['*'], jobs: cancel", ["this line lets stop every job of everybody"]),
    "every job of everybody in words": (
        "commands: '*', hosts: '*', jobs: cancel, of: '*'",
        ["P421"],
    ),
    "to read every job": ("commands: '*', hosts: '*', jobs: read", []),
    "every job of one": ("commands: '*', hosts: '*', jobs: cancel, of: p", []),
    "every job on one host": ("commands: '*', hosts: web1, jobs: cancel", []),
    "every job of one command": ("commands: look, hosts: '*', jobs: cancel", []),
}


@pytest.mark.parametrize(("line", "told"), OVERSIGHT.values(), ids=OVERSIGHT)
def test_lines_over_jobs_of_others(line: str, told: list[str]) -> None:
    """They let nobody run anything, so what is said of lines that do is not said of them."""
    role = f"principals: {{p: {{}}}}\nroles:\n  empty: []\n  r:\n    - {{{line}}}\ngrants: [{{to: p, roles: r}}]\n"
    lines = shown(found(HOSTS + COMMANDS, role), *CODES)
    assert len(lines) == len(told)
    assert all(part in line for line, part in zip(lines, told, strict=True)), lines
