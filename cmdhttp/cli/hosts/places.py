"""A host of the policy as the SSH side knows it: where it is, what is recorded of it, and the hosts on the way."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cmdhttp.cli.asking import check_known
from cmdhttp.cli.inputs import policy_inputs
from cmdhttp.errors import ConfigError
from cmdhttp.plan.build import jump_of
from cmdhttp.plan.model import SshTarget
from cmdhttp.policy.compiled import LOCAL, Host, Policy, Profile
from cmdhttp.policy.load import load
from cmdhttp.settings import read_settings

_SSH_PORT = 22


def read_policy(folder: Path) -> Policy:
    """Return the policy of a folder, with the secrets folder that `serve` would have. Raises PolicyError, ConfigError."""
    inputs = policy_inputs(os.environ)
    return load(folder, replace(inputs, secrets=read_settings(os.environ, {}).secrets_folder)).usable()


def chosen(policy: Policy, names: Sequence[str]) -> list[tuple[Host, Profile]]:
    """Return the hosts of these names, each once, with their profiles. Raises ConfigError."""
    found = []
    for name in dict.fromkeys(names):
        check_known("host", name, policy.hosts)
        found.append((policy.hosts[name], profile_of(policy.hosts[name])))
    return found


def profile_of(host: Host) -> Profile:
    """Return how to reach a host. Raises ConfigError for this machine."""
    if host.profile is None:
        raise ConfigError(
            f"'{LOCAL}' is this machine, and no SSH leads there", hint="Name hosts of the section 'hosts'."
        )
    return host.profile


def way_to(policy: Policy, host: Host) -> dict[str, SshTarget]:
    """Return the jump hosts that lead to a host, the first from here."""
    names, targets = [], []
    target = jump_of(host, policy.hosts)
    while target is not None and (name := profile_of(host).jump) is not None:
        names.append(name)
        targets.append(target)
        host, target = policy.hosts[name], target.jump
    return dict(zip(reversed(names), reversed(targets), strict=True))


def address_of(host: Host) -> str:
    """Return the address as known_hosts has it: with a port if it is not 22."""
    return host.address if host.port == _SSH_PORT else f"[{host.address}]:{host.port}"


def behind(policy: Policy, host: Host) -> Iterable[Host]:
    """Return the hosts whose profile jumps through this one."""
    return [other for other in policy.hosts.values() if other.profile is not None and other.profile.jump == host.name]
