"""What one caller asks for holds up no other: the event loop waits while it is worked out.

Every bound is twenty times what it takes, and was missed by far when each host was looked at for each selector or line.
"""

import time
from collections.abc import Callable
from functools import cache

from cmdhttp.plan.build import Wish, build_plan
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import bind, known_hosts
from cmdhttp.policy.select import select_hosts
from tests.unit.policies import compiled

HOSTS = 1000
TYPE = '{type: list, of: {type: string, pattern: "[a-z]*", max_length: 4000}}'


@cache
def large() -> Policy:
    hosts = "".join(f"\n  h{n}: {{address: a, ssh: s, labels: {{all: web, id: n{n}}}}}" for n in range(HOSTS))
    commands = "".join(f"\n  c{n}: {{run: [/bin/c, '<l...>'], on: '*', params: {{l: {TYPE}}}}}" for n in range(300))
    return compiled(
        "ssh_profiles: {s: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}}}\nhosts:" + hosts,
        "commands:" + commands,
        "roles: {one: [{commands: c0, hosts: h0}]}\ngrants: [{to: p, roles: one}]\nprincipals: {p: {}}",
    )


def seconds(work: Callable[[], object]) -> float:
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


def test_many_selectors() -> None:
    """A call may name 1,000 selectors, and each costs what it selects, not what there is."""
    policy = large()
    command = policy.commands["c0"]
    assert list(select_hosts(policy, command, "id=n7")) == ["h7"]
    texts = [f"id=n{number}" for number in range(HOSTS)]
    assert seconds(lambda: [host for text in texts for host in select_hosts(policy, command, text)]) < 0.1


def test_commands_of_others() -> None:
    """To learn that a command is not the caller's takes as long as to learn that there is no such command."""
    policy = large()
    found = {name: known_hosts(policy, principal="p", command=one) for name, one in policy.commands.items()}
    assert {name: hosts for name, hosts in found.items() if hosts} == {"c0": {"h0"}}
    others = [one for one in policy.commands.values() if one.name != "c0"]
    assert seconds(lambda: [known_hosts(policy, principal="p", command=one) for one in others]) < 0.05


def test_many_hosts() -> None:
    """A large argv for many hosts is made into a command line once, not once for each."""
    policy = large()
    command = policy.commands["c0"]
    arguments = bind(command, {"l": ["a" * 4000] * 15})
    hosts = sorted(policy.hosts.keys() - {"local"})
    assert seconds(lambda: build_plan(policy, command, hosts, arguments, Wish())) < 0.5
