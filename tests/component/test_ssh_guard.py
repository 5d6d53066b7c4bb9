"""The guard that is sent to SSH hosts, as a process of this machine: its frames, its ends, and what it leaves."""

import ast
import contextlib
import errno
import os
import resource
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmdhttp.execution.ssh.remote import lines
from cmdhttp.plan.remote import PROBES, posix_line
from tests.support.sshd import is_alive

HEAD = struct.Struct("!IIB")
ORDER = struct.Struct("!ddIBHH")
OVER = struct.Struct("!BiIB")
END, STOP, DEADLINE, GUARD, NOBODY = range(5)
CREDIT = 1 << 20


class Link:
    """The service's end of a guard, on the pipes of a process."""

    def __init__(self, argv: tuple[str, ...], **more: Any) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", posix_line(argv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        self._last = 0

    def read(self, size: int, *, within: float = 10) -> bytes:
        assert self.process.stdout is not None
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            until = time.monotonic() + within
            while len(data) < size:
                assert selector.select(max(0, until - time.monotonic())), f"nothing came in time, only {data[:200]!r}"
                piece = os.read(self.process.stdout.fileno(), size - len(data))
                if not piece:
                    raise EOFError(data)
                data += piece
        return data

    def line(self) -> bytes:
        said = b""
        while not said.endswith(b"\n"):
            said += self.read(1)
        return said[:-1]

    def greeting(self, token: str) -> bytes:
        said = self.line()
        assert said.startswith(token.encode())
        return said[len(token) :]

    def say(self, kind: str, run: int, body: bytes = b"") -> None:
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), HEAD.pack(len(body), run, ord(kind)) + body)

    def folder(self) -> Path:
        """Have the folder of the next run made, and return where it is."""
        self._last += 1
        self.say("M", self._last)
        kind, run, body = self.hear()
        assert (kind, run) == ("m", self._last)
        return Path(body.decode())

    def start(self, *argv: str, in_folder: bool = False, **wish: float) -> int:
        if not in_folder:
            self._last += 1
        flags = (2 if wish.get("stdin") else 0) | (1 if in_folder else 0)
        numbers = (wish.get("seconds", 20.0), wish.get("drain", 0.3), int(wish.get("credit", CREDIT)))
        words = b"".join(word.encode() + b"\0" for word in argv)
        self.say("S", self._last, ORDER.pack(*numbers, flags, len(argv), 0) + words)
        return self._last

    def hear(self, *, within: float = 10) -> tuple[str, int, bytes]:
        length, run, kind = HEAD.unpack(self.read(HEAD.size, within=within))
        return chr(kind), run, self.read(length, within=within)

    def to_end(self, run: int, *, within: float = 12) -> tuple[bytes, tuple[int, int, int, int]]:
        """Return the stdout and the end of a run."""
        out = b""
        while True:
            kind, number, body = self.hear(within=within)
            if number != run:
                continue
            if kind == "o":
                out += body
            elif kind == "z":
                return out, OVER.unpack(body)
            else:
                assert kind in "sce", (kind, body)

    def until(self, wanted: str) -> bytes:
        while True:
            kind, _, body = self.hear()
            if kind == wanted:
                return body

    @property
    def pid(self) -> int:
        return self.process.pid

    def wardens(self) -> list[int]:
        return list(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))


@contextlib.contextmanager
def guard(argv: tuple[str, ...] | None = None, *, adopts: bool = True, **more: Any) -> Iterator[Link]:
    token = "t0ken"
    link = Link(argv or lines.resident(token, PROBES), **more)
    try:
        assert link.greeting(token) == b"P"
        kind, _, body = link.hear()
        assert (kind, body[0]) == ("H", adopts)
        yield link
    finally:
        for pipe in (link.process.stdin, link.process.stdout, link.process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            link.process.wait(15)
        except subprocess.TimeoutExpired:
            link.process.kill()
            link.process.wait()
            raise


def gone(pid: int, *, within: float = 3) -> bool:
    until = time.monotonic() + within
    while is_alive(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.01)
    return True


def test_text_is_for_old_pythons() -> None:
    """What is sent has the grammar of Python 3.6, imports nothing that takes long, and stays well below a line."""
    text = lines.guard_text()
    tree = ast.parse(text, feature_version=(3, 6))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= {
        *sys.builtin_module_names,
        *("binascii", "stat"),  # what unpacks the text, and os, have them already
        "_ctypes",
        "_socket",
        "fcntl",
        "os",
        "select",
        "_struct",
        "struct",
    }
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign | ast.NamedExpr)]
    assert len(posix_line(lines.resident("t", PROBES))) < 20_000


