"""User certificates, made for one login each: a new key pair that only this process ever holds, and what it is good for.

A certificate for a job is good for exactly one command line, from one address, for a minute, without terminal, forwarding or
any other extension. One for a jump host is good for forwarding and for no command. Each is told to `on_issue` before it is
used; if that cannot be recorded, there is no login.
Format: https://datatracker.ietf.org/doc/draft-miller-ssh-cert/ (OpenSSH's PROTOCOL.certkeys).
"""

import base64
import hashlib
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import asyncssh

from cmdhttp.clock import Clock
from cmdhttp.execution.model import CertificateIssued, RunErrorCode
from cmdhttp.execution.ssh.failures import ConnectFailed
from cmdhttp.execution.ssh.login.signers import Signer
from cmdhttp.execution.ssh.login.wire import Reader, string, uint32, uint64
from cmdhttp.plan.model import Certificate, SshTarget

OnIssue = Callable[[CertificateIssued], Awaitable[None]]

_KIND = b"ssh-ed25519-cert-v01@openssh.com"
_USER = 1
_BACK = 30
_NO_COMMAND = "exit 1"
_LONGEST_ID = 200
_UNFIT = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a login is for: the only command line (None: any), and the job and the caller that it serves, if just one."""

    only: str | None = field(default=None, repr=False)
    job: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A key pair and the certificate that makes it good."""

    key: asyncssh.SSHKey = field(repr=False)
    certificate: asyncssh.SSHCertificate = field(repr=False)
    record: CertificateIssued


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Makes certificates. `entropy` returns as many random bytes as it is asked for."""

    clock: Clock
    entropy: Callable[[int], bytes]
    on_issue: OnIssue | None = None

    async def issue(
        self, target: SshTarget, login: Certificate, purpose: Purpose, *, signer: Signer, local: str | None
    ) -> Issued:
        """Return a certificate for `target` that has been recorded. Raises ConnectFailed.

        `local` is the address of our end of the connection; None if the way leads through a jump host.
        """
        key = asyncssh.generate_private_key("ssh-ed25519")
        now = int(self.clock.now())
        command = _NO_COMMAND if target.leads_on else purpose.only
        record = CertificateIssued(
            serial=str(int.from_bytes(self.entropy(8), "big")),
            key_id=_key_id(target, purpose),
            job=purpose.job or None,
            principal=purpose.principal or None,
            authority=signer.fingerprint,
            address=target.address,
            port=target.port,
            account=target.account,
            certificate_principal=login.principal,
            source_addresses=_sources(login, local),
            command_sha256=None if command is None else hashlib.sha256(command.encode()).hexdigest(),
            valid_after=now - _BACK,
            valid_before=now + math.ceil(login.ttl),
        )
        body = _body(record, public=key.public_data, nonce=self.entropy(32), command=command, leads_on=target.leads_on)
        body += string(signer.public_data)
        blob = body + string(await signer.sign(body))
        await self._record(record)
        certificate = asyncssh.import_certificate(_KIND + b" " + base64.b64encode(blob))
        return Issued(key=key, certificate=certificate, record=record)

    async def _record(self, record: CertificateIssued) -> None:
        if self.on_issue is None:
            return
        try:
            await self.on_issue(record)
        except OSError:
            raise ConnectFailed(
                RunErrorCode.RECORD_FAILED,
                "No login was attempted: the certificate for it could not be recorded in the audit log.",
                hint="Look at the free space of the data folder.",
            ) from None


def _key_id(target: SshTarget, purpose: Purpose) -> str:
    """What the host's sshd writes into its log beside the serial."""
    whom = ":".join(filter(None, (purpose.job, purpose.principal))) or ("jump" if target.leads_on else "shared")
    return _UNFIT.sub("?", f"cmdhttp:{whom}")[:_LONGEST_ID]


def _sources(login: Certificate, local: str | None) -> tuple[str, ...]:
    if login.sources is not None:
        return login.sources
    return () if local is None else (str(ip_network(local.partition("%")[0])),)


def _body(record: CertificateIssued, *, public: bytes, nonce: bytes, command: str | None, leads_on: bool) -> bytes:
    """The certificate up to the authority's key, which is what comes next."""
    reader = Reader(public)
    reader.string()  # the kind, which the certificate says itself
    options = []
    if command is not None:
        options.append(("force-command", command))
    if record.source_addresses:
        options.append(("source-address", ",".join(record.source_addresses)))
    return b"".join(
        (
            string(_KIND),
            string(nonce),
            string(reader.string()),
            uint64(int(record.serial)),
            uint32(_USER),
            string(record.key_id.encode()),
            string(string(record.certificate_principal.encode())),
            uint64(record.valid_after),
            uint64(record.valid_before),
            string(_options(options)),
            string(string(b"permit-port-forwarding") + string(b"") if leads_on else b""),
            string(b""),  # reserved
        )
    )


def _options(options: Sequence[tuple[str, str]]) -> bytes:
    """The critical options, which stand in the order of their names."""
    return b"".join(string(name.encode()) + string(string(value.encode())) for name, value in options)
