"""What only waited when the service stopped or was killed: it runs in the next life, in its order, or ends truthfully."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.service import Document, Service

MARK = "private-words-of-a-call"

pytestmark = pytest.mark.timeout(240)  # each test starts the program several times


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(
        tmp_path_factory.mktemp("queue") / "service", remotes=None, **{"max-running": "1", "drain": "0"}
    ) as running:
        yield running


def busy(service: Service) -> str:
    """Take the only place."""
    job: str = service.launch("sleep", {"params": {"seconds": 30}})["id"]
    service.first_line(job)
    return job


def next_life(service: Service, *, how: str) -> None:
    service.kill() if how == "kill" else service.stop()
    service.start()
    service.end_orphans()


def kept_rows(service: Service) -> list[bytes]:
    with closing(sqlite3.connect(f"file:{service.data}/jobs.sqlite3?mode=ro", uri=True)) as db:
        rows = [body for (body,) in db.execute("SELECT body FROM waiting ORDER BY place")]
    db.close()
    return rows


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_what_waited_runs_in_its_order(service: Service, how: str) -> None:
    """After a kill and after a stop: each waiting job runs once, the oldest first, and nothing of it stays on disk.

    A call that holds a secret is never written down, and one over the bound, or whose caller is gone for good, is not: nothing
    of these runs.
    """
    first = busy(service)
    waiting = [service.launch("stamp")["id"] for _ in range(4)]
    waiting.append(service.launch("cat", {"stdin": {"base64": "/wAB"}})["id"])
    small = service.launch("cat", {"stdin": "x" * 45000})["id"]
    large = service.launch("cat", {"stdin": "x" * 60000})["id"]
    secret = service.launch("digest", {"stdin": MARK, "params": {"seconds": 0}})["id"]
    bound = service.launch("stamp", {"on_disconnect": "cancel"})["id"]
    assert len(kept_rows(service)) == 6
    next_life(service, how=how)
    jobs = [service.finished(job, seconds=60) for job in waiting]
    assert [job["state"] for job in jobs] == ["succeeded"] * 5
    stamps = [float(job["stdout"]) for job in jobs[:4]]
    assert stamps == sorted(stamps)
    assert service.output(waiting[4]).content == b"\xff\x00\x01"
    assert service.job(first)["state"] == ("lost" if how == "kill" else "canceled")
    assert service.finished(small, seconds=60)["stdout_bytes"] == 45000
    expected = ("failed", "service_restarted") if how == "kill" else ("canceled", "service_stopped")
    for ended in (service.job(large), service.job(secret), service.job(bound)):
        assert (ended["state"], ended["error"]["code"], ended["started_at"]) == (*expected, None)
    assert kept_rows(service) == []
    for path in service.data.rglob("*"):
        assert not path.is_file() or MARK.encode() not in path.read_bytes()
    for job in waiting:
        events = service.events(job)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(event.type == "started" for event in events) == 1
        service.records("job.ended", job=job, count=1)
        codes = [record["code"] for record in service.records(job=job)]
        assert codes == ["job.started", "job.resumed", "job.ended"]


def test_a_reader_of_a_waiting_job_goes_on_after_the_stop(service: Service) -> None:
    """A stop interrupts who follows a job that waits; the resumed stream has all the rest, to `finished`."""
    busy(service)
    job = service.launch("stamp")["id"]
    with service.follow(job) as events:
        assert next(events).type == "accepted"
        service.stop()
        assert [event.type for event in events if event.type != "progress"] == ["interrupted"]
    service.start()
    service.finished(job, seconds=60)
    rest = [event.type for event in service.events(job, after=1) if event.type != "progress"]
    assert rest == ["started", "output", "exited", "finished"]


def test_a_job_on_several_hosts(service: Service) -> None:
    """Of which nothing had started all runs are started; a run that never was is not, once another one may have been."""
    one = service.launch("sleep", {"params": {"seconds": 30}, "hosts": ["local", "far"]})["id"]
    service.first_line(one)
    both = service.launch("stamp", {"hosts": ["local", "far"]})["id"]
    next_life(service, how="kill")
    runs = service.finished(both, seconds=60)["runs"]
    assert [(run["host"], run["state"]) for run in runs] == [("local", "succeeded"), ("far", "succeeded")]
    cut = service.job(one)["runs"]
    assert sorted((run["state"], run["error"]["code"]) for run in cut) == [
        ("failed", "service_restarted"),
        ("lost", "service_restarted"),
    ]


def test_the_policy_in_force_decides_once_more(service: Service) -> None:
    """A job that the new policy does not allow, or would make something else of, ends; a change elsewhere does not matter."""
    busy(service)
    calls: dict[str, Document] = {
        "env": {},
        "count": {"params": {"to": 3}},
        "exit": {"params": {"code": 0}},
        "tick": {"params": {"count": 1}},
        "binary": {},
        "halves": {},
        "stamp": {"timeout": 40},
        "flood": {},
        "hush": {"stdin": ""},
    }
    jobs = {command: service.launch(command, body)["id"] for command, body in calls.items()}
    service.kill()
    path = service.policies / "policy.yaml"
    before = path.read_text()
    policy = json.loads(before)
    commands, role = policy["commands"], policy["roles"]["all"][0]
    role["commands"].remove("env")
    commands["count"]["run"] = ["/usr/bin/seq", "2", "<to>"]
    commands["exit"]["timeout"] = "7s"
    commands["tick"]["params"]["count"]["min"] = 2
    del commands["binary"]
    role["commands"].remove("binary")
    commands["halves"]["on"] = "far"
    commands["stamp"]["timeout"] = "39s"
    policy["deny"] = [{"to": "*", "commands": ["flood"], "hosts": "*", "why": "freeze"}]
    path.write_text(json.dumps(policy))
    service.start()
    service.end_orphans()
    ended = {command: service.finished(job, seconds=60) for command, job in jobs.items()}
    path.write_text(before)
    assert (ended["hush"]["state"], ended["hush"]["error"]) == ("succeeded", None)
    del ended["hush"]
    assert {command: job["error"]["code"] for command, job in ended.items()} == dict.fromkeys(ended, "policy_changed")
    assert {job["started_at"] for job in ended.values()} == {None}
    assert kept_rows(service) == []
    for job in ended.values():
        service.records("job.ended", job=job["id"], count=1)
        codes = [record["code"] for record in service.records(job=job["id"])]
        assert codes == ["job.started", "job.ended"]
    service.restart()


def test_a_deadline_that_has_passed(service: Service) -> None:
    """A job is not run long after its caller has stopped to expect it."""
    busy(service)
    job = service.launch("stamp")["id"]
    service.kill()
    service.flags["queue-deadline"] = "0"
    service.start()
    del service.flags["queue-deadline"]
    service.end_orphans()
    ended = service.job(job)
    assert (ended["state"], ended["error"]["code"], ended["stdout"]) == ("failed", "queue_deadline", "")
    assert kept_rows(service) == []


def test_a_clock_that_was_set_while_the_service_was_down(service: Service) -> None:
    """By an hour or a day, either way: how old a job is nobody knows then, so it does not run. A minute is let pass."""
    busy(service)
    shifts = (-86_400, -3600, -100, 30, 3600, 86_400)
    jobs = {service.launch("stamp")["id"]: shift for shift in shifts}
    service.kill()
    service.end_orphans()
    with sqlite3.connect(service.data / "jobs.sqlite3") as db:
        for job, shift in jobs.items():
            (body,) = db.execute("SELECT body FROM jobs WHERE id = ?", (job,)).fetchone()
            known = json.loads(body)
            values = (json.dumps({**known, "created_at": known["created_at"] + shift}).encode(), job)
            db.execute("UPDATE jobs SET body = ? WHERE id = ?", values)
    db.close()
    service.start()
    for job, shift in jobs.items():
        ended = service.finished(job, seconds=60)
        code = ended["error"]["code"] if ended["error"] else None
        assert (shift, ended["state"], code) == (
            (shift, "succeeded", None) if abs(shift) < 600 else (shift, "failed", "queue_deadline")
        )
    assert kept_rows(service) == []


def test_killed_again_and_again_it_still_runs_once(service: Service) -> None:
    """A job that waits through several lives keeps its place and runs once."""
    before = [busy(service), *(service.launch("sleep", {"params": {"seconds": 30}})["id"] for _ in range(2))]
    jobs = [service.launch("stamp")["id"] for _ in range(3)]
    for running in before:
        service.first_line(running)
        service.kill()
        service.start()
        service.end_orphans()
        assert service.job(running)["state"] == "lost"
    stamps = [float(service.finished(job, seconds=60)["stdout"]) for job in jobs]
    assert stamps == sorted(stamps)
    assert service.list_jobs(state="queued") == []


def test_what_waits_on_stands_in_the_queue_and_can_be_canceled(service: Service) -> None:
    """After the restart a job that waits has its place, its readers and its cancel, as before."""
    busy(service)
    second = service.launch("sleep", {"params": {"seconds": 30}})["id"]
    job = service.launch("stamp")["id"]
    next_life(service, how="kill")
    service.first_line(second)
    waiting = service.job(job)
    assert (waiting["state"], waiting["queue"]["position"]) == ("queued", 1)
    assert service.cancel(job)["state"] == "canceled"
    assert [event.type for event in service.events(job)] == ["accepted", "exited", "finished"]
    assert service.cancel(second)["state"] == "canceled"
    assert kept_rows(service) == []


def test_a_canceled_job_does_not_come_back(service: Service) -> None:
    """A cancel of what waits ends it for good."""
    busy(service)
    job = service.launch("stamp")["id"]
    assert service.cancel(job)["state"] == "canceled"
    assert kept_rows(service) == []
    next_life(service, how="kill")
    assert service.job(job)["state"] == "canceled"


@pytest.mark.parametrize("body", ["{", "[]", '{"hosts": 1}', None], ids=["cut", "list", "hosts", "swap"])
def test_what_was_asked_cannot_be_read(service: Service, body: str | None) -> None:
    """Nothing of that job runs, least of all what another asked for, and it ends truthfully; the others wait on."""
    busy(service)
    jobs = [service.launch("exit", {"params": {"code": code}})["id"] for code in (3, 4, 5)]
    service.kill()
    service.end_orphans()
    db = sqlite3.connect(service.data / "jobs.sqlite3")
    if body is None:
        (body,) = db.execute("SELECT body FROM waiting WHERE job = ?", (jobs[0],)).fetchone()
    assert db.execute("UPDATE waiting SET body = ? WHERE job = ?", (body, jobs[1])).rowcount == 1
    db.commit()
    db.close()
    service.start()
    first, damaged, last = (service.finished(job, seconds=60) for job in jobs)
    assert (first["exit_code"], last["exit_code"]) == (3, 5)
    assert (damaged["state"], damaged["error"]["code"], damaged["started_at"]) == ("failed", "service_restarted", None)
    (ended,) = service.records("job.ended", job=jobs[1], count=1)
    assert ended["state"] == "failed"
    assert kept_rows(service) == []
