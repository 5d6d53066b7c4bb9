"""A disk that is full while jobs run, through the real program: every end is on record, and no new job begins."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from cmdhttp.audit.chain import first_break
from tests.support.service import COMMANDS, Document, Service, wait_until
from tests.support.small_disk import fill, small_disk

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system"),
]
_RESERVE = 1 << 20


class Full(Service):
    """A service on a small disk."""

    commands: ClassVar[Mapping[str, Document]] = {
        **COMMANDS,
        "sleeper": {"run": ["/bin/sleep", "60"], "on": "local", "timeout": "80s"},
        "printer": {"script": "echo $$; exec yes", "output": {"max": "1GiB"}, "timeout": "60s", "on": "local"},
    }

    @property
    def reserve(self) -> Path:
        return self.data / "audit" / "reserve"

    @property
    def failing(self) -> Mapping[str, str]:
        answer = self.ask_ops("/readyz").json()["failing"]
        assert isinstance(answer, dict)
        return answer

    def reserve_is_whole(self) -> bool:
        status = self.reserve.stat()
        return status.st_size == _RESERVE and status.st_blocks * 512 >= _RESERVE

    def ends(self) -> dict[str, str]:
        return {record["job"]: record["state"] for record in self.records("job.ended")}

    def check_chain(self) -> None:
        lines = (self.data / "audit" / "audit.jsonl").read_bytes().splitlines()
        assert first_break(lines) is None


@contextmanager
def running(folder: Path) -> Iterator[Full]:
    flags = {"runs": str(folder / "runs"), "audit-reserve": str(_RESERVE), "disk-reserve": "0"}
    with (
        small_disk(folder / "data", megabytes=16),
        Full.running(folder, prefix=(), remotes=None, **flags) as service,
    ):
        yield service
        service.stderr.write_text("")


def test_jobs_that_run_when_the_disk_fills_up_have_their_end_on_record(tmp_path: Path) -> None:
    """While it is full each gets its one end; new calls get 503; with room again all goes on, and the reserve is back."""
    with running(tmp_path / "service") as service:
        assert stat.S_IMODE(service.reserve.stat().st_mode) == 0o600
        assert service.reserve_is_whole()
        jobs = [service.launch("sleeper")["id"] for _ in range(4)]
        wait_until(lambda: all(service.job(job)["started_at"] for job in jobs), "they run")
        balloon = service.data / "balloon"
        fill(balloon)
        refused = service.run("exit", {"params": {"code": 0}})
        assert (refused.status_code, refused.json()["retryable"]) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        for job in jobs:
            service.cancel(job)
        wait_until(lambda: set(jobs) <= set(service.ends()), "each has its end on record", seconds=20)
        assert not service.reserve_is_whole()
        fill(balloon)
        assert os.statvfs(service.data).f_bavail * os.statvfs(service.data).f_frsize < 1 << 16, (
            "it is full all the time"
        )
        assert {service.ends()[job] for job in jobs} <= {"canceled", "lost"}
        refused = service.run("exit", {"params": {"code": 0}})
        assert (refused.status_code, refused.json()["code"]) == (503, "no_space")
        assert int(refused.headers["retry-after"]) > 0
        assert "audit" in service.failing
        balloon.unlink()
        wait_until(service.ready, "it is ready again", seconds=20)
        assert service.reserve_is_whole()
        assert service.result("exit", {"params": {"code": 0}})["ok"]
        for job in jobs:
            assert service.job(job)["state"] == service.ends()[job], "the log and the database say the same"
        assert sorted(record["job"] for record in service.records("job.ended") if record["job"] in jobs) == sorted(jobs)
        service.check_chain()


def test_a_job_that_fills_the_disk_itself_has_its_end_on_record(tmp_path: Path) -> None:
    """What is freed for its end is not taken by its output."""
    with running(tmp_path / "service") as service:
        job = service.launch("printer")["id"]
        wait_until(lambda: job in service.ends(), "its end is on record", seconds=40)
        assert service.ends()[job] == "lost"
        assert service.job(job)["error"]["code"] == "record_failed"
        service.check_chain()


def test_no_room_for_the_reserve_at_the_start(tmp_path: Path) -> None:
    """It starts, says so, and takes no call until there is room."""
    with running(tmp_path / "service") as service:
        service.stop()
        service.reserve.unlink()
        balloon = service.data / "balloon"
        fill(balloon, leave=_RESERVE + (_RESERVE >> 1))
        service.start(ready=False)
        wait_until(lambda: "audit" in service.failing, "it says that it is not ready", seconds=10)
        assert re.search(r"no room for the 1024 KiB .* make room for 2048 KiB", service.failing["audit"])
        assert service.run("exit", {"params": {"code": 0}}).json()["code"] == "no_space"
        assert service.records("job.started") == []
        balloon.unlink()
        wait_until(service.ready, "it is ready", seconds=20)
        assert service.reserve_is_whole()
        assert service.result("exit", {"params": {"code": 0}})["ok"]


@pytest.mark.parametrize("kind", ["link", "holes", "folder"])
def test_a_reserve_that_is_none(tmp_path: Path, kind: str) -> None:
    """A file with holes is filled; what is no file of ours is left alone, and no job begins."""
    with running(tmp_path / "service") as service:
        service.stop()
        service.reserve.unlink()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("mine")
        if kind == "link":
            service.reserve.symlink_to(elsewhere)
        elif kind == "folder":
            service.reserve.mkdir()
        else:
            service.reserve.touch()
            os.truncate(service.reserve, _RESERVE)
            assert not service.reserve_is_whole()
        service.start(ready=False)
        if kind == "holes":
            wait_until(service.ready, "it is ready")
            assert service.reserve_is_whole()
        else:
            wait_until(lambda: "cannot be taken" in service.failing.get("audit", ""), "it says why not")
            assert service.run("exit", {"params": {"code": 0}}).status_code == 503
        assert elsewhere.read_text() == "mine"
