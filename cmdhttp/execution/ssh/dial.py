"""Dials: one new SSH connection, verified and logged in.

Every option that asyncssh would otherwise take from the service account's home, environment or agent is given here. TCP
and the login have a time limit each.
"""

import logging
import math
from dataclasses import dataclass

import anyio
import asyncssh

from cmdhttp.execution.ssh import algorithms
from cmdhttp.execution.ssh.credentials import CredentialFiles, Credentials
from cmdhttp.execution.ssh.failures import from_exception, out_of_time
from cmdhttp.plan.model import SshTarget

_CLOSE_WITHIN = 2.0
_KEEPALIVE_EVERY = 5
_KEEPALIVE_MISSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialed:
    """A connection that is logged in. `until`, on the event loop's clock, is when a new one has to take its place."""

    connection: asyncssh.SSHClientConnection
    until: float = math.inf


class Dialer:
    """Makes connections. `connect_timeout` (TCP) and `login_timeout` (handshake and login) are in seconds."""

    def __init__(self, *, connect_timeout: float = 5.0, login_timeout: float = 10.0) -> None:
        _silence()
        self._connect_timeout = connect_timeout
        self._login_timeout = login_timeout
        self._files = CredentialFiles()

    async def dial(
        self,
        target: SshTarget,
        *,
        through: asyncssh.SSHClientConnection | None = None,  # noqa: ARG002
        only: str | None = None,  # noqa: ARG002
    ) -> Dialed:
        """Return a connection that is logged in at `target`; the caller closes it. Raises ConnectFailed.

        `through` is the open connection to the target's jump host. With `only`, a login by certificate is good for
        exactly this command line and nothing else.
        """
        credentials = await self._files.load(target)
        with anyio.CancelScope(deadline=anyio.current_time() + self._connect_timeout) as limit:
            client = _Client(limit, self._login_timeout)
            try:
                return Dialed(connection=await _dial(target, credentials, client))
            except BaseException as exc:
                await client.close()
                if isinstance(exc, Exception):
                    raise from_exception(
                        exc, trust=credentials.trust, connected=client.connected, verified=client.verified
                    ) from exc
                raise
        raise out_of_time(connected=client.connected, verified=client.verified)


class _Client(asyncssh.SSHClient):
    """Follows one connection on its way up, and gives it the time for the login once TCP is there."""

    def __init__(self, limit: anyio.CancelScope, login_timeout: float) -> None:
        self._limit = limit
        self._login_timeout = login_timeout
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn
        self._limit.deadline = anyio.current_time() + self._login_timeout

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def verified(self) -> bool:
        return self._connection is not None and self._connection.get_server_host_key() is not None

    async def close(self) -> None:
        if self._connection is not None:
            await close(self._connection)


async def _dial(target: SshTarget, credentials: Credentials, client: _Client) -> asyncssh.SSHClientConnection:
    trust = credentials.trust
    return await asyncssh.connect(
        target.address,
        target.port,
        client_factory=lambda: client,
        config=None,
        username=target.account,
        client_keys=[credentials.key],
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
        preferred_auth="publickey",
        public_key_auth=True,
        password_auth=False,
        kbdint_auth=False,
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
        tunnel=None,
        proxy_command=None,
        request_pty=False,
        env=None,
        send_env=None,
        connect_timeout=None,
        login_timeout=0,
        keepalive_interval=_KEEPALIVE_EVERY,
        keepalive_count_max=_KEEPALIVE_MISSES,
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
