"""The parts of the local benchmark with real servers, sockets and processes: what is counted was answered, nothing survives."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from benchmarks.local import family, servers
from benchmarks.local.contenders import Cat, Naive
from benchmarks.local.http import Call, WrongAnswer, ask, load, once, request
from benchmarks.local.load import floor
from benchmarks.local.servers import Missing, Place, Server, check_installed, free_port, running

ROOT = Path(__file__).parents[2]
ECHO = {"true": ["/bin/true"], "echo": ["/bin/echo", "hello"]}

_ANSWERER = """
import socket, sys, threading
manner = sys.argv[2]
def answer(connection):
    count = 0
    while data := connection.recv(65536):
        count += 1
        body = b"first" if b"/first" in data else b"second" if b"/second" in data else b"other"
        connection.sendall(b"HTTP/1.1 200 OK\\r\\n" + (b"Connection: close\\r\\n" if manner == "closes" else b"")
            + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
        if manner == "closes" or (manner == "forgets" and count == 3):
            return
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def serve(connection):
    with connection:
        answer(connection)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

Manner = Literal["keeps", "closes", "forgets"]


@contextmanager
def answerer(manner: Manner) -> Iterator[int]:
    """A server that keeps connections, or says that it closes each, or closes after three answers without a word."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", _ANSWERER, str(port), manner]) as process:
        try:
            give_up = time.monotonic() + 10
            while True:
                try:
                    ask(port, request("GET", "/"))
                except OSError:
                    assert time.monotonic() < give_up
                    time.sleep(0.01)
                else:
                    break
            yield port
        finally:
            process.kill()


@pytest.mark.parametrize("manner", ["keeps", "closes", "forgets"])
def test_every_call_is_answered_however_the_server_keeps_connections(manner: Manner) -> None:
    """Calls on connections that are closed, said or unsaid, are made again on new ones, and counted once."""
    with answerer(manner) as port:
        found = load(port, Call(request=request("GET", "/first"), holds=b"first"), clients=4, seconds=0.3)
    assert found.calls >= 20
    assert found.rate == pytest.approx(found.calls / found.seconds)
    assert 0 < found.p50 <= found.p99 < found.seconds
    assert 0 < found.client < 0.01
    expected = {"keeps": 0, "closes": found.calls - 4, "forgets": (found.calls - 4) // 3}[manner]
    assert found.reconnects == pytest.approx(expected, abs=8)


def test_a_call_of_two_requests_counts_once() -> None:
    """The second request is made of the first answer, and the answer to it is what must be right."""
    made: list[bytes] = []

    def then(answer: bytes) -> bytes:
        made.append(answer)
        return request("GET", "/second")

    with answerer("forgets") as port:
        call = Call(request=request("GET", "/first"), holds=b"second", then=then)
        once(port, call)
        found = load(port, call, clients=2, seconds=0.2)
    assert len(made) == found.calls + 1
    assert all(b"first" in answer for answer in made)


def test_a_wrong_answer_ends_the_run() -> None:
    """A figure over failures would mean nothing."""
    call = Call(request=request("GET", "/first"), holds=b"something else")
    with answerer("keeps") as port:
        with pytest.raises(WrongAnswer, match="something else"):
            load(port, call, clients=2, seconds=5)
        with pytest.raises(WrongAnswer, match="something else"):
            once(port, call)


def test_the_floor_runs_the_program() -> None:
    """So many at once, each timed from its start to its end; a program that fails is an error."""
    found, cpu = floor(["/bin/sleep", "0.05"], in_flight=4, seconds=0.2)
    assert 0 < cpu < 1
    assert 0.05 < found.p50 <= found.p99
    assert 4 <= found.calls <= 24, "as many at once, at least one time, and each takes a fourth of the time"
    with pytest.raises(RuntimeError, match="wait status"):
        floor(["/bin/false"], in_flight=1, seconds=0.1)


@pytest.mark.parametrize("kind", [Cat, Naive])
def test_a_server_streams_what_the_program_prints(kind: type[Server]) -> None:
    """The floor and the naive server bring back the very bytes; when the block ends, nothing of them is left."""
    server = kind(ECHO)
    streamed = server.streamed("echo")
    assert streamed is not None
    body = b"{}" if streamed.method == "POST" else None
    with running(server) as up:
        answer = ask(up.port, request(streamed.method, streamed.target, body=body))
        assert b"hello\n" in answer.body
        processes = family.family(up.roots)
        folder = up.place.folder
    assert processes
    assert not any(family.is_alive(pid) for pid in processes)
    assert not folder.exists()


class Forgetful(Server):
    """Starts a process that ignores TERM and outlives its parent."""

    name = "forgetful"

    def prepare(self, place: Place) -> list[list[str]]:
        child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
        start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], stdout=2, stderr=2)\n"
        return [[sys.executable, "-c", start + _ANSWERER, str(place.port), "keeps"]]

    def call(self, program: str) -> Call:
        return Call(request=request("GET", f"/{program}"), holds=b"other")


def test_what_outlives_its_server_is_killed_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmark leaves no process behind, whatever a server leaves."""
    monkeypatch.setattr(servers, "_LINGER", 0.2)
    with running(Forgetful(ECHO)) as up:
        left = family.family(up.roots) - set(up.roots)
        give_up = time.monotonic() + 5
        while b"up" not in (up.place.folder / "log").read_bytes():
            assert time.monotonic() < give_up
            time.sleep(0.01)
    assert len(left) == 1
    assert not any(family.is_alive(pid) for pid in left)
    assert f"it left {sorted(left)}" in capsys.readouterr().err


class Broken(Forgetful):
    """Cannot start."""

    name = "broken"

    def prepare(self, place: Place) -> list[list[str]]:
        return [[sys.executable, "-c", f"import sys; sys.exit('no port {place.port} for me')"]]


def test_a_server_that_does_not_start_says_why() -> None:
    """The error has what the server printed."""
    with pytest.raises(RuntimeError, match=r"(?s)broken did not start .*no port \d+ for me"), running(Broken(ECHO)):
        pass


class Absent(Forgetful):
    """Not installed."""

    programs = ("sh", "no-such-program")
    modules = ("json", "no_such_module")


def test_what_is_not_installed_is_named_with_the_way_to_install_it() -> None:
    """A run without a peer would look like one that was won."""
    with pytest.raises(Missing) as caught:
        check_installed([Absent(ECHO)])
    lines = str(caught.value).splitlines()
    assert "apt-get install no-such-program" in lines[0]
    assert "scripts/ensure-peers.sh" in lines[0]
    assert "no_such_module" in lines[1]
    assert "json" not in lines[1]


def test_memory_is_that_of_the_whole_family() -> None:
    """A grandchild's memory counts, and the peak is seen though it passes."""
    eat = "import time; time.sleep(0.3); held = bytearray(64 << 20); time.sleep(0.3); del held; time.sleep(60)"
    start = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {eat!r}])"]
    with subprocess.Popen(start) as parent:
        peak = family.Peak()
        with peak.watching([parent.pid], strangers=()):
            time.sleep(1.2)
        processes = family.family([parent.pid])
        later = family.resident(processes)
        family.end(processes - {parent.pid}, seconds=0)
        parent.wait()
    assert len(processes) == 2
    assert peak.most - later > 60 << 20


