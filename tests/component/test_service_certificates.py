"""Certificates as an admin meets them: the service makes one for each job, and the audit log says which."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Document, Service, as_document
from tests.support.sshd import Sshd, make_key

MORE = """\
version: 1
ssh_authorities:
  main: {{key: file:user_ca}}
ssh_profiles:
  certified:
    user: {account}
    auth: {{certificate: {{ca: main, principal: ours}}}}
    host_keys: {{known_hosts: far_hosts}}
    jump: way
  way: {{inherit: certified, jump: none}}
hosts:
  way: {{address: 127.0.0.1, port: {way}, ssh: way}}
  certified: {{address: 127.0.0.1, port: {far}, ssh: certified}}
commands:
  changes:
    effect: change
    run: [/bin/echo, <word>]
    params: {{word: {{type: enum, values: [a, b]}}}}
    on: [way, certified]
    timeout: 9s
  looks: {{effect: read, run: [/bin/echo, seen], on: [way, certified], timeout: 9s}}
roles:
  more: [{{commands: [changes, looks], hosts: "*"}}]
grants:
  - {{to: ann, roles: more}}
"""


class _Certified(Service):
    """A service with an authority, and two servers that trust it: one behind the other."""

    @classmethod
    @contextlib.contextmanager
    def with_hosts(cls, folder: Path) -> Iterator["_Certified"]:
        folder.mkdir()
        cls.authority = folder / "user_ca"
        make_key(cls.authority)
        config = ["TrustedUserCAKeys {open}/authorities", "AuthorizedPrincipalsFile {open}/principals"]
        with contextlib.ExitStack() as stack:
            cls.hosts = [stack.enter_context(Sshd.start(folder / name, config=config)) for name in ("way", "far")]
            for host in cls.hosts:
                host.put("authorities", cls.authority.with_suffix(".pub").read_text())
                host.put("principals", "ours\n")
                host.put("authorized_keys", "")
            yield stack.enter_context(cls.running(folder / "service"))

    authority: Path
    hosts: list[Sshd]

    def write_policy(self) -> None:
        super().write_policy()
        way, far = self.hosts
        text = MORE.format(account=way.account, way=way.port, far=far.port)
        (self.policies / "more.yaml").write_text(text)
        (self.policies / "far_hosts").write_text(way.recorded() + far.recorded())
        (self.secrets / "user_ca").touch(mode=0o600)
        (self.secrets / "user_ca").write_text(self.authority.read_text())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Certified]:
    with _Certified.with_hosts(tmp_path_factory.mktemp("certificates") / "all") as running:
        yield running


def run(service: Service, command: str, host: str, **params: str) -> Document:
    with service.client() as client:
        return as_document(client.post(f"/v1/run/{command}", json={"params": params, "hosts": [host]}))


def test_a_certificate_for_a_job(service: _Certified) -> None:
    """It is recorded after the start of the job and before its end, which names it; the caller sees nothing of it."""
    job = run(service, "changes", "way", word="a")
    assert (job["state"], job["stdout"]) == ("succeeded", "a\n")
    found = service.records("job.started", "certificate.issued", "job.ended", job=job["id"], count=3)
    assert [record["code"] for record in found] == ["job.started", "certificate.issued", "job.ended"]
    _, issued, ended = found
    assert (issued["principal"], issued["certificate_principal"]) == ("ann", "ours")
    assert issued["key_id"] == f"cmdhttp:{job['id']}:ann"
    assert issued["source_addresses"] == ["127.0.0.1/32"]
    assert issued["valid_after"] < issued["time"] < issued["valid_before"]
    assert ended["runs"][0]["certificate"] == issued["serial"]
    assert ended["runs"][0]["host_key"].startswith("SHA256:")
    assert f"ID {issued['key_id']} (serial {issued['serial']})" in service.hosts[0].log
    assert issued["serial"] not in json.dumps(job)


def test_no_two_jobs_share_one(service: _Certified) -> None:
    """Not even with the same command on the same host."""
    jobs = [run(service, "changes", "way", word="b")["id"] for _ in range(2)]
    serials = [r["serial"] for job in jobs for r in service.records("certificate.issued", job=job, count=1)]
    assert len(serials) == len(set(serials)) == 2


def test_through_a_jump_host(service: _Certified) -> None:
    """Both logins are by certificate; the one for the way forwards and does nothing else."""
    job = run(service, "changes", "certified", word="a")
    assert (job["state"], job["stdout"]) == ("succeeded", "a\n")
    (own,) = service.records("certificate.issued", job=job["id"], count=1)
    assert (own["port"], own["source_addresses"]) == (service.hosts[1].port, [])
    assert "cmdhttp:" in service.hosts[0].log


def test_what_reads(service: _Certified) -> None:
    """It logs in by certificate too."""
    assert run(service, "looks", "certified")["stdout"] == "seen\n"


def test_no_key_in_the_log_or_the_records(service: _Certified) -> None:
    """Neither the authority's key nor a line of it."""
    body = service.authority.read_text().splitlines()[1]
    job = run(service, "looks", "certified")["id"]
    service.records("job.started", "certificate.issued", "job.ended", job=job, count=3)
    assert body not in service.log
    assert body not in (service.data / "audit" / "audit.jsonl").read_text()