def test_probe_comes_back() -> None:
    """The first thing that a guard says are the words that it was given, byte for byte."""
    link = Link(lines.resident("abc", PROBES))
    assert link.greeting("abc") == b"P"
    kind, _, body = link.hear()
    assert (kind, body[5:]) == ("H", b"".join(word.encode() + b"\0" for word in PROBES))
    link.process.communicate()
    assert link.process.returncode == 0


def test_output_exit_and_streams() -> None:
    """Both streams, told apart, then the end; the start is told first."""
    with guard() as link:
        run = link.start("/bin/sh", "-c", "echo out; echo err >&2; exit 7")
        heard = [link.hear() for _ in range(4)]
        assert heard[0][0] == "s"
        assert sorted(heard[1:3]) == [("e", run, b"err\n"), ("o", run, b"out\n")]
        assert heard[3] == ("z", run, OVER.pack(1, 7, 0, END))


def test_runs_do_not_mix() -> None:
    """Forty runs at once, each with its own output and end."""
    with guard() as link:
        runs = {link.start("/bin/sh", "-c", f"echo {n}; exit {n}"): n for n in range(40)}
        out: dict[int, bytes] = dict.fromkeys(runs, b"")
        ends: dict[int, int] = {}
        while len(ends) < 40:
            kind, run, body = link.hear()
            if kind == "o":
                out[run] += body
            elif kind == "z":
                ends[run] = OVER.unpack(body)[1]
        assert {run: (out[run], ends[run]) for run in runs} == {run: (b"%d\n" % n, n) for run, n in runs.items()}
        until = time.monotonic() + 5
        while len(link.wardens()) > 8:
            assert time.monotonic() < until
            link.say("P", 0)
            link.hear()


def test_missing_program() -> None:
    """A program that is not there is no run, and the next order is done."""
    with guard() as link:
        run = link.start("/usr/bin/nothing-of-this-name")
        assert link.hear() == ("f", run, struct.pack("!I", 2) + b"program")
        assert link.to_end(link.start("/bin/true"))[1] == (1, 0, 0, END)


def test_credit_holds_a_run_up_and_no_other() -> None:
    """A run tells as many bytes as it has credit for; others go on; with more credit it goes on, too."""
    with guard() as link:
        slow = link.start("/usr/bin/head", "-c", "300000", "/dev/zero", credit=1000)
        assert link.to_end(link.start("/bin/echo", "quick"))[0] == b"quick\n"
        link.say("C", slow, struct.pack("!I", 1 << 20))
        told = 0
        while True:
            kind, run, body = link.hear()
            if kind == "o":
                assert run == slow
                told += len(body)
            elif kind == "z":
                break
        assert told >= 299_000


def test_stdin_arrives_and_ends() -> None:
    """Stdin comes in pieces with a receipt for each, and its end is seen."""
    with guard() as link:
        run = link.start("/usr/bin/wc", "-c", stdin=1)
        receipts = 0
        for _ in range(4):
            link.say("I", run, b"x" * 50_000)
        link.say("E", run)
        while True:
            kind, _, body = link.hear()
            if kind == "c":
                receipts += struct.unpack("!I", body)[0]
            elif kind == "o":
                assert body.strip() == b"200000"
            elif kind == "z":
                break
        assert receipts == 200_000


def test_stdin_that_nobody_reads() -> None:
    """A command that closes its stdin ends as it likes."""
    with guard() as link:
        run = link.start("/bin/sh", "-c", "exec <&-; sleep 0.2; exit 3", stdin=1)
        for _ in range(5):
            link.say("I", run, b"x" * 100_000)
        assert link.to_end(run)[1] == (1, 3, 0, END)


ESCAPES = {
    "session": "setsid sh -c 'echo $$; exec sleep 300' & wait",
    "double fork": "setsid sh -c 'sh -c \"echo \\$\\$; exec sleep 300\" &' & sleep 300",
    "deaf": "trap '' TERM; echo $$; sleep 300; sleep 300",
    "quiet": "setsid sh -c 'echo $$; exec >&- 2>&- <&-; sleep 300' & sleep 300",
}


