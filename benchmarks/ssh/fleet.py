"""Many SSH hosts on one machine: one sshd that listens on the whole of 127.0.0.0/8, and an address for each host.

Nothing but the loopback interface reaches it. Its host key stands in one known_hosts line for all addresses, so that
everybody can check it and nobody has to look through many lines. The limits of sshd that would be measured instead of the
clients are raised.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.local import family, servers
from tests.support.sshd import EVERY_LOOPBACK, Sshd

_CONFIG = ("LogLevel ERROR", "MaxStartups 2000", "MaxSessions 200", "LoginGraceTime 300")
_A_NET = 250
_NETS = 250


class _Adopting(Sshd):
    """A server whose listener waits for all that it has started, so that all its processor time is known."""

    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-S", str(Path(__file__).with_name("adopting.py")), *super()._command()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Where the hosts are and how to log in; `pid` is the listener's."""

    addresses: tuple[str, ...]
    port: int
    account: str
    key: Path
    known_hosts: Path
    pid: int

    def document(self) -> dict[str, object]:
        """Everything that a client in another process needs."""
        return {
            "addresses": self.addresses,
            "port": self.port,
            "account": self.account,
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
        }

    def cpu(self) -> float:
        """Seconds of processor time that sshd and all that it has started have had."""
        return family.cpu(family.below([self.pid]))


def addresses(count: int) -> tuple[str, ...]:
    """So many loopback addresses, none of which is 127.0.0.1. Raises ValueError if there are not as many."""
    if count > _A_NET * _NETS:
        raise ValueError(f"{count:,} hosts, and there are addresses for {_A_NET * _NETS:,}")
    return tuple(f"127.1.{number // _A_NET}.{number % _A_NET + 1}" for number in range(count))


@contextmanager
def fleet(folder: Path, *, hosts: int) -> Iterator[Fleet]:
    """Start the server of so many hosts; its files go into the folder. Raises RuntimeError."""
    with _Adopting.start(folder, config=_CONFIG, listen=EVERY_LOOPBACK) as sshd, servers.apart([sshd.pid]):
        kind, body, *_ = sshd.host_key.with_suffix(".pub").read_text().split()
        sshd.known_hosts.write_text(f"[127.*]:{sshd.port} {kind} {body}\n")
        yield Fleet(
            addresses=addresses(hosts),
            port=sshd.port,
            account=sshd.account,
            key=sshd.key,
            known_hosts=sshd.known_hosts,
            pid=sshd.pid,
        )
