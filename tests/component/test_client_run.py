"""`cmdhttp run` against the real service: output, values, exit codes, errors, and what goes wrong with pipes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.calling import PROGRAM, ROOT, CalledService, call, calling, ids, variables
from tests.support.service import proc_command_lines, wait_until

pytestmark = pytest.mark.timeout(240)  # each call is a process, and a start of the program takes long on a busy machine


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalledService]:
    with CalledService.running(tmp_path_factory.mktemp("client") / "service", heartbeat="0.3") as running:
        yield running


@pytest.mark.parametrize("host", ["local", "far"])
@pytest.mark.parametrize("code", [0, 1, 2, 77, 240, 255])
def test_the_exit_code_is_the_programs(service: CalledService, host: str, code: int) -> None:
    """Both streams come through as they are, and nothing is added; the exit code is that of the program."""
    done = call(service, "run", "exit", f"code={code}", "--on", host)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"out\n", b"err\n")


@pytest.mark.parametrize("host", ["local", "far"])
def test_bytes_come_through(service: CalledService, host: str) -> None:
    """Not on a terminal, output is byte for byte what the program wrote: any bytes, a line of 1 MiB, text cut anywhere."""
    assert call(service, "run", "binary", "--on", host).stdout == b"\xff\xfe\x00\x01"
    assert call(service, "run", "halves", "--on", host).stdout == "aéb".encode()
    assert call(service, "run", "long_line", "--on", host).stdout == b"x" * 1048576 + b"\n"
    assert b"\x1b]52;c;aGk=\x07" in call(service, "run", "hostile", "--on", host).stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["kill_self"], 128 + signal.SIGKILL),
        (["missing"], 247),
        (["sleep", "--timeout", "0.3"], 244),
        (["exit", "code=5", "--on", "local", "--on", "far"], 240),
        (["exit", "code=0", "--on", "local", "--on", "far"], 0),
        (["private"], 241),
        (["no.such.command"], 241),
        (["exit", "code=999"], 241),
        (["exit", "code=0", "--on", "nowhere"], 241),
        (["../v1/jobs"], 2),
        (["exit", "code"], 2),
        (["exit", "code=0", "--url", "http://127.0.0.1:1", "--retry-for", "0"], 246),
    ],
)
def test_other_exit_codes(service: CalledService, arguments: list[str], code: int) -> None:
    """Each other end has its own code, and says on stderr what it was."""
    done = call(service, "run", *arguments)
    assert done.returncode == code
    assert done.stderr or code == 0


def test_a_service_that_is_not_there(service: CalledService) -> None:
    """The message names it: the URL may be none that anybody has typed."""
    done = call(service, "run", "exit", "code=0", "--url", "http://127.0.0.1:1", "--retry-for", "0")
    assert b"the service at http://127.0.0.1:1 cannot be reached" in done.stderr


def test_a_token_that_does_not_hold(service: CalledService) -> None:
    """It has a code of its own, and is not tried again."""
    began = time.monotonic()
    done = call(service, "run", "exit", "code=0", principal="old")
    assert (done.returncode, done.stdout) == (242, b"")
    assert b"no valid credential" in done.stderr
    assert time.monotonic() - began < 60


def test_values_arrive(service: CalledService, tmp_path: Path) -> None:
    """Texts, lists, JSON, files and stdin arrive as they are written, with all that a shell would stumble over."""
    assert (
        call(service, "run", "args", "one=a  $(b) 'c' é\\", "two= *").stdout == "[a  $(b) 'c' é\\]\n[two= *]\n".encode()
    )
    assert call(service, "run", "many", "items=a", "items=", "items=c d").stdout == b"[a]\n[]\n[c d]\n"
    assert call(service, "run", "many", 'items:=["é"]').stdout == "[é]\n".encode()
    assert call(service, "run", "cat", "--stdin", "-", stdin=b"\x00\xff").stdout == b"\x00\xff"
    (tmp_path / "in").write_bytes(b"from a file")
    assert call(service, "run", "cat", "--stdin", str(tmp_path / "in")).stdout == b"from a file"
    (tmp_path / "note.txt").write_bytes(b"a note\n")
    done = call(service, "run", "unlock", "pw=@-", f"note@{tmp_path}/note.txt", stdin=b"hunter2hunter2\n")
    digest = subprocess.run(["sha256sum"], input=b"hunter2hunter2", capture_output=True, check=True).stdout
    assert done.stdout == digest


def test_values_may_stand_behind_flags(service: CalledService) -> None:
    """Where a value stands on the command line makes no difference."""
    done = call(service, "run", "args", "--on", "local", "one=x", "--label", "l", "two=y@z")
    assert done.stdout == b"[x]\n[two=y@z]\n"


def test_a_list_of_one_gets_a_hint(service: CalledService) -> None:
    """A single text for a list is refused by the service, and the message says how to write a list of one."""
    done = call(service, "run", "many", "items=a")
    assert done.returncode == 241
    assert b"items:='[\"a\"]'" in done.stderr


def test_what_goes_along(service: CalledService) -> None:
    """Labels and the reason stand in the job; the finished job is all that --json prints."""
    done = call(service, "run", "exit", "code=3", "--label", "a", "--label", "b", "--reason", "why", "--json")
    job = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (3, b"")
    assert (job["labels"], job["reason"], job["stdout"], job["exit_code"]) == (["a", "b"], "why", "out\n", 3)


def test_events_as_json(service: CalledService) -> None:
    """With --json --follow each line is one event, numbered without a gap, from the first to the last."""
    done = call(service, "run", "tick", "count=3", "--json", "--follow")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"], done.returncode) == ("accepted", "finished", 0)


def test_problems_as_json(service: CalledService) -> None:
    """With --json, stderr is the problem document itself, and stdout is empty."""
    done = call(service, "run", "typed", "number=99", "color=x", "--json")
    problem = json.loads(done.stderr)
    assert (done.returncode, done.stdout, problem["code"]) == (241, b"", "invalid")
    assert {fault["pointer"] for fault in problem["errors"]} == {"/params/number", "/params/color", "/params/unit"}


def test_the_same_key_runs_once(service: CalledService) -> None:
    """With one key, two command lines are one job; without one, each call has its own."""
    first, second = (call(service, "run", "stamp", "--idempotency-key", "once") for _ in range(2))
    assert first.stdout == second.stdout
    assert call(service, "run", "stamp").stdout != first.stdout
    other = call(service, "run", "exit", "code=0", "--idempotency-key", "once")
    assert (other.returncode, b"idempotency key" in other.stderr) == (241, True)


def test_detach_and_wait(service: CalledService) -> None:
    """--detach prints the id at once; --wait gives up after a while, says where the job is, and leaves it alone."""
    done = call(service, "run", "sleep", "--detach")
    assert done.returncode == 0
    (detached,) = ids(done.stdout.decode().splitlines())
    left = call(service, "run", "sleep", "--wait", "3")
    assert left.returncode == 248
    told = next(word for word in left.stderr.decode().split() if word.startswith("job_"))
    as_json = json.loads(call(service, "run", "sleep", "--wait", "3", "--json").stdout)
    for identity in (detached, told, as_json["id"]):
        assert service.job(identity)["state"] == "running"
        service.cancel(identity)


def test_the_token_is_in_no_command_line(service: CalledService) -> None:
    """While a call runs, no process shows the token in its arguments."""
    with calling(service, "run", "sleep") as process:
        assert process.stdout
        process.stdout.readline()
        assert not any(service.tokens["ann"].encode() in line for line in proc_command_lines())
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 243


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_cancels(service: CalledService, number: signal.Signals) -> None:
    """The job is canceled, its end is waited for, and what is said of the stop is what the job says."""
    with calling(service, "run", "sleep") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(40) == 243
        assert b"stop confirmed" in process.stderr.read()


def test_the_second_signal_leaves(service: CalledService) -> None:
    """A job that takes its time to stop is left at once, with its id."""
    with calling(service, "run", "stubborn") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert b"canceling" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
        told = process.stderr.read().decode()
    identity = next(word for word in told.split() if word.startswith("job_"))
    wait_until(lambda: service.job(identity)["state"] == "canceled", "the cancel was sent", seconds=40)


def test_an_interrupt_may_leave_the_job(service: CalledService) -> None:
    """With --no-cancel-on-interrupt the first Ctrl-C leaves, and the job goes on."""
    with calling(service, "run", "sleep", "--no-cancel-on-interrupt") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
        told = process.stderr.read().decode()
    identity = next(word for word in told.split() if word.startswith("job_"))
    assert service.job(identity)["state"] == "running"
    service.cancel(identity)


def test_who_reads_may_go(service: CalledService) -> None:
    """As with `| head`: the client ends without a word of Python, says where the job is, and leaves it alone."""
    with calling(service, "run", "tick", "count=700", "pause=0.05") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"tick 0\n"
        process.stdout.close()
        assert process.wait(40) == 141
        told = process.stderr.read().decode()
    assert "Traceback" not in told
    assert "Exception" not in told
    identity = next(word for word in told.split() if word.startswith("job_"))
    assert service.job(identity)["state"] == "running"
    service.cancel(identity)


def test_a_slow_reader_gets_all(service: CalledService) -> None:
    """Whoever reads slowly gets every byte, and holds up nobody: the job ends long before."""
    with calling(service, "run", "count", "to=300000") as process:
        assert process.stdout
        wait_until(lambda: service.list_jobs(command="count", state="succeeded"), "the job has ended", seconds=40)
        data = b""
        while piece := os.read(process.stdout.fileno(), 200_000):
            data += piece
            time.sleep(0.01)
        assert process.wait(40) == 0
    assert data == b"".join(b"%d\n" % number for number in range(1, 300001))


def test_a_full_disk_for_the_output(service: CalledService) -> None:
    """Output that cannot be written is an error, not a success."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "run", "exit", "code=0"],
            env=variables(service),
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, b"cannot be written" in done.stderr) == (2, True)


def test_closed_streams_do_no_harm(service: CalledService) -> None:
    """A client that is started without stdout ends with an error, and never writes into a connection."""
    script = f"exec {sys.executable} -m cmdhttp.cli.main run exit code=0 >&-"
    done = subprocess.run(
        ["sh", "-c", script], env=variables(service), cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, b"cannot be written" in done.stderr) == (2, True)
    assert b"Traceback" not in done.stderr


def test_stderr_may_be_closed(service: CalledService) -> None:
    """Without stderr the output and the exit code are the same."""
    script = f"exec {sys.executable} -m cmdhttp.cli.main run exit code=4 2>&-"
    done = subprocess.run(
        ["sh", "-c", script], env=variables(service), cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (4, b"out\n")
