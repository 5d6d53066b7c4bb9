"""Limits and both ends of an output, through the whole service."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service

MIB = 1 << 20
HALF = 32 << 10
MARK = re.compile(rb"\n\[cmdhttp: ([0-9]+) bytes left out here\]\n")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("limits")) as running:
        yield running


def memory(pid: int, what: str) -> int:
    """Bytes of `VmRSS` or `VmHWM`, the most that it ever was since that was reset."""
    found = re.search(rf"{what}:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


def written(count: int) -> bytes:
    """What the command `ends` prints on stdout: so many bytes of a flood, and a last line."""
    return (b"flood\n" * (count // 6 + 1))[:count] + b"\ndone\n"


@pytest.mark.parametrize("host", ["local", "far"])
def test_both_ends_of_an_output(service: Service, host: str) -> None:
    """The run goes on over its limit and succeeds; what was left out is marked in the output and counted in the job."""
    job = service.result("ends", {"params": {"bytes": 1_000_000}, "hosts": [host]})
    assert (job["state"], job["error"], job["truncated"]) == ("succeeded", None, True)
    assert (job["stdout_written_bytes"], job["stderr_written_bytes"]) == (1_000_006, 15)
    assert job["stderr"] == "the last words\n"
    kept = service.output(job["id"]).content
    head, count, tail = MARK.split(kept)
    assert (head, tail) == (written(1_000_000)[:HALF], written(1_000_000)[-(HALF - 15) :])
    assert int(count) == 1_000_006 - len(head) - len(tail)
    assert (job["stdout_bytes"], job["stdout"]) == (len(kept), kept.decode())


def test_a_follower_gets_what_is_kept(service: Service) -> None:
    """Events have the offsets and the digest of what is kept; the last part comes before the run's verdict."""
    job = service.result("ends", {"params": {"bytes": 300_000}})
    events = [event.document for event in service.events(job["id"])]
    text = "".join(event["text"] for event in events if event["type"] == "output" and event["stream"] == "stdout")
    assert text == job["stdout"]
    assert [event["type"] for event in events[-2:]] == ["exited", "finished"]
    assert (events[-2]["stdout_written_bytes"], events[-2]["stdout_bytes"]) == (300_006, len(text))
    assert events[-1]["job"]["sha256"]["stdout"] == hashlib.sha256(text.encode()).hexdigest()
    part = service.output(job["id"], Range=f"bytes={HALF}-{HALF + 9}")
    assert (part.status_code, part.text) == (206, text[HALF : HALF + 10])


def test_what_fits_is_whole(service: Service) -> None:
    """A run within its limit is told nothing of ends."""
    job = service.result("ends", {"params": {"bytes": 60_000}})
    assert (job["stdout"].encode(), job["truncated"]) == (written(60_000), False)
    assert "stdout_written_bytes" not in job


@pytest.mark.timeout(240)  # a second or two on a machine with nothing else to do
def test_a_gigabyte_leaves_memory_flat(service: Service) -> None:
    """However much is printed, the service holds no more of it than before."""
    service.result("ends", {"params": {"bytes": 10 * MIB}})
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")
    before = memory(service.pid, "VmRSS")
    job = service.launch("ends", {"params": {"bytes": 1 << 30}})
    while job["state"] in ("queued", "running"):
        job = service.job(job["id"], wait=10)
    most = memory(service.pid, "VmHWM")
    assert (job["state"], job["stdout_written_bytes"]) == ("succeeded", (1 << 30) + 6)
    assert job["stdout_bytes"] < 65 << 10
    assert most - before < 20 * MIB, f"{(most - before) / MIB:.1f} MiB more than before"


def test_a_burner_ends_for_its_limit(service: Service) -> None:
    """The job says which limit it was, and where to raise it."""
    job = service.result("burn")
    assert (job["state"], job["signal"], job["error"]["code"]) == ("failed", "XCPU", "cpu_limit")
    assert job["error"]["detail"] == "The run used more CPU than its limit of 1 s."
    assert job["error"]["hint"] == "Ask for less work, or raise 'limits: cpu' of the command."


def test_a_large_file_ends_for_its_limit(service: Service) -> None:
    """A file over its size ends the run, and the run's folder goes with it."""
    job = service.result("large_file")
    assert (job["state"], job["signal"], job["error"]["code"]) == ("failed", "XFSZ", "file_size_limit")
    assert not list((service.data / "runs").glob("*/*"))
