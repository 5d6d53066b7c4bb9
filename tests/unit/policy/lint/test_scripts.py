"""Values that a shell script splits, and values that a script runs."""

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
        "a.yaml:4:13: P327 warning: line 1: $P_X stands without quotes, so its blanks and wildcards count",
        "a.yaml:4:13: P327 warning: line 3: $P_L stands without quotes, so its blanks and wildcards count",
        "a.yaml:4:13: P328 warning: line 2: the value of P_X becomes part of code that is run",
        "a.yaml:15:13: P328 warning: line 1: the value of P_X becomes part of code that is run",
    ]
