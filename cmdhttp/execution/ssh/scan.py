"""Fetches the keys that a host shows, for an admin to confirm. Nothing is trusted, written down, or logged in to.

Each connection asks for the kinds of key that have not been seen yet, lets the host prove that it holds the key it shows,
and ends there: before any login, with no credential at hand. Only on the way through a jump host is there a login, at a
host that is verified like any other. What a host sends comes back as fingerprints and base64, and is bounded in size.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import cast

import anyio
import asyncssh
from asyncssh.public_key import SSHOpenSSHCertificate

from cmdhttp.execution.ssh.failures import ConnectFailed, Progress, from_exception, out_of_time
from cmdhttp.execution.ssh.login import algorithms
from cmdhttp.execution.ssh.login.dial import Dialer, close
from cmdhttp.execution.ssh.login.hostcerts import refuse_unfit
from cmdhttp.execution.ssh.login.public import read_file
from cmdhttp.execution.ssh.login.trust import KnownHosts, Trust, read_authorities
from cmdhttp.plan.model import SshTarget

_CERTIFICATE = "-cert-v01@openssh.com"
_RSA = "ssh-rsa"
_BEFORE_LISTS = 17  # its number and the cookie
_MOST_NAMES, _LONGEST_NAME = 20, 253
_HOST = 2
"""The type of a host's certificate. Source: PROTOCOL.certkeys of OpenSSH, SSH_CERT_TYPE_HOST."""


class Standing(StrEnum):
    """What is recorded of a key today.

    `new`: nothing of its kind. `changed`: another key of its kind. `signed`: by an authority that is trusted here, and
    the certificate holds. `invalid`: by such an authority, but it does not hold. `gone`: recorded, and not shown.
    """

    SAME = "same"
    SIGNED = "signed"
    NEW = "new"
    CHANGED = "changed"
    REVOKED = "revoked"
    INVALID = "invalid"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signed a host's certificate, for which names (the first of them), and why it does not hold, if so."""

    kind: str
    fingerprint: str
    line: str
    names: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """One key of a host. `line` is `kind base64`; `recorded` are the fingerprints of what is known in its place."""

    kind: str
    fingerprint: str
    line: str
    standing: Standing
    recorded: tuple[str, ...] = ()
    authority: Authority | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host to scan; `trust` is what is recorded of it. `jumps` lead there by name, the first from here."""

    address: str
    port: int
    trust: Trust
    jumps: Mapping[str, SshTarget] = field(default_factory=dict)


class ScanFailed(Exception):
    """The keys cannot be seen, and why. `jump` names the host on the way that is to blame, if it is one."""

    def __init__(self, failed: ConnectFailed, *, jump: str = "") -> None:
        super().__init__(failed.error.detail)
        self.error = failed.error
        self.jump = jump


async def scan(place: Place, *, within: float) -> tuple[HostKey, ...]:
    """Return the keys that a host shows, and those that it no longer does, `within` so many seconds. Raises ScanFailed."""
    client = _Client()
    with anyio.move_on_after(within):
        async with _tunnel(place.jumps) as tunnel:
            shown = await _all(place, tunnel, client)
        return _judged(shown, place)
    raise ScanFailed(out_of_time(Progress(connected=client.connected, jumped=bool(place.jumps))))


# Fetching.


class _Client(asyncssh.SSHClient):
    """Keeps what the host showed as its key, as it came over the wire."""

    def __init__(self) -> None:
        self.shown = b""
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def offered(self) -> frozenset[str]:
        """The kinds of key that the host says it has, by the name to ask for them; none if it has not come to that."""
        prefix = self._connection.get_hash_prefix() if self._connection is not None else b""
        return frozenset(_host_key_names(prefix))

    def offers(self, names: Iterable[str]) -> bool:
        return not self.offered.isdisjoint(names)

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Listen in: asyncssh itself keeps only the key within a certificate."""
        self._connection = conn
        decode = conn.validate_server_host_key

        def listen(data: bytes) -> asyncssh.SSHKey:
            self.shown = data
            return decode(data)

        conn.validate_server_host_key = listen  # type: ignore[assignment] # this connection's alone

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()


