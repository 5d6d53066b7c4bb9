"""What a policy decides, seen from outside: approvals, what cannot be done yet, and what a caller may learn of its rights."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Document, Service, as_document, wait_until

MORE = """\
version: 1
ssh_profiles:
  away: {user: nobody, shell: raw, auth: {key: file:none}, host_keys: {known_hosts: known_hosts}}
hosts:
  away: {address: 127.0.0.1, ssh: away}
commands:
  approved: {run: [/usr/bin/true], on: local, approval: {by: bob}, timeout: 5s}
  redacted: {run: [/usr/bin/echo, canary-7f3a], on: local, output: {redact: ["canary-[0-9a-f]+"]}, timeout: 5s}
  cut: {script: printf 12345678; cat, interpreter: sh, stdin: {type: secret}, output: {max: 12B}, on: local, timeout: 5s}
  echoed: {run: [/usr/bin/cat], stdin: {type: secret, max: 1MiB}, on: local, timeout: 60s}
  parsed:
    script: printf '{"key":"%s"}' "$(cat)"
    interpreter: sh
    stdin: {type: secret}
    result: {parse: json}
    on: local
    timeout: 5s
  uploaded: {run: [/usr/bin/cat, <what>], params: {what: {type: file}}, on: away, timeout: 5s}
  noted:
    script: 'test -n "$P_NOTE"'
    interpreter: sh
    params: {note: {type: json, max: 64KiB}, key: {type: secret, required: false}, count: {type: int, default: 3}}
    on: local
    timeout: 5s
  strange: {script: exit, interpreter: powershell, on: local, timeout: 5s}
  narrow:
    run: [/usr/bin/echo, <word>]
    params: {word: {type: enum, values: [red, green, blue]}}
    on: [local, away]
    files: {collect: [report.txt]}
    timeout: 5s
roles:
  more:
    - {commands: [approved, redacted, cut, echoed, parsed, uploaded, noted, strange], hosts: "*"}
    - {commands: narrow, hosts: local, params: {word: [red, green]}}
    - {commands: narrow, hosts: away}
grants:
  - {to: ann, roles: more}
deny:
  - {why: canary-of-the-rule, to: ann, commands: narrow, params: {word: green}}
