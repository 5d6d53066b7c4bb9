"""What the audit is told of a denial."""

from typing import Any

import pytest

from cmdhttp.auth.principal import Principal
from cmdhttp.call import Call
from cmdhttp.records import denial_record
from tests.unit.policies import NOW, compiled

HOSTS = "".join(f"\n  h{number:02}: {{address: a, ssh: s, labels: {{role: web}}}}" for number in range(30))
POLICY = (
    "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
    f"hosts:{HOSTS}\n"
    """
groups: {last: [h28, h29]}
commands:
  look: {run: [/bin/look, <n>], params: {n: {type: int}}, on: "*"}
  here: {run: [/bin/here], on: [local, h00]}
  none: {run: [/bin/none], on: h00}
principals: {p: {}}
roles: {r: [{commands: [look, here], hosts: "*"}]}
grants: [{to: p, roles: r}]
deny:
  - {why: frozen, hosts: h29}
  - {why: closed, hosts: local}
"""
)


def decisions(command: str, *hosts: str, **params: Any) -> dict[str, Any]:
    caller = Principal(name="p", method="token", credential="c", source=None)
    record = denial_record(compiled(POLICY), caller, Call(command=command, hosts=hosts, params=params), at=NOW)
    found = record["decisions"]
    assert isinstance(found, dict)
    return {host: (decision["reason"], decision["why"]) for host, decision in found.items()}


@pytest.mark.parametrize("hosts", [("h29",), ("group:last",), ("role=web",)])
def test_a_deny_is_named_however_its_host_was(hosts: tuple[str, ...]) -> None:
    """A host behind a group or label is a host, and what was allowed does not crowd out what was not."""
    assert decisions("look", *hosts, n=1) == {"h29": ("deny_rule", "frozen")}


def test_a_host_that_is_none() -> None:
    """What means no host stays as the caller wrote it."""
    assert decisions("look", "group:x", "h29", n=1) == {
        "group:x": ("unknown_host", ""),
        "h29": ("deny_rule", "frozen"),
    }


def test_no_host_means_the_default() -> None:
    """Where the call would have gone is where it was refused."""
    assert decisions("here") == {"local": ("deny_rule", "closed")}


def test_of_what_is_not_the_callers() -> None:
    """Without any right the command's hosts are told, and of an unknown command only that."""
    assert decisions("none") == {"h00": ("no_role_line", "")}
    assert decisions("none", "h29") == {"h29": ("not_made_for_host", "")}
    assert decisions("nothing") == {"": ("unknown_command", "")}
    assert decisions("nothing", "h00") == {"h00": ("unknown_command", "")}


def test_many_hosts() -> None:
    """At most 20 hosts stand in a record."""
    assert len(decisions("look", "role=web", n="x")) == 20