def _host_key_names(prefix: bytes) -> list[str]:
    """Return the second list of the server's KEXINIT, the last of four strings that go into the exchange hash.

    Source: RFC 4253, sections 7.1 and 8.
    """
    for _ in range(3):
        _, prefix = _string(prefix)
    kexinit, _ = _string(prefix)
    _, lists = _string(kexinit[_BEFORE_LISTS:])
    names, _ = _string(lists)
    return names.decode("ascii", "replace").split(",") if names else []


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Return the string at the start of `data`, and what follows it."""
    end = 4 + int.from_bytes(data[:4])
    return data[4:end], data[end:]


@asynccontextmanager
async def _tunnel(jumps: Mapping[str, SshTarget]) -> AsyncIterator[asyncssh.SSHClientConnection | None]:
    dialer, last = Dialer(), None
    async with AsyncExitStack() as stack:
        for name, target in jumps.items():
            try:
                dialed = await dialer.dial(target, through=last)
            except ConnectFailed as failed:
                raise ScanFailed(failed, jump=name) from None
            last = dialed.connection
            stack.push_async_callback(close, last)
        yield last


async def _all(place: Place, tunnel: asyncssh.SSHClientConnection | None, client: _Client) -> list[bytes]:
    """Return every key and certificate that the host has, of the kinds that are accepted."""
    wanted, shown = _kinds(), list[bytes]()
    while wanted:
        try:
            data = await _one(place, tunnel, client, wanted)
        except Exception as exc:  # noqa: BLE001 - whatever a host can make a library raise ends this scan and no more
            raise ScanFailed(_failed(exc, client, wanted, jumped=tunnel is not None)) from None
        shown.append(data)
        del wanted[_kind_of(data)]
        wanted = {kind: names for kind, names in wanted.items() if client.offers(names)}
    return shown


def _kinds() -> dict[str, tuple[str, ...]]:
    """Each kind of key and certificate, as it names itself, with the names to ask for it by."""
    rsa = tuple(name for name in algorithms.SIGNATURE if name.startswith("rsa-"))
    plain = {name: (name,) for name in algorithms.SIGNATURE if name not in rsa} | {_RSA: rsa}
    return plain | {f"{kind}{_CERTIFICATE}": algorithms.certificate_forms(names) for kind, names in plain.items()}


async def _one(
    place: Place,
    tunnel: asyncssh.SSHClientConnection | None,
    client: _Client,
    wanted: Mapping[str, Sequence[str]],
) -> bytes:
    """Return a key of one of the kinds that are wanted, which the host has proved to hold."""
    try:
        await asyncssh.get_server_host_key(
            place.address,
            place.port,
            tunnel=tunnel,
            proxy_command=None,
            kex_algs=algorithms.KEY_EXCHANGE,
            server_host_key_algs=[name for names in wanted.values() for name in names],
            config=None,
            options=_options(client),
        )
    finally:
        client.abort()
        await asyncio.sleep(0)  # the transport is gone only after this turn of the loop
    if _kind_of(client.shown) not in wanted:
        raise asyncssh.ProtocolError("not the kind of key that was agreed on")
    return client.shown


def _options(client: _Client) -> asyncssh.SSHClientConnectionOptions:
    """No login comes, and nothing that one could be made with is even looked for."""
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        client_factory=lambda: client,
        username="nobody",
        client_keys=None,
        client_certs=[],
        agent_path=None,
        pkcs11_provider=None,
        known_hosts=None,
        gss_host=None,
        encryption_algs=algorithms.ENCRYPTION,
        mac_algs=algorithms.MAC,
        signature_algs=algorithms.SIGNATURE,
        compression_algs=None,
        connect_timeout=None,
        login_timeout=0,
    )


def _failed(exc: Exception, client: _Client, wanted: Mapping[str, Sequence[str]], *, jumped: bool) -> ConnectFailed:
    if client.offered and not any(map(client.offers, wanted.values())):
        exc = asyncssh.KeyExchangeFailed("no kind of key that is accepted")  # a host just hangs up on that
    return from_exception(exc, Progress(connected=client.connected, jumped=jumped))


def _kind_of(data: bytes) -> str:
    """The name that a key gives itself."""
    return _string(data)[0].decode("ascii", "replace")


# Judging.


def recorded(*, known_hosts: str | None, cert_authority: str | None, address: str, port: int) -> Trust:
    """Return what the two files of a profile say of a host; one that is not there says nothing. Raises ValueError."""
    lines = _content(known_hosts)
    signers = _content(cert_authority)
    trust = KnownHosts(lines).trust(address, port)
    return trust.signed_by(read_authorities(signers)) if signers else trust


def _content(path: str | None) -> bytes:
    if path is None or not Path(path).exists():
        return b""
    try:
        return read_file(path)
    except OSError as error:
        raise ValueError(error.strerror) from None


def _judged(shown: Sequence[bytes], place: Place) -> tuple[HostKey, ...]:
    plain, certificates = list[asyncssh.SSHKey](), list[HostKey]()
    proven = set[str]()
    for data in shown:
        kind = _kind_of(data)
        line = f"{kind} {base64.b64encode(data).decode()}"
        if kind.endswith(_CERTIFICATE):
            judged = _certificate(cast("SSHOpenSSHCertificate", asyncssh.import_certificate(line)), line, place)
            certificates.append(judged)
            proven |= {judged.fingerprint} if judged.standing is Standing.SIGNED else set()
        else:
            plain.append(asyncssh.import_public_key(line))
    return (*(_key(key, place.trust, proven) for key in plain), *certificates, *_gone(plain, place.trust))


def _key(key: asyncssh.SSHKey, trust: Trust, proven: set[str]) -> HostKey:
    alike = tuple(known.get_fingerprint() for known in trust.keys if known.algorithm == key.algorithm)
    if key in trust.revoked:
        standing = Standing.REVOKED
    elif key in trust.keys:
        standing = Standing.SAME
    elif alike:
        standing = Standing.CHANGED
    else:
        standing = Standing.SIGNED if key.get_fingerprint() in proven else Standing.NEW
    return _host_key(key, standing, recorded=alike)


def _certificate(certificate: SSHOpenSSHCertificate, line: str, place: Place) -> HostKey:
    signer, problem, trust = certificate.signing_key, "", place.trust
    if signer in trust.revoked or certificate.key in trust.revoked:
        standing = Standing.REVOKED
    elif signer not in trust.authorities:
        standing = Standing.NEW
    else:
        problem = _problem(certificate, place.address)
        standing = Standing.INVALID if problem else Standing.SIGNED
    names = tuple(name[:_LONGEST_NAME] for name in certificate.principals[:_MOST_NAMES])
    authority = Authority(
        kind=signer.algorithm.decode(),
        fingerprint=signer.get_fingerprint(),
        line=_line(signer),
        names=names,
        problem=problem,
    )
    return HostKey(
        kind=line.partition(" ")[0],
        fingerprint=certificate.key.get_fingerprint(),
        line=line,
        standing=standing,
        authority=authority,
    )


def _problem(certificate: SSHOpenSSHCertificate, address: str) -> str:
    """Why a connection would refuse the certificate; empty if it would not."""
    try:
        refuse_unfit(certificate.public_data)
        certificate.validate(_HOST, address)
    except ValueError as exc:  # its texts are constants
        return str(exc)
    return ""


def _gone(shown: Sequence[asyncssh.SSHKey], trust: Trust) -> list[HostKey]:
    """The recorded keys of kinds that are accepted here and that the host shows nothing of."""
    seen, asked = {key.algorithm for key in shown}, {name.encode() for name in _kinds()}
    left = [key for key in trust.keys if key.algorithm in asked - seen]
    return [_host_key(key, Standing.GONE, recorded=(key.get_fingerprint(),)) for key in left]


def _host_key(key: asyncssh.SSHKey, standing: Standing, *, recorded: tuple[str, ...]) -> HostKey:
    return HostKey(
        kind=key.algorithm.decode(),
        fingerprint=key.get_fingerprint(),
        line=_line(key),
        standing=standing,
        recorded=recorded,
    )


def _line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])
