"""A host of the policy as the SSH side knows it: where it is, what is recorded of it, and the hosts on the way."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cmdhttp.cli.asking import check_known
from cmdhttp.cli.inputs import policy_inputs
from cmdhttp.errors import ConfigError
from cmdhttp.plan.model import KeyFile, Shell, SshTarget
from cmdhttp.policy.compiled import LOCAL, Host, KeyLogin, Policy, Profile
from cmdhttp.policy.load import load
from cmdhttp.settings import read_settings


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
    """Return the jump hosts that lead to a host, the first from here. Raises ConfigError."""
    way: dict[str, SshTarget] = {}
    before: SshTarget | None = None
    for jump in reversed(list(_back(policy, host))):
        before = way[jump.name] = _target(jump, before)
    return way


def address_of(host: Host) -> str:
    """Return the address as known_hosts has it: with a port if it is not 22."""
    return host.address if host.port == _SSH_PORT else f"[{host.address}]:{host.port}"


_SSH_PORT = 22


def _back(policy: Policy, host: Host) -> Iterator[Host]:
    """The jump hosts from a host back to here."""
    while (name := profile_of(host).jump) is not None:
        host = policy.hosts[name]
        yield host


def _target(host: Host, before: SshTarget | None) -> SshTarget:
    profile = profile_of(host)
    if not isinstance(profile.login, KeyLogin):
        raise ConfigError(
            f"the way leads through '{host.name}', and its profile does not log in by a key",
            hint="Scan from a machine that reaches the host directly.",
        )
    return SshTarget(
        address=host.address,
        port=host.port,
        account=profile.account,
        login=KeyFile(path=profile.login.path),
        known_hosts=profile.known_hosts,
        cert_authority=profile.cert_authority,
        shell=Shell(profile.shell),
        jump=before,
    )


def behind(policy: Policy, host: Host) -> Iterable[Host]:
    """Return the hosts whose profile jumps through this one."""
    return [other for other in policy.hosts.values() if other.profile is not None and other.profile.jump == host.name]
