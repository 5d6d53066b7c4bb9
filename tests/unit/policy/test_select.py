"""The hosts that a caller means by a name, a group or a label."""

import pytest

from cmdhttp.policy.select import default_host, select_hosts
from tests.unit.policies import compiled

POLICY = (
    "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\n"
    "hosts:\n"
    "  b: {address: b, ssh: s, labels: {role: web}}\n"
    "  a: {address: a, ssh: s, labels: {role: web}}\n"
    "  c: {address: c, ssh: s, labels: {role: web}}\n"
    "  e: {address: e, ssh: s}\n"
    "  d: {address: d, ssh: s}\n"
    "groups: {g: [e, c, a, d], lone: c}\n"
    "commands: {x: {run: [/bin/x], on: [e, a, d, b]}}\n"
)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("b", ["b"]),
        ("nowhere", ["nowhere"]),
        ("group:g", ["a", "d", "e"]),
        ("group:lone", ["group:lone"]),
        ("group:none", ["group:none"]),
        ("role=web", ["a", "b"]),
        ("role=db", ["role=db"]),
        ("zone=x", ["zone=x"]),
    ],
)
def test_selectors_of_a_call(text: str, hosts: list[str]) -> None:
    """A group or label means those hosts that the command is made for, by name; what means none stays as it is."""
    policy = compiled(POLICY)
    assert list(select_hosts(policy, policy.commands["x"], text)) == hosts


@pytest.mark.parametrize(("allowed", "host"), [(["a", "local"], "local"), (["a"], "a"), (["a", "b"], None), ([], None)])
def test_where_a_call_goes_that_names_no_host(allowed: list[str], host: str | None) -> None:
    """To this machine if it may, else to the only host that it may, else nowhere."""
    assert default_host(allowed) == host
