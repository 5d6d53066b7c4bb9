"""The command line for SSH hosts, read by every shell that this machine has."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from cmdhttp.execution.ssh.remote import lines
from cmdhttp.plan.remote import GUARD_ROOM, PROBES, posix_line

_KNOWN = ("sh", "bash", "dash", "ksh", "mksh", "zsh", "yash", "ash", "fish", "csh", "tcsh")
POSIX_SHELLS = ("dash", "bash", "busybox", "ksh", "mksh", "zsh")
SHELLS = [name for name in _KNOWN if shutil.which(name)]
DUMP = ("/bin/sh", "-c", "printf '%s\\0' \"$@\"", "sh")


def read_by(shell: str, line: str, **env: str) -> bytes:
    clean = {"PATH": "/usr/bin:/bin", "HOME": "/dev/null", **env}
    return subprocess.run([shell, "-c", line], check=True, capture_output=True, env=clean, timeout=15).stdout


def joined(values: list[str]) -> bytes:
    return b"".join(value.encode() + b"\0" for value in values)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_byte(shell: str) -> None:
    """Every character up to U+00FF arrives, alone and between others."""
    values = [chr(code) for code in range(1, 256)] + [f"a{chr(code)}7" for code in range(1, 256)] + ["", "", "-", "--"]
    assert read_by(shell, posix_line((*DUMP, *values))) == joined(values)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_random_mixtures(shell: str, locale: str) -> None:
    """Hundreds of random mixtures of what shells treat specially arrive, whatever the locale."""
    chance = random.Random(7)
    values = ["".join(chance.choices("a0137x '\"\\$`\n\t!%;&|(){}[]*?#~^<>-=é\u202e😀", k=9)) for _ in range(400)]
    assert read_by(shell, posix_line((*DUMP, *values)), LC_ALL=locale) == joined(values)


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_run(shell: str) -> None:
    """Values that would run a program if any shell read them as syntax do not."""
    values = [
        "$(echo ran)",
        "`echo ran`",
        "';echo ran;'",
        '";echo ran;"',
        "\necho ran\n",
        "(echo ran)",
        "!echo",
        "$[1+1]",
    ]
    assert read_by(shell, posix_line((*DUMP, *values))) == joined(values)


@pytest.mark.parametrize("shell", SHELLS)
def test_no_process_stays_in_between(shell: str) -> None:
    """The program replaces the shells, so that it is what a signal reaches and whose end is reported."""
    process = subprocess.Popen([shell, "-c", posix_line(("/bin/sh", "-c", "echo $$"))], stdout=subprocess.PIPE)
    printed, _ = process.communicate(timeout=15)
    assert int(printed) == process.pid


@pytest.mark.parametrize("name", [name for name in POSIX_SHELLS if shutil.which(name)])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_posix_shell_decodes(name: str, locale: str, tmp_path: Path) -> None:
    """Whatever shell a host calls /bin/sh, it makes the same arguments of the items, in each way of decoding."""
    sh = tmp_path / "sh"
    sh.symlink_to(str(shutil.which(name)))
    chance = random.Random(8)
    texts = ["".join(chance.choices("a01x '\"\\$`\n\t!%;*?~-é\u202e😀\xff\x80", k=9)) for _ in range(100)]
    plain = ["a", "-n", "x=y", "./", "0101"]
    every = [chr(code) for code in range(1, 256)]
    for values in (
        plain,
        [*texts, *plain, "", ""],
        [*texts, "\x01", *every, "", ""],
        [""],
        ["", ""],
        [" "],
        ["\n"],
        ["a\n\n", ""],
    ):
        line = posix_line((*DUMP, *values)).replace("/bin/sh", str(sh), 1)
        assert read_by("/bin/sh", line, LC_ALL=locale) == joined(values)


def test_a_guard_takes_no_more_than_its_room() -> None:
    """What the plan leaves free in a line is enough for each guard that can stand around the command."""
    argv, token = ("/bin/true", "a b"), "t" * 64
    for guarded in (lines.single(token, PROBES, argv, seconds=1e6), lines.without_python(token, argv, seconds=1e6)):
        assert len(posix_line(guarded)) - len(posix_line(argv)) < GUARD_ROOM
