"""What a login needs: the means of the target's login, and whom to believe at the other end.

Files are read and parsed in a thread and kept until they change (time, size or inode), so a rotated key or a new host counts
from the next connection on; environment variables are read for each. Without a readable file of host keys there is no
connection at all. Errors name the role of a file or variable, never its path, its name or a line of it.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar, assert_never

import asyncssh
from anyio import to_thread

from cmdhttp.execution.model import RunErrorCode
from cmdhttp.execution.ssh.failures import ConnectFailed, not_attempted
from cmdhttp.execution.ssh.login.signers import AgentSigner, KeySigner, Signer, signature_kind
from cmdhttp.execution.ssh.login.trust import KnownHosts, Trust, read_authorities
from cmdhttp.plan.model import (
    Agent,
    Certificate,
    KeyFile,
    KeyVariable,
    PasswordFile,
    PasswordVariable,
    SshLogin,
    SshTarget,
)
from cmdhttp.plan.model import AgentSigner as InAgent

T = TypeVar("T")

_LARGEST_KEY = 64 * 1024
_LARGEST_PASSWORD = 4 * 1024
_LARGEST_KNOWN_HOSTS = 16 * 1024 * 1024

_Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A password, in memory for one login."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs the certificate of a login, and what the certificate shall say."""

    signer: Signer
    login: Certificate


Means = asyncssh.SSHKey | Password | Agent | Authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    means: Means = field(repr=False)
    trust: Trust


class CredentialFiles:
    """Reads the credentials of targets. Safe to use from several threads: at worst a file is parsed twice."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._keys = _Parsed(asyncssh.import_private_key, largest=_LARGEST_KEY)
        self._public_keys = _Parsed(asyncssh.import_public_key, largest=_LARGEST_KEY)
        self._passwords = _Parsed(_password, largest=_LARGEST_PASSWORD)
        self._known_hosts = _Parsed(KnownHosts, largest=_LARGEST_KNOWN_HOSTS)
        self._authorities = _Parsed(read_authorities, largest=_LARGEST_KNOWN_HOSTS)

    async def load(self, target: SshTarget) -> Credentials:
        """Return what a login at `target` needs. Raises ConnectFailed (`host_key_mismatch` or `login_failed`)."""
        return await to_thread.run_sync(self._load, target, abandon_on_cancel=True)

    def _load(self, target: SshTarget) -> Credentials:
        return Credentials(trust=self._trust(target), means=self._means(target.login))

    def version(self, target: SshTarget) -> object:
        """What changes when a file behind a login at `target` does: equal while all are the same, or missing as before."""
        login = target.login
        secret = None
        if isinstance(login, KeyFile):
            secret = login.path
        elif isinstance(login, PasswordFile):
            secret = login.password_file
        return tuple(_seen(name) for name in (target.known_hosts, target.cert_authority, secret))

    # Whom to believe.

    def _trust(self, target: SshTarget) -> Trust:
        trust, role = Trust(), "known_hosts file"
        try:
            if target.known_hosts is not None:
                trust = self._known_hosts.get(target.known_hosts).trust(target.address, target.port)
            role = "file of host key authorities"
            if target.cert_authority is not None:
                trust = trust.signed_by(self._authorities.get(target.cert_authority))
        except (OSError, ValueError):
            raise ConnectFailed(
                RunErrorCode.HOST_KEY_MISMATCH,
                f"The host cannot be verified: its {role} is missing or cannot be read.",
                hint=f"Check the {role} of the host's SSH profile: every line must be valid, and the service "
                "account must be able to read it.",
            ) from None
        return trust

    # The means.

    def _means(self, login: SshLogin) -> Means:
        match login:
            case KeyFile() | KeyVariable():
                return self._key(login, "private key")
            case PasswordFile() | PasswordVariable():
                return self._password(login)
            case Agent():
                return login
            case Certificate():
                return Authority(signer=self._signer(login), login=login)
            case _:
                assert_never(login)

    def _signer(self, login: Certificate) -> Signer:
        if isinstance(login.authority, InAgent):
            key = self._public_key(login.authority.public_key)
            signer: Signer = AgentSigner(agent=login.authority.agent, key=key, environ=self._environ)
        else:
            key = self._key(login.authority, "certificate authority's private key")
            signer = KeySigner(key=key)
        signature_kind(key)
        return signer

    def _key(self, place: KeyFile | KeyVariable, role: str) -> asyncssh.SSHKey:
        what, where = (f"{role} file", "file") if isinstance(place, KeyFile) else (role, "environment variable")
        try:
            if isinstance(place, KeyFile):
                return self._keys.get(place.path)
            return asyncssh.import_private_key(self._variable(place.variable, role))
        except asyncssh.KeyEncryptionError:
            problem = "is protected by a passphrase"
        except asyncssh.KeyImportError as exc:
            problem = "is protected by a passphrase" if str(exc).startswith("Passphrase") else "is not a private key"
        except (OSError, ValueError):
            problem = "is missing or cannot be read"
        raise not_attempted(
            f"the {what} {problem}",
            hint=f"Check the {where} of the {role} that the host's SSH profile names: an unencrypted OpenSSH key that "
            "the service account can read.",
        )

    def _public_key(self, path: str) -> asyncssh.SSHKey:
        try:
            return self._public_keys.get(path)
        except (OSError, ValueError):
            raise not_attempted(
                "the certificate authority's public key file is missing or cannot be read",
                hint="Check `public_key` of the profile's authority in `ssh_authorities`: one line as in a .pub file.",
            ) from None

    def _password(self, place: PasswordFile | PasswordVariable) -> Password:
        try:
            if isinstance(place, PasswordFile):
                return self._passwords.get(place.password_file)
            return _password(self._variable(place.password_variable, "password").encode())
        except (OSError, ValueError):
            raise not_attempted(
                "the password is missing or cannot be used",
                hint="Check the password that the host's SSH profile names: one line of text, in a file that the service "
                "account can read or in an environment variable of the service.",
            ) from None

    def _variable(self, name: str, role: str) -> str:
        text = self._environ.get(name)
        if not text:
            raise not_attempted(
                f"the environment variable of the {role} is not set",
                hint="Set the variable that the host's SSH profile names in the environment of the service.",
            )
        return text


def _password(data: bytes) -> Password:
    """A password is what a file holds but for the end of its one line. Raises ValueError."""
    text = data.decode().removesuffix("\n").removesuffix("\r")
    if not text or not text.isprintable():
        raise ValueError("not one line of text")
    return Password(text=text)


class _Parsed(Generic[T]):
    """Files by path, each parsed once per version."""

    def __init__(self, parse: Callable[[bytes], T], *, largest: int) -> None:
        self._parse = parse
        self._largest = largest
        self._kept: dict[Path, tuple[_Mark, T]] = {}

    def get(self, name: str) -> T:
        """Return the parsed file. Raises OSError; ValueError for content that `parse` refuses or that is too long."""
        path = Path(name)
        mark = _mark(path.stat())
        kept = self._kept.get(path)
        if kept is not None and kept[0] == mark:
            return kept[1]
        with path.open("rb") as file:
            mark = _mark(os.fstat(file.fileno()))
            data = file.read(self._largest + 1)
        if len(data) > self._largest:
            raise ValueError("the file is too long")
        value = self._parse(data)
        self._kept[path] = (mark, value)
        return value


def _seen(name: str | None) -> _Mark | None:
    try:
        return None if name is None else _mark(os.stat(name))  # noqa: PTH116 - asked for at every run
    except OSError:
        return None


def _mark(status: os.stat_result) -> _Mark:
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
