"""The files that a login needs: the private key and the known_hosts file of the host's profile.

They are read and parsed in a thread and kept until the file changes (time, size or inode), so a rotated key or a new
host counts from the next connection on. Without a readable known_hosts there is no connection at all. Errors name the
role of a file, never its path or a line of it.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import asyncssh
from anyio import to_thread

from cmdhttp.execution.model import RunErrorCode
from cmdhttp.execution.ssh.failures import ConnectFailed
from cmdhttp.execution.ssh.trust import KnownHosts, Trust
from cmdhttp.plan.model import SshTarget

T = TypeVar("T")

_LARGEST_KEY = 64 * 1024
_LARGEST_KNOWN_HOSTS = 16 * 1024 * 1024

_Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    key: asyncssh.SSHKey = field(repr=False)
    trust: Trust


class CredentialFiles:
    """Reads the credentials of targets. Safe to use from several threads: at worst a file is parsed twice."""

    def __init__(self) -> None:
        self._keys = _Parsed(asyncssh.import_private_key, largest=_LARGEST_KEY)
        self._known_hosts = _Parsed(KnownHosts, largest=_LARGEST_KNOWN_HOSTS)

    async def load(self, target: SshTarget) -> Credentials:
        """Return what a login at `target` needs. Raises ConnectFailed (`host_key_mismatch` or `login_failed`)."""
        return await to_thread.run_sync(self._load, target, abandon_on_cancel=True)

    def _load(self, target: SshTarget) -> Credentials:
        return Credentials(trust=self._trust(target), key=self._key(target))

    def _trust(self, target: SshTarget) -> Trust:
        try:
            return self._known_hosts.get(target.known_hosts or "").trust(target.address, target.port)
        except (OSError, ValueError):
            raise ConnectFailed(
                RunErrorCode.HOST_KEY_MISMATCH,
                "The host cannot be verified: its known_hosts file is missing or cannot be read.",
                hint="Check the known_hosts file of the host's SSH profile: every line must be valid, and the service "
                "account must be able to read it.",
            ) from None

    def _key(self, target: SshTarget) -> asyncssh.SSHKey:
        try:
            return self._keys.get(target.login.path)
        except asyncssh.KeyEncryptionError:
            problem = "is protected by a passphrase"
        except asyncssh.KeyImportError as exc:
            problem = "is protected by a passphrase" if str(exc).startswith("Passphrase") else "is not a private key"
        except (OSError, ValueError):
            problem = "is missing or cannot be read"
        raise ConnectFailed(
            RunErrorCode.LOGIN_FAILED,
            f"No login was attempted: the private key file {problem}.",
            hint="Check the private key file of the host's SSH profile: an unencrypted OpenSSH key that the service "
            "account can read.",
        )


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


def _mark(status: os.stat_result) -> _Mark:
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
