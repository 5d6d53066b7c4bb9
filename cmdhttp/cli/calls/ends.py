"""How a job ended: the exit code, and what a person is told of it. Pure.

One host: the exit code of the remote program, whatever it is. The codes of our own begin at 240, where programs hardly ever
have theirs; what a code cannot say beyond doubt, `--json` does.
"""

import signal
from collections import Counter
from enum import IntEnum

from cmdhttp.cli.text import columns
from cmdhttp.client.documents import an_object, is_several, runs_of
from cmdhttp.client.failures import CallFailed, Document, Refused

_SIGNAL_BASE = 128
_TOO_LARGE = 255
"""For a failure whose code would be 0 in the eight bits that an exit code has here; Windows has 32."""
_UNAUTHENTICATED = 401
_FIRST_SERVER_ERROR = 500
_TOO_MANY = 429
_MOST_ROWS = 50


class Exit(IntEnum):
    """What stands beside the exit codes of remote programs."""

    SEVERAL_FAILED = 240
    REFUSED = 241
    UNAUTHENTICATED = 242
    CANCELED = 243
    TIMED_OUT = 244
    LOST = 245
    UNREACHABLE = 246
    NO_EXIT_CODE = 247
    STILL_RUNNING = 248
    LEFT = 130
    READER_GONE = 141


MEANINGS = {
    Exit.SEVERAL_FAILED: "a job on several hosts did not succeed on all of them",
    Exit.REFUSED: "the service refused: not allowed, not valid, not found (4xx)",
    Exit.UNAUTHENTICATED: "the token does not hold (401)",
    Exit.CANCELED: "the job was canceled",
    Exit.TIMED_OUT: "the job reached its time limit",
    Exit.LOST: "the job may have run, and nobody can tell any more; or a stop is unconfirmed",
    Exit.UNREACHABLE: "the service could not be reached, failed, or stayed busy for too long",
    Exit.NO_EXIT_CODE: "the run failed without an exit code: it could not start, or passed a limit",
    Exit.STILL_RUNNING: "the time of --wait is over; the job goes on",
    Exit.LEFT: "left by Ctrl-C before the end was known",
    Exit.READER_GONE: "who read the output has gone (as with '| head'); the job goes on",
}

_OF_STATES = {"canceled": Exit.CANCELED, "timed_out": Exit.TIMED_OUT, "lost": Exit.LOST}

EPILOG = "\n".join(
    [
        "exit code:",
        "  that of the remote program; 128 + N if signal N ended it; 2 if the command line is wrong; or",
        *(f"  {code.value}  {meaning}" for code, meaning in MEANINGS.items()),
    ]
)


def exit_of(job: Document) -> int:
    """Return the exit code for a finished job."""
    state = job.get("state")
    if is_several(job):
        return 0 if job.get("ok") else _of_state(state) or Exit.SEVERAL_FAILED
    if (code := _of_state(state)) is not None:
        return code
    exit_code, name = job.get("exit_code"), job.get("signal")
    if isinstance(exit_code, int) and (exit_code or job.get("ok")):
        return exit_code & 0xFF or (0 if job.get("ok") else _TOO_LARGE)
    if isinstance(name, str) and (number := signal_number(name)):
        return _SIGNAL_BASE + number
    return 0 if job.get("ok") else Exit.NO_EXIT_CODE


def exit_of_failure(failure: CallFailed) -> int:
    """Return the exit code for a call that brought no job."""
    if not isinstance(failure, Refused):
        return Exit.UNREACHABLE
    status = failure.problem.status
    if status == _UNAUTHENTICATED:
        return Exit.UNAUTHENTICATED
    refused = failure.problem.ours and status < _FIRST_SERVER_ERROR and status != _TOO_MANY
    return Exit.REFUSED if refused else Exit.UNREACHABLE


def signal_number(name: str) -> int | None:
    """Return the number of `TERM` or `RTMIN+3`; None for a name of no signal here."""
    base, _, plus = name.partition("+")
    number = getattr(signal, f"SIG{base}", None)
    if not isinstance(number, int) or (plus and not plus.isdecimal()):
        return None
    number += int(plus or 0)
    return number if number < signal.NSIG else None


def said_of(job: Document) -> list[str]:
    """Return what a person must be told of a finished job, beside its output. Nothing, if there is only the exit code."""
    if is_several(job):
        return _said_of_several(job, runs_of(job))
    lines = []
    if job.get("state") not in ("succeeded", "failed") or job.get("exit_code") != exit_of(job):
        lines.append(f"{_where(job)}: {verdict(job)} ({job.get('id')})" if not job.get("ok") else "")
    lines += _error(job)
    if job.get("truncated"):
        lines.append(f"{_where(job)}: not all of the output is kept")
    return [line for line in lines if line]


def verdict(run: Document) -> str:
    """Return in a few words how a run ended."""
    state, code, name = run.get("state"), run.get("exit_code"), run.get("signal")
    text = str(state).replace("_", " ")
    if isinstance(code, int) and (code or state != "succeeded"):
        text += f", exit code {code}"
    if name:
        text += f", signal {name}"
    return text + (f", stop {run['stopped']}" if run.get("stopped") else "")


def counted(job: Document) -> str:
    """Return how many runs ended in which way."""
    counts = Counter(str(run.get("state")).replace("_", " ") for run in runs_of(job))
    return ", ".join(f"{count} {state}" for state, count in counts.most_common())


def _said_of_several(job: Document, runs: list[Document]) -> list[str]:
    bad = [run for run in runs if not run.get("ok")]
    shown = runs if len(runs) <= _MOST_ROWS else bad
    rows = [[str(run.get("host")), verdict(run), _short_error(run)] for run in shown]
    lines = columns([["host", "end", "error"], *rows]) if rows else []
    return [*lines, f"{job.get('id')}: {counted(job)} of {len(runs)} hosts"]


def _where(job: Document) -> str:
    return str(job.get("host") or job.get("id"))


def _error(job: Document) -> list[str]:
    if not (error := an_object(job, "error")):
        return []
    lines = [f"{_where(job)}: {error.get('code')}: {error.get('detail')}"]
    return lines + ([f"    hint: {error['hint']}"] if error.get("hint") else [])


def _short_error(run: Document) -> str:
    error = an_object(run, "error")
    return f"{error.get('code')}: {error.get('detail')}" if error else ""


def _of_state(state: object) -> int | None:
    return _OF_STATES.get(str(state))
