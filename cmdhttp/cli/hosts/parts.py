"""The files that a host needs, each with its text: sshd's configuration, keys, principals, sudoers.

Everything lies under /etc and belongs to root, so that no account can widen its own access. All restrictions stand in one
`Match` block for each account and change nothing for anybody else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cmdhttp.cli.hosts.needs import Account, Needs
from cmdhttp.policy.compiled import CertificateLogin, PasswordLogin

SSHD = "/etc/ssh/sshd_config.d/40-cmdhttp.conf"
AUTHORITY = "/etc/ssh/cmdhttp_user_ca.pub"
PRINCIPALS = "/etc/ssh/cmdhttp_principals"
KEYS = "/etc/ssh/cmdhttp_keys"
SUDOERS = "/etc/sudoers.d/cmdhttp"
HOST_CERTIFICATE = "/etc/ssh/ssh_host_ed25519_key-cert.pub"
_SESSIONS = 10
_ROOT = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file. `mode` is octal text; `why` is for people."""

    path: str
    mode: str
    text: str
    why: str


def parts_of(needs: Needs) -> Iterator[Part]:
    """Yield the files in the order in which they are to be written: what sshd reads first, then its configuration."""
    if needs.key is not None and needs.key.line:
        yield from _authority(needs) if isinstance(needs.profile.login, CertificateLogin) else _keys(needs)
    if needs.sudo:
        yield Part(path=SUDOERS, mode="0440", text=_sudoers(needs), why="what may be run as other accounts")
    yield Part(path=SSHD, mode="0644", text=_sshd(needs), why="who may log in, how, and to do what")


def _authority(needs: Needs) -> Iterator[Part]:
    line = needs.key.line if needs.key else ""
    yield Part(path=AUTHORITY, mode="0644", text=f"{line} cmdhttp\n", why="who signs the certificates")
    for account in needs.accounts:
        yield Part(
            path=f"{PRINCIPALS}/{account.name}",
            mode="0644",
            text=f"{account.principal}\n",
            why=f"whose certificates may log in as {account.name}",
        )


def _keys(needs: Needs) -> Iterator[Part]:
    line = needs.key.line if needs.key else ""
    for account in needs.accounts:
        opened = [f'permitopen="{place}"' for place in account.forwards]
        options = ",".join(["restrict", *(["port-forwarding", *opened] if opened else [])])
        yield Part(
            path=f"{KEYS}/{account.name}",
            mode="0644",
            text="# Put from=\"ADDRESS\", with the service's address, before 'restrict': then the key is good from there alone.\n"
            f"{options} {line} cmdhttp\n",
            why=f"which key may log in as {account.name}",
        )


def _sshd(needs: Needs) -> str:
    lines = [
        "# For cmdhttp. Has an effect only if sshd_config has: Include /etc/ssh/sshd_config.d/*.conf",
        "# If there is AllowUsers or AllowGroups anywhere, these accounts have to be in it.",
    ]
    if needs.profile.cert_authority is not None:
        lines += [
            "# The service believes host keys that its authority has signed. On the authority's machine:",
            f"#   ssh-keygen -s AUTHORITY -h -I {needs.host.name} -n {needs.host.address} -V +52w ssh_host_ed25519_key.pub",
            f"HostCertificate {HOST_CERTIFICATE}",
        ]
    for account in needs.accounts:
        lines += [f"Match User {account.name}", *(f"    {line}" for line in _match(needs, account))]
    return "\n".join([*lines, "Match all", ""])


def _match(needs: Needs, account: Account) -> Iterator[str]:
    password = isinstance(needs.profile.login, PasswordLogin)
    yield f"AuthenticationMethods {'password' if password else 'publickey'}"
    yield f"PubkeyAuthentication {'no' if password else 'yes'}"
    yield f"PasswordAuthentication {'yes' if password else 'no'}"
    yield "KbdInteractiveAuthentication no"
    yield from _proof(needs)
    if account.name == _ROOT:
        yield f"PermitRootLogin {'yes' if password else 'prohibit-password'}"
    yield from _forwarding(account)
    yield "PermitTTY no"
    yield "PermitUserRC no"
    yield "AcceptEnv none"
    yield f"MaxSessions {_SESSIONS}"


def _proof(needs: Needs) -> Iterator[str]:
    match needs.profile.login:
        case CertificateLogin():
            yield "AuthorizedKeysFile none"
            yield f"TrustedUserCAKeys {AUTHORITY}"
            yield f"AuthorizedPrincipalsFile {PRINCIPALS}/%u"
        case PasswordLogin():
            yield "AuthorizedKeysFile none"
        case _:
            yield f"AuthorizedKeysFile {KEYS}/%u"


def _forwarding(account: Account) -> Iterator[str]:
    """Nothing is forwarded, but on a jump host, and there only to the hosts behind it."""
    if not account.forwards:
        yield "DisableForwarding yes"
        return
    yield "AllowTcpForwarding local"
    yield f"PermitOpen {' '.join(account.forwards)}"
    yield "AllowAgentForwarding no"
    yield "AllowStreamLocalForwarding no"
    yield "X11Forwarding no"
    yield "PermitTunnel no"


def _sudoers(needs: Needs) -> str:
    """Variables are let through by name. The tag SETENV would let any through, those of the dynamic linker too."""
    lines = ["# For cmdhttp. A '*' takes any text, with spaces, and so further arguments too."]
    for login in sorted({sudo.login for sudo in needs.sudo}):
        kept = " ".join(sorted({name for sudo in needs.sudo if sudo.login == login for name in sudo.env}))
        lines += [f"Defaults:{login} !requiretty", *([f'Defaults:{login} env_keep += "{kept}"'] if kept else [])]
    for sudo in needs.sudo:
        lines.append(f"# {sudo.command}{f': {sudo.rules.problem}' if sudo.rules.problem else ''}")
        lines += [f"{sudo.login} ALL=({sudo.account}) NOPASSWD: {line}" for line in sudo.rules.lines]
    return "\n".join([*lines, ""])
