"""The command line for Unix hosts, as text; `tests/component/test_remote_line.py` lets shells read it."""

import re

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import KeyFile, LocalTarget, Shell, SshTarget, Step
from cmdhttp.plan.remote import (
    GUARD_ROOM,
    MAX_LINE,
    PROBES,
    check_line,
    command_line,
    for_job,
    invocation,
    posix_line,
    probe_argv,
    probe_echo,
    probe_line,
    remote_argv,
    step_line,
)
from cmdhttp.policy.compiled import Script

_ITEMS = re.compile(r"exec /bin/sh -c '[^']*' sh (?P<items>.*)")


def items(line: str) -> list[str]:
    found = _ITEMS.fullmatch(line)
    assert found
    return found["items"].split(" ")


def there(*, shell: Shell = Shell.POSIX, become: str | None = None) -> SshTarget:
    return SshTarget(
        address="a", port=22, account="u", login=KeyFile(path="/k"), known_hosts="/h", shell=shell, become=become
    )


def step(
    *argv: str, env: dict[str, str] | None = None, script: Script | None = None, target: SshTarget | None = None
) -> Step:
    return Step(
        run=0,
        host="h",
        target=target or LocalTarget(),
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


# How items are decoded.


def wrapper(*argv: str) -> str:
    return posix_line(argv).partition(" sh '")[0]


def test_plain_items_are_not_decoded() -> None:
    """Where nothing is spelled, nothing is decoded."""
    assert wrapper("/bin/x", "a-b", "") == "exec /bin/sh -c 'exec \"$@\"'"


def test_items_are_decoded_at_once_by_a_mark_that_none_holds() -> None:
    """The mark between the items is a letter that is in none of them."""
    assert "IFS=Z; x $(printf %bZ " in wrapper("/bin/x", "a b")
    assert "IFS=Y; x $(printf %bY " in wrapper("/bin/x", "a b", "aZ")
    assert "IFS=a; x $(printf %ba " in wrapper("".join(chr(code) for code in range(ord("b"), 0x7B)) + LETTERS + " ")


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("item", ["\x01", "\x1f", "\x7f", "\r", LETTERS + LETTERS.lower() + " "])
def test_items_are_decoded_one_by_one(item: str) -> None:
    """Control characters, and letters that leave no mark, are decoded item by item."""
    assert wrapper("/bin/x", item).startswith("exec /bin/sh -c 'for h do ")


@pytest.mark.parametrize("item", ["\t", "\n", " ", "é"])
def test_tabs_and_line_breaks_need_no_extra_care(item: str) -> None:
    """Of the control characters tabs and line breaks are harmless."""
    assert "printf %bZ" in wrapper("/bin/x", item)


# Who runs it, with which variables.


def test_the_variables_apart() -> None:
    """Whoever can set variables in another way takes them apart from the argv."""
    apart = invocation(step("/bin/id", env={"B": "2"}, target=there()))
    assert (apart.argv, apart.env) == (("/bin/id",), {"B": "2"})


def test_a_program_that_looks_like_a_variable() -> None:
    """`env` takes a first word with '=' for a variable, so such a program is started by sh."""
    start = ("/usr/bin/env", "A=1", "/bin/sh", "-c", 'exec "$@"', "sh", "/opt/a=b/c", "d")
    assert remote_argv(step("/opt/a=b/c", "d", env={"A": "1"})) == start
    assert remote_argv(step("/opt/a=b/c", "d")) == ("/opt/a=b/c", "d")


def test_sudo() -> None:
    """Sudo never asks, knows where its options end, and gets the variables before that; they do not come apart."""
    asked = step("/bin/id", "-u", env={"B": "2 3", "A": ""}, target=there(become="www"))
    argv = ("/usr/bin/sudo", "-n", "-u", "www", "A=", "B=2 3", "--", "/bin/id", "-u")
    assert (invocation(asked).argv, invocation(asked).env) == (argv, {})
    assert remote_argv(asked) == argv
    assert step_line(asked) == posix_line(argv)
    script = Script(interpreter=("/bin/sh",), text="t", sha256="")
    assert remote_argv(step("a", script=script, target=there(become="www")))[4:] == (
        "--",
        "/bin/sh",
        "-c",
        "t",
        "script",
        "a",
    )


def test_the_job_knows_its_id() -> None:
    """A run knows the job's id, beside what it has, and a raw host has no environment for it."""
    assert for_job(step("/bin/id", env={"A": "1"}), "job_1").env == {"A": "1", "CMDHTTP_JOB_ID": "job_1"}
    raw = step("show", target=there(shell=Shell.RAW))
    assert for_job(raw, "job_1") is raw


def test_the_length_is_judged_with_the_id_of_the_job() -> None:
    """A line that fits only without the job's id, or without a guard, is refused before there is a job."""
    room = MAX_LINE - GUARD_ROOM - len(step_line(for_job(step("/bin/c", "", target=there()), "job_" + "0" * 26)))
    check_line(step("/bin/c", "x" * room, target=there()))
    with pytest.raises(BadValue, match=r"^the command line for SSH would be 96001 bytes, and 96000 fit$"):
        check_line(step("/bin/c", "x" * (room + 1), target=there()))


def test_the_worst_case_of_spelling() -> None:
    """A byte that is spelled takes five, and that is what is counted."""
    assert len(posix_line((" " * 23_000,))) < MAX_LINE
    with pytest.raises(BadValue, match="120000 fit"):
        posix_line((" " * 24_000,))


def test_a_unix_line_is_made_of_the_argv() -> None:
    """The variables of a Unix host stand in its argv; a step that is for no host at all is spelled like one for Unix."""
    assert command_line(("/bin/a",), Shell.POSIX) == posix_line(("/bin/a",))
    assert step_line(step("/bin/a", env={"A": "1"})) == posix_line(("/usr/bin/env", "A=1", "/bin/a"))


def test_the_probe() -> None:
    """The probe of a Unix host prints every canary, and each of them holds what some shell reads as syntax."""
    assert probe_argv()[4:] == PROBES
    assert probe_line(Shell.POSIX) == posix_line(probe_argv())
    assert probe_echo() == "".join(item + "\0" for item in PROBES).encode()
    assert probe_line(Shell.RAW) is None
    assert len(set(PROBES) & {"", " ", "'", '"', "\\", "$(exit 9)", "!!", "%PATH%", "\u201a"}) == 9
    assert PROBES[-1] == ""
