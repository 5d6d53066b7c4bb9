"""A disk that takes no writes while the service runs, for another reason than that it is full: refused, told, and healed."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from cmdhttp.audit.chain import first_break
from tests.support.service import COMMANDS, Document, Service, run_program, wait_until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
]


class Failing(Service):
    """A service with jobs that end by themselves when a test says so."""

    commands: ClassVar[Mapping[str, Document]] = {
        **COMMANDS,
        "waiter": {
            "script": 'echo "$$"; while [ ! -e "$P_GO" ]; do sleep 0.05; done; exit "$P_CODE"',
            "params": {"go": {"type": "string", "pattern": "[!-~]+"}, "code": {"type": "int", "min": 0, "max": 9}},
            "timeout": "80s",
            "on": "local",
        },
    }

    def waiter(self, go: Path, code: int) -> str:
        job: str = self.launch("waiter", {"params": {"go": str(go), "code": code}})["id"]
        self.first_line(job)
        return job

    def failing(self) -> Mapping[str, str]:
        answer = self.ask_ops("/readyz").json()["failing"]
        assert isinstance(answer, dict)
        return answer

    def check_stories(self) -> None:
        """Each job that was begun has one end on the log, or was refused, and the chain is whole."""
        begun = [record["job"] for record in self.records("job.started")]
        ended = [record["job"] for record in self.records("job.ended", "job.refused")]
        assert sorted(ended) == sorted(begun)
        assert first_break((self.data / "audit" / "audit.jsonl").read_bytes().splitlines()) is None


@contextmanager
def no_longer_files(pid: int, path: Path) -> Iterator[None]:
    """For the length of the block a process cannot make any file longer than this one is: its writes fail with EFBIG."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_writes_of_the_database_that_fail_for_a_while(tmp_path: Path) -> None:
    """No new job, in words; what is kept can be read; what ended meanwhile has its own end afterwards, and none before."""
    go = tmp_path / "go"
    with Failing.running(tmp_path / "service", remotes=None, **{"max-running": "2"}) as service:
        known = service.result("exit", {"params": {"code": 3}})
        jobs = {code: service.waiter(go, code) for code in (0, 4)}
        queued = [service.launch("exit", {"params": {"code": 5}})["id"] for _ in range(3)]
        with no_longer_files(service.pid, service.data / "jobs.sqlite3-wal"):
            refused = service.run("exit", {"params": {"code": 0}})
            assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (
                503,
                "store_failed",
                True,
            )
            assert int(refused.headers["retry-after"]) > 0
            assert set(service.failing()) == {"journal"}
            assert service.job(known["id"]) == known
            go.touch()
            wait_until(lambda: "could not be written" in service.log, "the ends could not be written")
            assert {service.job(job, wait=0.3)["state"] for job in jobs.values()} == {"running"}
            wait_until(lambda: "waits until it can be recorded" in service.log, "one that waited has its turn")
            assert {service.job(job)["state"] for job in queued} == {"queued"}
            assert set(service.failing()) == {"journal"}, "the space that is kept for a full disk is not touched"
            assert "SQLITE_IOERR_WRITE" in service.log
        for code, job in jobs.items():
            ended = service.finished(job, seconds=40)
            assert (ended["state"], ended["exit_code"]) == ("failed" if code else "succeeded", code)
        assert [service.finished(job, seconds=40)["exit_code"] for job in queued] == [5, 5, 5], "the queue was kept"
        wait_until(service.ready, "it is ready again")
        assert service.result("exit", {"params": {"code": 0}})["ok"]
        service.restart()
        assert service.job(jobs[0])["state"] == "succeeded"
        service.check_stories()
        service.stderr.write_text("")


@contextmanager
def disk(image: Path, at: Path) -> Iterator[None]:
    """Mount a file as an ext4 disk for the length of the block; it is made if it is not there."""
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(32 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def break_disk(at: Path) -> None:
    """Let the kernel find an error on a disk: from then on it can be read, and not written."""
    subprocess.run(["sync", "-f", str(at)], check=True)
    source = subprocess.run(["findmnt", "-no", "SOURCE", str(at)], check=True, capture_output=True, text=True).stdout
    Path("/sys/fs/ext4", Path(source.strip()).name, "trigger_fs_error").write_text("1")


@pytest.mark.long  # it takes a loop device and mkfs.ext4, which not every machine for tests has
def test_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    """All that writes is refused, all that is kept can be read, and the next start on a whole disk tells one story."""
    go, folder = tmp_path / "go", tmp_path / "service"
    flags = {"runs": str(folder / "runs"), "disk-reserve": "0", "max-running": "1"}
    with ExitStack() as stack:
        mounted = stack.enter_context(ExitStack())
        mounted.enter_context(disk(tmp_path / "image", folder / "data"))
        service = stack.enter_context(Failing.running(folder, remotes=None, **flags))
        known = service.result("exit", {"params": {"code": 3}})
        job = service.waiter(go, 0)
        waits = service.launch("waiter", {"params": {"go": str(go), "code": 1}})["id"]
        break_disk(service.data)
        refused = service.run("exit", {"params": {"code": 0}})
        assert (refused.status_code, refused.json()["retryable"]) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        assert {"audit", "journal"} <= set(service.failing())
        assert service.job(known["id"]) == known
        go.touch()
        wait_until(lambda: "could not be written" in service.log, "the end could not be written")
        assert service.job(job, wait=0.3)["state"] == "running"
        assert service.records("job.ended", job=job) == []
        assert service.stop() == 0
        assert "is not in the audit log: Read-only file system" in service.log
        refused_start = run_program(*service.serve_arguments())
        assert (refused_start.returncode, "Traceback" in refused_start.stderr) == (2, False)
        mounted.close()
        copied = (
            tmp_path / "copy"
        )  # the kernel would go on with the disk that it knows, for as long as anybody has it mounted
        shutil.copyfile(tmp_path / "image", copied)
        mounted.enter_context(disk(copied, folder / "data"))
        service.start()
        ended, other = service.job(job), service.finished(waits, seconds=40)
        assert (ended["state"], ended["error"]["code"]) == ("lost", "service_restarted")
        assert other["exit_code"] == 1, "what only waited runs now"
        assert service.job(known["id"]) == known
        wait_until(lambda: len(service.records("job.ended")) == 3, "the ends are on record")
        service.check_stories()
        service.stderr.write_text("")
