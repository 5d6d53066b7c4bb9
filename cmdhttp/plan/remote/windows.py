r"""The line for Windows hosts, the same for cmd.exe and PowerShell as the login shell (OpenSSH's `DefaultShell`).

`powershell.exe -EncodedCommand` takes base64 of UTF-16, in which neither shell reads anything as syntax. In the encoded
text every value stands in a single-quoted literal, where PowerShell knows nothing but the end: a quote, and it takes four
typographic ones for quotes too (about_Quoting_Rules), so each is doubled.

A program is not started by PowerShell's `&`, because Windows PowerShell loses quotes and empty arguments of native programs
(PSNativeCommandArgumentPassing tells of both ways). It is started as a process with a command line made here, after the
rules by which Microsoft's C runtime and CommandLineToArgvW take it apart ("Parsing C command-line arguments"): every
argument in quotes, a quote within as `\"`, backslashes doubled where a quote follows. The process inherits the streams.
What does not follow these rules is refused as a program: batch files and cmd.exe read the line anew (CVE-2024-24576).
"""

import base64
import re
from collections.abc import Mapping

from cmdhttp.errors import BadValue
from cmdhttp.plan.remote.fit import fitting
from cmdhttp.policy.shells import is_windows_program

MAX_CMD = 8_000
"""Characters. cmd.exe takes lines of at most 8,191, and sshd puts the call of cmd.exe before ours."""

MAX_POWERSHELL = 32_000
"""Characters. CreateProcess takes lines of at most 32,767, and sshd puts the call of powershell.exe before ours."""

_CALL = "powershell.exe -NoProfile -NonInteractive -OutputFormat Text -EncodedCommand "
_QUIET = "$ProgressPreference='SilentlyContinue';"
_UTF8 = "try{[Console]::OutputEncoding=New-Object System.Text.UTF8Encoding $false}catch{};"
_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
_NOT_FOUND = 127


def windows_line(argv: tuple[str, ...], env: Mapping[str, str], *, most: int) -> str:
    """Return the line that starts the program `argv[0]` with the other items as its arguments, and ends as it does.

    Raises BadValue: `argv_too_long` over `most` characters, `not_a_program` for what may not be started.
    """
    program, *arguments = argv
    if not is_windows_program(program):
        raise BadValue(
            "not_a_program",
            "the program is not an .exe or .com file named by its absolute path, or it is cmd.exe",
            hint=r"Name a program like C:\Windows\System32\whoami.exe; a batch file reads its arguments as code.",
        )
    text = (
        f"{_QUIET}$ErrorActionPreference='Stop';{_variables(env)}$i=New-Object System.Diagnostics.ProcessStartInfo;"
        f"$i.FileName={_literal(program)};$i.Arguments={_literal(' '.join(map(_quoted, arguments)))};"
        "$i.UseShellExecute=$false;"
        f"try{{$p=[System.Diagnostics.Process]::Start($i)}}catch{{exit {_NOT_FOUND}}};$p.WaitForExit();exit $p.ExitCode"
    )
    return _encoded(text, most=most)


def script_line(script: str, arguments: tuple[str, ...], env: Mapping[str, str], *, most: int) -> str:
    """Return the line that lets PowerShell run a script's text with `arguments` as `$args`.

    Its exit status is what the script exits with, 1 after an error that it does not catch or if it cannot be read, else 0. It
    writes UTF-8. Raises BadValue (`argv_too_long`) over `most` characters.
    """
    given = "".join(f" {_literal(argument)}" for argument in arguments)
    text = (
        f"{_QUIET}{_UTF8}{_variables(env)}"
        f"try{{$private:s=[ScriptBlock]::Create({_literal(script)})}}catch{{[Console]::Error.WriteLine($_);exit 1}};"
        f"& $s{given};exit 0"
    )
    return _encoded(text, most=most)


def _variables(env: Mapping[str, str]) -> str:
    """Return what sets variables, for the child too. PowerShell cannot set an empty one."""
    return "".join(f"$env:{name}={_literal(env[name])};" for name in sorted(env))


def _encoded(text: str, *, most: int) -> str:
    return fitting(_CALL + base64.b64encode(text.encode("utf-16-le")).decode(), most=most)


def _literal(text: str) -> str:
    return "'" + _QUOTES.sub(r"\g<0>\g<0>", text) + "'"


def _quoted(argument: str) -> str:
    """Return the argument as the C runtime's rules want it."""
    parts = argument.split('"')
    return '"' + '\\"'.join(part + "\\" * (len(part) - len(part.rstrip("\\"))) for part in parts) + '"'
