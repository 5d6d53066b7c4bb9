"""The command line for appliances: plain words, or nothing."""

import re

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import KeyFile, Shell, SshTarget, Step
from cmdhttp.plan.remote import MAX_RAW, check_line, command_line, step_line
from cmdhttp.policy.compiled import Script


def step(*argv: str, env: dict[str, str] | None = None, script: Script | None = None) -> Step:
    target = SshTarget(address="a", port=22, account="u", login=KeyFile(path="/k"), known_hosts="/h", shell=Shell.RAW)
    return Step(run=0, host="h", target=target, argv=argv, env=env or {}, script=script, timeout=1, output_limit=1)


def test_words_with_single_spaces() -> None:
    """The items stand as they are, with one space between."""
    argv = ("show", "interface", "Gi1/0/1.5", "10.0.0.1:22", "a=b,c", "x@y", "+1", "a_b-c")
    assert command_line(argv, Shell.RAW) == step_line(step(*argv)) == " ".join(argv)


@pytest.mark.parametrize("code", range(1, 0x180))
def test_only_plain_characters(code: int) -> None:
    """Of all characters only letters, digits and a few signs are sent, alone or within a word."""
    plain = re.fullmatch(r"[A-Za-z0-9._/:,=@+-]", chr(code))
    for word in (chr(code), f"a{chr(code)}b", f"a{chr(code)}"):
        if plain:
            assert command_line(("show", word), Shell.RAW) == f"show {word}"
            continue
        with pytest.raises(BadValue) as caught:
            command_line(("show", word), Shell.RAW)
        assert caught.value.code == "not_plain"


@pytest.mark.parametrize("argv", [("show", ""), ("",), ("show me",), ("a", "b\n"), ("a", "b\nreload"), ("%x",)])
def test_what_is_no_word(argv: tuple[str, ...]) -> None:
    """An empty argument, a space and a line break are refused wherever they stand."""
    with pytest.raises(BadValue) as caught:
        step_line(step(*argv))
    assert caught.value.code == "not_plain"


def test_no_script_and_no_variables() -> None:
    """A script or a variable is refused, and not left out."""
    script = Script(interpreter=("/bin/sh",), text="text", sha256="")
    for asked in (step(script=script), step("show", env={"A": "1"})):
        with pytest.raises(BadValue) as caught:
            step_line(asked)
        assert caught.value.code == "not_for_shell"


def test_the_length() -> None:
    """A line has its limit, and the job's id takes none of it."""
    check_line(step("show", "x" * (MAX_RAW - 5)))
    with pytest.raises(BadValue) as caught:
        check_line(step("show", "x" * (MAX_RAW - 4)))
    assert caught.value.code == "argv_too_long"
