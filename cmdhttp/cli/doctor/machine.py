"""What the machine gives: Python, an account, a clock, and all that keeps a run within its bounds."""

import ctypes
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cmdhttp.cli.doctor.case import Case, Seen, fail, name_of, ok, warn
from cmdhttp.cli.doctor.places import borrowed
from cmdhttp.errors import ConfigError
from cmdhttp.execution.local import cgroup, containment
from cmdhttp.execution.local.containment import Rung
from cmdhttp.execution.local.orders import AccountError, spawn_order
from cmdhttp.execution.local.trial import Verdict, try_guard, try_program
from cmdhttp.plan.model import LocalTarget, Step
from cmdhttp.results.library import find_library
from cmdhttp.settings import Settings

_OLDEST_PYTHON = (3, 11)
_CLOCK_SLACK = 5.0
_TIMEX_BYTES, _TIME_ERROR = 1024, 5
_ORPHAN = "/bin/sleep 60 </dev/null >/dev/null 2>&1 &"
_NUMBERED_ANEW = 'test "$$" -lt 9'


def check_python(_: Case) -> Iterator[Seen]:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info >= _OLDEST_PYTHON:
        yield ok(version)
    else:
        yield fail(version, f"A Python of {_OLDEST_PYTHON[0]}.{_OLDEST_PYTHON[1]} or later is needed.")


def check_account(case: Case) -> Iterator[Seen]:
    """Whose rights the service would have, and whose a command."""
    settings, uid = case.settings, os.geteuid()
    if uid != 0:
        if settings.user or settings.local_user:
            hint = "Start it as root, or leave out --user and --local-user."
            yield fail(f"only root can take other accounts (this is {name_of(uid)})", hint)
        else:
            yield ok(
                f"{name_of(uid)}: local commands run as it too; 'as' for another account needs a service started as root"
            )
    elif not settings.user:
        hint = "Start it as an account of its own, or give it one with --user."
        commands = settings.local_account or "root"
        yield warn(f"root: the service stays root; commands run as '{commands}' where 'as' names no other", hint)
    elif case.uid == 0:
        yield fail("--user must name an account that is not root", "Make an account for the service.")
    else:
        commands = settings.local_account or "root"
        yield ok(f"root at the start; the service becomes '{settings.user}', commands '{commands}' or what 'as' names")


def check_clock(case: Case) -> Iterator[Seen]:
    """Tokens end, and denies begin and end, by the clock."""
    newest = case.settings.data / "audit" / "audit.jsonl"
    ahead = newest.stat().st_mtime - time.time() if newest.exists() else 0.0
    if ahead > _CLOCK_SLACK:
        yield fail(f"the clock is {ahead:.0f} s behind the newest audit record", "Set the clock: tokens end by it.")
    elif not _is_synchronised():
        hint = "Let chrony, systemd-timesyncd or ntpd keep it; ignore this if the hypervisor does."
        yield warn("the kernel says that nobody keeps the clock right", hint)
    else:
        yield ok("synchronised")


def _is_synchronised() -> bool:
    """Whether the kernel says so. Source: adjtimex(2); with no mode set it only reads."""
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return state != _TIME_ERROR


def check_containment(case: Case) -> Iterator[Seen]:
    told = case.running.rung if case.running is not None else ""
    rung = told or containment.probe(f"cmdhttp-doctor-{os.getpid()}")
    who = "the running service says" if told else "a service started from here would have"
    if rung == Rung.SUBREAPER:
        hint = "With Delegate=yes in its systemd unit, or as process 1 of a container, it gets a stronger one."
        yield warn(f"{who} '{rung}': what lives on when all is killed at once may not be found at the next start", hint)
    else:
        yield ok(f"{who} '{rung}'")


def check_cgroup(case: Case) -> Iterator[Seen]:
    if cgroup.is_there():
        yield ok("version 2 is there")
    elif case.running is not None and case.running.rung == Rung.CONTAINER:
        yield ok("no version 2, and none is needed as process 1 of a container")
    else:
        yield warn("no cgroup v2 is mounted here", "Without one the rung 'cgroup' cannot be reached.")


def check_guard(case: Case) -> Iterator[Seen]:
    """Let a real guard run programs and end what they leave, in the folder for runs."""
    with borrowed(case.settings.runs_folder) as runs:
        verdict = _trial(case.settings, runs / f"doctor-{os.getpid()}")
    hint = "Guards need Linux with /proc, and a sandbox that allows prctl(PR_SET_CHILD_SUBREAPER)."
    wrong = {"subreaper": verdict.subreaper, "children in /proc": verdict.children}
    yield from (fail(f"{name}: {why}", hint) for name, why in wrong.items() if why)
    if verdict.guard:
        yield fail(f"it could not run /bin/true: {verdict.guard}", "Look at the folder for runs and at /bin/true.")
    elif verdict.orphan:
        yield fail(f"it did not end what a program left behind: {verdict.orphan}", hint)
    else:
        spent = f"{verdict.median * 1000:.1f} ms to run /bin/true (median of {verdict.times})"
        yield ok(f"a guard ends what a program leaves behind; it takes {spent}")


def check_namespace(case: Case) -> Iterator[Seen]:
    """Let a real guard run a program in a PID namespace of its own, where numbers of processes begin anew."""
    with borrowed(case.settings.runs_folder) as runs:
        order = _order(case.settings, runs / f"doctor-{os.getpid()}", 0, "/bin/sh", "-c", _NUMBERED_ANEW, isolated=True)
        wrong = try_program(order)
    if wrong:
        hint = "Commands with 'isolation: namespace' cannot run here; it takes user namespaces, or root."
        yield warn(f"no program can run in a PID namespace of its own: {wrong}", hint)
    else:
        yield ok("a program can run in a PID namespace of its own")


def _trial(settings: Settings, job: Path) -> Verdict:
    return try_guard(_order(settings, job, 0, "/bin/true"), _order(settings, job, 1, "/bin/sh", "-c", _ORPHAN))


def _order(settings: Settings, job: Path, run: int, *argv: str, isolated: bool = False) -> dict[str, object]:
    """The order for a program, as the broker makes it. Raises ConfigError if its account cannot be had."""
    target = LocalTarget(isolated=isolated)
    step = Step(run=run, host="local", target=target, argv=argv, env={}, timeout=10, output_limit=1)
    try:
        return spawn_order(step, folder=f"{job}.{run}", job_id="doctor", account=settings.local_account)
    except AccountError as error:
        raise ConfigError(str(error), hint="Look at --user and --local-user.") from None


def check_parsers(_: Case) -> Iterator[Seen]:
    if find_library() is None:
        yield ok("jc is not installed; only policies that name its parsers need it")
    else:
        yield ok("jc is installed")
