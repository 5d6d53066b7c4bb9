"""One JSON document per call, from the real program over loopback HTTP: what a SaaS automation sees."""

import base64
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.service import NDJSON, Document, Service, as_document, wait_until
from tests.support.sshd import is_alive

FIELDS = {
    "id", "command", "state", "ok", "host", "exit_code", "signal", "stdout", "stderr", "encoding", "truncated",
    "stdout_bytes", "stderr_bytes", "error", "created_at", "started_at", "finished_at", "duration_ms", "principal",
    "policy", "params", "labels", "reason", "audit", "links",
}  # fmt: skip

VALUES = [
    "; touch x",
    "$(id)",
    "`id`",
    "two words",
    "'\"",
    "a\\nb",
    "%s",
    "*",
    "é 🦉 日本",
    "&& rm -rf .",
    "x=y",
    "~",
    "|cat",
]

hosts = pytest.mark.parametrize("host", ["local", "far"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("results") / "service") as running:
        yield running


@hosts
def test_a_finished_job_has_the_flat_fields_of_the_contract(service: Service, host: str) -> None:
    """The answer is one flat object with every field of the contract, on this machine and over SSH."""
    job = service.result("exit", {"params": {"code": 0}, "hosts": [host], "labels": ["run-1"], "reason": "why"})
    assert set(job) == FIELDS
    assert (job["command"], job["state"], job["ok"], job["host"]) == ("exit", "succeeded", True, host)
    assert (job["exit_code"], job["signal"], job["error"], job["truncated"]) == (0, None, None, False)
    assert (job["stdout"], job["stderr"], job["encoding"]) == ("out\n", "err\n", "utf-8")
    assert (job["stdout_bytes"], job["stderr_bytes"]) == (4, 4)
    assert (job["principal"], job["labels"], job["reason"]) == ("ann", ["run-1"], "why")
    assert job["policy"].startswith("sha256:")
    assert job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["duration_ms"] > 0


@hosts
@pytest.mark.parametrize("value", VALUES)
def test_a_value_arrives_as_exactly_one_argument(service: Service, host: str, value: str) -> None:
    """No value is read as syntax by anything on the way to the program."""
    job = service.result("args", {"params": {"one": value, "two": value}, "hosts": [host]})
    assert job["stdout"] == f"[{value}]\n[two={value}]\n"


@hosts
def test_a_command_that_fails_is_a_200_that_says_so(service: Service, host: str) -> None:
    """The status is about the request: exit code 3 is a 200 with ok false."""
    job = service.result("exit", {"params": {"code": 3}, "hosts": [host]})
    assert (job["state"], job["ok"], job["exit_code"], job["error"]) == ("failed", False, 3, None)


def test_fail_http_turns_a_failed_command_into_422(service: Service) -> None:
    """A caller that can only branch on the status may ask for it, and gets the same document."""
    failed = service.run("exit", {"params": {"code": 3}}, params={"fail": "http"})
    assert (failed.status_code, failed.json()["exit_code"]) == (422, 3)
    assert service.run("exit", {"params": {"code": 0}}, params={"fail": "http"}).status_code == 200


def test_wait_zero_answers_202_and_the_result_is_fetched(service: Service) -> None:
    """A call that does not wait gets Location and Retry-After, and a long poll returns the end as soon as it is there."""
    answer = service.run("sleep", {"params": {"seconds": 1}, "wait": 0})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["state"] in ("queued", "running")
    since = time.monotonic()
    with service.client() as client:
        job = as_document(client.get(answer.headers["location"], params={"wait": 10}))
    assert (job["state"], job["exit_code"]) == ("succeeded", 0)
    assert time.monotonic() - since < 4


@hosts
def test_stdin_reaches_the_command_as_text_and_as_base64(service: Service, host: str) -> None:
    """Text arrives as UTF-8 and base64 as its bytes, and the end of the input is seen."""
    assert service.result("cat", {"stdin": "grüße\n", "hosts": [host]})["stdout"] == "grüße\n"
    data = bytes(range(256))
    job = service.result("cat", {"stdin": {"base64": base64.b64encode(data).decode()}, "hosts": [host]})
    assert (job["encoding"], base64.b64decode(job["stdout"])) == ("base64", data)


def test_the_environment_is_made_from_nothing(service: Service) -> None:
    """A local run sees no variable of the service but its own job's id, and what the policy sets."""
    job = service.result("env")
    shown = dict(line.split("=", 1) for line in job["stdout"].splitlines())
    assert shown["CMDHTTP_JOB_ID"] == job["id"]
    assert shown["FROM_POLICY"] == "yes"
    assert [name for name in shown if name.startswith("CMDHTTP_")] == ["CMDHTTP_JOB_ID"]
    assert set(shown) <= {
        "PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "FROM_POLICY", "CMDHTTP_JOB_ID",
    }  # fmt: skip


def test_the_environment_over_ssh_holds_nothing_of_the_service(service: Service) -> None:
    """A run over SSH sees what the policy sets, and no secret of the service's own environment."""
    shown = service.result("env", {"hosts": ["far"]})["stdout"]
    assert "FROM_POLICY=yes" in shown
    assert "parent-secret-canary" not in shown


@hosts
def test_the_time_limit_ends_the_process(service: Service, host: str) -> None:
    """A run over its limit is timed_out and the process is known to be dead."""
    job = service.result("sleep", {"timeout": 1, "hosts": [host]})
    assert (job["state"], job["ok"], job["stopped"]) == ("timed_out", False, "confirmed")
    assert job["error"]["code"] == "timed_out"
    assert not is_alive(int(job["stdout"]))


def test_a_process_that_ignores_term_gets_kill(service: Service) -> None:
    """Nothing survives its limit by ignoring the polite signal."""
    job = service.result("stubborn", {"timeout": 0.5})
    assert (job["state"], job["signal"], job["stopped"]) == ("timed_out", "KILL", "confirmed")
    assert not is_alive(int(job["stdout"]))


@hosts
def test_the_output_limit_stops_a_flood(service: Service, host: str) -> None:
    """A run that writes more than the policy allows is stopped, and keeps exactly the allowed bytes."""
    job = service.result("flood", {"hosts": [host]})
    assert (job["state"], job["error"]["code"], job["truncated"]) == ("failed", "output_limit", True)
    assert job["stdout_bytes"] == 64 << 10
    assert service.output(job["id"]).content == (b"flood\n" * 11000)[: 64 << 10]


def test_inline_output_is_cut_and_says_so(service: Service) -> None:
    """`output.max_bytes` bounds what the document carries, not what is kept."""
    job = service.result("count", {"params": {"to": 100}, "output": {"max_bytes": 4}})
    assert (job["stdout"], job["truncated"], job["stdout_bytes"]) == ("1\n2\n", True, 292)


def test_several_hosts_give_runs_and_counts(service: Service) -> None:
    """A job on several hosts has a result per host, and succeeds only if all do."""
    job = service.result("exit", {"params": {"code": 0}, "hosts": ["local", "role=web"]})
    assert [(run["host"], run["state"], run["stdout"]) for run in job["runs"]] == [
        ("local", "succeeded", "out\n"),
        ("far", "succeeded", "out\n"),
    ]
    assert (job["state"], job["ok"], job["counts"]) == ("succeeded", True, {"succeeded": 2})
    assert "exit_code" not in job
    mixed = service.result("args", {"params": {"one": "x"}, "hosts": ["local", "down"]})
    assert (mixed["state"], mixed["counts"]) == ("failed", {"succeeded": 1, "failed": 1})
    assert mixed["runs"][0]["stdout"] == "[x]\n[two=]\n"


@hosts
def test_cancel_ends_a_running_job(service: Service, host: str) -> None:
    """The answer to a cancel comes after the process is known to be dead."""
    job = service.launch("sleep", {"hosts": [host]})
    pid = int(service.first_line(job["id"]))
    assert is_alive(pid)
    ended = service.cancel(job["id"])
    assert (ended["state"], ended["stopped"], ended["error"]["code"]) == ("canceled", "confirmed", "canceled")
    assert not is_alive(pid)


def test_cancel_leaves_a_finished_job_as_it_is(service: Service) -> None:
    """A cancel that comes too late changes nothing."""
    job = service.result("exit", {"params": {"code": 0}})
    assert service.cancel(job["id"]) == service.job(job["id"])
    assert service.job(job["id"])["state"] == "succeeded"


def test_a_caller_that_hangs_up_while_it_waits_cancels_if_it_asked(service: Service) -> None:
    """With on_disconnect cancel, closing the connection of a waiting call ends the process; else the job goes on."""
    for wish, end in (("cancel", "canceled"), ("continue", "succeeded")):
        body = f'{{"params": {{"seconds": 2}}, "on_disconnect": "{wish}"}}'.encode()
        head = (
            f"POST /v1/run/sleep HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.tokens['ann']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", int(service.listen.split(":")[1]))) as connection:
            connection.sendall(head.encode() + body)
            wait_until(lambda: newest(service)["state"] == "running", "the job runs")
            pid = int(service.first_line(newest(service)["id"]))
        job = service.job(newest(service)["id"], wait=10)
        assert job["state"] == end
        assert not is_alive(pid)


