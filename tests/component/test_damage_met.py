"""Damage of the job database that a running service meets, and records of single jobs that cannot be read."""

import socket
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from time import sleep

import pytest

from tests.support.ports import free_port
from tests.support.service import Service, run_program, wait_until

pytestmark = pytest.mark.timeout(90)
_OVER = {"succeeded", "failed", "canceled", "timed_out", "lost"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("met") / "service") as running:
        yield running
        running.stderr.write_text("")


def change(service: Service, statement: str, *values: object) -> int:
    with closing(sqlite3.connect(service.data / "jobs.sqlite3", timeout=10)) as db, db:
        return db.execute(statement, values).rowcount


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"id": 1}', b"\xff\xfe", None],
    ids=["empty", "cut", "list", "null", "id", "bytes", "swap"],
)
def test_a_record_that_cannot_be_read(service: Service, body: bytes | None) -> None:
    """Lists show the others, also page by page; its owner is told, nobody else learns of it, and the log names it."""
    ids = [service.result("exit", {"params": {"code": 0}})["id"] for _ in range(4)]
    bad = ids[2]
    if body is None:
        change(service, "UPDATE jobs SET body = (SELECT body FROM jobs WHERE id = ?) WHERE id = ?", ids[0], bad)
    else:
        change(service, "UPDATE jobs SET body = ? WHERE id = ?", body, bad)
    others = [ids[3], ids[1], ids[0]]
    assert [job["id"] for job in service.list_jobs(limit=3)] == others
    with service.client() as client:
        first = client.get("/v1/jobs", params={"limit": 1}).json()
        second = client.get("/v1/jobs", params={"limit": 1, "cursor": first["next_cursor"]}).json()
        assert [job["id"] for page in (first, second) for job in page["jobs"]] == others[:2]
        for path in ("", "/events", "/output/stdout"):
            told = client.get(f"/v1/jobs/{bad}{path}")
            assert (told.status_code, told.json()["code"]) == (500, "record_damaged")
            assert told.json()["hint"]
        assert client.post(f"/v1/jobs/{bad}/cancel", json={}).json()["code"] == "record_damaged"
    with service.client("bob") as client:
        assert client.get(f"/v1/jobs/{bad}").status_code == 404
    wait_until(lambda: f"the record of job {bad} in the job database is damaged" in service.log, "the log names it")
    assert service.ready()
    change(service, "DELETE FROM jobs WHERE id = ?", bad)


def test_an_open_job_whose_record_cannot_be_read_keeps_no_start_back(service: Service) -> None:
    """The next start takes up all others."""
    job = service.result("exit", {"params": {"code": 0}})["id"]
    service.stop()
    change(service, "UPDATE jobs SET body = '{', state = 'running' WHERE id = ?", job)
    service.start()
    assert service.result("exit", {"params": {"code": 0}})["ok"]
    with service.client() as client:
        assert client.get(f"/v1/jobs/{job}").json()["code"] == "record_damaged"
    change(service, "DELETE FROM jobs WHERE id = ?", job)


def test_callers_that_are_cut_off_while_their_job_is_kept(service: Service) -> None:
    """At whatever moment it happens, a job that is on disk has a runner and gets its end, and the log has both."""
    random = Random(7)
    host, port = service.listen.split(":")
    for number in range(80):
        way = '"on_disconnect": "cancel", ' if number % 2 else ""
        body = f'{{{way}"params": {{"code": 0}}}}'
        head = (
            f"POST /v1/run/exit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.tokens['ann']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(head.encode())
            sleep(random.uniform(0, 0.008))

    def started() -> set[str]:
        return {record["job"] for record in service.records("job.started")}

    def ended() -> set[str]:
        return {record["job"] for record in service.records("job.ended", "job.refused", "job.replayed")}

    def open_rows() -> list[str]:
        with closing(sqlite3.connect(service.data / "jobs.sqlite3", timeout=10)) as db:
            return [row[0] for row in db.execute("SELECT id FROM jobs WHERE state IN ('queued', 'running')")]

    wait_until(lambda: open_rows() == [] and started() <= ended(), "each has its end", seconds=30)
    assert len(started()) > 20
    assert {job["state"] for job in service.list_jobs(limit=100)} <= _OVER


def test_damage_that_is_met_at_run_time(tmp_path: Path) -> None:
    """What meets it gets 503 with a code and a hint, readiness and the log tell, and no new job is taken."""
    with Service.running(tmp_path / "service") as service:
        jobs = [service.result("count", {"params": {"to": 3}})["id"] for _ in range(12)]
        service.restart()
        path = service.data / "jobs.sqlite3"
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            for page in range(1, path.stat().st_size // 8192):
                file.seek(page * 8192)
                file.write(b"\xff" * 300)
        change_counter(path)
        with service.client() as client:
            wait_until(lambda: client.get(f"/v1/jobs/{jobs[0]}").status_code == 503, "it is met", seconds=10)
            told = client.get(f"/v1/jobs/{jobs[0]}")
            assert (told.status_code, told.json()["code"]) == (503, "store_failed")
            assert told.json()["hint"]
            assert int(told.headers["retry-after"]) > 0
        before = len(service.records("job.started"))
        refused = service.run("exit", {"params": {"code": 0}})
        assert (refused.status_code, refused.json()["code"]) == (503, "store_failed")
        assert len(service.records("job.started")) == before, "nothing of it is on record as begun"
        assert "damaged" in service.ask_ops("/readyz").json()["failing"]["journal"]
        assert "the job database is damaged" in service.log
        service.kill()
        arguments = service.serve_arguments(
            listen=f"127.0.0.1:{free_port()}", **{"ops-listen": f"127.0.0.1:{free_port()}"}
        )
        assert "--damaged-database set_aside" in run_program(*arguments).stderr
        service.flags["damaged-database"] = "set_aside"
        service.start()
        assert service.result("exit", {"params": {"code": 0}})["ok"]
        service.stderr.write_text("")


def change_counter(path: Path) -> None:
    """Let every connection read the file anew: the counter at byte 24 says that it has changed."""
    with path.open("r+b") as file:
        file.seek(24)
        file.write(b"\xee" * 4)
