"""What the commands of a policy need on one host: accounts, ways to log in, sudo, and hosts to be reached through it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from cmdhttp.cli.hosts.places import behind, profile_of
from cmdhttp.cli.hosts.sudoers import Rules, inner_of, rules_for
from cmdhttp.execution.ssh.login.public import public_half, read_file
from cmdhttp.policy.compiled import (
    AgentLogin,
    CertificateLogin,
    Command,
    Host,
    KeyAuthority,
    KeyLogin,
    PasswordLogin,
    Policy,
    Profile,
)

_ENV = "env:"
_SUDO = "sudo"
_JOB_ID = "CMDHTTP_JOB_ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account that we log in to. `principal` stands in its certificates; `forwards` are the places beyond it."""

    name: str
    principal: str | None
    commands: tuple[str, ...]
    forwards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sudo:
    """A command that the account `login` runs as `account` by sudo, with the variables `env`."""

    command: str
    login: str
    account: str
    env: tuple[str, ...]
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public half as `kind base64`, or why it is not known, and how to come by it."""

    line: str = ""
    problem: str = ""
    ask: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """All that one host needs. `key` is the key that logs in, or the authority that signs; None for a password."""

    host: Host
    profile: Profile
    accounts: tuple[Account, ...]
    sudo: tuple[Sudo, ...]
    key: PublicKey | None
    commands: Mapping[str, str] = field(default_factory=dict)


def needs_of(policy: Policy, host: Host) -> Needs:
    """Work out what a host needs for the commands that are made for it."""
    profile = profile_of(host)
    commands = {name: command for name, command in sorted(policy.commands.items()) if host.name in command.hosts}
    return Needs(
        host=host,
        profile=profile,
        accounts=tuple(_accounts(policy, host, profile, commands)),
        sudo=tuple(_sudo(profile, commands)),
        key=_key(profile),
        commands={name: command.account or profile.account for name, command in commands.items()},
    )


def _login_of(profile: Profile, command: Command) -> str:
    """The account that a run logs in to: with sudo always that of the profile."""
    return profile.account if profile.become == _SUDO else command.account or profile.account


def _accounts(policy: Policy, host: Host, profile: Profile, commands: Mapping[str, Command]) -> Iterator[Account]:
    forwards = tuple(sorted(_place(other) for other in behind(policy, host)))
    used: dict[str, list[str]] = {profile.account: []} if forwards or not commands else {}
    for name, command in commands.items():
        used.setdefault(_login_of(profile, command), []).append(name)
    for account in sorted(used):
        yield Account(
            name=account,
            principal=_principal(profile, account),
            commands=tuple(used[account]),
            forwards=forwards if account == profile.account else (),
        )


def _place(host: Host) -> str:
    return f"[{host.address}]:{host.port}" if ":" in host.address else f"{host.address}:{host.port}"


def _principal(profile: Profile, account: str) -> str | None:
    login = profile.login
    return login.principal.replace("<account>", account) if isinstance(login, CertificateLogin) else None


def _sudo(profile: Profile, commands: Mapping[str, Command]) -> Iterator[Sudo]:
    """What is run by sudo: by ours, where the profile says so, and by one that stands in a command."""
    for name, command in commands.items():
        account = command.account or profile.account
        if profile.become == _SUDO and account != profile.account:
            env = (_JOB_ID, *sorted(command.env))
            yield Sudo(command=name, login=profile.account, account=account, env=env, rules=rules_for(command))
        inner = inner_of(command)
        if inner is not None:
            rules = Rules(problem=inner.problem) if inner.problem else rules_for(command, start=inner.start)
            yield Sudo(command=name, login=account, account=inner.account, env=(), rules=rules)


# Public halves.


def _key(profile: Profile) -> PublicKey | None:
    match profile.login:
        case KeyLogin(path=path):
            return _half_of(path)
        case CertificateLogin(authority=authority):
            return _half_of(authority.key if isinstance(authority, KeyAuthority) else authority.public_key)
        case AgentLogin(socket=socket):
            place = f'"${socket.removeprefix(_ENV)}"' if socket.startswith(_ENV) else socket
            return PublicKey(problem="an agent holds the key", ask=f"SSH_AUTH_SOCK={place} ssh-add -L")
        case PasswordLogin():
            return None
        case _:
            assert_never(profile.login)


def _half_of(place: str) -> PublicKey:
    """The public half of a private key: a path, or `env:NAME`."""
    try:
        if place.startswith(_ENV):
            return PublicKey(line=public_half(os.environ[place.removeprefix(_ENV)].encode()))
        return PublicKey(line=public_half(read_file(place)))
    except KeyError:
        return PublicKey(problem=f"{place} is not set here")
    except OSError as error:
        return PublicKey(problem=f"{place}: {error.strerror}", ask=f"ssh-keygen -y -f {place}")
    except ValueError as error:
        return PublicKey(problem=f"{place}: {error}", ask=f"ssh-keygen -y -f {place}")