def test_a_caller_that_hangs_up_on_its_stream_cancels_if_it_asked(service: Service) -> None:
    """With on_disconnect cancel, closing the stream ends the process."""
    with service.stream("sleep", {"on_disconnect": "cancel"}, media=NDJSON) as events:
        line = next(event for event in events if event.type == "output")
    job = service.job(line.document["job_id"], wait=10)
    assert (job["state"], job["stopped"]) == ("canceled", "confirmed")
    assert not is_alive(int(line.document["text"]))


@pytest.mark.parametrize(
    ("host", "code"),
    [("down", "connect_failed"), ("changed", "host_key_mismatch"), ("stranger", "login_failed")],
)
def test_a_host_that_cannot_be_used_says_why(service: Service, host: str, code: str) -> None:
    """Nothing ran, the state is failed, and the code says which of the steps to the host failed."""
    job = service.result("args", {"params": {"one": "x"}, "hosts": [host]})
    assert (job["state"], job["ok"], job["error"]["code"], job["exit_code"]) == ("failed", False, code, None)
    assert job["error"]["detail"]


@hosts
def test_a_missing_program_is_a_spawn_failure(service: Service, host: str) -> None:
    """A program that is not there is told apart from one that ran and failed."""
    job = service.result("missing", {"hosts": [host]})
    assert (job["state"], job["error"]["code"], job["ok"]) == ("failed", "spawn_failed", False)


def newest(service: Service) -> Document:
    return next(iter(service.list_jobs(limit=1)), {"state": "none"})
