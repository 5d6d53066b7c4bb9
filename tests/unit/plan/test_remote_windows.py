"""The command line for Windows hosts, read by the rules of Microsoft's documentation; no Windows host has read it."""

import base64
import random

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import KeyFile, Shell, SshTarget, Step
from cmdhttp.plan.remote import (
    MAX_CMD,
    MAX_POWERSHELL,
    PROBES,
    check_line,
    command_line,
    probe_echo,
    probe_line,
    step_line,
)
from cmdhttp.policy.compiled import Script
from cmdhttp.policy.shells import POWERSHELL
from tests.support.windows import CALL, arguments, encoded_text, skeleton

WHOAMI = r"C:\Windows\System32\whoami.exe"
FIRST = "$ProgressPreference={};$ErrorActionPreference={};"
START = "$i=New-Object System.Diagnostics.ProcessStartInfo;$i.FileName={};$i.Arguments={};$i.UseShellExecute=$false;"
END = "try{$p=[System.Diagnostics.Process]::Start($i)}catch{exit 127};$p.WaitForExit();exit $p.ExitCode"
WINDOWS = (Shell.CMD, Shell.POWERSHELL)
SPECIAL = "'\u2018\u2019\u201a\u201b\"\\ `$\t\n%^&|<>();,@{}[]#~!*?=-/:aZ0é\U0001f600"


def started(line: str) -> tuple[str, list[str]]:
    """Return the program and the arguments that the line starts."""
    shape, literals = skeleton(encoded_text(line))
    assert shape == FIRST + START + END
    assert literals[:2] == ["SilentlyContinue", "Stop"]
    return literals[2], arguments(literals[3])


def step(*argv: str, shell: Shell, env: dict[str, str] | None = None, script: Script | None = None) -> Step:
    target = SshTarget(address="a", port=22, account="u", login=KeyFile(path="/k"), known_hosts="/h", shell=shell)
    return Step(run=0, host="h", target=target, argv=argv, env=env or {}, script=script, timeout=1, output_limit=1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # The examples of "Parsing C command-line arguments".
        (r'"abc" d e', ["abc", "d", "e"]),
        (r'a\\b d"e f"g h', [r"a\\b", "de fg", "h"]),
        (r"a\\\"b c d", [r"a\"b", "c", "d"]),
        (r'a\\\\"b c" d e', [r"a\\b c", "d", "e"]),
        (r'a"b"" c d', ['ab" c d']),
        ('"" x', ["", "x"]),
    ],
)
def test_the_reader_knows_the_rules(line: str, expected: list[str]) -> None:
    """The reader of these tests takes Microsoft's own examples apart as they say."""
    assert arguments(line) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("& 'a''b' 'c'", ("& {} {}", ["a'b", "c"])),
        ("x '\u2018\u2018;exit\u2019\u2019'", ("x {}", ["\u2018;exit\u2019"])),
        ("x 'a\u2019;exit", ("x {};exit", ["a"])),
        ("''", ("{}", [""])),
    ],
)
def test_the_reader_knows_the_quotes(text: str, expected: tuple[str, list[str]]) -> None:
    """A literal ends at any of the five quotes, and each of them doubled stands for itself."""
    assert skeleton(text) == expected


@pytest.mark.parametrize("shell", WINDOWS)
def test_a_program_gets_its_arguments(shell: Shell) -> None:
    """Quotes, empty arguments and backslashes at the end, which Windows PowerShell breaks, arrive."""
    values = [
        "",
        "a b",
        '"',
        '\\"',
        "\\",
        "a\\",
        "a b\\",
        'a\\\\"b',
        "'",
        "\u2019;exit 0;\u2018",
        "$x",
        "`n",
        "%PATH%",
        "\n",
        "",
    ]
    assert started(command_line((WHOAMI, *values), shell)) == (WHOAMI, values)
    assert started(command_line((WHOAMI,), shell)) == (WHOAMI, [])


def test_random_arguments_arrive() -> None:
    """Thousands of random mixtures of what PowerShell and the C runtime treat specially come out as they went in."""
    chance = random.Random(11)
    for _ in range(400):
        values = ["".join(chance.choices(SPECIAL, k=chance.randrange(12))) for _ in range(chance.randrange(9))]
        assert started(command_line((WHOAMI, *values), Shell.POWERSHELL)) == (WHOAMI, values)


def test_a_long_run_of_backslashes_takes_no_longer() -> None:
    """Doubling looks at each character once."""
    values = ["\\" * 4000 + "x" + "\\" * 10]
    assert started(command_line((WHOAMI, *values), Shell.POWERSHELL)) == (WHOAMI, values)


