"""The command line for SSH hosts, read by every shell that this machine has."""

import random
import shutil
import subprocess

import pytest

from cmdhttp.plan.remote import posix_line

_KNOWN = ("sh", "bash", "dash", "ksh", "mksh", "zsh", "yash", "ash", "fish", "csh", "tcsh")
SHELLS = [name for name in _KNOWN if shutil.which(name)]
DUMP = ("/bin/sh", "-c", "printf '%s\\0' \"$@\"", "sh")


def read_by(shell: str, line: str, **env: str) -> bytes:
    clean = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **env}
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
