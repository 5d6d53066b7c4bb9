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
from tests.support.service import Document, Service, run_program, wait_until

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
    """Lists show the others, also page by page; its owner is told, nobody else learns of it, and the log names it once."""
    ids = [service.result("exit", {"params": {"code": 0}})["id"] for _ in range(4)]
    bad = ids[2]
    change(service, "UPDATE events SET body = '{' WHERE job = ? AND seq = 1", bad)
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
    wait_until(lambda: named(service, bad) > 0, "the log names it")
    assert named(service, bad) == 1, "however often it is met"
    assert service.ready()
    change(service, "DELETE FROM jobs WHERE id = ?", bad)


@pytest.mark.parametrize("body", [b"{", b"\xff", None], ids=["cut", "bytes", "swap"])
def test_a_row_that_cannot_be_read_of_a_job_whose_events_are_whole(service: Service, body: bytes | None) -> None:
    """The job is what its events say, as it was: alone, in lists, and to who follows it."""
    other, job = (service.result("exit", {"params": {"code": code}}) for code in (0, 3))
    listed, told = service.list_jobs(limit=2), [event.raw for event in service.events(job["id"])]
    if body is None:
        change(
            service, "UPDATE jobs SET body = (SELECT body FROM jobs WHERE id = ?) WHERE id = ?", other["id"], job["id"]
        )
    else:
        change(service, "UPDATE jobs SET body = ? WHERE id = ?", body, job["id"])
    if body is None:
        service.restart()
    assert service.job(job["id"]) == job
    assert service.list_jobs(limit=2) == listed
    assert [event.raw for event in service.events(job["id"])] == told
    assert named(service, job["id"]) == 1
    change(service, "UPDATE events SET seq = 9 WHERE job = ? AND seq = 2", job["id"])
    with service.client() as client:
        assert client.get(f"/v1/jobs/{job['id']}").json()["code"] == "record_damaged"


OPEN = {
    "row": ("UPDATE jobs SET body = '{' WHERE id = ?",),
    "row and first event": (
        "UPDATE jobs SET body = x'ff' WHERE id = ?",
        "UPDATE events SET body = '{' WHERE job = ? AND seq = 1",
    ),
    "row and all events": ("UPDATE jobs SET body = '[]' WHERE id = ?", "DELETE FROM events WHERE job = ?"),
    "an event": ("UPDATE events SET body = '{}' WHERE job = ? AND seq = 3",),
    "kind of event": ("UPDATE events SET kind = 'Other' WHERE job = ? AND seq = 3",),
    "gap in events": ("UPDATE events SET seq = 7 WHERE job = ? AND seq = 3",),
    "a row that says more": (
        "UPDATE jobs SET body = (SELECT body FROM jobs WHERE state = 'succeeded' LIMIT 1) WHERE id = ?",
        "DELETE FROM events WHERE job = ?",
    ),
}


@pytest.mark.parametrize("which", OPEN)
def test_an_open_job_whose_record_is_damaged(service: Service, which: str) -> None:
    """The next start gives it its one end, in the database and in the audit log, and takes up all others."""
    service.result("exit", {"params": {"code": 0}})
    job = service.launch("sleep", {"params": {"seconds": 40}})["id"]
    service.first_line(job)
    service.kill()
    service.end_orphans()
    for statement in OPEN[which]:
        assert change(service, statement, job) > 0
    before = raw_body(service, job)
    service.start()
    assert service.result("exit", {"params": {"code": 0}})["ok"]
    code = "service_restarted" if which == "row" else "record_damaged"
    for seen in (
        service.job(job),
        *of(job, service.list_jobs(state="lost")),
        *of(job, service.list_jobs(host="local")),
    ):
        assert (seen["id"], seen["command"], seen["principal"], seen["host"]) == (job, "sleep", "ann", "local")
        assert (seen["state"], seen["ok"], seen["error"]["code"]) == ("lost", False, code)
        assert seen["created_at"] <= seen["finished_at"]
    assert of(job, service.list_jobs(state="running")) == []
    assert len(of(job, service.list_jobs(state="lost", host="local", command="sleep"))) == 1
    (ended,) = service.records("job.ended", job=job, count=1)
    assert (ended["state"], ended["runs"][0]["error"]) == ("lost", code)
    with service.client() as client:
        if which == "row":
            assert [event.type for event in service.events(job)][-2:] == ["exited", "finished"]
            assert service.output(job).content
        else:
            for path in ("/events", "/output/stdout"):
                assert client.get(f"/v1/jobs/{job}{path}").json()["code"] == "record_damaged"
            assert raw_body(service, job) == before or which not in UNREADABLE, "what cannot be read stays"
        assert client.post(f"/v1/jobs/{job}/cancel", json={}).json()["state"] == "lost"
    with service.client("bob") as client:
        assert client.get(f"/v1/jobs/{job}").status_code == 404
    assert named(service, job) == 1
    if which in ("an event", "row and all events"):
        service.restart()
        assert service.job(job)["error"]["code"] == code
        assert len(service.records("job.ended", job=job)) == 1


UNREADABLE = {"row and first event", "row and all events", "a row that says more"}


def of(job: str, jobs: list[Document]) -> list[Document]:
    return [each for each in jobs if each["id"] == job]


def raw_body(service: Service, job: str) -> bytes:
    with closing(sqlite3.connect(service.data / "jobs.sqlite3", timeout=10)) as db:
        body: bytes = db.execute("SELECT body FROM jobs WHERE id = ?", (job,)).fetchone()[0]
    return body


def named(service: Service, job: str) -> int:
    """How often this life of the service has said that the record is damaged."""
    return service.log.count(f"the record of job {job} in the job database is damaged")


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
