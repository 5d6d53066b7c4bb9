"""The command line for SSH hosts, as text; `tests/component/test_remote_line.py` lets shells read it."""

import re

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import LocalTarget, Step
from cmdhttp.plan.remote import MAX_LINE, posix_line, remote_argv
from cmdhttp.policy.compiled import Script

_ITEMS = re.compile(r"exec /bin/sh -c '[^']*' sh (?P<items>.*)")


def items(line: str) -> list[str]:
    found = _ITEMS.fullmatch(line)
    assert found
    return found["items"].split(" ")


def step(*argv: str, env: dict[str, str] | None = None, script: Script | None = None) -> Step:
    return Step(
        run=0,
        host="h",
        target=LocalTarget(),
        argv=argv,
        env=env or {},
        script=script,
        timeout=1,
        output_limit=1,
    )


def test_one_item_per_argument() -> None:
    """Each argument, empty ones too, is one quoted item."""
    assert items(posix_line(("/bin/echo", "", "a-b"))) == ["'/bin/echo'", "''", "'a-b'"]


@pytest.mark.parametrize("code", range(1, 128))
def test_only_plain_bytes_stand_as_they_are(code: int) -> None:
    """Of all ASCII only letters, digits and a few signs appear in an item; the rest is spelled in octal."""
    plain = re.fullmatch(r"[A-Za-z0-9_./:,=@+-]", chr(code))
    assert items(posix_line((chr(code),))) == [f"'{chr(code)}'" if plain else f"'\\0{code:03o}'"]


def test_text_beyond_ascii_is_spelled_as_utf8() -> None:
    """A character beyond ASCII is spelled byte by byte."""
    assert items(posix_line(("é",))) == [r"'\0303\0251'"]


def test_a_digit_after_a_spelled_byte_stays_apart() -> None:
    """Every spelled byte has three digits after its zero, so a digit that follows is not read as a fourth."""
    assert items(posix_line((" 7",))) == [r"'\00407'"]


def test_line_is_one_line_of_ascii() -> None:
    """No value can bring a line break or a byte beyond ASCII into the line."""
    line = posix_line(tuple(chr(code) for code in range(1, 0x400)))
    assert line.isascii()
    assert line.isprintable()


def test_too_long_a_line() -> None:
    """A line that would not fit into one argument on the host is refused without repeating any of it."""
    assert MAX_LINE == 120_000
    fits = MAX_LINE - len(posix_line(("",)))
    assert len(posix_line(("x" * fits,))) == MAX_LINE
    with pytest.raises(BadValue) as caught:
        posix_line(("x" * (fits + 1),))
    assert caught.value.code == "argv_too_long"
    assert "xx" not in caught.value.detail


def test_environment_is_set_by_env() -> None:
    """Variables are given to `env` in order of their names; without any, the argv stays as it is."""
    assert remote_argv(step("/bin/id", "-u")) == ("/bin/id", "-u")
    assert remote_argv(step("/bin/id", env={"B": "2 3", "A": ""})) == ("/usr/bin/env", "A=", "B=2 3", "/bin/id")


@pytest.mark.parametrize(
    ("interpreter", "expected"),
    [
        (("/bin/bash", "-eu"), ("/bin/bash", "-eu", "-c", "text", "script", "a", "-b")),
        (("/usr/bin/python3", "-I"), ("/usr/bin/python3", "-I", "-c", "text", "a", "-b")),
        (("python3",), ("python3", "-c", "text", "a", "-b")),
        (("/opt/python/bin/bash",), ("/opt/python/bin/bash", "-c", "text", "script", "a", "-b")),
    ],
)
def test_script_is_one_argument(interpreter: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """The text of a script is one argument of its interpreter, and the arguments follow it."""
    script = Script(interpreter=interpreter, text="text", sha256="")
    assert remote_argv(step("a", "-b", script=script)) == expected
