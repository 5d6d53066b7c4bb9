"""The list of jobs and retries with the same idempotency key, on the real program."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx
import pytest

from tests.support.service import NDJSON, Document, Service, as_document, read_events

ZERO: Document = {"params": {"code": 0}}
THREE: Document = {"params": {"code": 3}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("jobs") / "service") as running:
        yield running


@pytest.fixture(scope="module")
def seven(service: Service) -> list[Document]:
    """Seven finished jobs, oldest first: succeeded and failed in turn, the last one over SSH."""
    jobs = [service.result("exit", THREE if number % 2 else ZERO) for number in range(5)]
    jobs.append(service.result("args", {"params": {"one": "x"}}))
    jobs.append(service.result("exit", {**ZERO, "hosts": ["far"]}))
    return jobs


def page(service: Service, **filters: str | int) -> Document:
    with service.client() as client:
        answer = client.get("/v1/jobs", params=filters)
    assert answer.status_code == 200, answer.text
    return as_document(answer)


def ids(document: Document) -> list[str]:
    return [job["id"] for job in document["jobs"]]


def test_jobs_are_listed_newest_first(service: Service, seven: list[Document]) -> None:
    """The list holds the caller's jobs without their output."""
    document = page(service, limit=7)
    assert ids(document) == [job["id"] for job in reversed(seven)]
    assert "stdout" not in document["jobs"][0]
    assert document["jobs"][1]["state"] == "succeeded"


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_join_up(service: Service, seven: list[Document], limit: int) -> None:
    """Following the cursor gives every job once, and new jobs in between do not shift a page."""
    found: list[str] = []
    document = page(service, limit=limit)
    newest = service.result("cat", {"stdin": "between"})
    while True:
        assert len(document["jobs"]) <= limit
        found += ids(document)
        if document["next_cursor"] is None:
            break
        document = page(service, limit=limit, cursor=document["next_cursor"])
    assert len(set(found)) == len(found)
    assert newest["id"] not in found
    assert [one for one in found if one in {job["id"] for job in seven}] == [job["id"] for job in reversed(seven)]


def test_filters_pick_jobs(service: Service, seven: list[Document]) -> None:
    """State, command, host and both ends of the time of creation, alone and together."""
    every = [job["id"] for job in reversed(seven)]
    failed = [job["id"] for job in reversed(seven) if job["exit_code"] == 3]
    assert ids(page(service, state="failed")) == failed
    assert ids(page(service, state="failed,lost", command="exit")) == failed
    assert ids(page(service, state="canceled")) == []
    assert ids(page(service, command="args")) == [seven[5]["id"]]
    assert ids(page(service, host="far")) == [seven[6]["id"]]
    assert ids(page(service, host="nowhere")) == []
    since, until = seven[2]["created_at"], seven[4]["created_at"]
    assert ids(page(service, since=since, command="exit", state="succeeded,failed", host="local")) == [
        job["id"] for job in (seven[4], seven[3], seven[2])
    ]
    inside = ids(page(service, since=since, until=until))
    assert set(inside) <= set(every)
    assert {seven[2]["id"], seven[3]["id"]} <= set(inside)
    assert not {seven[0]["id"], seven[1]["id"], seven[5]["id"]} & set(inside)
    early = (datetime.fromisoformat(seven[0]["created_at"]) - timedelta(seconds=1)).isoformat()
    assert ids(page(service, until=early)) == []


@pytest.mark.parametrize(
    "query",
    ["state=exploded", "limit=0", "limit=201", "limit=x", "limit=nan", "since=yesterday", "until=9", "cursor=%21"],
)
def test_a_filter_that_makes_no_sense_is_a_422(service: Service, query: str) -> None:
    """A filter is never ignored; the answer names it."""
    with service.client() as client:
        answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["?" + query.partition("=")[0]]


def test_the_same_key_and_body_give_the_same_job(service: Service) -> None:
    """A retry runs nothing, whichever way the key is given and whichever answer is wanted."""
    first = service.run("exit", ZERO, headers={"Idempotency-Key": "once"})
    assert "idempotency-replayed" not in first.headers
    again = [
        service.run("exit", ZERO, headers={"Idempotency-Key": "once"}),
        service.run("exit", ZERO, headers={"X-Idempotency-Key": "once"}),
        service.run("exit", {**ZERO, "idempotency_key": "once"}),
        service.run("exit", {**ZERO, "wait": 1}, headers={"Idempotency-Key": "once"}),
    ]
    for answer in again:
        assert (answer.status_code, answer.headers["idempotency-replayed"]) == (200, "true")
        assert answer.json() == first.json()
    with service.client() as client:
        headers = {"Accept": NDJSON, "Idempotency-Key": "once"}
        with client.stream("POST", "/v1/run/exit", json=ZERO, headers=headers) as answer:
            events = list(read_events(answer, NDJSON))
    assert (events[0].type, events[-1].type) == ("accepted", "finished")
    assert events[0].document["job_id"] == first.json()["id"]
    other = service.run("exit", ZERO, headers={"Idempotency-Key": "once"}, principal="bob")
    assert other.json()["id"] != first.json()["id"]


def test_the_same_key_with_another_body_is_a_409(service: Service) -> None:
    """A key that was used for another command, value, stdin or host is a conflict, and nothing runs."""
    service.result("exit", ZERO, headers={"Idempotency-Key": "taken"})
    before = page(service)["jobs"][0]["id"]
    for command, body in (
        ("exit", THREE),
        ("exit", {**ZERO, "hosts": ["far"]}),
        ("exit", {**ZERO, "labels": ["x"]}),
        ("cat", {"stdin": "x"}),
    ):
        answer = service.run(command, body, headers={"Idempotency-Key": "taken"})
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert page(service)["jobs"][0]["id"] == before


def test_two_calls_at_the_same_instant_make_one_job(service: Service) -> None:
    """However the calls interleave, one of them starts the job and the others get it."""
    for number in range(5):
        barrier = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: at_once(service, barrier, f"race-{number}"), range(4)))  # noqa: B023
        assert {answer.status_code for answer in answers} <= {200, 202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotency-replayed" in answer.headers for answer in answers) == 3


def at_once(service: Service, barrier: threading.Barrier, key: str) -> httpx.Response:
    with service.client() as client:
        client.get("/v1/me")
        barrier.wait(5)
        return client.post("/v1/run/exit", json=ZERO, headers={"Idempotency-Key": key})


def test_a_key_holds_across_a_restart(service: Service) -> None:
    """A retry that comes after a restart of the service still gets the original job."""
    first = service.result("exit", ZERO, headers={"Idempotency-Key": "kept"})
    service.restart()
    again = service.run("exit", ZERO, headers={"Idempotency-Key": "kept"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json() == first
    assert service.run("exit", THREE, headers={"Idempotency-Key": "kept"}).status_code == 409
