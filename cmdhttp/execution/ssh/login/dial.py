"""Dials: one new SSH connection, verified and logged in, directly or through the open connection to a jump host.

Every option that asyncssh would otherwise take from the service account's home, environment or agent is given here. TCP
and the login have a time limit each. A jump host is never asked whether the host behind it is the right one: each hop is
verified by what the policy records for it.
"""

import logging
import math
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio
import asyncssh

from cmdhttp.clock import Clock, SystemClock
from cmdhttp.execution.ssh import failures
from cmdhttp.execution.ssh.failures import ConnectFailed, Progress
from cmdhttp.execution.ssh.login import algorithms
from cmdhttp.execution.ssh.login.certificates import Issuer, OnIssue, Purpose
from cmdhttp.execution.ssh.login.credentials import CredentialFiles, Credentials
from cmdhttp.execution.ssh.login.logins import Login, LoginClient, prepared
from cmdhttp.execution.ssh.login.reach import connect_tcp, own_address
from cmdhttp.plan.model import Certificate, SshTarget

_CLOSE_WITHIN = 2.0
_KEEPALIVE_EVERY = 4  # seconds: with the misses, a silent end is seen after 16
_KEEPALIVE_MISSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialed:
    """A connection that is logged in. `until`, on the event loop's clock, is when a new one has to take its place.

    `host_key` is the fingerprint of the key that the host proved itself by, `certificate` the serial of the login's.
    """

    connection: asyncssh.SSHClientConnection
    until: float = math.inf
    host_key: str | None = None
    certificate: str | None = None


class Dialer:
    """Makes connections. `connect_timeout` (TCP) and `login_timeout` (handshake and login) are in seconds.

    `on_issue` is told of every certificate before it is used; if it raises OSError, there is no login. `environ` is where
    the variables of `env:NAME` are, `entropy` returns as many random bytes as it is asked for.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        login_timeout: float = 10.0,
        on_issue: OnIssue | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        _silence()
        self._connect_timeout = connect_timeout
        self._login_timeout = login_timeout
        self._environ = environ
        self._files = CredentialFiles(environ)
        self._issuer = Issuer(clock=clock or SystemClock(), entropy=entropy, on_issue=on_issue)

    def version(self, target: SshTarget) -> object:
        """What changes when a file that decides on a login at `target` does: what was opened before then is out of date."""
        return self._files.version(target)

    async def dial(
        self,
        target: SshTarget,
        *,
        through: asyncssh.SSHClientConnection | None = None,
        only: str | None = None,
        job: str = "",
        principal: str = "",
    ) -> Dialed:
        """Return a connection that is logged in at `target`; the caller closes it. Raises ConnectFailed.

        `through` is the open connection to the target's jump host, and stays the caller's. With `only`, a login by
        certificate is good for exactly this command line and nothing else; `job` and `principal`, the caller's name,
        then stand in the certificate and in the record of it.
        """
        if (target.jump is None) is not (through is None):
            raise ValueError("a host is reached through its jump host, and only through that")
        if isinstance(target.login, Certificate) and not target.shared and only is None:
            raise ValueError("a certificate of a connection that is not shared is for one command line")
        try:
            credentials = await self._files.load(target)
        except ConnectFailed as failed:
            failed.tried = False
            raise
        reached = None if through is not None else await self._reach(target)
        try:
            return await self._log_in(
                target,
                credentials,
                Purpose(only=only, job=job, principal=principal),
                way=_Way(reached=reached, through=through),
            )
        except BaseException:
            if reached is not None:
                reached.close()
            raise

    async def _reach(self, target: SshTarget) -> socket.socket:
        with anyio.move_on_after(self._connect_timeout):
            try:
                return await connect_tcp(target.address, target.port)
            except (OSError, UnicodeError) as exc:
                raise failures.from_exception(exc, Progress()) from exc
        raise failures.out_of_time(Progress())

    async def _log_in(self, target: SshTarget, credentials: Credentials, purpose: Purpose, *, way: "_Way") -> Dialed:
        started = anyio.current_time()
        async with prepared(
            credentials.means,
            target,
            purpose,
            issuer=self._issuer,
            environ=self._environ,
            local=None if way.reached is None else own_address(way.reached),
        ) as login:
            connection = await self._handshake(target, credentials, login, way)
        host_key = connection.get_server_host_key()
        half = target.login.ttl / 2 if isinstance(target.login, Certificate) and purpose.only is None else math.inf
        return Dialed(
            connection=connection,
            until=started + half,
            host_key=host_key.get_fingerprint() if host_key else None,
            certificate=login.issued.serial if login.issued else None,
        )

    async def _handshake(
        self, target: SshTarget, credentials: Credentials, login: Login, way: "_Way"
    ) -> asyncssh.SSHClientConnection:
        with anyio.CancelScope(deadline=anyio.current_time() + self._connect_timeout) as limit:
            client = LoginClient(limit, login_timeout=self._login_timeout, password=login.password)
            try:
                return await _connect(target, credentials, login, client, way)
            except BaseException as exc:
                if client.connection is not None:
                    await close(client.connection)
                if isinstance(exc, asyncssh.PermissionDenied) or login.was_too_much(exc, client):
                    raise login.refused(client) from exc
                if isinstance(exc, Exception):
                    raise failures.from_exception(exc, way.progress(credentials, client)) from exc
                raise
        raise failures.out_of_time(way.progress(credentials, client))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How bytes get to the host: by a socket of ours, or through a jump host."""

    reached: socket.socket | None
    through: asyncssh.SSHClientConnection | None

    def progress(self, credentials: Credentials, client: LoginClient) -> Progress:
        return Progress(
            trust=credentials.trust,
            connected=self.reached is not None or client.connected,
            verified=client.verified,
            jumped=self.through is not None,
            lost=self.through is not None and self.through.is_closed(),
        )


