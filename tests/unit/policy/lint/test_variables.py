"""Values by their names in scripts: those written like in a `run` list, those that nobody fills, those that nobody reads."""

from collections.abc import Iterable

import pytest

from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.variables import placeholders, read_values
from tests.unit.policy.lint.linting import each

CODES = ("P326", "P331", "P332")

PLACEHOLDERS: dict[str, tuple[str, list[tuple[str, int]]]] = {
    "a redirection": ("true\nls <name>", [("name", 2)]),
    "in quotes": ('echo "hello <name>"', [("name", 1)]),
    "a list": ("ls <names...>", [("names", 1)]),
    "in a comment": ("# ls <name>\nls # <name>", []),
    "an end of input": ("cat <<name>out\nname", []),
    "markup": ('echo "<name>$P_NAME</name>"', []),
    "two redirections": ("sort <in >out", []),
}


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_what_looks_like_a_placeholder(name: str) -> None:
    """What a `run` list would fill, but not what is said to people or is markup."""
    text, names = PLACEHOLDERS[name]
    assert list(placeholders(text)) == names


READ: dict[str, tuple[str, bool, list[tuple[str, int]]]] = {
    # a script, whether a shell reads it, and the values that it reads
    "bare": ("true\nls $P_X", True, [("X", 2)]),
    "in quotes": ('ls "${P_X}"', True, [("X", 1)]),
    "with a default": ('ls "${P_X:-a}"', True, [("X", 1)]),
    "in a here-document": ("cat <<EOF\na\n$P_X\nEOF", True, [("X", 3)]),
    "in a test": ("[[ -n $P_X ]]", True, [("X", 1)]),
    "in arithmetic": ("echo $(( $P_X + 1 ))", True, [("X", 1)]),
    "in single quotes": ("awk '{print $P_X}'", True, []),
    "in a comment": ("# $P_X", True, []),
    "set by the script": ("P_X=1\nls $P_X", True, []),
    "a variable of a loop": ('for P_X in a b; do ls "$P_X"; done', True, []),
    "another variable that is set": ("P_XY=1; ls $P_X", True, [("X", 1)]),
    "another variable": ("ls $MAP_X $PATH", True, []),
    "in Python": ("import os\nprint(os.environ['P_X'])", False, [("X", 2)]),
    "in Python with a default": ('print(os.environ.get("P_X", ""), os.getenv("P_Y"))', False, [("X", 1), ("Y", 1)]),
    "set in Python": ("os.environ['P_X'] = 'a'", False, []),
    "compared in Python": ("os.environ['P_X'] == 'a'", False, [("X", 1)]),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_script_reads(name: str) -> None:
    """Variables where the language replaces them, unless the script sets them itself."""
    text, shell, names = READ[name]
    assert list(read_values(text, shell=shell)) == names


X = "params: {x: {type: int}}"
SCRIPTS: dict[str, tuple[str, list[str]]] = {
    # the keys of a command, and what is said of it
    "right": (f"script: 'ls $P_X', interpreter: sh, {X}", []),
    "right in bash": (f"script: 'ls ${{P_X}}', interpreter: bash, {X}", []),
    "by an argument": (f"script: 'ls $1', args: [<x>], interpreter: sh, {X}", []),
    "a placeholder": (
        f"script: 'ls <x>', interpreter: sh, {X}",
        ["P331 a script gets 'x' as $P_X, and '<x>' is a redirection there, or plain text in quotes"],
    ),
    "a placeholder in Python": (
        f"script: 'print(\"<x>\")', interpreter: python, {X}",
        ["P331 a script gets 'x' as os.environ['P_X'], and '<x>' means nothing there"],
    ),
    "a placeholder of nothing": (f"script: 'ls <y> $P_X', interpreter: sh, {X}", []),
    "a placeholder in another language": (f"script: 'ls <x> $P_Z', interpreter: powershell, {X}", []),
    "a value of no parameter": (
        "script: 'ls $P_Y $P_Y', interpreter: sh",
        ["P332 warning: no parameter fills P_Y, so it is never set"],
    ),
    "a value of no parameter in Python": (
        f"script: 'os.environ[\"P_Y\"]', interpreter: python, {X}",
        ["P332 warning: no parameter fills P_Y, so it is never set"],
    ),
    "a variable of the policy": ("script: 'ls $P_Y', interpreter: sh, env: {P_Y: a}", []),
    "a parameter that goes nowhere": (
        f"script: 'ls $P_XY', interpreter: sh, env: {{P_XY: a}}, {X}",
        ["P326 warning: the parameter 'x' goes nowhere"],
    ),
    "a file": ("script: 'cat $P_X_FILE', interpreter: sh, params: {x: {type: secret}}", []),
    "a file by an argument": ("script: 'cat $1', interpreter: sh, args: [<x>], params: {x: {type: file}}", []),
    "the content of a file": (
        "script: 'cat $P_X', interpreter: sh, params: {x: {type: secret}}",
        ["P332 warning: no parameter fills P_X, so it is never set", "P326 warning: the parameter 'x' goes nowhere"],
    ),
    "the placeholder of a file": (
        "script: 'cat <x>', interpreter: sh, params: {x: {type: file}}",
        [
            "P331 a script gets the path of 'x' as $P_X_FILE, and '<x>' is a redirection there, or plain text in quotes",
        ],
    ),
}


def said(findings: Iterable[Finding]) -> list[str]:
    return [str(finding).partition("\n")[0].partition(": ")[2] for finding in findings if finding.code in CODES]


def test_scripts_of_a_policy() -> None:
    """Only what a parameter is called counts as a placeholder, and only shells show what they leave out."""
    found = each({name: keys for name, (keys, _) in SCRIPTS.items()})
    assert {name: said(findings) for name, findings in found.items()} == {
        name: wanted for name, (_, wanted) in SCRIPTS.items()
    }


def test_hints() -> None:
    """Each says what to write instead."""
    cases = {
        "P331": f"script: 'ls <x>', interpreter: sh, {X}",
        "P332": "script: 'ls $P_NAM $P_NAME', interpreter: sh, params: {name: {type: int}}",
        "P326": f"script: ls, interpreter: sh, {X}",
        "python": f"script: 'f(\"<x>\")', interpreter: python, {X}",
    }
    found = {
        name: [finding.hint for finding in findings if finding.code in CODES] for name, findings in each(cases).items()
    }
    assert found == {
        "P331": ['write "$P_X"'],
        "P332": ["did you mean 'P_NAME'?"],
        "P326": ['use "$P_X" in the script, or take it out'],
        "python": ["write os.environ['P_X']"],
    }
