"""Rates, concurrency and the queue through the whole service: refusals that say when to come again, and who goes first."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.support.service import Document, Service, as_document, wait_until

NAP = {"type": "number", "min": 0, "max": 30, "default": "0"}
FLAGS: Any = {"max-running": "4", "max-queued": "8", "policy-poll": "0.05"}
SLEEP: Document = {
    "script": 'date +%s.%N; sleep "$P_SECONDS"; date +%s.%N',
    "params": {"seconds": NAP},
    "on": ["local", "far"],
    "timeout": "40s",
}


class Limited(Service):
    """Commands with limits, of which 'ann', 'cid' and 'dan' may run all. 'bob' has limits of his own."""

    commands: ClassVar[Mapping[str, Document]] = {
        "nap": SLEEP,
        "one": {**SLEEP, "concurrency": {"per_host": 1, "when_busy": "queue"}},
        "only": {**SLEEP, "concurrency": {"per_host": 1, "when_busy": "reject"}},
        "two": {**SLEEP, "concurrency": {"total": 2, "when_busy": "queue"}},
        "rare": {**SLEEP, "rate": "3/min"},
        "brisk": {**SLEEP, "rate": "2/s"},
    }
    limits: ClassVar[Document] = {"bob": {"concurrency": 1, "queue": 2, "rate": "60/min"}}

    def _policy(self, principals: Document) -> Document:
        for name in ("cid", "dan"):
            principals[name] = {"tokens": [self.new_token(name)]}
        for name, limits in self.limits.items():
            principals[name]["limits"] = limits
        document = super()._policy(principals)
        document["roles"] = {"all": [{"commands": list(self.commands), "hosts": ["local", "far"]}]}
        document["grants"] = [{"to": ["ann", "bob", "cid", "dan"], "roles": ["all"]}]
        return document

    def edit(self, change: Any) -> None:
        """Change the policy in force, and wait until it is."""
        path = self.policies / "policy.yaml"
        document = json.loads(path.read_text())
        before = self.me()["policy"]
        change(document)
        path.write_text(json.dumps(document))
        wait_until(lambda: self.me()["policy"] != before, "the policy is in force")

    def me(self, principal: str = "ann") -> Document:
        with self.client(principal) as client:
            return as_document(client.get("/v1/me"))

    def metric(self, name: str) -> float:
        for line in self.ask_ops("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    folder = tmp_path_factory.mktemp("admission")
    with Limited.running(folder, **FLAGS) as running:
        yield running


@pytest.fixture(autouse=True)
def _quiet(service: Limited) -> Iterator[None]:
    """Each test ends with nothing that runs or waits, and with the policy as it was."""
    path = service.policies / "policy.yaml"
    text = path.read_text()
    yield
    if path.read_text() != text:
        service.edit(lambda policy: (policy.clear(), policy.update(json.loads(text))))
    for principal in ("ann", "bob", "cid", "dan"):
        with service.client(principal) as client:
            jobs = as_document(client.get("/v1/jobs", params={"state": "queued,running"}))["jobs"]
            for job in jobs:
                client.post(f"/v1/jobs/{job['id']}/cancel", json={})
    wait_until(lambda: service.metric("cmdhttp_jobs_running") == 0, "nothing runs")


def nap(seconds: float, host: str = "local") -> Document:
    return {"params": {"seconds": seconds}, "hosts": [host]}


def refused(answer: httpx.Response, status: int, limit: str) -> Document:
    """The problem of a refusal, which is complete and says when to come again."""
    problem = as_document(answer)
    expected = "unavailable" if status == 503 else "too_many_requests"
    assert (answer.status_code, problem["code"], problem["limit"]) == (status, expected, limit), answer.text
    assert problem["retryable"] is True
    assert "nothing has run" in problem["detail"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return problem


def span(job: Document) -> tuple[float, float]:
    """When the script of a job began and ended, by its own words."""
    first, last = job["stdout"].split()
    return float(first), float(last)


def test_one_at_a_time_on_a_host(service: Limited) -> None:
    """Runs of the command on one host never overlap, by their own clocks."""
    with ThreadPoolExecutor(6) as pool:
        there = [pool.submit(service.result, "one", nap(0.15)) for _ in range(6)]
        spans = sorted(span(one.result()) for one in there)
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans


def test_a_busy_host_is_named_as_the_reason(service: Limited) -> None:
    """A job that waits says for what, and a job for another host passes it."""
    first = service.launch("one", nap(20))
    second = service.launch("one", nap(0))
    third = service.launch("one", nap(0))
    assert service.job(second["id"])["queue"] == {"position": 1, "reason": "host_busy"}
    assert service.job(third["id"])["queue"] == {"position": 2, "reason": "host_busy"}
    assert service.result("one", nap(0, "far"))["state"] == "succeeded", "another host goes on"
    assert service.job(first["id"])["state"] == "running"
    wait_until(lambda: service.metric('cmdhttp_queue_length{reason="host_busy"}') == 2, "both are counted")
    assert service.cancel(second["id"])["state"] == "canceled"
    assert service.job(third["id"])["queue"]["position"] == 1
    service.cancel(first["id"])
    assert service.job(third["id"], wait=10)["state"] == "succeeded"
    assert "queue" not in service.job(third["id"])


def test_reject_says_when_to_come_again(service: Limited) -> None:
    """A command that rejects answers 429 before anything is kept; who follows `Retry-After` is let in."""
    service.result("only", nap(2))
    running = service.launch("only", nap(2))
    wait_until(lambda: service.job(running["id"])["state"] == "running", "it runs")
    service.records("job.started", job=running["id"], count=1)
    before = len(service.list_jobs()), len(service.records("job.started"))
    answer = service.run("only", nap(0))
    refused(answer, 429, "host_busy")
    assert (len(service.list_jobs()), len(service.records("job.started"))) == before
    assert service.run("only", nap(0, "far")).status_code == 200
    time.sleep(int(answer.headers["Retry-After"]))
    assert service.run("only", nap(0)).status_code == 200


def test_a_total_over_all_hosts(service: Limited) -> None:
    """A third run waits, on whatever host, and says that it is the command."""
    jobs = [service.launch("two", nap(20, host)) for host in ("local", "far", "local")]
    assert service.job(jobs[2]["id"])["queue"] == {"position": 1, "reason": "command_limit"}
    service.cancel(jobs[0]["id"])
    wait_until(lambda: service.job(jobs[2]["id"])["state"] == "running", "the third runs")


def test_a_principal_at_its_limits(service: Limited) -> None:
    """One job runs, two wait, the next is a 429 for this caller alone; a cancel makes room at once."""
    jobs = [service.launch("nap", nap(20), principal="bob") for _ in range(3)]
    assert service.job(jobs[2]["id"], principal="bob")["queue"] == {"position": 2, "reason": "principal_limit"}
    refused(service.run("nap", nap(0), principal="bob"), 429, "principal_queue")
    assert service.run("nap", nap(0), principal="ann").status_code == 200
    limits = service.me("bob")["limits"]
    assert (limits["concurrency"], limits["queue"]) == ({"limit": 1, "running": 1}, {"limit": 2, "waiting": 2})
    with service.client("bob") as client:
        assert as_document(client.post(f"/v1/jobs/{jobs[1]['id']}/cancel", json={}))["state"] == "canceled"
    late = service.launch("nap", nap(0), principal="bob")
    assert late["queue"] == {"position": 2, "reason": "principal_limit"}


def test_a_flood_of_one_caller_is_passed_by_another(service: Limited) -> None:
    """With all places taken by one caller, the first job of another is next, before what has waited longer."""
    flood = [service.launch("nap", nap(20)) for _ in range(10)]
    refused(service.run("nap", nap(0)), 429, "principal_queue")
    late = service.launch("nap", nap(20), principal="cid")
    assert late["queue"]["position"] == 2, "the flood's own next one was there before"
    service.cancel(flood[1]["id"])
    wait_until(lambda: service.job(late["id"], principal="cid")["state"] == "running", "the late one runs")
    assert service.job(flood[4]["id"])["state"] == "queued"


def test_a_full_queue(service: Limited) -> None:
    """What is too much for the service is a 503."""
    for number in range(10):
        service.launch("nap", nap(20))
        assert number < 10
    for _ in range(2):
        service.launch("nap", nap(20), principal="cid")
    refused(service.run("nap", nap(0), principal="dan"), 503, "service_queue")
    wait_until(lambda: service.metric("cmdhttp_jobs_queued") == 8, "all are counted")


def test_a_rate_of_a_command(service: Limited) -> None:
    """It counts accepted calls of all callers: no replay, no explain, no refusal and no denial."""
    key: Any = {"headers": {"Idempotency-Key": "rare"}}
    first = service.run("rare", nap(0), **key)
    for _ in range(3):
        assert as_document(service.run("rare", nap(0), **key))["id"] == as_document(first)["id"]
        assert service.run("rare", {"params": {"seconds": 99}}).status_code == 422
        with service.client() as client:
            assert client.post("/v1/explain/rare", json=nap(0)).status_code == 200
            rate = as_document(client.get("/v1/commands/rare"))["limits"]["rate"]
        assert (rate["limit"], rate["per"], rate["left"]) == (3, 60, 2)
        assert 1 <= rate["resets_in"] <= 20
    assert service.run("rare", nap(0), principal="cid").status_code == 200
    assert service.run("rare", nap(0), principal="dan").status_code == 200
    answer = service.run("rare", nap(0))
    refused(answer, 429, "command_rate")
    assert 10 <= int(answer.headers["Retry-After"]) <= 20
    assert service.run("rare", nap(0), **key).headers["Idempotency-Replayed"] == "true"
    service.restart()
    refused(service.run("rare", nap(0), principal="cid"), 429, "command_rate")


def test_a_rate_that_is_followed(service: Limited) -> None:
    """Whoever waits as long as it is told is let in, each time."""
    for _ in range(4):
        while (answer := service.run("brisk", nap(0))).status_code == 200:
            pass
        refused(answer, 429, "command_rate")
        time.sleep(int(answer.headers["Retry-After"]))
        assert service.run("brisk", nap(0)).status_code == 200


def test_equal_keys_at_the_same_moment(service: Limited) -> None:
    """Of calls with one key that come together one is let in, and the others are its replays, not refusals."""
    barrier = threading.Barrier(6)

    def call() -> httpx.Response:
        barrier.wait()
        return service.run("only", nap(0.5), headers={"Idempotency-Key": f"same-{service.pid}"})

    with ThreadPoolExecutor(6) as pool:
        answers = [future.result() for future in [pool.submit(call) for _ in range(6)]]
    assert {answer.status_code for answer in answers} == {200}
    assert len({as_document(answer)["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 5


def test_a_deny_that_comes_while_a_job_waits(service: Limited) -> None:
    """Jobs that wait and may not run any more end at once and never run; a new limit starts what waited for it."""
    running = service.launch("nap", nap(20), principal="bob")
    waiting = service.launch("nap", nap(0), principal="bob")
    blocked = service.launch("two", nap(20), principal="cid"), service.launch("two", nap(20), principal="cid")
    third = service.launch("two", nap(0), principal="cid")
    assert third["queue"]["reason"] == "command_limit"

    def change(policy: Document) -> None:
        policy["grants"][0]["to"].remove("bob")
        policy["commands"]["two"]["concurrency"]["total"] = 3

    service.edit(change)
    assert service.job(third["id"], wait=10, principal="cid")["state"] == "succeeded"
    ended = service.job(waiting["id"], wait=10, principal="bob")
    assert (ended["state"], ended["error"]["code"], ended["started_at"]) == ("failed", "policy_changed", None)
    assert service.job(running["id"], principal="bob")["state"] == "running"
    assert all(service.job(job["id"], principal="cid")["state"] == "running" for job in blocked)


def test_another_argv_while_a_job_waits(service: Limited) -> None:
    """What would run something else than what is on record does not run."""
    first = service.launch("one", nap(20))
    second = service.launch("one", nap(0))
    service.edit(lambda policy: policy["commands"]["one"].update(script="echo other"))
    ended = service.job(second["id"], wait=10)
    assert (ended["state"], ended["error"]["code"], ended["stdout"]) == ("failed", "policy_changed", "")
    assert service.job(first["id"])["state"] == "running"


def test_a_lower_time_limit_holds_for_what_waits(service: Limited) -> None:
    """The limits of the policy in force hold when a run starts."""
    running = [service.launch("two", nap(20)) for _ in range(2)]
    waiting = service.launch("two", nap(20))
    service.edit(lambda policy: policy["commands"]["two"].update(timeout="1s"))
    service.cancel(running[0]["id"])
    assert service.job(waiting["id"], wait=10)["state"] == "timed_out"
    assert service.job(running[1]["id"])["state"] == "running"


def test_a_flood_of_refusals_is_cheap(service: Limited) -> None:
    """A thousand refusals: one audit record a second, no job, no file, no row, and memory stays where it was."""
    service.launch("only", nap(30))
    status = Path(f"/proc/{service.pid}/status")
    for _ in range(100):
        refused(service.run("only", nap(0)), 429, "host_busy")

    def resident() -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1])

    time.sleep(1.1)  # so that the next one is recorded
    before, since, records = resident(), time.monotonic(), len(service.records("call.limited"))
    with ExitStack() as stack:
        client = stack.enter_context(service.client())
        for _ in range(1000):
            assert client.post("/v1/run/only", json=nap(0)).status_code == 429
        took = time.monotonic() - since
    wait_until(
        lambda: sum(record["refusals"] for record in service.records("call.limited")[records:]) >= 1000,
        "all are on record, without another call",
    )
    found = service.records("call.limited")[records:]
    assert len(found) <= took + 4, "one, if all came within the second after the record of those before"
    assert {(record["limit"], record["principal"], record["command"]) for record in found} == {
        ("host_busy", "ann", "only")
    }
    assert 1000 <= sum(record["refusals"] for record in found) <= 1100
    assert resident() - before < 4096, "kB"
    assert service.metric('cmdhttp_refusals_total{limit="host_busy"}') >= 1100
    with sqlite3.connect(service.data / "jobs.sqlite3") as database:
        jobs = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
    assert len(service.records("job.started", count=jobs)) == jobs


def test_limits_and_turns_after_a_kill(service: Limited) -> None:
    """What waited keeps its order, its host to itself and its turns, and a rate is not begun anew."""
    service.launch("one", nap(30))
    jobs = [("ann", service.launch("one", nap(0.3))), ("ann", service.launch("one", nap(0.3)))]
    jobs.append(("cid", service.launch("one", nap(0.3), principal="cid")))
    left = service.run("rare", nap(0)).status_code
    service.kill()
    service.start()
    service.end_orphans()
    ended = [service.job(job["id"], wait=15, principal=principal) for principal, job in jobs]
    assert [job["state"] for job in ended] == ["succeeded"] * 3
    first, second, others = (span(job) for job in ended)
    assert first[1] <= others[0] < others[1] <= second[0], "one at a time, and the other caller's before the second"
    with service.client() as client:
        rate = as_document(client.get("/v1/commands/rare"))["limits"]["rate"]
    assert left in (200, 429)
    assert rate["left"] < 3


def test_who_follows_a_job_that_waits_sees_its_place(tmp_path: Path) -> None:
    """Each change of it, in numbered events that a restart does not take, and nothing for jobs that nobody follows."""
    with Limited.running(tmp_path / "service", **{**FLAGS, "max-running": "1"}) as service:
        first, second, third, alone = (service.launch("nap", {"params": {"seconds": 30}})["id"] for _ in range(4))
        seen: list[Document] = []
        with service.follow(third) as events:
            for event in events:
                if event.type == "progress":
                    seen.append(event.document["queue"])
                    if len(seen) == 1:
                        service.cancel(first)
                    else:
                        service.cancel(second)
                if event.type == "started":
                    break
        assert seen[:2] == [{"position": 2, "reason": "service_busy"}, {"position": 1, "reason": "service_busy"}]
        assert len(seen) == 2
        service.restart()
        told = service.events(third)
        assert [event.document["seq"] for event in told] == list(range(1, len(told) + 1))
        assert [event.document["queue"] for event in told if event.type == "progress"] == seen
        assert [event.type for event in told][-2:] == ["exited", "finished"]
        service.cancel(alone)
        assert "progress" not in [event.type for event in service.events(alone)]
