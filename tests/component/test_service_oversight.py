"""Jobs of another caller on each route, on the real program: bob oversees none, reads, or stops, by the command of the job."""

import base64
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.calling import call
from tests.support.service import NDJSON, Document, Service, as_dict, as_document, read_events, wait_until

UNKNOWN = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
ROUTES = [
    ("GET", ""),
    ("GET", "?wait=0.1"),
    ("GET", "/events"),
    ("POST", "/events"),
    ("GET", "/output/stdout"),
    ("GET", "/output/stdout?follow=1"),
    ("GET", "/artefacts/0"),
    ("POST", "/cancel"),
]
READ_BY_BOB = [route for route in ROUTES if route[1] not in ("/artefacts/0", "/cancel")]


class Overseen(Service):
    """bob reads jobs of 'exit', stops those of 'sleep' on local, and has no right over those of 'args'."""

    def _policy(self, principals: Document) -> Document:
        policy = super()._policy(principals)
        policy["roles"]["lead"] = [
            {"commands": "exit", "hosts": "*", "jobs": "read", "params": {"code": 0}},
            {"commands": "sleep", "hosts": "local", "jobs": "cancel", "of": ["ann"]},
            {"commands": ["unlock", "spill"], "hosts": "local", "jobs": "read"},
            {"commands": "stamp", "hosts": "local", "jobs": "read"},
            {"commands": "stamp", "hosts": "far", "jobs": "cancel", "of": ["role:all"]},
        ]
        policy["grants"].append({"to": ["bob"], "roles": ["lead", "watch"]})
        self.watch("tick")
        return policy

    def watch(self, command: str) -> None:
        """Let bob read the jobs of this command, by a file of its own, and of none that was written here before."""
        role = [{"commands": command, "hosts": "local", "jobs": "read"}]
        (self.policies / "watch.yaml").write_text(json.dumps({"version": 1, "roles": {"watch": role}}))

    def digest(self) -> str:
        with self.client() as client:
            return str(as_document(client.get("/v1/me"))["policy"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Overseen]:
    with Overseen.running(tmp_path_factory.mktemp("oversight") / "service") as running:
        yield running


def ask(service: Service, job_id: str, method: str, path: str, *, principal: str = "bob") -> httpx.Response:
    with service.client(principal) as client:
        return client.request(method, f"/v1/jobs/{job_id}{path}", json={} if method == "POST" else None)


def told(answer: httpx.Response) -> tuple[int, Document]:
    """Return status and body without the id of the request, which each answer has of its own."""
    body = as_dict(answer.json())
    return answer.status_code, {
        key: value for key, value in body.items() if key not in ("instance", "request_id", "id")
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(("command", "params"), [("args", {"one": "x"}), ("exit", {"code": 3})])
def test_no_right_is_like_no_job(service: Service, method: str, path: str, command: str, params: Document) -> None:
    """Neither the command nor the values fit a line of bob's: the answer is that for a job that does not exist."""
    job = service.result(command, {"params": params})
    answer = told(ask(service, job["id"], method, path))
    assert answer[0] == 404
    assert answer == told(ask(service, UNKNOWN, method, path))


def test_who_reads_does_not_stop(service: Service) -> None:
    """Every route to read answers bob as it answers ann, once on record; a cancel is 403."""
    job = service.result("exit", {"params": {"code": 0}})
    for method, path in READ_BY_BOB:
        answer = ask(service, job["id"], method, path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.content == ask(service, job["id"], method, path, principal="ann").content
    assert ask(service, job["id"], "POST", "/cancel").status_code == 403
    assert len(service.records("job.read", job=job["id"], count=1)) == 1
    assert not service.records("job.cancel", job=job["id"])


def test_who_stops_is_on_record_with_the_owner(service: Service) -> None:
    """The overseer stops ann's job; who may stop it may not run it."""
    job = service.launch("sleep", {"params": {"seconds": 30}, "hosts": ["local"]})
    answer = ask(service, job["id"], "POST", "/cancel")
    assert answer.status_code == 200, answer.text
    assert as_document(answer)["state"] == "canceled"
    assert service.run("sleep", {"params": {"seconds": 1}}, principal="bob").status_code == 403
    (record,) = service.records("job.cancel", job=job["id"], count=1)
    assert (record["owner"], record["principal"]) == ("ann", "bob")
    (denied,) = [each for each in service.records("call.denied", count=1) if each["principal"] == "bob"][:1]
    assert record["credential"] == denied["credential"]
    assert record["source"] == "127.0.0.1"


def test_an_overseer_sees_no_secret(service: Service) -> None:
    """What is masked for the owner is masked for whoever reads the job: values, output, and what a file was made of."""
    secret, note = "correct-horse-battery", b"a note for all"
    values = {"pw": secret, "note": {"name": "note", "base64": base64.b64encode(note).decode()}}
    jobs = [
        service.result("unlock", {"params": values}),
        service.result("spill", {"stdin": secret, "hosts": ["local"]}),
    ]
    for job in jobs:
        for path in ("", "/events", "/output/stdout", "/output/stderr"):
            answer = ask(service, job["id"], "GET", path)
            assert answer.status_code == 200, (path, answer.text)
            assert secret not in answer.text, path
    artefact = ask(service, jobs[0]["id"], "GET", "/artefacts/0")
    assert (artefact.status_code, artefact.content) == (200, note)


def test_hosts_add_up_from_several_lines(service: Service) -> None:
    """One line takes in one host of the job, one the other; only one of the two lets stop, so the job is read."""
    job = service.result("stamp", {"hosts": ["local", "far"]})
    assert ask(service, job["id"], "GET", "").status_code == 200
    assert ask(service, job["id"], "POST", "/cancel").status_code == 403


def test_two_first_readings_are_one_record(service: Service) -> None:
    job = service.result("stamp", {"hosts": ["local"]})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(service, job["id"], "GET", ""), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(service.records("job.read", job=job["id"], count=1)) == 1


def listed(service: Service, by: str, **filters: str | int) -> Document:
    with service.client(by) as client:
        return as_document(client.get("/v1/jobs", params=filters))


def ids(page: Document) -> set[str]:
    return {job["id"] for job in page["jobs"]}


def test_lists_hold_what_may_be_read(service: Service) -> None:
    """Of ann's jobs bob gets those that a line takes in, and of his own all; it is on record."""
    fits, other = service.result("exit", {"params": {"code": 0}}), service.result("exit", {"params": {"code": 4}})
    own = service.result("exit", {"params": {"code": 5}}, principal="bob")
    every = {fits["id"], other["id"], own["id"]}
    assert ids(listed(service, "bob", principal="ann")) & every == {fits["id"]}
    assert ids(listed(service, "bob", principal="*")) & every == {fits["id"], own["id"]}
    assert ids(listed(service, "bob")) & every == ids(listed(service, "bob", principal="bob")) & every == {own["id"]}
    assert ids(listed(service, "bob", principal="*", command="exit", state="failed", host="local")) == {own["id"]}
    assert ids(listed(service, "bob", principal="*", host="far", command="exit")) == set()
    records = service.records("jobs.listed", count=2)
    assert {(record["principal"], record["owner"]) for record in records} == {("bob", "ann"), ("bob", "*")}


def test_pages_lead_to_every_job_once(service: Service) -> None:
    for _ in range(3):
        service.result("exit", {"params": {"code": 0}})
    whole, seen = ids(listed(service, "bob", principal="*", limit=200)), list[str]()
    cursor: str | None = ""
    while cursor is not None:
        page = listed(service, "bob", principal="*", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == sorted(whole)
    assert len(seen) > 2


def test_who_oversees_nobody_learns_nothing_of_others(service: Service) -> None:
    """The owner has no line with jobs: another's name, an unknown one, and everybody's give her own jobs at most."""
    service.result("exit", {"params": {"code": 1}}, principal="bob")
    for name in ("bob", "nobody"):
        assert listed(service, "ann", principal=name) == {"jobs": [], "next_cursor": None}
    assert {job["id"] for job in service.list_jobs(principal="*")} == {job["id"] for job in service.list_jobs()}
    assert listed(service, "bob", principal="nobody") == {"jobs": [], "next_cursor": None}


def test_the_client_lists_them(service: Service) -> None:
    job = service.result("exit", {"params": {"code": 0}})
    done = call(service, "jobs", "list", "--principal", "ann", "--all", principal="bob")
    assert (done.returncode, job["id"] in done.stdout.decode()) == (0, True)
    assert call(service, "jobs", "list", "--principal", "bob", "--all", principal="ann").stdout == b""


@pytest.mark.parametrize("name", ["", "a b", "role:all", "**", "ann\n", "x" * 65, "é", "'; --"])
def test_a_name_that_is_none_is_told(service: Service, name: str) -> None:
    with service.client("bob") as client:
        answer = client.get("/v1/jobs", params={"principal": name})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_me_says_the_rights(service: Service) -> None:
    with service.client("bob") as client:
        rights = as_document(client.get("/v1/me"))["jobs_of_others"]
    assert {
        "right": "cancel",
        "commands": ["sleep"],
        "hosts": ["local"],
        "of": ["ann"],
        "params": [],
        "role": "lead",
    } in rights
    assert [right["params"] for right in rights if right["commands"] == ["exit"]] == [["code"]]
    with service.client("ann") as client:
        assert as_document(client.get("/v1/me"))["jobs_of_others"] == []


def test_a_reading_that_has_begun_ends_with_the_right(service: Overseen) -> None:
    """Events end as interrupted, output ends, a long poll answers as if there were no job; the owner reads on."""
    job = service.launch("tick", {"params": {"count": 1000, "pause": 0.05}, "hosts": ["local"]})
    path, before = f"/v1/jobs/{job['id']}", service.digest()
    with ThreadPoolExecutor(1) as pool, service.client("bob") as client, service.follow(job["id"]) as owners:
        polled = pool.submit(ask, service, job["id"], "GET", "?wait=60")
        with (
            client.stream("GET", f"{path}/events") as told,
            client.stream("GET", f"{path}/output/stdout?follow=1") as out,
        ):
            events, output = read_events(told, NDJSON), out.iter_bytes()
            assert next(event for event in events if event.type == "output").numbered
            assert next(output)
            service.watch("digest")
            os.kill(service.pid, signal.SIGHUP)
            wait_until(lambda: service.digest() != before, "another policy is in force")
            last = list(events)[-1]
            assert (last.type, last.numbered) == ("interrupted", False)
            assert b"".join(output) is not None
        for method, rest in READ_BY_BOB:
            assert ask(service, job["id"], method, rest).status_code == 404
        seen = last.document["last_seq"]
        assert next(event for event in owners if event.numbered and event.seq > seen + 5).type == "output"
        assert service.cancel(job["id"])["state"] == "canceled"
        assert polled.result().status_code == 404
        assert list(owners)[-1].type == "finished"
