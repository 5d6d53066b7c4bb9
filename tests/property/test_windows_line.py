"""Whatever the arguments are, a program on Windows gets them, by the rules of Microsoft's documentation."""

from hypothesis import given
from hypothesis import strategies as st

from cmdhttp.plan.model import Shell
from cmdhttp.plan.remote import command_line, script_line
from tests.support.windows import QUOTES, arguments, encoded_text, skeleton

PROGRAM = "C:\\a b\\c.exe"
ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
TRICKY = st.text(st.sampled_from([*QUOTES, '"', "\\", " ", "\t", "\n", "`", "$", "a", ";"]), max_size=20)
ARGUMENTS = st.lists(ANY | TRICKY, max_size=8)


@given(ARGUMENTS)
def test_a_program_gets_its_arguments(values: list[str]) -> None:
    """PowerShell's literals and the C runtime's quotes, one within the other, come out as they went in."""
    _, literals = skeleton(encoded_text(command_line((PROGRAM, *values), Shell.POWERSHELL)))
    assert literals[2] == PROGRAM
    assert arguments(literals[3]) == values


@given(ANY | TRICKY, ARGUMENTS, ANY | TRICKY)
def test_a_script_gets_its_arguments(text: str, values: list[str], variable: str) -> None:
    """Text, arguments and variables of a script stay literals, and what is around them stays the same."""
    line = script_line(text, tuple(values), {"P_X": variable}, most=1 << 20)
    shape, literals = skeleton(encoded_text(line))
    assert literals[1:] == [variable, text, *values]
    assert shape.count("{}") - 1 == len(literals)  # one is the empty block of a catch
