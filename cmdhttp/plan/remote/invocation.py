"""What runs on a host: the step's argv, in whose name, with which variables, and as which line.

Variables go with the command, by `env` or by sudo's own `NAME=value`, because sshd refuses those that it is sent. Whoever can
give a process its environment in another way takes an `Invocation`. sudo is told never to ask for anything.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from cmdhttp.errors import BadValue
from cmdhttp.plan.model import Shell, SshTarget, Step
from cmdhttp.plan.remote.fit import fitting
from cmdhttp.plan.remote.posix import MAX_LINE, posix_line
from cmdhttp.plan.remote.raw import raw_line
from cmdhttp.plan.remote.windows import MAX_CMD, MAX_POWERSHELL, script_line, windows_line
from cmdhttp.policy.compiled import Script

JOB_ID = "CMDHTTP_JOB_ID"
TMPDIR = "TMPDIR"
GUARD_ROOM = 24_000
"""Bytes of a line for a Unix host that a guard around the command may take."""

_LONGEST_JOB_ID = "job_" + 26 * "0"
_LONG_FOLDER = "/" + 99 * "f"
_MOST: Mapping[Shell, int] = {Shell.CMD: MAX_CMD, Shell.POWERSHELL: MAX_POWERSHELL}

PROBES = (
    *(
        "",
        " ",
        "  a  b ",
        "\t",
        "\n",
        "a\n\nb\n",
        "-n",
        "--",
        "-",
        "'",
        '"',
        "''",
        "\\",
        "\\\\",
        "\\'",
        '\\"',
        "a\\",
        "\\0101",
    ),
    *(
        "$(exit 9)",
        "`exit 9`",
        "${HOME}",
        "$0",
        "$args",
        "%PATH%",
        "!!",
        "^",
        "~",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "=ls",
        "#",
        "%s",
    ),
    *(
        ";exit 9",
        "&exit 9",
        "|exit 9",
        "(exit 9)",
        "<x",
        ">x",
        "@(1)",
        "é😀\u202e",
        "\u2018;exit 9;\u2019",
        "\u201a",
        "\u201b",
        "",
    ),
)
"""Arguments in which some shell reads something else; the last is empty, because parting a text easily loses that."""

_ECHO = "printf '%s\\0' \"$@\""
_WINDOWS_ECHO = (
    "foreach($a in $args){[Console]::Out.Write([Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($a))+';')}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What to execute, without any shell, and the variables to add to the environment."""

    argv: tuple[str, ...] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)


def for_job(step: Step, job_id: str) -> Step:
    """Return the step as it runs in this job: it knows the job's id, but on a raw host, which has no environment."""
    if _shell(step) is Shell.RAW:
        return step
    return replace(step, env={**step.env, JOB_ID: job_id})


def has_files(step: Step) -> bool:
    """Whether the run needs a private folder on its host: for files that are sent, or that it leaves."""
    return bool(step.staged) or step.collect is not None


def in_folder(step: Step, *, work: str, inputs: str) -> Step:
    """Return the step as it runs in its private folder, which has a part to work in and one for what was sent."""
    argv, env = step.argv_in(inputs), {**step.env_in(inputs), TMPDIR: work}
    return replace(step, argv=argv, env=env, unplaced=None)


def invocation(step: Step) -> Invocation:
    """Return what to execute on a Unix host, and the environment apart. Through sudo it does not come apart."""
    body = _script_argv(step.script, step.argv) if step.script else step.argv
    account = step.target.become if isinstance(step.target, SshTarget) else None
    if account is None:
        return Invocation(argv=body, env=step.env)
    return Invocation(argv=("/usr/bin/sudo", "-n", "-u", account, *_settings(step.env), "--", *body), env={})


def remote_argv(step: Step) -> tuple[str, ...]:
    """Return what runs on a Unix host, sudo and the variables included."""
    apart = invocation(step)
    return _with_env(apart.argv, apart.env)


