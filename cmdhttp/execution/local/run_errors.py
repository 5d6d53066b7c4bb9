"""Why a local run did not end by itself, in words for who called: what happened, and what to look at. Never an argument."""

import errno
import os

from cmdhttp.execution.model import RunError, RunErrorCode

_HINTS = {
    errno.ENOENT: (
        "There is no such program on this machine.",
        "Check the path in 'run', and that the package is installed.",
    ),
    errno.EACCES: (
        "The account of the run may not execute the program.",
        "Check the file's mode and the folders above it.",
    ),
    errno.ENOEXEC: ("The program is not in a format that the kernel runs.", "A script needs a '#!' line."),
    errno.E2BIG: ("The arguments and environment are too large for the kernel.", "Send long values by stdin."),
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
BY = {
    "broker": RunError(
        code=RunErrorCode.BROKER_LOST,
        detail="The process that starts local programs died, so the run was ended.",
        hint="The service has started another one; its log says more.",
    ),
    "deadline": RunError(
        code=RunErrorCode.TIMED_OUT,
        detail="The time limit was passed without an answer from the service, so the run was ended.",
        hint="Look at the service's log: it may have hung.",
    ),
}
GUARD_LOST = RunError(
    code=RunErrorCode.GUARD_LOST,
    detail="The process that watched the run has died; the end of the run was not seen.",
    hint="What was left of the run has been ended. Look at the service's log.",
)
GUARD_SILENT = RunError(
    code=RunErrorCode.GUARD_LOST,
    detail="The process that watches the run was told to end it and has not answered; the end of the run was not seen.",
    hint="Look for what is left of the run on this machine, and at the service's log.",
)
NO_BROKER = RunError(
    code=RunErrorCode.BROKER_LOST,
    detail="There is no process to start local programs; nothing has run.",
    hint="The service tries to start one; its log and /readyz say more. It is safe to call again.",
)


def spawn_error(number: int, *, on: str = "program", why: str = "") -> RunError:
    """Say why a process could not be started, without its arguments."""
    why = why or os.strerror(number)
    if on == "folder":
        detail = f"The private folder of the run could not be made: {why}."
        hint = (
            "Make room on the disk of the folder for runs (--runs). Nothing has run; it is safe to call again."
            if number in _FULL
            else "Look at the free space and the modes of the folder for runs (--runs)."
        )
    elif number in _FULL:
        detail, hint = f"The process could not be started: {why}.", "Make room on the disk. It is safe to call again."
    else:
        detail, hint = _HINTS.get(number, (f"The process could not be started: {why}.", ""))
    return RunError(code=RunErrorCode.SPAWN_FAILED, detail=detail, hint=hint)


def refused(why: str, hint: str) -> RunError:
    """The broker has started nothing."""
    return RunError(code=RunErrorCode.BROKER_REFUSED, detail=f"The broker refused the run: {why}.", hint=hint)
