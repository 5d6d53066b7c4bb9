"""Attacks on the guard on a host: by a thief of a job's certificate, who has its stdin, and by processes of its account."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmdhttp.execution.ssh.remote import lines
from cmdhttp.plan.remote import PROBES
from tests.component.test_ssh_guard import DEADLINE, END, NOBODY, Link, guard

_EPERM = 1


@contextlib.contextmanager
def single(*argv: str, seconds: float = 20, **more: bool) -> Iterator[Link]:
    link = Link(lines.single("tt", PROBES, argv, seconds=seconds, **more))
    try:
        assert link.greeting("tt") == b"P"
        assert link.hear()[0] == "H"
        yield link
    finally:
        link.process.communicate(timeout=15)


def test_a_thief_chooses_no_folder() -> None:
    """A command that the job runs in the account's home runs there, and one that has files not without its folder."""
    with single("/bin/pwd") as link:
        link.folder()
        assert link.to_end(link.start("/bin/true", in_folder=True))[0] == f"{Path.cwd()}\n".encode()
    with single("/bin/cat", "tt/in/file", with_files=True) as link:
        link.start("/bin/true")
        kind, _, body = link.hear()
        assert (kind, struct.unpack_from("!I", body)[0]) == ("f", _EPERM)


def test_a_thief_runs_it_once() -> None:
    """Whoever holds a connection beyond the certificate's life cannot have the command run again and again."""
    with single("/bin/echo", "once") as link:
        assert link.to_end(link.start("/bin/true"))[0] == b"once\n"
        for _ in range(2):
            link.start("/bin/true")
            kind, _, body = link.hear()
            assert (kind, struct.unpack_from("!I", body)[0]) == ("f", _EPERM)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e9])
def test_a_thief_gets_no_more_time(seconds: float) -> None:
    """Not by a number that is none, either."""
    with single("/bin/sleep", "300", seconds=0.5) as link:
        run = link.start("/bin/true", seconds=seconds, drain=float("nan"))
        assert link.to_end(run, within=5)[1] == (1, -9, 0, DEADLINE)


@pytest.mark.parametrize("given", [False, True])
def test_a_thief_gives_stdin_only_where_the_line_does(*, given: bool) -> None:
    """A command that the job gives no stdin, such as a shell or a database client, reads none of a thief's."""
    with single("/bin/sh", "-c", "cat; echo end", with_stdin=given) as link:
        run = link.start("/bin/true", stdin=True)
        link.say("I", run, b"evil\n")
        link.say("E", run)
        assert link.to_end(run) == (b"evil\nend\n" if given else b"end\n", (1, 0, 0, END))


@pytest.mark.parametrize("given", [False, True])
def test_stdin_without_python(tmp_path: Path, *, given: bool) -> None:
    """The same by the guard in sh."""
    argv = lines.single("tt", PROBES, ("/bin/sh", "-c", "cat; echo end"), seconds=20, with_stdin=given)
    script = argv[2].replace("/proc/self/task", str(tmp_path / "none"))
    ended = subprocess.run([*argv[:2], script, *argv[3:]], input=b"evil\n", capture_output=True, timeout=10, check=True)
    assert ended.stdout.split(b"\n", 1)[1] == (b"evil\nend\n" if given else b"end\n")


TRACE = """
import ctypes, os, sys, time
if ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None):
    sys.exit("no tracing here")
os.write(1, b"held\\n")
time.sleep(60)
"""
"""Seizes a process (PTRACE_SEIZE) and never takes its end, so that nobody else can either."""