def test_processor_time_counts_children_that_have_ended() -> None:
    """A server that starts a program for each call is charged for the programs."""
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        used = family.cpu([parent.pid])
        parent.communicate(b"\n")
    assert 0.3 <= used < 3
    assert family.cpu([parent.pid]) == 0


_DAEMON = """
import os, sys, time
from benchmarks.local import family
if sys.argv[1] == "adopts":
    family.adopt_orphans()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.setsid()
        os.write(writer, b"%d" % os.getpid())
        time.sleep(60)
    os._exit(0)
os.waitpid(child, 0)
daemon = int(os.read(reader, 32))
print(daemon in family.family([]), family.end([daemon], seconds=0) == [daemon])
family.reap_orphans(())
print(os.path.exists(f"/proc/{daemon}"))
"""


@pytest.mark.parametrize(("manner", "found"), [("adopts", "True True\nFalse\n"), ("leaves", "False True\n")])
def test_a_daemon_of_a_server_is_found(manner: str, found: str) -> None:
    """What forks twice and leaves its session comes to the benchmark, which counts it, ends it and reaps it."""
    done = subprocess.run(
        [sys.executable, "-c", _DAEMON, manner], cwd=ROOT, capture_output=True, text=True, check=True, timeout=15
    )
    assert done.stdout.startswith(found)


def test_the_command_says_what_there_is() -> None:
    """A name that does not exist, and no rounds, are refused with what is right."""
    for arguments, said in ((["lokal"], "there are: policy"), (["--rounds", "0"], "1 or more")):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr


def test_ticks_are_lines_with_the_time_of_their_write() -> None:
    """The clock is that of this machine, so a reader can compare."""
    before = time.monotonic_ns()
    ticker = str(ROOT / "benchmarks/local/ticker.py")
    done = subprocess.run([sys.executable, ticker, "3", "5"], capture_output=True, text=True, check=True)
    times = [int(line.strip("@")) for line in done.stdout.splitlines()]
    assert before < times[0] < times[1] < times[2] < time.monotonic_ns()
    assert times[2] - times[0] >= 10_000_000