@pytest.mark.parametrize("kind", sorted(ESCAPES))
@pytest.mark.parametrize("ending", ["stop", "deadline", "connection", "guard killed", "warden killed"])
def test_nothing_escapes(kind: str, ending: str) -> None:
    """Whatever a command does to get away, it is dead when the guard says so, and when the guard is gone."""
    with guard() as link:
        run = link.start("/bin/sh", "-c", ESCAPES[kind], seconds=0.8 if ending == "deadline" else 60)
        escapee = int(link.until("o"))
        assert is_alive(escapee)
        if ending in {"connection", "guard killed"}:
            assert link.process.stdin is not None
            link.process.kill() if ending == "guard killed" else link.process.stdin.close()
            assert gone(escapee)
            return
        if ending == "stop":
            link.say("X", run, struct.pack("!d", 0.2))
        elif ending == "warden killed":
            for warden in link.wardens():
                os.kill(warden, signal.SIGKILL)
        known, _, alive, by = link.to_end(run)[1]
        assert not is_alive(escapee)
        assert alive == 0
        expected = {"stop": (1, STOP), "deadline": (1, DEADLINE), "warden killed": (0, NOBODY)}
        assert (known, by) == expected[ending]
        assert link.to_end(link.start("/bin/echo", "again"))[0] == b"again\n"


def test_gentle_stop() -> None:
    """TERM comes first, and a command that obeys keeps its exit status."""
    with guard() as link:
        run = link.start("/bin/sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.02; done")
        link.until("o")
        link.say("X", run, struct.pack("!d", 5.0))
        assert link.to_end(run)[1] == (1, 9, 0, STOP)


def test_what_is_left_behind_is_ended() -> None:
    """A daemon that a command leaves gets the drain time, and the command's own exit status is kept."""
    with guard() as link:
        run = link.start("/bin/sh", "-c", "setsid sleep 300 & echo $!; exit 4")
        since = time.monotonic()
        out, over = link.to_end(run)
        assert over == (1, 4, 0, END)
        assert 0.2 < time.monotonic() - since < 2
        assert not is_alive(int(out))