def step_line(step: Step) -> str:
    """Return the command line of a step for the login shell of its host.

    Raises BadValue: `argv_too_long`, `not_plain`, `not_a_program`, or `not_for_shell` for what no host of the kind can do.
    """
    shell = _shell(step)
    if step.script is not None and shell is not Shell.POSIX:
        if shell is Shell.RAW:
            raise _not_for(shell, "a script")
        return script_line(step.script.text, step.argv, step.env, most=_MOST[shell])
    return command_line(remote_argv(step) if shell is Shell.POSIX else step.argv, shell, env=step.env)


def command_line(argv: tuple[str, ...], shell: Shell, *, env: Mapping[str, str] | None = None) -> str:
    """Return the line that makes a login shell of this family run exactly `argv`. Raises BadValue, see `step_line`.

    `env` is for families without a way to set variables by argv; a Unix host takes them in `argv` (see `remote_argv`).
    """
    match shell:
        case Shell.POSIX:
            return posix_line(argv)
        case Shell.POWERSHELL | Shell.CMD:
            return windows_line(argv, env or {}, most=_MOST[shell])
        case Shell.RAW:
            if env:
                raise _not_for(shell, "a variable")
            return raw_line(argv)
        case _:
            assert_never(shell)


def check_line(step: Step) -> None:
    """Raise BadValue if the step cannot be sent to its host: whatever the job's id will be, and with a guard in the line."""
    placed = in_folder(step, work=_LONG_FOLDER, inputs=_LONG_FOLDER) if has_files(step) else step
    line = step_line(for_job(placed, _LONGEST_JOB_ID))
    if _shell(step) is Shell.POSIX:
        fitting(line, most=MAX_LINE - GUARD_ROOM)


# The probe: a command without effect, whose echo shows whether the host's login shell is of the family that the policy says.


def probe_argv() -> tuple[str, ...]:
    """Return a command that prints each of `PROBES` on a Unix host, with a NUL behind it: see `probe_echo`."""
    return ("/bin/sh", "-c", _ECHO, "sh", *PROBES)


def probe_line(shell: Shell) -> str | None:
    """Return the line that prints `PROBES` on a host of this family; None for raw, of which nothing is known."""
    match shell:
        case Shell.POSIX:
            return posix_line(probe_argv())
        case Shell.POWERSHELL | Shell.CMD:
            return script_line(_WINDOWS_ECHO, PROBES, {}, most=_MOST[shell])
        case Shell.RAW:
            return None
        case _:
            assert_never(shell)


def probe_echo(shell: Shell = Shell.POSIX) -> bytes:
    """Return exactly what the probe prints if the line was read as it was meant."""
    if shell is Shell.POSIX:
        return b"".join(item.encode() + b"\0" for item in PROBES)
    return b"".join(base64.b64encode(item.encode()) + b";" for item in PROBES)


def _shell(step: Step) -> Shell:
    return step.target.shell if isinstance(step.target, SshTarget) else Shell.POSIX


def _settings(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in sorted(env.items()))


def _with_env(argv: tuple[str, ...], env: Mapping[str, str]) -> tuple[str, ...]:
    """Put `env` before the argv. It would take a program with '=' in its name for one more variable, so sh starts that."""
    if not env:
        return argv
    start = ("/bin/sh", "-c", 'exec "$@"', "sh") if "=" in argv[0] else ()
    return ("/usr/bin/env", *_settings(env), *start, *argv)


def _script_argv(script: Script, arguments: tuple[str, ...]) -> tuple[str, ...]:
    if any("python" in part.rpartition("/")[2] for part in script.interpreter):
        return (*script.interpreter, "-c", script.text, *arguments)
    return (*script.interpreter, "-c", script.text, "script", *arguments)


def _not_for(shell: Shell, what: str) -> BadValue:
    return BadValue("not_for_shell", f"{what} cannot be sent to a host with the shell {shell}")
