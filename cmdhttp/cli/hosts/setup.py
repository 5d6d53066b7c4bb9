"""`cmdhttp hosts setup`: what hosts need, as a shell script for root to read and then to run, or as JSON.

Every text comes from the policy and from public halves of keys. What is not known stands in the script as a comment.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from cmdhttp.cli.hosts.needs import Needs, needs_of
from cmdhttp.cli.hosts.parts import AUTHORITY, HOST_CERTIFICATE, KEYS, SSHD, SUDOERS, Part, parts_of
from cmdhttp.cli.hosts.places import chosen, read_policy
from cmdhttp.cli.text import say
from cmdhttp.policy.compiled import AgentLogin, CertificateLogin, KeyLogin, Login, PasswordLogin

_END = "CMDHTTP"
_ROOT = "root"
_WAYS: dict[type[Login], str] = {
    KeyLogin: "key",
    AgentLogin: "agent",
    PasswordLogin: "password",
    CertificateLogin: "certificate",
}


def run_setup(folder: Path, names: Sequence[str], *, as_json: bool) -> int:
    """Print what each host needs. Returns 0. Raises PolicyError or ConfigError if that cannot be told."""
    policy = read_policy(folder)
    found = [needs_of(policy, host) for host, _ in chosen(policy, names)]
    if as_json:
        print(json.dumps({"policy": policy.digest, "hosts": [_document(needs) for needs in found]}, indent=2))
        return 0
    for number, needs in enumerate(found):
        for line in (*([""] if number else []), *_script(needs)):
            say(line)
    return 0


# -- for people


def _script(needs: Needs) -> Iterator[str]:
    host = needs.host
    yield "#!/bin/sh"
    yield f"# Prepares {host.name} ({host.address} port {host.port}). Read it, then run it as root on that host alone."
    yield from (f"# WARNING: {warning}" for warning in _warnings(needs))
    yield "set -eu"
    yield ""
    yield "# What runs here, as whom:"
    yield from (f"#   {name} as {account}" for name, account in needs.commands.items())
    yield from _account_lines(needs)
    for part in parts_of(needs):
        yield from _part_lines(part)
    yield from _last_lines(needs)


def _account_lines(needs: Needs) -> Iterator[str]:
    yield ""
    yield "# Accounts. '*' is a password that nothing matches; unlike a locked one, sshd never takes it for a closed account."
    yield "# The login shell has to be one that runs commands: no nologin, no git-shell."
    for name in _made(needs):
        yield f"id -u {name} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {name}"
        if not isinstance(needs.profile.login, PasswordLogin):
            yield f"usermod --password '*' {name}"

    for name in sorted({sudo.account for sudo in needs.sudo} - {_ROOT, *_made(needs)}):
        yield f"id -u {name} >/dev/null 2>&1 || echo 'there is no account {name}, and commands run as it by sudo' >&2"


def _made(needs: Needs) -> list[str]:
    """The accounts to make: those that we log in to. Whom sudo becomes is there already, and is left alone."""
    return sorted({account.name for account in needs.accounts} - {_ROOT})


def _part_lines(part: Part) -> Iterator[str]:
    """Write a file, and put it in its place once it is whole and right: a wrong line in sudoers would stop every sudo."""
    yield ""
    yield f"# {part.why}"
    yield f"install -d -m 0755 {part.path.rpartition('/')[0]}"
    yield f"cat > {part.path}.new <<'{_END}'"
    yield from part.text.removesuffix("\n").split("\n")
    yield _END
    yield f"chmod {part.mode} {part.path}.new"
    if part.path == SUDOERS:
        yield f"visudo -cf {part.path}.new"
    yield f"mv {part.path}.new {part.path}"


def _last_lines(needs: Needs) -> Iterator[str]:
    yield ""
    if needs.profile.cert_authority is not None:
        yield f"test -f {HOST_CERTIFICATE} || echo 'the host key is not signed yet: {HOST_CERTIFICATE} is missing' >&2"
    yield "command -v python3 >/dev/null || echo 'python3 is missing: see the end of this script' >&2"
    yield "# With python3 on the host, all that a run leaves behind is found and ended, daemons too, and runs start faster."
    yield "# Without it only the run's own process group is, and a daemon may live on."
    yield f"sshd -t && echo 'now reload sshd; {SSHD} counts from then on'"


# -- what an admin has to know


def _warnings(needs: Needs) -> Iterator[str]:
    profile, key = needs.profile, needs.key
    if profile.shell != "posix":
        yield f"the profile's shell is '{profile.shell}': what follows is for Unix hosts; take from it what applies"
    if key is None:
        yield "the profile logs in by a password, which works from everywhere and for everything; use a key or a certificate"
    elif not key.line:
        where = AUTHORITY if isinstance(profile.login, CertificateLogin) else f"{KEYS}/ACCOUNT, behind 'restrict'"
        yield f"no public key is in here: {key.problem}" + (f"; get it with: {key.ask}" if key.ask else "")
        yield f"that key has to go into {where}"
    names = ", ".join(account.name for account in needs.accounts)
    yield f"from then on {names} can log in in this way alone, and without a terminal: it must be no account that people use"
    if any(account.name == _ROOT for account in needs.accounts):
        yield "we log in as root: better an account of its own, and 'become: sudo' for what needs root"
    for sudo in needs.sudo:
        if sudo.rules.problem:
            yield f"{sudo.command} as {sudo.account} gets no sudoers line: {sudo.rules.problem}"
        elif sudo.rules.free:
            free = ", ".join(sudo.rules.free)
            yield f"sudo does not check {free} of {sudo.command}: whoever gets hold of {sudo.login} can write anything there"


# -- for machines


def _document(needs: Needs) -> dict[str, object]:
    host, key = needs.host, needs.key
    return {
        "host": host.name,
        "address": host.address,
        "port": host.port,
        "shell": needs.profile.shell,
        "login": _WAYS[type(needs.profile.login)],
        "public_key": key.line or None if key else None,
        "commands": dict(needs.commands),
        "accounts": [asdict(account) for account in needs.accounts],
        "make_accounts": _made(needs),
        "sudo": [asdict(sudo) for sudo in needs.sudo],
        "files": [asdict(part) for part in parts_of(needs)],
        "warnings": list(_warnings(needs)),
    }
