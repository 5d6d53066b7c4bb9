"""A disk that is full while jobs run, through the real program: every end is on record, and no new job begins."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
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
        "waiter": {
            "script": 'echo "$$"; while [ ! -e "$P_GO" ]; do sleep 0.05; done; exit "$P_CODE"',
            "params": {"go": {"type": "string", "pattern": "[!-~]+"}, "code": {"type": "int", "min": 0, "max": 9}},
            "timeout": "80s",
            "on": "local",
        },
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
def running(folder: Path, *, reserve: int = _RESERVE, apart: bool = False) -> Iterator[Full]:
    """`apart`: the audit log is on a disk of its own."""
    flags = {"runs": str(folder / "runs"), "audit-reserve": str(reserve), "disk-reserve": "0"}
    with (
        small_disk(folder / "data", megabytes=16),
        small_disk(folder / "data" / "audit", megabytes=16) if apart else nullcontext(),
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
        assert {service.ends()[job] for job in jobs} == {"canceled"}, "their ends were seen"
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


def waiting_for(go: Path, service: Full) -> dict[int, str]:
    """Launch jobs that end by themselves once a file is there, by their exit codes."""
    jobs = {
        code: service.launch("waiter", {"params": {"go": str(go), "code": code}, "idempotency_key": f"key-{code}"})[
            "id"
        ]
        for code in (0, 3)
    }
    for job in jobs.values():
        service.first_line(job)
    return jobs


def check_ended_by_themselves(service: Full, jobs: Mapping[int, str]) -> None:
    """Each has the end that was seen, in the database, in its events and on the audit log, once."""
    for code, job in jobs.items():
        ended = service.finished(job, seconds=30)
        assert (ended["state"], ended["exit_code"], ended["error"]) == ("failed" if code else "succeeded", code, None)
        assert ended["stdout"].strip().isdigit()
        assert ended["duration_ms"] > 0
        last = service.events(job)[-1].document["job"]
        assert (last["state"], last["exit_code"]) == (ended["state"], code)
        (record,) = service.records("job.ended", job=job, count=1)
        assert (record["state"], record["runs"][0]["exit_code"]) == (ended["state"], code)


def test_a_job_that_ends_by_itself_while_the_disk_is_full(tmp_path: Path) -> None:
    """What was seen of it is its end: the commit gets the space that is kept, and nobody is told anything else before."""
    go = tmp_path / "go"
    with running(tmp_path / "service") as service:
        jobs = waiting_for(go, service)
        balloon = service.data / "balloon"
        fill(balloon)
        go.touch()
        check_ended_by_themselves(service, jobs)
        assert not service.reserve_is_whole()
        balloon.unlink()
        wait_until(service.ready, "it is ready again", seconds=20)
        service.restart()
        check_ended_by_themselves(service, jobs)
        service.check_chain()


def test_an_end_that_finds_no_room_at_all_waits_for_it(tmp_path: Path) -> None:
    """Until there is room the job is not said to have ended in any way; then it has the end that was seen."""
    go = tmp_path / "go"
    with running(tmp_path / "service", reserve=0) as service:
        jobs = waiting_for(go, service)
        balloon = service.data / "balloon"
        fill(balloon)
        go.touch()
        wait_until(lambda: "could not be written" in service.log, "the end could not be written")
        assert {service.job(job, wait=0.3)["state"] for job in jobs.values()} == {"running"}
        assert service.ends() == {}
        balloon.unlink()
        check_ended_by_themselves(service, jobs)
        service.check_chain()


def test_a_stop_while_an_end_finds_no_room(tmp_path: Path) -> None:
    """The end that was seen dies with the process: the log and the database tell one story, which is that of the next start."""
    go = tmp_path / "go"
    with running(tmp_path / "service", apart=True) as service:
        jobs = waiting_for(go, service)
        balloon = service.data / "balloon"
        fill(balloon)
        go.touch()
        wait_until(lambda: "could not be written" in service.log, "the end could not be written")
        service.stop()
        assert service.records("service.stopped"), "the log has a disk of its own, with room"
        assert service.ends() == {}
        balloon.unlink()
        service.start()
        for job in jobs.values():
            assert (service.job(job)["state"], service.job(job)["error"]["code"]) == ("lost", "service_restarted")
            (record,) = service.records("job.ended", job=job, count=1)
            assert record["state"] == "lost"
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
