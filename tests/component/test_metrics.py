"""What `/metrics` of the running program says, and that no caller can make it say more."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.reloading import ReloadingService
from tests.support.routes import api_routes
from tests.support.service import wait_until

TEMPLATES = {route.path for route in api_routes()}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReloadingService]:
    with ReloadingService.running(tmp_path_factory.mktemp("metrics") / "service") as running:
        yield running


def test_calls_and_jobs_are_counted(service: ReloadingService) -> None:
    """A call is a request, a decision on each host, a job and its duration; a job that runs is seen running."""
    before = service.metrics()

    def grown(sample: str) -> float:
        return service.metrics().get(sample, 0.0) - before.get(sample, 0.0)

    job = service.launch("nap")
    wait_until(lambda: service.metrics()["cmdhttp_jobs_running"] == 1, "the job is counted while it runs")
    service.job(job["id"], wait=10)
    service.result("note")
    assert service.run("which", {"params": {"name": "B"}}).status_code == 403
    assert service.run("nothing").status_code == 403
    wait_until(lambda: grown('cmdhttp_jobs_total{state="succeeded"}') == 2, "the ends are counted")
    assert grown('cmdhttp_requests_total{route="/v1/run/{command}",status="200"}') == 1
    assert grown('cmdhttp_requests_total{route="/v1/run/{command}",status="202"}') == 1
    assert grown('cmdhttp_requests_total{route="/v1/run/{command}",status="403"}') == 2
    assert grown('cmdhttp_requests_total{route="/v1/jobs/{id}",status="200"}') == 1
    assert grown('cmdhttp_decisions_total{reason="role_line",verdict="allow"}') == 2
    assert grown('cmdhttp_decisions_total{reason="no_role_line",verdict="deny"}') == 1
    assert grown("cmdhttp_job_duration_seconds_count") == 2
    assert 1 < grown("cmdhttp_job_duration_seconds_sum") < 20
    assert (service.metrics()["cmdhttp_jobs_running"], service.metrics()["cmdhttp_jobs_queued"]) == (0, 0)


def test_a_caller_cannot_shape_a_label(service: ReloadingService) -> None:
    """Odd paths, methods, commands, headers and tokens leave the labels to a fixed set, and the page its size."""
    service.run("note")
    odd = ['"} 1', "\\", "é" * 50, "{command}", "%00", "x" * 1000, "a\u2028b"]
    with service.client() as known, service.client(None) as stranger:
        for client in (known, stranger):
            for number in range(25):
                client.post(f"/v1/run/command-{number}", json={})
                client.get(f"/v1/jobs/{number}")
                client.get(f"/v{number}/x")
                client.request("PATCH", f"/v1/jobs/{number}/cancel")
            for text in odd:
                client.post(f"/v1/run/{text}", json={})
                client.get("/v1/me", headers={"X-Request-Id": ascii(text)})
    _send_raw(service, b"FROB /v1/me HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n")
    samples = [sample for sample in service.metrics() if sample.startswith("cmdhttp_requests_total")]
    labels = {tuple(part.split('"')[1::2]) for part in samples}
    assert {route for route, _ in labels} <= TEMPLATES | {"none"}
    assert {"none", "/v1/run/{command}", "/v1/jobs/{id}", "/v1/jobs/{id}/cancel"} <= {route for route, _ in labels}
    assert all(status.isdigit() and len(status) == 3 for _, status in labels)
    assert len(service.metrics()) < 100


def test_only_the_operations_listener_has_them(service: ReloadingService) -> None:
    """Callers cannot read them, with or without a token; the other listener serves the text format of Prometheus."""
    with service.client() as client:
        assert client.get("/metrics").status_code == 404
    answer = service.ask_ops("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "ann" not in answer.text


def _send_raw(service: ReloadingService, *requests: bytes) -> None:
    host, port = service.listen.split(":")
    for request in requests:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(request)
            connection.recv(4096)