def test_silence_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that hears nothing ends its runs, though its connection is open; a ping keeps it."""
    monkeypatch.setattr(lines, "SILENCE", 1)
    with guard() as link:
        link.start("/bin/sh", "-c", "echo $$; exec sleep 300")
        pid = int(link.until("o"))
        for _ in range(4):
            time.sleep(0.4)
            link.say("P", 0)
            assert link.hear()[0] == "p"
        assert is_alive(pid)
        assert gone(pid)
        assert link.process.wait(5) == 0


def test_odd_frames_end_it() -> None:
    """A frame that is too long ends the guard; a frame for a run that is over is dropped."""
    with guard() as link:
        for kind in "ICXEF":
            link.say(kind, 77, b"")
        assert link.to_end(link.start("/bin/true"))[1] == (1, 0, 0, END)
        assert link.process.stdin is not None
        os.write(link.process.stdin.fileno(), HEAD.pack(1 << 30, 1, ord("I")))
        assert link.process.wait(5) == 0


@pytest.mark.parametrize("ending", ["by order", "with the guard", "within a run"])
def test_folder_goes(tmp_path: Path, ending: str) -> None:
    """A run's folder is private, has its working folder, and is removed with all that is in it, but not what links lead to."""
    (kept := tmp_path / "kept").mkdir()
    (kept / "file").write_text("kept")
    text = f"pwd; mkdir -p sub/deep closed/in; ln -s {kept} sub/link; ln -s {kept} ../link; : > closed/in/f; chmod 0 closed sub"
    with guard() as link:
        folder = link.folder()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sorted((path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()) == [
            ("in", 0o700),
            ("work", 0o700),
        ]
        run = link.start("/bin/sh", "-c", text, in_folder=True)
        assert link.to_end(run) == (f"{folder}/work\n".encode(), (1, 0, 0, END))
        if ending == "by order":
            link.say("F", run)
            assert removed(folder)
            link.say("F", run)
        if ending == "within a run":
            lasting = link.start("/bin/sleep", "100")
            link.until("s")
            assert lasting != run
    assert removed(folder)
    assert (kept / "file").read_text() == "kept"


def test_no_look_into_the_guard() -> None:
    """A process of the same account cannot read what a guard or a warden has in memory."""
    with guard() as link:
        out, _ = link.to_end(
            link.start("/bin/sh", "-c", "cat /proc/$PPID/environ 2>&1 | head -c 0; stat -c %u /proc/$PPID/environ")
        )
        assert out.strip() == b"0"


def removed(folder: Path) -> bool:
    until = time.monotonic() + 5
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return not folder.exists()


def test_no_folder_is_named_by_the_service(tmp_path: Path) -> None:
    """A start in a folder that was not made fails, and a word behind the arguments names none; so nothing else can be removed."""
    (tmp_path / "file").touch()
    with guard() as link:
        run = link.start("/bin/pwd", in_folder=True)
        assert link.hear() == ("f", run, struct.pack("!I", errno.ENOENT) + b"folder")
        link.say("S", 7, ORDER.pack(5.0, 0.3, CREDIT, 1, 1, 0) + b"/bin/pwd\0" + os.fsencode(tmp_path) + b"\0")
        assert link.hear()[:2] in (("f", 7), ("s", 7))
        link.say("F", 7)
        link.say("F", 9)
        link.start("/bin/true")
        link.until("z")
    assert (tmp_path / "file").exists()


def test_folders_have_a_bound() -> None:
    """A guard makes so many and no more, one for a run, and all of them go."""
    with guard() as link:
        folders = {link.folder() for _ in range(64)}
        assert len(folders) == 64
        for number in (1, 1000):
            link.say("M", number)
            assert link.hear() == ("f", number, struct.pack("!I", errno.EBUSY) + b"folder")
    assert all(map(removed, folders))


def test_single_guard_puts_its_folder_in_place() -> None:
    """The token stands for the folder in the one command, as argument and as variable; no order changes it."""
    argv = (
        "/usr/bin/env",
        "TMPDIR=token99/work",
        "/bin/sh",
        "-c",
        'pwd; echo "$TMPDIR" "$1"',
        "sh",
        "--key=token99/in/x",
    )
    link = Link(lines.single("token99", PROBES, argv, seconds=5, with_files=True))
    assert link.greeting("token99") == b"P"
    assert link.hear()[0] == "H"
    folder = link.folder()
    out, _ = link.to_end(link.start("/bin/echo", "other", in_folder=True))
    assert out.decode() == f"{folder}/work\n{folder}/work --key={folder}/in/x\n"
    link.process.communicate()
    assert removed(folder)


@pytest.mark.parametrize("python", ["", "x"])
def test_single_guard_runs_one_command(python: str) -> None:
    """A guard with a command of its own runs nothing else, whatever it is ordered."""
    link = Link(lines.single("tt", PROBES, ("/bin/echo", "fixed", f"it's{python}"), seconds=5))
    assert link.greeting("tt") == b"P"
    assert link.hear()[0] == "H"
    run = link.start("/bin/echo", "other", seconds=500)
    assert link.to_end(run)[0] == b"fixed it's" + python.encode() + b"\n"
    link.process.communicate()


def test_deadline_of_a_single_guard() -> None:
    """Nor can it be made to run longer than its line says."""
    link = Link(lines.single("tt", PROBES, ("/bin/sleep", "300"), seconds=0.5))
    link.greeting("tt")
    assert link.to_end(link.start("/bin/true", seconds=500))[1] == (1, -9, 0, DEADLINE)
    link.process.communicate()


def test_a_start_that_cannot_be_costs_that_run_alone() -> None:
    """Without a descriptor to be had there is no start, and what runs goes on."""
    with guard() as link:
        running = link.start("/bin/sh", "-c", "sleep 1; echo whole")
        link.until("s")
        inherited = resource.prlimit(link.pid, resource.RLIMIT_NOFILE)
        for limit in range(8, 16):  # at each of the descriptors that a start takes
            resource.prlimit(link.pid, resource.RLIMIT_NOFILE, (limit, inherited[1]))
            refused = link.start("/bin/true", stdin=1)
            kind, run, body = link.hear()
            if kind != "f":
                break  # a warden could be had
            assert (run, body) == (refused, struct.pack("!I", errno.EMFILE) + b"guard")
        assert limit > 10
        resource.prlimit(link.pid, resource.RLIMIT_NOFILE, inherited)
        assert link.to_end(running) == (b"whole\n", (1, 0, 0, END))
        assert link.to_end(link.start("/bin/echo", "next")) == (b"next\n", (1, 0, 0, END))


def test_nothing_is_lost_behind_a_slow_connection() -> None:
    """A run that is over when the connection is full keeps its output until there is room, however long that takes."""
    with guard() as link:
        loud = link.start("/bin/sh", "-c", "head -c 30000000 /dev/zero", credit=1 << 30)
        link.until("s")
        time.sleep(0.5)  # what the connection takes is full
        link.start("/bin/sh", "-c", "head -c 20000 /dev/zero")
        time.sleep(3)
        told: Counter[int] = Counter()
        while set(told) != {loud, loud + 1, -loud, -loud - 1}:
            kind, run, body = link.hear()
            told[run] += len(body) if kind == "o" else 0
            told[-run] += kind == "z"
            told += Counter()
        assert (told[loud], told[loud + 1]) == (30_000_000, 20_000)


def without(module: str) -> tuple[str, ...]:
    """The line of a guard in whose Python a module is missing."""
    *before, text = lines.resident("t0ken", PROBES)[:4]
    return (*before, f"import sys;sys.modules['{module}']=None;{text}", *lines.resident("t0ken", PROBES)[4:])


def test_a_minimal_python_will_do() -> None:
    """Without ctypes, as in Debian's python3-minimal, orphans cannot be adopted, and the guard says so; groups still end."""
    with guard(without("_ctypes"), adopts=False) as link:
        assert link.to_end(link.start("/bin/echo", "fine")) == (b"fine\n", (1, 0, 0, END))
        out, _ = link.to_end(link.start("/bin/sh", "-c", "sleep 300 & echo $!"))
        assert gone(int(out))


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be somebody else")
def test_a_home_that_cannot_be_read_will_do(tmp_path: Path) -> None:
    """A home that its account may enter and not list is no reason not to run."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    with guard(user=65534, cwd=str(tmp_path)) as link:
        out, end = link.to_end(link.start("/bin/sh", "-c", "pwd"))
        assert (out, end) == (f"{tmp_path}\n".encode(), (1, 0, 0, END))


# The guard in sh.


def in_sh(*argv: str, seconds: float = 20) -> Link:
    link = Link(lines.without_python("tt", argv, seconds=seconds))
    assert link.greeting("tt").startswith(b"R")
    return link


def test_sh_guard_streams_and_exit() -> None:
    """Stdin, stdout, stderr and the exit status are the command's own."""
    link = in_sh("/bin/sh", "-c", "cat; echo err >&2; exit 7")
    out, err = link.process.communicate(b"in", timeout=5)
    assert (out, err, link.process.returncode) == (b"in", b"ttR\nerr\n", 7)


@pytest.mark.parametrize("name", ["TERM", "USR1"])
def test_sh_guard_ends_the_session(name: str) -> None:
    """TERM goes to the command's session; USR1 kills it."""
    deaf = "" if name == "TERM" else "trap '' TERM; "
    link = in_sh("/bin/sh", "-c", f"{deaf}sh -c 'echo $$; exec sleep 300' & wait")
    child = int(link.line())
    subprocess.run(lines.signal(name, link.pid), check=True)
    link.process.communicate(timeout=5)
    assert gone(child)


SHELLS = [shell for shell in ("dash", "bash", "ksh", "mksh", "yash", "busybox") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
def test_sh_guard_in_any_shell(shell: str) -> None:
    """Whatever /bin/sh is there, a death by signal is 128 and its number."""
    _, *rest = lines.without_python("tt", ("/bin/sh", "-c", "echo out; kill -s KILL $$"), seconds=20)
    argv = [shell, *(["sh"] if shell == "busybox" else []), *rest]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    assert ended.stdout.partition(b"\n")[2] == b"out\n"
    assert ended.returncode == 128 + signal.SIGKILL


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be somebody else")
def test_sh_guard_under_an_sshd_of_root() -> None:
    """An sshd that the account may not signal is there all the same: the run is not ended for that."""
    argv = lines.without_python("tt", ("/bin/sh", "-c", "sleep 3; echo whole"), seconds=20)
    ended = subprocess.run(argv, user=65534, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    assert ended.stdout.partition(b"\n")[2] == b"whole\n"


def test_sh_guard_deadline() -> None:
    """The command is ended at the deadline, though nobody says anything."""
    since = time.monotonic()
    link = in_sh("/bin/sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done", seconds=0)
    pid = int(link.line())
    link.process.communicate(timeout=10)
    assert gone(pid)
    assert time.monotonic() - since < 6


def test_sh_guard_without_its_sshd() -> None:
    """When the process that started the guard is gone, the command goes, too."""
    line = posix_line(lines.without_python("tt", ("/bin/sh", "-c", "echo pid $$; exec sleep 300"), seconds=60))
    parent = subprocess.Popen(["/bin/sh", "-c", '/bin/sh -c "$1"; :', "sh", line], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    said = b""
    while b"pid " not in said or not said.endswith(b"\n"):
        said += os.read(parent.stdout.fileno(), 100)
    pid = int(said.rsplit(b"pid ", 1)[1])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid, within=6)
