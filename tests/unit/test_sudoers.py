"""What `cmdhttp hosts setup` lets sudo run: every argv that the policy allows, as exactly as sudoers can say it."""

import pytest

from cmdhttp.cli.hosts.sudoers import MOST_LINES, Inner, inner_of, rules_for
from tests.unit.policies import compiled

POLICY = """\
ssh_profiles:
  p: {user: ops, auth: {key: file:k}, host_keys: {known_hosts: k}}
hosts:
  web1: {address: 10.0.0.1, ssh: p}
commands:
  c: {on: [web1], as: root, effect: change, timeout: 5s, %s}
"""


def lines(text: str) -> list[str]:
    rules = rules_for(compiled(POLICY % text).commands["c"])
    assert rules.problem == ""
    return [line.removeprefix("/bin/c ") for line in rules.lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run: [/bin/c]", ['""']),
        ("run: [/bin/c, a, b c]", [r"a b\ c"]),
        ("run: [/bin/c, <x>], params: {x: {type: enum, values: [a, b]}}", ["a", "b"]),
        ("run: [/bin/c, k=<x>], params: {x: {type: enum, values: [a, b]}}", [r"k\=a", r"k\=b"]),
        ("run: [/bin/c, [<x>]], params: {x: {type: enum, values: [a], required: false}}", ['""', "a"]),
        ("run: [/bin/c, <x>], params: {x: {type: enum, values: [a, b], default: a}}", ["a", "b"]),
        ("run: [/bin/c, z, <f>], params: {f: {type: bool, flag: --all}}", ["z", "z --all"]),
        ("run: [/bin/c, z, [-n, <x>]], params: {x: {type: int, required: false}}", ["z", "z -n *"]),
        ("run: [/bin/c, z, <x...>], params: {x: {type: list, of: {type: int}}}", ["z *"]),
        ("run: [/bin/c, z, <x...>], params: {x: {type: list, of: {type: int}, min_items: 0}}", ["z", "z *"]),
        ("run: [/bin/c, z, <x...>], params: {x: {type: list, of: {type: int}, required: false}}", ["z", "z *"]),
        (
            "run: [/bin/c, z, [-n, <x...>]], params: {x: {type: list, of: {type: int}, required: false, min_items: 1}}",
            ["z", "z -n *"],
        ),
        (
            "run: [/bin/c, z, <x...>], params: {x: {type: list, of: {type: int}, required: false, min_items: 1}}",
            ["z", "z *"],
        ),
        ("run: [/bin/c, <x>/<y>], params: {x: {type: int}, y: {type: enum, values: [a, b]}}", ["*/a", "*/b"]),
    ],
)
def test_every_way_has_a_line(text: str, expected: list[str]) -> None:
    """Each argv that can come of the template has a line: groups and flags with and without, each listed value."""
    assert [line if line != "/bin/c" else "" for line in lines(text)] == expected


def test_too_many_ways() -> None:
    """Where listed values make too many lines, they are free text to sudo, and that is said."""
    values = ", ".join(f"v{number}" for number in range(MOST_LINES + 1))
    command = compiled(POLICY % f"run: [/bin/c, <x>], params: {{x: {{type: enum, values: [{values}]}}}}").commands["c"]
    rules = rules_for(command)
    assert (rules.lines, rules.free) == (("/bin/c *",), ("x",))
    few = ", ".join(f"v{number}" for number in range(MOST_LINES))
    assert len(lines(f"run: [/bin/c, <x>], params: {{x: {{type: enum, values: [{few}]}}}}")) == MOST_LINES


def test_free_parameters_are_named() -> None:
    """What sudo cannot check is named once; what the policy lists is not."""
    text = (
        "run: [/bin/c, <t>, <n>, <t>, <e>, <f>], params: {t: {type: string, pattern: '[a-z]+'}, n: {type: int}, "
        "e: {type: enum, values: [a]}, f: {type: bool, flag: -f}}"
    )
    assert rules_for(compiled(POLICY % text).commands["c"]).free == ("t", "n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("script: id, interpreter: sh", "a script"),
        ("run: [/bin/c, '', x]", "is empty"),
        ("run: [/bin/c, '\"\"']", "is empty"),
        ('run: [/bin/c, "a\\nb"]', "line break"),
    ],
)
def test_what_sudoers_cannot_say(text: str, problem: str) -> None:
    """Such a command gets no line at all rather than a wider one."""
    rules = rules_for(compiled(POLICY % text).commands["c"])
    assert rules.lines == ()
    assert problem in rules.problem


@pytest.mark.parametrize(
    ("run", "inner"),
    [
        ("[/usr/bin/sudo, -n, /bin/x, a]", Inner(account="root", start=2)),
        ("[/usr/bin/sudo, -n, -u, web, --, /bin/x]", Inner(account="web", start=5)),
        ("[/usr/bin/sudo, /bin/x, -u, web]", Inner(account="root", start=1)),
        ("[/bin/sudoku, -n, /bin/x]", None),
        ("[/bin/x, /usr/bin/sudo, -n, /bin/x]", None),
    ],
)
def test_sudo_of_its_own(run: str, inner: Inner | None) -> None:
    """A command that starts sudo itself needs a line for what stands behind sudo's own options."""
    assert inner_of(compiled(POLICY % f"run: {run}").commands["c"]) == inner


def test_sudo_of_its_own_without_a_line() -> None:
    """Options that change what sudo does, an account that a caller chooses, and no program give no line."""
    odd = compiled(POLICY % "run: [/usr/bin/sudo, -E, /bin/x]").commands["c"]
    assert "the option -E" in getattr(inner_of(odd), "problem", "")
    text = "run: [/usr/bin/sudo, -u, <u>, /bin/x], params: {u: {type: username}}"
    assert "a caller chooses" in getattr(inner_of(compiled(POLICY % text).commands["c"]), "problem", "")
    none = compiled(POLICY % "run: [/usr/bin/sudo, -n]").commands["c"]
    assert rules_for(none, start=2).problem.startswith("its program")


def test_line_of_an_inner_command() -> None:
    """The line begins with the inner program, and has its arguments alone."""
    text = "run: [/usr/bin/sudo, -n, /bin/c, <x>], params: {x: {type: enum, values: [a, b]}}"
    assert rules_for(compiled(POLICY % text).commands["c"], start=2).lines == ("/bin/c a", "/bin/c b")