@pytest.mark.parametrize("shell", WINDOWS)
def test_the_line_is_read_by_no_shell(shell: Shell) -> None:
    """All that a value can bring into the line is base64, in which neither login shell knows syntax."""
    line = command_line((WHOAMI, SPECIAL), shell)
    assert set(line.rpartition(" ")[2]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def test_variables() -> None:
    """Variables are set before the process starts, in order of their names."""
    line = step_line(step(WHOAMI, shell=Shell.CMD, env={"B": "'x\u2019", "A": ""}))
    shape, literals = skeleton(encoded_text(line))
    assert shape == FIRST + "$env:A={};$env:B={};" + START + END
    assert literals[2:4] == ["", "'x\u2019"]


@pytest.mark.parametrize("shell", WINDOWS)
def test_a_script(shell: Shell) -> None:
    """A script is one literal, its arguments are literals of their own, and its variables are set before."""
    text = "param($a)\nWrite-Output \"$a 'x' \u2018y\u2019\"; exit 3\n"
    script = Script(interpreter=POWERSHELL, text=text, sha256="")
    line = step_line(step("-a", "'\u201b", "", shell=shell, env={"P_N": "1'", "A": "2"}, script=script))
    shape, literals = skeleton(encoded_text(line))
    assert shape == (
        "$ProgressPreference={};try{[Console]::OutputEncoding=New-Object System.Text.UTF8Encoding $false}catch{};"
        "$env:A={};$env:P_N={};try{$private:s=[ScriptBlock]::Create({})}catch{[Console]::Error.WriteLine($_);exit 1};"
        "& $s {} {} {};exit 0"
    )
    assert literals[1:] == ["2", "1'", text, "-a", "'\u201b", ""]


@pytest.mark.parametrize(
    "program",
    [
        r"C:\x.bat", r"C:\x.cmd", r"C:\x.BAT", "C:\\x.bat.", "C:\\x.bat ", "C:\\x.bat. .", r"C:\x.exe.bat", r"C:\x",
        r"C:\x.ps1", r"C:\x.bat::$DATA", r"C:\x.bat:y.exe", r"C:\Windows\System32\cmd.exe", r"c:/windows/CMD.EXE",
        r"C:\command.com", "x.exe", r"\x.exe", r"\\host\share\x.exe", r"C:x.exe", "/bin/x.exe", "", r'C:\a"b.exe',
        "C:\\a\nb.exe", "C:\\a\\\\b.exe", "C:\\x.exe\n", r"C:\x.exe ", r"C:\a*.exe", r"\\?\C:\x.exe",
    ],
)  # fmt: skip
def test_what_is_no_program(program: str) -> None:
    """Batch files, cmd.exe and whatever Windows might take for one are refused, as is each path that is not whole."""
    with pytest.raises(BadValue) as caught:
        command_line((program, "a"), Shell.CMD)
    assert caught.value.code == "not_a_program"
    assert program == "" or program not in caught.value.detail


@pytest.mark.parametrize(
    "program", [r"C:\Program Files\a b\x.EXE", "D:/tools/x.com", r"C:\ünï\x.y.exe", r"c:\cmd.exe\x.exe"]
)
def test_what_is_a_program(program: str) -> None:
    """Any drive, either slash, spaces and dots are fine."""
    assert started(command_line((program,), Shell.CMD)) == (program, [])


@pytest.mark.parametrize(("shell", "most"), [(Shell.CMD, MAX_CMD), (Shell.POWERSHELL, MAX_POWERSHELL)])
def test_too_long_a_line(shell: Shell, most: int) -> None:
    """Each login shell has its own limit, below what it takes; the job's id is counted."""
    assert (MAX_CMD < 8191, MAX_POWERSHELL < 32_767) == (True, True)
    script = Script(interpreter=POWERSHELL, text="x", sha256="")
    for made in (None, script):
        around = len(encoded_text(step_line(step(WHOAMI, "", shell=shell, script=made))))
        room = (most - len(CALL)) // 4 * 3 // 2 - around
        assert most - len(step_line(step(WHOAMI, "x" * room, shell=shell, script=made))) in range(4)
        for asked, size in ((step_line, room + 1), (check_line, room)):
            with pytest.raises(BadValue) as caught:
                asked(step(WHOAMI, "x" * size, shell=shell, script=made))
            assert (caught.value.code, f"and {most} fit" in caught.value.detail) == ("argv_too_long", True)


@pytest.mark.parametrize("shell", WINDOWS)
def test_the_probe(shell: Shell) -> None:
    """The canaries stand in the probe as literals, and its echo is their text in base64."""
    line = probe_line(shell)
    assert line is not None
    shape, literals = skeleton(encoded_text(line))
    assert shape.count(" {}") == len(PROBES)
    assert tuple(literals[2:]) == PROBES
    echoed = [base64.b64decode(item).decode() for item in probe_echo(shell).split(b";")[:-1]]
    assert tuple(echoed) == PROBES