async def _connect(
    target: SshTarget, credentials: Credentials, login: Login, client: LoginClient, way: _Way
) -> asyncssh.SSHClientConnection:
    trust = credentials.trust
    return await asyncssh.connect(
        target.address,
        target.port,
        client_factory=lambda: client,
        config=None,
        username=target.account,
        client_certs=[],
        known_hosts=(trust.keys, trust.authorities, trust.revoked, (), (), (), ()),
        server_host_key_algs=trust.algorithms(),
        x509_trusted_certs=None,
        x509_trusted_cert_paths=[],
        kex_algs=algorithms.KEY_EXCHANGE,
        encryption_algs=algorithms.ENCRYPTION,
        mac_algs=algorithms.MAC,
        signature_algs=algorithms.SIGNATURE,
        compression_algs=None,
        password=None,
        host_based_auth=False,
        gss_host=None,
        gss_kex=False,
        gss_auth=False,
        disable_trivial_auth=True,
        agent_path=None,
        agent_identities=None,
        agent_forwarding=False,
        pkcs11_provider=None,
        x11_forwarding=False,
        tunnel=way.through,
        sock=way.reached,
        proxy_command=None,
        request_pty=False,
        env=None,
        send_env=None,
        connect_timeout=None,
        login_timeout=0,
        keepalive_interval=_KEEPALIVE_EVERY,
        keepalive_count_max=_KEEPALIVE_MISSES,
        **login.options(),
    )


async def close(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection and wait a moment for it."""
    connection.close()
    with anyio.move_on_after(_CLOSE_WITHIN, shield=True):
        await connection.wait_closed()


def _silence() -> None:
    """Keep asyncssh from logging below warnings: it logs command lines as information and packets as debugging.

    The level makes that cheap; the filter keeps it true if somebody turns the level down again.
    """
    logger = logging.getLogger("asyncssh")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_warnings_only)


def _warnings_only(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
