"""Commands and readers that behave badly, through the real program: the outcome is true and nothing leaks."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.escaping import EscapeService, open_files, zombies
from tests.support.service import COMMANDS, Document, wait_until
from tests.support.sshd import is_alive

pytestmark = pytest.mark.timeout(240)
_MEGABYTE = 1 << 20
_LINES = 6_000_000


class BadService(EscapeService):
    """A service whose commands print too much, too little, or nothing that is text."""

    commands: ClassVar[Mapping[str, Document]] = {
        **COMMANDS,
        "all_bytes": {"script": "printf '\\303\\050\\377\\000\\355\\240\\200'; exit 3", "on": "local"},
        "closer": {"script": "echo last; exec >&- 2>&-; sleep 0.5; exit 5", "on": "local"},
        "bytewise": {"run": ["/bin/dd", "if=/dev/zero", "bs=1", "count=100000", "status=none"], "on": "local"},
        "long": {"run": ["/usr/bin/seq", "1", str(_LINES)], "output": {"max": "64MiB"}, "on": "local"},
        "endless": {"script": "echo $$; exec yes", "output": {"max": "1GiB"}, "timeout": "60s", "on": "local"},
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BadService]:
    with BadService.running(tmp_path_factory.mktemp("bad") / "service") as service:
        service.result("all_bytes")
        yield service


@pytest.fixture
def service(running: BadService) -> Iterator[BadService]:
    """No test leaves a descriptor, a zombie or a run's folder in the service."""
    parts = (running.front, running.broker)
    before = [open_files(pid) for pid in parts]
    yield running
    check_clean(running, dict(zip(parts, before, strict=True)))


def check_clean(service: BadService, files: Mapping[int, int]) -> None:
    for pid, count in files.items():
        wait_until(lambda: open_files(pid) <= count, "no descriptor is left")  # noqa: B023
        assert zombies(pid) == []
    wait_until(lambda: service.run_folders() == [], "no run folder is left")


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def test_output_that_is_no_text(service: BadService) -> None:
    """Bytes that are no UTF-8 are kept as they are, and the exit code is the command's."""
    job = service.result("all_bytes")
    assert (job["state"], job["exit_code"], job["stdout_bytes"]) == ("failed", 3, 7)
    assert service.output(job["id"]).content == b"\xc3(\xff\x00\xed\xa0\x80"


def test_a_process_that_closes_its_streams_and_goes_on(service: BadService) -> None:
    """It is waited for, to its own exit code."""
    job = service.result("closer")
    assert (job["state"], job["exit_code"], job["stdout"]) == ("failed", 5, "last\n")
    assert job["duration_ms"] >= 500


def test_a_hundred_thousand_writes_of_one_byte(service: BadService) -> None:
    """All of them arrive, and they are not as many events."""
    job = service.result("bytewise", {"output": {"max_bytes": 0}})
    assert (job["state"], job["stdout_bytes"]) == ("succeeded", 100_000)
    assert service.output(job["id"]).content == bytes(100_000)


@contextmanager
def reader_that_stops(service: BadService, command: str) -> Iterator[socket.socket]:
    """Call for a stream, and read no byte of it."""
    head = (
        f"POST /v1/run/{command} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.tokens['ann']}\r\n"
        "Accept: application/x-ndjson\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    host, port = service.listen.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(20)
        connection.sendall(head.encode())
        yield connection


def test_a_reader_that_stops_reading(service: BadService) -> None:
    """It slows nobody: the command goes on at its own pace, memory stays flat, and the reader misses nothing later."""
    idle = resident(service.front)
    highest = idle
    with reader_that_stops(service, "long") as connection:
        wait_until(lambda: service.list_jobs(command="long", limit=1), "the job is there", seconds=10)
        job_id = service.list_jobs(command="long", limit=1)[0]["id"]
        give_up = time.monotonic() + 40
        while service.job(job_id)["state"] == "running" and time.monotonic() < give_up:
            highest = max(highest, resident(service.front))
            time.sleep(0.05)
        job = service.job(job_id)
        assert (job["state"], job["exit_code"], job["error"]) == ("succeeded", 0, None)
        assert job["stdout_bytes"] > 40 * _MEGABYTE
        assert highest - idle < 40 * _MEGABYTE
        read = b"".join(iter(lambda: connection.recv(1 << 18), b""))
        assert max(highest, resident(service.front)) - idle < 40 * _MEGABYTE
    assert b'"type":"finished"' in read.replace(b": ", b":")
    assert len(read) > job["stdout_bytes"]
    assert f"{_LINES}\\n".encode() in read


@contextmanager
def small_disk(at: Path, *, megabytes: int) -> Iterator[None]:
    """A file system of its own, which takes root."""
    at.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_a_disk_that_fills_up_in_the_middle_of_the_output(tmp_path: Path) -> None:
    """The run is ended at once and says why as soon as there is room; what was kept is kept, and the service goes on."""
    folder = tmp_path / "service"
    with small_disk(folder / "data", megabytes=24), BadService.running(folder) as service:
        service.result("closer")
        files = {pid: open_files(pid) for pid in (service.front, service.broker)}
        balloon = service.data / "balloon"
        balloon.write_bytes(bytes(12 * _MEGABYTE))
        job = service.launch("endless")
        pid = int(service.first_line(job["id"]))
        wait_until(lambda: not is_alive(pid), "the process is ended when the disk is full", seconds=15)
        while_full = service.run("closer", {"wait": 0})
        assert while_full.status_code in (202, 503), "on record, or refused"
        balloon.unlink()
        wait_until(lambda: service.job(job["id"])["finished_at"], "the job has its end", seconds=25)
        ended = service.job(job["id"])
        assert (ended["state"], ended["error"]["code"], ended["ok"]) == ("lost", "record_failed", False)
        assert "free space" in ended["error"]["hint"]
        kept = service.output(ended["id"]).content
        assert len(kept) == ended["stdout_bytes"] > _MEGABYTE
        assert kept.startswith(f"{pid}\ny\ny\n".encode())
        wait_until(lambda: service.run("closer").status_code == 200, "calls are taken again", seconds=10)
        if while_full.status_code == 202:
            other = service.job(while_full.json()["id"], wait=15)
            assert (other["error"] or {"code": None})["code"] in (None, "record_failed")
            assert other["finished_at"]
        check_clean(service, files)
        assert service.ready()
        service.stderr.write_text("")
