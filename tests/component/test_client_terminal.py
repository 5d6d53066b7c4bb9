"""`cmdhttp` on a terminal: nothing that a command prints, or that a service says, can steer it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.calling import CalledService, terminal
from tests.support.service import wait_until

pytestmark = pytest.mark.timeout(240)  # each call is a process, and a start of the program takes long on a busy machine


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalledService]:
    with CalledService.running(tmp_path_factory.mktemp("client") / "service", heartbeat="0.3") as running:
        yield running


def seen_by(service: CalledService, *arguments: str) -> tuple[int, bytes]:
    with terminal(service, *arguments) as shown:
        code = shown.end()
    return code, bytes(shown.seen)


SAFE = rb"a\x1b]52;c;aGk=\x07b\x9b1mc\u202ed\rhidden" + "\r\né\tend\\xff\r\n".encode()


@pytest.mark.parametrize("host", ["local", "far"])
def test_hostile_output_is_shown(service: CalledService, host: str) -> None:
    """OSC 52, C1 codes, text that turns round and a line that overwrites itself are seen as what they are."""
    assert seen_by(service, "run", "hostile", "--on", host) == (0, SAFE)


def test_hostile_output_of_several_hosts_is_shown(service: CalledService) -> None:
    """Lines with a prefix are treated alike."""
    code, seen = seen_by(service, "run", "hostile", "--on", "local", "--on", "far")
    assert code == 0
    for host in (b"local", b"far"):
        assert host + rb": a\x1b]52;c;aGk=\x07b\x9b1mc\u202ed\rhidden" + b"\r\n" in seen
    assert b"\x1b]" not in seen
    assert b"\x9b" not in seen.replace("é".encode(), b"")


def test_raw_output_is_sent(service: CalledService) -> None:
    """With --raw a terminal gets what the command printed; only the terminal's own line ends are added."""
    code, seen = seen_by(service, "run", "hostile", "--raw")
    assert code == 0
    assert seen.startswith(b"a\x1b]52;c;aGk=\x07b\xc2\x9b1mc\xe2\x80\xaed\rhidden\r\r\n")


def test_kept_output_is_shown_alike(service: CalledService) -> None:
    """`jobs output` and `jobs follow` escape as `run` does."""
    service.result("hostile")
    (job,) = service.list_jobs(command="hostile", host="local", limit=1)
    assert seen_by(service, "jobs", "output", job["id"]) == (0, SAFE)
    assert seen_by(service, "jobs", "follow", job["id"]) == (0, SAFE)
    assert b"\x1b]52" in seen_by(service, "jobs", "output", job["id"], "--raw")[1]


def test_what_callers_wrote_is_shown_escaped(service: CalledService) -> None:
    """A name in an error message, as a caller wrote it, does not reach the terminal as it is."""
    code, seen = seen_by(service, "run", "\x1b[2Jname")
    assert code == 2
    assert rb"\x1b[2Jname" in seen
    assert b"\x1b[2J" not in seen


def test_characters_come_whole(service: CalledService) -> None:
    """A character that was written in two halves is shown as one, and a long line is not torn."""
    assert seen_by(service, "run", "halves") == (0, "aéb".encode())
    code, seen = seen_by(service, "run", "long_line")
    assert (code, seen) == (0, b"x" * 1048576 + b"\r\n")


def test_ctrl_c_cancels(service: CalledService) -> None:
    """The key on the terminal cancels the job, and the end is told with what is known of the stop."""
    with terminal(service, "run", "sleep") as shown:
        shown.read_until(b"\n")
        shown.press(b"\x03")
        assert shown.end() == 243
    assert b"canceling" in shown.seen
    assert b"stop confirmed" in shown.seen


def test_ctrl_c_leaves_a_job_that_is_only_followed(service: CalledService) -> None:
    """Whoever only looks at a job does not end it."""
    job = service.launch("sleep")
    with terminal(service, "jobs", "follow", job["id"]) as shown:
        shown.read_until(b"\n")
        shown.press(b"\x03")
        assert shown.end() == 130
    assert service.job(job["id"])["state"] == "running"
    service.cancel(job["id"])


def test_the_progress_line(service: CalledService) -> None:
    """Several hosts: how many are done is redrawn in place, and stands never within a line of output."""
    code, seen = seen_by(service, "run", "everywhere", "count=6", "--on", "local", "--on", "far", "--on", "down")
    assert code == 240
    assert b"of 3 hosts done" in seen
    whole = seen.replace(b"\r\n", b"\n").split(b"\x1b[K")
    for piece in whole[1:]:
        assert piece.split(b"\n")[0].rstrip(b"\r").count(b"hosts done") <= 1
    lines = [line for piece in whole for line in piece.strip(b"\r").split(b"\n") if b": tick" in line]
    assert sorted(lines) == sorted(f"{host}: tick {n}".encode() for host in ("local", "far") for n in range(6))
    assert re.search(rb"down +failed +connect_failed", seen)


def test_a_job_that_waits_says_for_what(tmp_path: Path) -> None:
    """While there is no place for a job, the line says how many are before it, and goes once it starts."""
    flags: dict[str, Any] = {"heartbeat": "60", "max-running": "1"}
    with CalledService.running(tmp_path / "service", **flags) as service:
        first = service.launch("sleep")["id"]
        wait_until(lambda: service.job(first)["state"] == "running", "the first runs", seconds=40)
        second = service.launch("sleep")["id"]
        with terminal(service, "run", "exit", "code=3") as shown:
            shown.read_until(b"waiting: position 2, service_busy")
            service.cancel(second)
            shown.read_until(b"waiting: position 1, service_busy")
            service.cancel(first)
            assert shown.end() == 3
        assert bytes(shown.seen).endswith(b"\r\x1b[Kout\r\nerr\r\n")
