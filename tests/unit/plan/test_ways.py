"""The way to a host, as those take it who run no command there."""

from cmdhttp.plan.build import jump_of
from tests.unit.policies import compiled

POLICY = """\
ssh_profiles:
  gate: {user: gate, auth: {key: file:k}, host_keys: {known_hosts: k}}
  inner: {inherit: gate, user: ops, jump: gate1}
  far: {inherit: gate, user: ops, jump: inner1}
hosts:
  gate1: {address: 10.0.0.1, ssh: gate}
  inner1: {address: 10.0.0.2, ssh: inner}
  far1: {address: 10.0.0.3, ssh: far}
"""


def test_way_to_a_host() -> None:
    """Each host leads to its jump host, and that to its own; this machine and a host without a jump to none."""
    hosts = compiled(POLICY).hosts
    assert jump_of(hosts["local"], hosts) is None
    assert jump_of(hosts["gate1"], hosts) is None
    last = jump_of(hosts["far1"], hosts)
    assert last is not None
    assert (last.address, last.account) == ("10.0.0.2", "ops")
    assert last.jump is not None
    assert (last.jump.address, last.jump.account, last.jump.jump) == ("10.0.0.1", "gate", None)
