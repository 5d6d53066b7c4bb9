"""One local process: started with nothing inherited, watched by a pidfd, ended as a group.

The leader is reaped last. Until then its pid cannot be given to another process, so a signal to the group can only reach
what this run started.
"""

import errno
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import anyio

from cmdhttp.execution.local.limits import apply
from cmdhttp.execution.model import RunContext, RunError, RunErrorCode
from cmdhttp.plan.model import Step

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PIPE_BYTES = 256 << 10
_HINTS = {
    errno.ENOENT: (
        "There is no such program on this machine.",
        "Check the path in 'run', and that the package is installed.",
    ),
    errno.EACCES: (
        "The service's account may not execute the program.",
        "Check the file's mode and the folders above it.",
    ),
    errno.ENOEXEC: ("The program is not in a format that the kernel runs.", "A script needs a '#!' line."),
    errno.E2BIG: ("The arguments and environment are too large for the kernel.", "Send long values by stdin."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A started process and the descriptors that this side holds."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    stdout: int
    stderr: int

    async def wait(self) -> None:
        """Return once the leader has ended; it stays unreaped."""
        await anyio.wait_readable(self.pidfd)

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def reap(self) -> tuple[int, float]:
        """End what is left of the group, reap the leader and close every descriptor.

        Returns its status as Popen's, and the seconds of CPU that it and those that it waited for have used.
        """
        self.signal_group(signal.SIGKILL)
        _, status, usage = os.wait4(self.popen.pid, 0)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        for descriptor in (self.pidfd, self.stdout, self.stderr):
            os.close(descriptor)
        return self.popen.returncode, usage.ru_utime + usage.ru_stime


def prepare_and_start(step: Step, context: RunContext) -> Process:
    """Make the private folder and start the process. Raises OSError if it cannot be started; nothing is left then."""
    try:
        work = context.folder / "work"
        work.mkdir(mode=0o700, parents=True)
        context.folder.chmod(0o700)
        return _start(
            _argv(step, context.folder),
            env=_environment(step, context, work),
            cwd=work,
            stdin=step.stdin,
            limits=asdict(step.limits),
        )
    except BaseException:
        remove_folder(context.folder)
        raise


def remove_folder(folder: Path) -> None:
    """Remove a run's folder, whatever modes and depths the run left in it, and its job's folder once that is empty.

    What cannot be removed is left for the next start; it never decides how a run ended.
    """
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except (OSError, RecursionError):
            for tool in (["/bin/chmod", "-R", "u+rwx"], ["/bin/rm", "-rf"]):
                subprocess.run([*tool, "--", str(folder)], check=False, capture_output=True)  # noqa: S603 - our own folder
    with suppress(OSError):
        folder.parent.rmdir()


def spawn_error(error: OSError) -> RunError:
    """Say why a process could not be started, without its arguments."""
    detail, hint = _HINTS.get(error.errno or 0, (f"The process could not be started: {error.strerror}.", ""))
    return RunError(code=RunErrorCode.SPAWN_FAILED, detail=detail, hint=hint)


def _argv(step: Step, folder: Path) -> list[str]:
    if step.script is None:
        return list(step.argv)
    path = folder / "script"
    path.write_text(step.script.text)
    path.chmod(0o400)
    return [*step.script.interpreter, str(path), *step.argv]


def _environment(step: Step, context: RunContext, work: Path) -> Mapping[str, str]:
    account = pwd.getpwuid(os.geteuid())
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": "/bin/sh",
        "TMPDIR": str(work),
        **step.env,
        "CMDHTTP_JOB_ID": context.job_id,
    }


def _start(
    argv: list[str], *, env: Mapping[str, str], cwd: Path, stdin: bytes | None, limits: Mapping[str, float | None]
) -> Process:
    opened: list[int] = []
    try:
        source = _stdin(stdin)
        opened.append(source)
        read_out, write_out = os.pipe2(os.O_CLOEXEC)
        opened += [read_out, write_out]
        read_err, write_err = os.pipe2(os.O_CLOEXEC)
        opened += [read_err, write_err]
        limited = any(limit is not None for limit in limits.values())
        popen = subprocess.Popen(  # noqa: S603 - the argv comes from a plan, and no shell is involved
            argv,
            stdin=source,
            stdout=write_out,
            stderr=write_err,
            cwd=cwd,
            env=env,
            start_new_session=True,
            umask=0o077,
            preexec_fn=partial(apply, limits) if limited else None,  # noqa: PLW1509 - it takes no lock
        )
    except BaseException as error:
        for descriptor in opened:
            os.close(descriptor)
        if isinstance(error, subprocess.SubprocessError):  # what is run before the program has failed
            raise OSError(errno.EINVAL, "its limits cannot be set") from error
        raise
    for descriptor in (source, write_out, write_err):
        os.close(descriptor)
    for descriptor in (read_out, read_err):
        os.set_blocking(descriptor, False)
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return Process(popen=popen, pidfd=os.pidfd_open(popen.pid), stdout=read_out, stderr=read_err)


def _stdin(data: bytes | None) -> int:
    """Return a descriptor to read `data` from: a memory file, so that no writer has to keep pace with the process."""
    if data is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
