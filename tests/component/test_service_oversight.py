"""Jobs of another caller on each route, on the real program: bob oversees none, reads, or stops, by the command of the job."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.support.service import Document, Service, as_dict, as_document, wait_until

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
        ]
        policy["grants"].append({"to": ["bob"], "roles": ["lead"]})
        return policy


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
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


def records(service: Service, code: str, job_id: str) -> list[Document]:
    lines = (service.data / "audit" / "audit.jsonl").read_text().splitlines()
    found = (as_dict(json.loads(line)) for line in lines if f'"{code}"' in line and job_id in line)
    return list(found)


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
    wait_until(lambda: records(service, "job.read", job["id"]), "the record of the reading")
    assert len(records(service, "job.read", job["id"])) == 1
    assert not records(service, "job.cancel", job["id"])


def test_who_stops_is_on_record_with_the_owner(service: Service) -> None:
    """The overseer stops ann's job; who may stop it may not run it."""
    job = service.launch("sleep", {"params": {"seconds": 30}, "hosts": ["local"]})
    answer = ask(service, job["id"], "POST", "/cancel")
    assert answer.status_code == 200, answer.text
    assert as_document(answer)["state"] == "canceled"
    wait_until(lambda: records(service, "job.cancel", job["id"]), "the record of the cancel")
    (record,) = records(service, "job.cancel", job["id"])
    assert '"owner": "ann"' in json.dumps(record)
    assert '"principal": "bob"' in json.dumps(record)
    assert service.run("sleep", {"params": {"seconds": 1}}, principal="bob").status_code == 403