def test_what_outlives_a_run_is_not_counted_to_the_next() -> None:
    """A warden that cannot end all of its run gets no other run, which it would hold up and report as not ended."""
    with guard() as link:
        victim = link.start("/bin/sh", "-c", "echo $$; exec sleep 300")
        pid = int(link.until("o"))
        tracer = link.start(sys.executable, "-c", TRACE, str(pid))
        assert link.until("o") == b"held\n"
        link.say("X", victim, struct.pack("!d", 0.0))
        status, code, alive, _ = link.to_end(victim, within=12)[1]
        assert (status, code, alive) == (0, 0, 1)
        for _ in range(3):
            assert link.to_end(link.start("/bin/true"), within=2)[1] == (1, 0, 0, END)
        link.say("X", tracer, struct.pack("!d", 0.0))
        assert link.to_end(tracer)[1][2] == 0


HIDE = """
import os, signal, time
def word(pid, at):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[at]
warden = os.getppid()
guard = word(warden, 1)
wardens = map(int, open(f"/proc/{guard}/task/{guard}/children").read().split())
taken = next(pid for pid in wardens if pid != warden)
os.kill(taken, signal.SIGKILL)
while word(taken, 0) != "Z":
    time.sleep(0.01)
os.write(1, b"%d\\n" % taken)
while os.path.exists(f"/proc/{taken}"):
    time.sleep(0.01)
open("/proc/sys/kernel/ns_last_pid", "w").write(str(taken - 1))
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
os.write(1, b"hidden\\n")
os.kill(warden, signal.SIGKILL)
time.sleep(60)
"""
"""Kills a warden that has nothing to do, has a child under its number, and then kills its own warden.

Only root can choose a number; anybody else gets there by forking as often as there are numbers.
"""


def test_no_process_hides_under_the_number_of_a_warden() -> None:
    """A number that was a warden's and came again spares nobody when its run is ended."""
    if os.getuid() != 0:
        pytest.skip("only root can choose the number of a process")
    apart = ("/usr/bin/unshare", "--pid", "--fork", "--mount-proc")
    link = Link((*apart, *lines.resident("tt", PROBES)))
    try:
        assert link.greeting("tt") == b"P"
        runs = [link.start("/bin/cat", stdin=True) for _ in range(2)]
        for run in runs:
            link.say("E", run)
        ended = 0
        while ended < len(runs):
            ended += link.hear()[0] == "z"
        run = link.start(sys.executable, "-c", HIDE)
        taken = int(link.until("o"))
        assert link.until("o") == b"hidden\n"
        assert link.to_end(run)[1][2:] == (0, NOBODY)
        assert link.to_end(link.start("/bin/kill", "-0", str(taken)))[1][1] == 1
    finally:
        link.process.communicate(timeout=15)


def test_many_small_pieces_use_the_credit_up() -> None:
    """What waits for a slow taker is bounded in memory, not only in bytes of output."""
    credit = 20_000
    with guard() as link:
        text = "while :; do echo; echo >&2; done"
        run = link.start("/bin/sh", "-c", text, credit=credit)
        assert link.hear()[0] == "s"
        time.sleep(1)  # long enough to write more than that
        link.say("P", 0)
        cost = 0
        while (heard := link.hear())[0] != "p":
            cost += len(heard[2]) + 200
        assert credit // 2 < cost <= credit + 200
        link.say("X", run, struct.pack("!d", 0.0))


def test_the_end_of_a_stdin_is_no_other_runs() -> None:
    """A descriptor that comes again within one look at all of them does not get what the look had found for the old one."""
    with guard() as link:
        old = [link.start("/bin/sh", "-c", "echo $$; exec sleep 300", stdin=True) for _ in range(2)]
        leaders = [int(link.until("o")) for _ in old]
        for run in old:
            link.say("I", run, b"x" * 200_000)
        time.sleep(0.3)
        os.kill(link.pid, signal.SIGSTOP)
        for pid in leaders:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        for run in old:
            link.say("I", run, b"x")
        run = link.start("/bin/cat", stdin=True)
        os.kill(link.pid, signal.SIGCONT)
        time.sleep(0.3)
        link.say("I", run, b"all of it")
        link.say("E", run)
        assert link.to_end(run) == (b"all of it", (1, 0, 0, END))
