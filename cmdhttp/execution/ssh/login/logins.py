"""The means of one login, as asyncssh takes them: exactly the way that the policy names and no other.

A password goes over the wire at most once: to password authentication, or as the answer to the one hidden prompt of
keyboard-interactive where the host has only that. A host that wants a new password gets none.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import asyncssh

from cmdhttp.execution.model import CertificateIssued
from cmdhttp.execution.ssh import failures
from cmdhttp.execution.ssh.failures import ConnectFailed
from cmdhttp.execution.ssh.login.agents import MOST_KEYS, AgentClient, open_agent
from cmdhttp.execution.ssh.login.certificates import Issuer, Purpose
from cmdhttp.execution.ssh.login.credentials import Authority, Means, Password
from cmdhttp.execution.ssh.login.hostcerts import refuse_unfit
from cmdhttp.plan.model import Agent, SshTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What is offered: keys, or a password. `agent` is where the keys are, and `left_out` how many it has besides."""

    keys: Sequence[asyncssh.SSHKeyPair | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate] | asyncssh.SSHKey] = ()
    password: str | None = field(default=None, repr=False)
    issued: CertificateIssued | None = None
    agent: AgentClient | None = None
    left_out: int = 0

    def options(self) -> Mapping[str, object]:
        """Return asyncssh's options. No empty list of keys, which would stand for those of the service account."""
        return {
            "client_keys": list(self.keys) or None,
            "preferred_auth": "publickey" if self.keys else "password,keyboard-interactive",
            "public_key_auth": bool(self.keys),
            "password_auth": self.password is not None,
            "kbdint_auth": self.password is not None,
        }

    def was_too_much(self, exc: BaseException, client: "LoginClient") -> bool:
        """Say whether the host broke off a login because an agent's keys were more than its MaxAuthTries."""
        broken_off = isinstance(exc, asyncssh.DisconnectError) and not isinstance(exc, asyncssh.ConnectionLost)
        return broken_off and client.verified and self.agent is not None

    def refused(self, client: "LoginClient") -> ConnectFailed:
        """Say what it means that the host did not let this login in."""
        if client.wants_new_password:
            return failures.password_expired()
        if self.agent is not None and self.agent.refused:
            return failures.agent_refused()
        if self.agent is not None:
            return failures.agent_keys_refused(offered=len(self.keys), left_out=self.left_out)
        if self.password is not None:
            return failures.password_refused()
        if self.issued is not None:
            return failures.certificate_refused(self.issued)
        return failures.login_failed("The host refused the login.")


@asynccontextmanager
async def prepared(
    means: Means,
    target: SshTarget,
    purpose: Purpose,
    *,
    issuer: Issuer,
    environ: Mapping[str, str],
    local: str | None,
) -> AsyncIterator[Login]:
    """Yield the login, with the agent at hand where its keys are there. Raises ConnectFailed."""
    match means:
        case Agent():
            async with open_agent(means, environ) as client:
                keys = await client.usable_keys()
                yield Login(keys=keys[:MOST_KEYS], agent=client, left_out=max(0, len(keys) - MOST_KEYS))
        case Authority():
            issued = await issuer.issue(target, means.login, purpose, signer=means.signer, local=local)
            yield Login(keys=[(issued.key, issued.certificate)], issued=issued.record)
        case Password():
            yield Login(password=means.text)
        case _:
            yield Login(keys=[means])


class LoginClient(asyncssh.SSHClient):
    """Follows one connection on its way up, gives it the time for the login once it is there, and answers for it."""

    def __init__(self, limit: anyio.CancelScope, *, login_timeout: float, password: str | None) -> None:
        self.wants_new_password = False
        self._limit = limit
        self._login_timeout = login_timeout
        self._password = password
        self._connection: asyncssh.SSHClientConnection | None = None

    # What asyncssh calls.

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn
        self._limit.deadline = anyio.current_time() + self._login_timeout
        inner = conn.validate_server_host_key

        def validate(key_data: bytes) -> asyncssh.SSHKey:
            try:
                refuse_unfit(key_data)
            except ValueError as exc:
                raise asyncssh.HostKeyNotVerifiable(str(exc)) from None
            return inner(key_data)

        conn.validate_server_host_key = validate  # type: ignore[method-assign] # the one place that sees the certificate

    def password_auth_requested(self) -> str | None:
        password, self._password = self._password, None
        return password

    def kbdint_auth_requested(self) -> str | None:
        return None if self._password is None else ""

    def kbdint_challenge_received(
        self, _name: str, _instructions: str, _lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        if not prompts:
            return []
        password, self._password = self._password, None
        if len(prompts) > 1 or prompts[0][1] or password is None:
            return None
        return [password]

    def password_change_requested(self, _prompt: str, _lang: str) -> tuple[str, str]:
        self.wants_new_password = True
        return NotImplemented  # type: ignore[no-any-return] # asyncssh's way to say no

    # What the dialer asks.

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def verified(self) -> bool:
        return self._connection is not None and self._connection.get_server_host_key() is not None

    @property
    def connection(self) -> asyncssh.SSHClientConnection | None:
        return self._connection
