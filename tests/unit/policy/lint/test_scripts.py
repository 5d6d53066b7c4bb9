"""Values that a shell script splits, and values that a script runs."""

from pathlib import Path

import pytest

from cmdhttp.policy.lint.scripts import evaluated, unquoted
from tests.unit.policy.lint.linting import found, shown

SPLIT = {
    "bare": "rm $P_X",
    "in braces": "rm ${P_X}",
    "with a default": "rm ${P_X:-a}",
    "after a quote that ended": 'echo "a"$P_X',
    "in a command in quotes": 'echo "$(cat $P_X)"',
    "after an assignment": "a=1 rm $P_X",
    "after a comment": "# it's\nrm $P_X",
    "after an escaped quote": r"echo \" $P_X",
    "after a single quote": "echo 'a\"' $P_X",
    "after a here-document": "cat <<EOF\n$P_A\nEOF\nrm $P_X",
    "after a test": "[[ $P_A == b ]]; rm $P_X",
    "in a single test": "[ $P_X = b ]",
    "after a parenthesis that closes nothing": "case a in b) rm $P_X;; esac",
}
WHOLE = {
    "in quotes": 'rm -- "$P_X"',
    "in quotes with more": 'rm "a $P_X b"',
    "in quotes after a command": 'echo "$(date) $P_X"',
    "in an assignment": "a=$P_X",
    "in an assignment with more": "a=b$P_X; a+=$P_X",
    "in a double test": "[[ $P_X == b ]]",
    "in arithmetic": "echo $(( $P_X + 1 ))",
    "in a case": "case $P_X in a) ;; esac",
    "in a here-document": "cat <<-'EOF'\n $P_X\n EOF\n",
    "in an empty here-document": "cat <<EOF\nEOF\n",
    "in single quotes": "echo '$P_X'",
    "in a comment": "true # $P_X",
    "escaped": r"echo \$P_X",
    "another variable": "echo $PATH $P",
}


@pytest.mark.parametrize("name", SPLIT)
def test_what_a_shell_splits(name: str) -> None:
    """A value without quotes becomes as many words as it has, and its wildcards count."""
    assert [value for value, _ in unquoted(SPLIT[name])] == ["X"]


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_shell_keeps_whole(name: str) -> None:
    """Where nothing is split, there is nothing to say."""
    assert list(unquoted(WHOLE[name])) == []


CODE = {
    "eval": ('eval "$P_X"', True),
    "eval after another command": ("true; eval run $P_X", True),
    "code of another shell": ('sh -c "echo $P_X"', True),
    "code of an interpreter": ("python3 -c \"print('${P_X}')\"", True),
    "a call from Python": ("os.system('ls ' + os.environ['P_X'])", False),
    "eval in Python": ('eval(environ["P_X"])', False),
}
DATA = {
    "an argument of code": ('sh -c \'echo "$1"\' sh "$P_X"', True),
    "a word with eval in it": ('medieval "$P_X"', True),
    "eval in another command": ('eval a; echo "$P_X"', True),
    "an argument in Python": ("subprocess.run(['ls', os.environ['P_X']])", False),
    "a line too long to search": ("eval " + "a" * 2000 + ' "$P_X"', True),
}


@pytest.mark.parametrize("name", CODE)
def test_what_is_run_as_code(name: str) -> None:
    """A value that becomes code is an allowlist of nothing."""
    text, shell = CODE[name]
    assert list(evaluated("true\n" + text, shell=shell)) == [("X", 2)]


@pytest.mark.parametrize("name", DATA)
def test_what_stays_data(name: str) -> None:
    """A value that code is handed is not code."""
    text, shell = DATA[name]
    assert list(evaluated(text, shell=shell)) == []


def test_scripts_of_a_policy() -> None:
    """Text that a caller writes counts, once for each parameter; numbers do not, and neither do other variables."""
    text = """\
        commands:
          c:
            script: |
              rm $P_X $P_N $P_Z
              eval "$P_X"; eval "$P_N"
              rm $P_X $P_L
            interpreter: sh
            params:
              x: {type: string, pattern: "[a-z]+"}
              n: {type: int}
              l: {type: list, of: {type: int}}
            on: local
          d:
            script: "os.system(os.environ['P_X'])  # $P_X"
            interpreter: python
            params: {x: {type: filename}}
            on: local
          e: {run: [/bin/a], on: local}
        """
    assert shown(found(text), "P327", "P328") == [
        "a.yaml:5:1: P327 warning: $P_X stands without quotes, so its blanks and wildcards count",
        "a.yaml:6:1: P328 warning: the value of P_X becomes part of code that is run",
        "a.yaml:7:1: P327 warning: $P_L stands without quotes, so its blanks and wildcards count",
        "a.yaml:15:13: P328 warning: the value of P_X becomes part of code that is run",
    ]


PLACES: dict[str, tuple[str, str]] = {
    # the keys of a command, from the fourth line of the file on, and where its finding is
    "a block": ("script: |\n    true\n    rm $P_X\n  interpreter: sh", "6:1"),
    "a block without a last line end": ("script: |-\n    true\n    rm $P_X\n  interpreter: sh", "6:1"),
    "a block at the end": ("interpreter: sh\n  script: |\n    rm $P_X\n", "6:1"),
    "escapes in quotes": ('script: "true\\nrm $P_X"\n  interpreter: sh', "4:11"),
    "escapes in one line with others": ('{script: "true\\nrm $P_X\\n", interpreter: sh', "4:12"),
    "quotes over two lines": ('script: "true\\n\\\n    rm $P_X"\n  interpreter: sh', "4:11"),
    "one line": ("script: rm $P_X\n  interpreter: sh", "4:11"),
}
REST = ("\n  on: local\n  params: {x: {type: filename}}\n", ", on: local, params: {x: {type: filename}}}\n")


@pytest.mark.parametrize("name", PLACES)
def test_where_a_line_of_a_script_stands(name: str) -> None:
    """At its line of the policy, if the lines there are those of the script; else at the script."""
    keys, at = PLACES[name]
    (said,) = shown(found(f"commands:\n c:\n  {keys.rstrip()}{REST[keys.startswith('{')]}"), "P327")
    assert said.startswith(f"a.yaml:{at}: ")


def test_the_last_lines_of_a_policy() -> None:
    """A block with nothing after it is one too."""
    text = "commands:\n c:\n  interpreter: sh\n  on: local\n  params: {x: {type: filename}}\n  script: |\n    rm $P_X\n"
    assert [said.partition(" ")[0] for said in shown(found(text), "P327")] == ["a.yaml:8:1:"]


def test_a_script_of_its_own(tmp_path: Path) -> None:
    """What is wrong with a file is told at its line, by the path that leads to it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/a.sh").write_text('true\nrm $P_X\neval "$P_X"\ncat <x>\necho $P_Y\n')
    text = """\
        commands:
          c: {script_file: scripts/a.sh, interpreter: sh, params: {x: {type: filename}}, on: local}
        """
    said = [finding for finding in found(text, policies=tmp_path) if finding.at.file != "a.yaml"]
    assert [(finding.code, finding.at.line) for finding in said] == [("P327", 2), ("P328", 3), ("P331", 4), ("P332", 5)]
    assert {finding.at.file for finding in said} == {str(tmp_path / "scripts/a.sh")}
