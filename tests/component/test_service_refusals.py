"""What the real program refuses: callers, requests, values, and to start at all."""

import base64
import hashlib
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cmdhttp.execution.spellings import spellings
from tests.support.routes import api_routes
from tests.support.service import (
    NDJSON,
    SSE,
    Document,
    Service,
    as_document,
    proc_command_lines,
    proc_environments,
    wait_until,
)
from tests.support.sshd import Sshd

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("refusals") / "service") as running:
        yield running


def all_routes() -> list[tuple[str, str]]:
    """Return (method, path) of every route, with made-up values in the path."""
    routes = api_routes()
    names = {"{command}": "exit", "{name}": "exit", "{id}": "job_0", "{stream}": "stdout", "{number}": "0"}
    found = []
    for route in routes:
        path = route.path
        for name, value in names.items():
            path = path.replace(name, value)
        found += [(method, path) for method in sorted(route.methods or ())]
    return found


def without_ids(answer: httpx.Response) -> Document:
    """Return a problem without what may differ between two alike refusals."""
    document = as_document(answer)
    assert document.pop("request_id").startswith("req_")
    assert document.pop("instance")
    return document


def post(service: Service, content: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    with service.client() as client:
        return client.post("/v1/run/exit", content=content, headers={**JSON, **headers})


@pytest.mark.parametrize(("method", "path"), all_routes())
def test_every_route_refuses_a_caller_without_a_token(service: Service, method: str, path: str) -> None:
    """No route, present or added later, answers anything but 401 without a credential."""
    with service.client(None) as client:
        answer = client.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unauthenticated"


def test_every_way_to_fail_authentication_looks_alike(service: Service) -> None:
    """No token, a wrong one, an expired one and another scheme get the same body, so nothing is learnt from it."""
    good = service.tokens["ann"]
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    offers = ["", f"Bearer {wrong}", f"Bearer {service.tokens['old']}", "Bearer x", f"Basic {good}", "Bearer", good]
    bodies = []
    for offer in offers:
        headers = {"Authorization": offer} if offer else {}
        with service.client(None) as client:
            answer = client.post("/v1/run/exit", json={}, headers=headers)
        assert answer.status_code == 401
        bodies.append(without_ids(answer))
    assert all(body == bodies[0] for body in bodies)


def test_two_authorization_headers_are_refused(service: Service) -> None:
    """A request that two readers could understand in two ways is a 400, even if both credentials hold."""
    value = f"Bearer {service.tokens['ann']}"
    headers = [("Authorization", value), ("Authorization", value)]
    with service.client(None) as client:
        answer = client.get("/v1/me", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_unknown_and_forbidden_commands_answer_alike(service: Service) -> None:
    """A caller cannot find out which commands exist beyond its own."""
    answers = [service.run(name, {"params": {"x": "y"}}) for name in ("private", "never.heard.of.it", "exit2")]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    first, *others = [without_ids(answer) for answer in answers]
    assert all(other == first for other in others)
    assert service.run("args", {"params": {"one": "x"}}, principal="bob").status_code == 403


def test_a_host_outside_the_grant_is_forbidden(service: Service) -> None:
    """A known host that is not granted and one that does not exist get the same refusal."""
    answers = [
        service.run("exit", {"params": {"code": 0}, "hosts": [host]}, principal="bob") for host in ("far", "nowhere")
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert without_ids(answers[0]) == without_ids(answers[1])


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b'"text"', b"null", b"", b"{", b'{"params": {"code": 1, "code": 2}}', b'{"a": 1, "a": 1}',
        b'{"wait": NaN}', b'{"wait": Infinity}', b'{"wait": -Infinity}', b'{"reason": "\\ud800"}', b'{"reason": "\xff"}',
        b'{"params": ' + b'{"a": ' * 40 + b"1" + b"}" * 41, b"[" * 100_000, b'{"a":' * 50_000,
    ],
    ids=[
        "list", "text", "null", "empty", "cut", "twice", "twice-same", "nan", "inf", "minus-inf", "surrogate", "latin",
        "deep", "deep-list", "deep-object",
    ],
)  # fmt: skip
def test_a_body_that_is_no_plain_object_is_a_400(service: Service, content: bytes) -> None:
    """What is not strict JSON, or not an object, is refused with one status and a text that says what to do."""
    answer = post(service, content)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    problem = answer.json()
    assert set(problem) == {
        "type", "title", "status", "detail", "instance", "code", "hint", "request_id", "retryable",
    }  # fmt: skip
    assert (problem["status"], problem["code"], problem["retryable"]) == (400, "bad_request", False)
    assert problem["detail"]


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_of_another_type_is_a_415(service: Service, media: str) -> None:
    """State-changing routes take JSON that says that it is JSON."""
    with service.client() as client:
        for path in ("/v1/run/exit", "/v1/jobs/job_0/cancel", "/v1/jobs/job_0/events", "/v1/explain/exit"):
            answer = client.post(path, content=b"{}", headers={"Content-Type": media})
            assert (answer.status_code, answer.json()["code"]) == (415, "not_json")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_over_a_mebibyte_is_a_413(service: Service, chunked: bool) -> None:
    """The limit holds whether the length is announced or not."""
    content = b'{"reason": "' + b"x" * (1 << 20) + b'"}'
    parts = (content[at : at + 65536] for at in range(0, len(content), 65536))
    answer = post(service, parts if chunked else content)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_length_and_chunks_together_are_refused(service: Service) -> None:
    """A body with two framings, the start of request smuggling, is never run."""
    head = (
        f"POST /v1/run/exit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.tokens['ann']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
        "Connection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(service.listen.split(":")[1]))) as connection:
        connection.settimeout(10)
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_everything_wrong_with_the_fields_comes_at_once(service: Service) -> None:
    """One 422 names every bad field with its pointer, so that the caller mends the request in one go."""
    body = {
        "params": {"number": 11, "color": "blue", "extra": 1},
        "wait": 1000,
        "stdin": "x",
        "timeout": 10_000,
        "on_disconnect": "explode",
        "labels": "x" * 200,
        "parms": {},
    }
    answer = service.run("typed", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    errors = {error["pointer"]: error for error in answer.json()["errors"]}
    assert set(errors) == {
        "/params/number", "/params/color", "/params/unit", "/params/extra", "/wait", "/stdin", "/timeout",
        "/on_disconnect", "/labels", "/parms",
    }  # fmt: skip
    assert all(error["code"] and error["detail"] for error in errors.values())
    assert "params" in errors["/parms"]["hint"]
    with service.client() as client:
        assert as_document(client.get("/v1/jobs", params={"command": "typed"}))["jobs"] == []


def test_a_trailing_newline_does_not_pass_a_pattern(service: Service) -> None:
    """Values match as a whole: no newline, NUL or other control character rides along."""
    for unit in ("nginx\n", "nginx\x00", "\nnginx", "nginx\r", "-nginx", "ng inx"):
        params = {"number": 1, "color": "red", "unit": unit}
        answer = service.run("typed", {"params": params})
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/params/unit"]
        assert answer.status_code == 422


def test_jobs_of_another_caller_are_not_there(service: Service) -> None:
    """Another principal's job and one that never was get the same 404, on every route."""
    job = service.result("exit", {"params": {"code": 0}})
    never = job["id"][:-4] + "0000"
    with service.client("bob") as bob:
        for method, path in (
            ("GET", "/v1/jobs/{}"),
            ("GET", "/v1/jobs/{}?wait=1"),
            ("GET", "/v1/jobs/{}/events"),
            ("POST", "/v1/jobs/{}/events"),
            ("GET", "/v1/jobs/{}/output/stdout"),
            ("GET", "/v1/jobs/{}/output/stderr?follow=1"),
            ("POST", "/v1/jobs/{}/cancel"),
        ):
            body: Document | None = {} if method == "POST" else None
            theirs = bob.request(method, path.format(job["id"]), json=body)
            nobodys = bob.request(method, path.format(never), json=body)
            assert (theirs.status_code, nobodys.status_code) == (404, 404)
            assert without_ids(theirs) == without_ids(nobodys)
        assert as_document(bob.get("/v1/jobs"))["jobs"] == []


@pytest.mark.parametrize("path", ["/v1/jobs/../me", "/v1//me", "/v1/%6de", "/v1/me/", "/V1/me", "/v1/jobs/.", "/v1"])
def test_odd_paths_reach_nothing(service: Service, path: str) -> None:
    """A path that is not in its plain form is refused and never normalised into a route."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.tokens['ann']}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(service.listen.split(":")[1]))) as connection:
        connection.settimeout(10)
        connection.sendall(head.encode())
        assert connection.recv(4096).split(b" ")[1] in (b"400", b"404")


def test_no_policy_and_no_tokens_mean_no_service(tmp_path: Path) -> None:
    """A policy with errors is refused with all of them and their places, and one that lets nobody call is too."""
    service = Service(tmp_path, Sshd(tmp_path / "unused"), flags={})
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.yaml").write_text("version: 1\ncommands:\n  one: {run: [/bin/true], on: locl}\n")
    (broken / "b.yaml").write_text(
        "version: 1\ncommands:\n  two: {run: [/bin/true], on: locla}\n  three: {run: [<x>], on: local}\n"
    )
    refused = service.cli(*service.serve_arguments(policies=str(broken)))
    assert refused.returncode == 2
    assert "a.yaml:3:" in refused.stderr
    assert "b.yaml:3:" in refused.stderr
    assert "b.yaml:4:" in refused.stderr
    assert "Traceback" not in refused.stderr
    (lonely := tmp_path / "lonely").mkdir()
    (lonely / "a.yaml").write_text(
        "version: 1\ncommands:\n  one: {run: [/bin/true], on: local}\nprincipals: {ann: {}}\n"
    )
    refused = service.cli(*service.serve_arguments(policies=str(lonely)))
    assert (refused.returncode, "token" in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)
    missing = service.cli(*service.serve_arguments(policies=str(tmp_path / "nothing")))
    assert (missing.returncode, "Traceback" in missing.stderr) == (2, False)


def test_secrets_show_up_nowhere(tmp_path: Path) -> None:
    """Tokens, a secret stdin and a secret parameter are in no log, record, answer or command line.

    Not even where a command prints the secret itself, in the common encodings, and slowly, so that reads cut it.
    """
    secret = "stdin-canary-4f7d1c"
    answers: list[str] = []
    flags: dict[str, Any] = {"log-level": "debug"}
    with Service.running(tmp_path / "service", **flags) as service:
        canaries = [secret.encode(), *(token.encode() for token in service.tokens.values())]
        spills = [service.launch("spill", {"stdin": secret + "\n", "hosts": [host]})["id"] for host in ("local", "far")]
        for host in ("local", "far"):
            launched = service.launch("digest", {"stdin": secret, "hosts": [host], "params": {"seconds": 0.7}})
            canaries = [secret.encode(), *(token.encode() for token in service.tokens.values())]
            with service.follow(launched["id"]) as events:
                next(event for event in events if event.type == "started")
                wait_until(
                    lambda: any(b"sleep\x000.7" in line for line in proc_command_lines()), "the run is under way"
                )
                lines = b"\n".join(proc_command_lines())
                assert not [canary for canary in canaries if canary in lines]
                answers += [event.raw for event in events]
            answers.append(json.dumps(service.job(launched["id"])))
        note = {"name": "note.txt", "base64": base64.b64encode(b"a note").decode()}
        body: Document = {"params": {"pw": secret, "note": note, "seconds": 0.8}, "idempotency_key": "unlock"}
        unlocked = service.launch("unlock", body)
        wait_until(lambda: any(b"sleep\x000.8" in line for line in proc_command_lines()), "the run is under way")
        lines = b"\n".join([*proc_command_lines(), *proc_environments()])
        assert not [canary for canary in canaries if canary in lines]
        answers.append(json.dumps(service.job(unlocked["id"], wait=10)))
        assert "succeeded" in answers[-1]
        answers += [event.raw for event in service.events(unlocked["id"])]
        with service.client() as client:
            for verb in ("explain", "run"):
                for wrong in ({**body["params"], "note": None}, {**body["params"], "pw": [secret]}, body["params"]):
                    answers.append(client.post(f"/v1/{verb}/unlock", json={"params": wrong}).text)
        for spilled in spills:
            for media in (NDJSON, SSE):
                with service.follow(spilled, media=media) as events:
                    answers += [event.raw for event in events]
            job = service.job(spilled)
            answers += [json.dumps(job), service.output(spilled).text, service.output(spilled, "stderr").text]
            check_spill(job, [event.document for event in service.events(spilled)])
        with service.client("old") as client:
            answers.append(client.get("/v1/me").text)
        with service.client() as client:
            for path in ("/v1/me", "/v1/jobs", "/v1/commands", "/v1/hosts"):
                answers.append(client.get(path).text)
            body = {"stdin": {"base64": secret}, "params": {"seconds": secret}}
            answers.append(client.post("/v1/run/digest", json=body).text)
        service.restart()
    places = [service.stderr, *(path for path in service.data.rglob("*") if path.is_file())]
    assert len(places) > 4
    assert any(path.name == "audit.jsonl" for path in places)
    assert any(is_sqlite(path) for path in places)
    assert [path for path in places if path.name.endswith(".0.stdout") and b"raw ***." in path.read_bytes()]
    canaries += [*spellings(secret.encode()), b"token=1234"]
    for place in places:
        assert not [canary for canary in canaries if canary in place.read_bytes()], place.name
    everything = "\n".join(answers).encode()
    assert not [canary for canary in canaries if canary in everything]


def check_spill(job: Document, events: list[Document]) -> None:
    """The secret is masked, and what says how much there is speaks of what is kept."""
    lines = job["stdout"].splitlines()
    assert lines[1:4] == ["raw ***.", "hex ***.", "HEX ***."]
    assert all(re.fullmatch(r"base64 [a-zA-Z0-9]{0,3}\*\*\*[a-zA-Z0-9=]{0,4}\.", line) for line in lines[4:7])
    assert lines[7:] == ["pattern ***.", "tuejo-dbobsz-4g7e1d end"], (
        "the net has holes: a secret that is spelled otherwise"
    )
    assert job["stderr"] == "ready, steady\nerr ***.\n"
    finished = events[-1]["job"]
    for stream in ("stdout", "stderr"):
        kept = job[stream].encode()
        assert job[f"{stream}_bytes"] == len(kept)
        assert finished["sha256"][stream] == hashlib.sha256(kept).hexdigest()
        told = [event for event in events if event["type"] == "output" and event["stream"] == stream]
        assert "".join(event["text"] for event in told) == kept.decode()
        assert [event["offset"] for event in told] == [sum(len(e["text"]) for e in told[:n]) for n in range(len(told))]


def is_sqlite(path: Path) -> bool:
    if path.read_bytes()[:15] != b"SQLite format 3":
        return False
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return bool(connection.execute("select count(*) from sqlite_master").fetchone()[0])
    finally:
        connection.close()
