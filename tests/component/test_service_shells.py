"""Calls to hosts that are no Unix, seen from outside: what cannot be sent is refused before anybody is connected to."""

import json
from collections.abc import Iterator

import pytest

from tests.support.service import Document, Service, as_document

TEXT = "{type: string, pattern: '(?s).*', max_length: 8192}"
MORE = f"""\
version: 1
ssh_profiles:
  box: {{inherit: good, shell: raw}}
  win: {{inherit: good, shell: cmd}}
commands:
  show:
    effect: read
    run: [show, 'if-<name>', '<words...>']
    params: {{name: {TEXT}, words: {{type: list, of: {TEXT}, required: false}}}}
    on: [box, win]
    timeout: 5s
  told: {{effect: read, run: ['C:/c.exe', <name>], params: {{name: {TEXT}}}, on: win, timeout: 5s}}
  scripted: {{effect: read, script: x, interpreter: sh, on: [box, win], timeout: 5s}}
roles:
  odd: [{{commands: [show, told, scripted], hosts: "*"}}]
grants:
  - {{to: ann, roles: odd}}
"""
SYNTAX = [*";\"'|`\\<>?*!#~{}()[]&^%$ ", ";reload", "$(reload)"]


class _WithShells(Service):
    def write_policy(self) -> None:
        super().write_policy()
        here = f"{{address: {self.sshd.address}, port: {self.sshd.port}, ssh: "
        (self.policies / "more.yaml").write_text(f"{MORE}hosts:\n  box: {here}box}}\n  win: {here}win}}\n")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with _WithShells.running(tmp_path_factory.mktemp("shells") / "service") as running:
        yield running


def call(service: Service, command: str, host: str, **params: object) -> tuple[int, Document]:
    with service.client("ann") as client:
        answer = client.post(f"/v1/run/{command}", json={"params": params, "hosts": [host]})
    return answer.status_code, as_document(answer)


@pytest.mark.parametrize("value", SYNTAX)
@pytest.mark.parametrize("name", ["name", "words"])
def test_syntax_never_reaches_an_appliance(service: Service, name: str, value: str) -> None:
    """The answer names the parameter and not its value, and the host has seen nobody."""
    before = service.sshd.log.count("Connection from")
    bad = f"canary{value}"
    params = {"name": "x", "words": ["ok", bad]} if name == "words" else {"name": bad}
    status, problem = call(service, "show", "box", **params)
    (error,) = problem["errors"]
    assert (status, error["pointer"], error["code"]) == (422, f"/params/{name}", "not_plain")
    assert error["detail"] == f"the value of '{name}' cannot be sent to a host with the shell raw"
    assert "canary" not in json.dumps(problem)
    assert service.sshd.log.count("Connection from") == before


@pytest.mark.parametrize(("host", "command", "most"), [("box", "show", 4000), ("win", "told", 8000)])
def test_each_kind_of_host_has_its_own_length(service: Service, host: str, command: str, most: int) -> None:
    """Too long a line is refused with what would fit."""
    status, problem = call(service, command, host, name="x" * 5000)
    (error,) = problem["errors"]
    assert (status, error["pointer"], error["code"]) == (422, "/params", "argv_too_long")
    assert f"and {most} fit" in error["detail"]


@pytest.mark.parametrize(
    ("host", "command", "what"),
    [
        ("box", "scripted", "scripts on hosts with the shell raw"),
        ("win", "scripted", "scripts for others than powershell on hosts with the shell cmd"),
        ("win", "show", "this program on hosts with the shell cmd"),
    ],
)
def test_what_no_such_host_can_do(service: Service, host: str, command: str, what: str) -> None:
    """It ends as unsupported, with what it is, and nobody has been connected to."""
    params = {} if command == "scripted" else {"name": "x"}
    before = service.sshd.log.count("Connection from")
    status, job = call(service, command, host, **params)
    assert (status, job["error"]["code"]) == (200, "unsupported")
    assert what in job["error"]["detail"]
    assert service.sshd.log.count("Connection from") == before
