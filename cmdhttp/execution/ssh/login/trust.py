"""Which keys a host may show, from the text of a known_hosts file and of a file of host key authorities.

A host is looked up by the name or address that the policy gives it and never by the address that this name resolved to:
whoever can bend DNS towards another recorded host must not pass for this one. As in OpenSSH, a line without a port also
stands for a host on another port if no line names that port; a `@revoked` line counts in either form.
"""

from dataclasses import dataclass, field, replace

import asyncssh

from cmdhttp.execution.ssh.login.algorithms import SIGNATURE, certificate_forms

_DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What is recorded about one host: its keys, the authorities that may sign its key, and what is revoked."""

    keys: tuple[asyncssh.SSHKey, ...] = field(default=(), repr=False)
    authorities: tuple[asyncssh.SSHKey, ...] = field(default=(), repr=False)
    revoked: tuple[asyncssh.SSHKey, ...] = field(default=(), repr=False)

    @property
    def recorded(self) -> bool:
        return bool(self.keys or self.authorities)

    def signed_by(self, authorities: tuple[asyncssh.SSHKey, ...]) -> "Trust":
        """Return this and trust in what these authorities sign. What is revoked stays revoked."""
        return replace(self, authorities=(*self.authorities, *authorities))

    def algorithms(self) -> tuple[str, ...]:
        """Return what to ask for: certificates if an authority is known, then kinds of recorded keys, then the rest.

        The rest is asked for so that a host which now has a key of another kind is seen as changed, not as mute.
        """
        kinds = {name.decode() for key in self.keys for name in key.sig_algorithms}
        recorded = tuple(name for name in SIGNATURE if name in kinds)
        rest = tuple(name for name in SIGNATURE if name not in kinds)
        return (*(certificate_forms(SIGNATURE) if self.authorities else ()), *recorded, *rest)


def read_authorities(data: bytes) -> tuple[asyncssh.SSHKey, ...]:
    """Return the public keys of a file, one a line. Raises ValueError if any line is none, or if there is none at all."""
    lines = [line.strip() for line in data.splitlines()]
    keys = tuple(asyncssh.import_public_key(line) for line in lines if line and not line.startswith(b"#"))
    if not keys:
        raise ValueError("the file holds no key")
    return keys


class KnownHosts:
    """One parsed known_hosts file. What it says of a host is looked up once: a hashed file costs an HMAC per line."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError if any line cannot be read: a file that is half understood may hide a revocation."""
        self._lines = asyncssh.import_known_hosts(data.decode())
        self._seen: dict[tuple[str, int], Trust] = {}

    def trust(self, address: str, port: int) -> Trust:
        seen = self._seen.get((address, port))
        if seen is None:
            seen = self._seen[address, port] = self._look_up(address, port)
        return seen

    def _look_up(self, address: str, port: int) -> Trust:
        named = self._lines.match(address, "", None)
        if port == _DEFAULT_PORT:
            return Trust(keys=tuple(named[0]), authorities=tuple(named[1]), revoked=tuple(named[2]))
        ported = self._lines.match(f"[{address}]:{port}", "", None)
        best = ported if ported[0] or ported[1] else named
        return Trust(keys=tuple(best[0]), authorities=tuple(best[1]), revoked=(*named[2], *ported[2]))