"""


class _WithMore(Service):
    def write_policy(self) -> None:
        super().write_policy()
        (self.policies / "more.yaml").write_text(MORE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with _WithMore.running(tmp_path_factory.mktemp("policy") / "service") as running:
        yield running


def explain(service: Service, command: str, *, by: str = "ann", **body: object) -> tuple[int, Document]:
    with service.client(by) as client:
        answer = client.post(f"/v1/explain/{command}", json=body)
    return answer.status_code, as_document(answer)


def test_a_call_that_needs_approval_is_refused(service: Service) -> None:
    """It is a 403 of its own kind, nothing has run, and the caller can see beforehand that it would be."""
    with service.client() as client:
        refused = client.post("/v1/run/approved", json={})
        listed = client.get("/v1/commands/approved").json()
    assert (refused.status_code, refused.json()["code"]) == (403, "needs_approval")
    assert listed["needs_approval"] is True
    status, explained = explain(service, "approved")
    assert (status, explained["decision"], explained["hosts"][0]["argv"]) == (200, "needs-approval", ["/usr/bin/true"])


@pytest.mark.parametrize(
    ("command", "body", "what"),
    [
        ("uploaded", {"params": {"what": {"name": "a", "base64": "eA=="}}}, "files on hosts with the shell raw"),
        ("strange", {}, "scripts for powershell"),
    ],
)
def test_what_cannot_be_done_yet_never_runs(service: Service, command: str, body: Document, what: str) -> None:
    """A run that would have to go without what the policy asks for ends as unsupported, without a byte of output."""
    with service.client() as client:
        job = client.post(f"/v1/run/{command}", json=body).json()
    assert (job["state"], job["ok"], job["exit_code"], job["stdout_bytes"]) == ("failed", False, None, 0)
    assert job["error"]["code"] == "unsupported"
    assert job["error"]["detail"] == f"This version cannot do {what}; nothing has run."


def test_patterns_of_the_policy_are_masked(service: Service) -> None:
    """In the answer and in what is kept; the argv, which the caller may see, is not output."""
    with service.client() as client:
        job = client.post("/v1/run/redacted", json={}).json()
        assert client.get(f"/v1/jobs/{job['id']}/output/stdout").text == "***\n"
    assert (job["stdout"], job["stdout_bytes"]) == ("***\n", 4)
    assert [path.read_text() for path in service.data.rglob(f"{job['id']}.0.stdout")] == ["***\n"]


def test_the_output_limit_does_not_cut_a_secret_open(service: Service) -> None:
    """The limit counts what the process wrote; the start of a secret that it leaves is masked, and counts are of what is kept."""
    with service.client() as client:
        job = client.post("/v1/run/cut", json={"stdin": "hunter2-and-horse"}).json()
    assert (job["stdout"], job["stdout_bytes"], job["truncated"]) == ("12345678***", 11, True)
    assert job["error"]["code"] == "output_limit"


def test_results_are_made_of_what_is_masked(service: Service) -> None:
    """A parser never sees a secret."""
    with service.client() as client:
        job = client.post("/v1/run/parsed", json={"stdin": "hunter2-and-horse"}).json()
    assert job["data"] == {"key": "***"}


def test_a_long_secret_is_masked(service: Service) -> None:
    """Of many lines, more than one read of it, and as much as a call may send."""
    for secret in ("\n".join(f"line {number:05}" for number in range(900)), f"{'0123456789abcdef' * 4000}\n" * 12):
        job = service.finished(service.launch("echoed", {"stdin": secret})["id"], seconds=100)
        assert job["state"] == "succeeded"
        assert set(job["stdout"]) <= set("*\n")
        assert job["stdout_bytes"] < len(secret) / 3


def started_with(service: Service, params: Document) -> Document:
    """The audit record of the start of a script with these values."""
    with service.client() as client:
        job = client.post("/v1/run/noted", json={"params": params}).json()
    (record,) = service.records("job.started", job=job["id"], count=1)
    service.records("job.ended", job=job["id"], count=1)
    return record


def test_the_values_of_a_script_are_on_record(service: Service) -> None:
    """Defaults too; a secret is masked, and its text is nowhere in the audit log."""
    record = started_with(service, {"note": {"b": [1, "x"], "a": None}, "key": "canary-of-a-secret"})
    assert record["params"] == {"note": {"a": None, "b": [1, "x"]}, "key": "***", "count": 3}
    assert record["long_params"] == {}
    assert "canary-of-a-secret" not in json.dumps(service.records())


def test_a_long_value_is_on_record_by_its_sum(service: Service) -> None:
    """Over 8 KiB of JSON a value gives its size and sum, so that no call makes a line that cannot be read back."""
    most = "x" * (8 * 1024 - 2)  # the quotes count
    assert started_with(service, {"note": most})["params"]["note"] == most
    long = started_with(service, {"note": most + "x"})
    text = f'"{most}x"'.encode()
    assert (long["params"], long["long_params"]) == (
        {"count": 3},
        {"note": [len(text), hashlib.sha256(text).hexdigest()]},
    )


def test_one_host_that_cannot_be_done_does_not_hold_up_the_others(service: Service) -> None:
    """Of two hosts, the one that works gives its result."""
    with service.client() as client:
        body = {"params": {"word": "red"}, "hosts": ["local", "away"]}
        job = client.post("/v1/run/narrow", json=body).json()
    assert [(run["host"], run["state"]) for run in job["runs"]] == [("local", "succeeded"), ("away", "failed")]


def test_explain_answers_a_denial_without_its_rule(service: Service) -> None:
    """Of its own rights a caller learns that a call is denied, on which host, and nothing of the rule or the argv."""
    status, denied = explain(service, "narrow", params={"word": "blue"}, hosts=["local"])
    assert (status, denied["decision"]) == (200, "deny")
    status, ruled = explain(service, "narrow", params={"word": "green"}, hosts=["local"])
    assert (status, ruled["decision"]) == (200, "deny")
    assert ruled["hosts"] == denied["hosts"], "a rule that denies looks like a right that is missing"
    assert denied["hosts"][0] == {
        "host": "local",
        "decision": "deny",
        "role": None,
        "argv": None,
        "script_sha256": None,
        "timeout": 5.0,
        "unsupported": None,
    }
    assert "canary" not in json.dumps(ruled)
    wait_until(lambda: "canary-of-the-rule" in json.dumps(service.records()), "the audit knows")


def test_explain_decides_for_each_host(service: Service) -> None:
    """A call to several hosts gets the least that any of them gets."""
    status, mixed = explain(service, "narrow", params={"word": "blue"}, hosts=["local", "away"])
    assert (status, mixed["decision"]) == (200, "deny")
    assert [host["decision"] for host in mixed["hosts"]] == ["deny", "allow"]


def test_explain_tells_nothing_of_what_a_caller_may_not_know(service: Service) -> None:
    """An unknown command, a forbidden one, and a host out of reach look alike, and invalid values are told as by run."""
    answers = [
        explain(service, "nothing"),
        explain(service, "narrow", by="bob", params={"word": "blue"}),
        explain(service, "narrow", by="bob", params={"word": "no such word"}),
        explain(service, "narrow", params={"word": "red"}, hosts=["far"]),
    ]
    for status, problem in answers:
        problem.pop("request_id")
        problem.pop("instance")
        assert (status, problem) == (403, answers[0][1])
    status, problem = explain(service, "narrow", params={"word": "no such word"}, hosts=["local"])
    assert (status, problem["errors"][0]["pointer"]) == (422, "/params/word")


def test_explain_says_what_cannot_be_done(service: Service) -> None:
    """Where a run would end as unsupported, explain says of what, host by host; of a denial it says nothing."""
    _, two = explain(service, "narrow", params={"word": "red"}, hosts=["local", "away"])
    assert [(host["decision"], host["unsupported"]) for host in two["hosts"]] == [
        ("allow", None),
        ("allow", "files on hosts with the shell raw"),
    ]
    _, denied = explain(service, "narrow", params={"word": "green"}, hosts=["away"])
    assert (denied["decision"], denied["hosts"][0]["unsupported"]) == ("deny", None)


def test_explain_and_run_agree(service: Service) -> None:
    """What explain allows, run runs; what it denies, run refuses; and explain has run nothing."""
    with service.client() as client:
        before = len(client.get("/v1/jobs").json()["jobs"])
        for word in ("red", "green", "blue"):
            body = {"params": {"word": word}, "hosts": ["local"]}
            decision = client.post("/v1/explain/narrow", json=body).json()["decision"]
            status = client.post("/v1/run/narrow", json=body).status_code
            assert (decision, status) in (("allow", 200), ("deny", 403))
        assert len(client.get("/v1/jobs").json()["jobs"]) == before + 1


def test_warnings_are_in_the_log(service: Service) -> None:
    """What the policy asks for in vain is said when the service starts, at its place."""
    assert "P216 warning: this version cannot do files on hosts with the shell raw" in service.log


def test_serve_takes_named_interpreters(tmp_path: Path) -> None:
    """`--interpreters` adds a name that scripts may use; what is no interpreter is refused with how to write it."""

    class Named(Service):
        def write_policy(self) -> None:
            super().write_policy()
            text = (
                "version: 1\ncommands: {awk: {script: 'BEGIN { print 6 * 7 }', interpreter: awk, on: local, timeout: 5s}}\n"
                "roles: {r: [{commands: awk, hosts: local}]}\ngrants: [{to: ann, roles: r}]\n"
            )
            (self.policies / "more.yaml").write_text(text)

    with Named.running(tmp_path / "service", interpreters="awk=/usr/bin/awk -f") as running:
        with running.client() as client:
            assert client.post("/v1/run/awk", json={}).json()["stdout"] == "42\n"
        refused = running.cli("serve", "--interpreters", "awk=awk -f")
        assert refused.returncode == 2
        assert "--interpreters: 'awk=awk -f' is not an interpreter" in refused.stderr
