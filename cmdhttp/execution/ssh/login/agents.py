"""SSH agents: asked on the socket that the policy names, for its keys or for a signature, and for nothing else.

An agent that is not there, hangs, has no usable key or refuses to sign is a login that was not attempted, and says so.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import asyncssh

from cmdhttp.execution.ssh.failures import ConnectFailed, not_attempted
from cmdhttp.execution.ssh.login import algorithms
from cmdhttp.plan.model import Agent

MOST_KEYS = 5
"""How many keys of an agent are offered: sshd ends a login after 6 failures (MaxAuthTries)."""

_ANSWER_WITHIN = 5.0
_ENV = "env:"
_CERTIFICATE = "-cert-v01@openssh.com"
_HINT = (
    "Check that the agent of the host's SSH profile runs, that its socket belongs to the service account, and what "
    "`ssh-add -l` says of it."
)


class AgentClient(asyncssh.SSHAgentClient):
    """One connection to an agent. `refused` says whether it was asked for a signature in vain."""

    refused = False

    async def sign(self, key_blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """Return a signature. Raises ValueError if the agent refuses or does not answer in time."""
        with anyio.move_on_after(_ANSWER_WITHIN):
            try:
                return await super().sign(key_blob, data, flags)
            except ValueError:
                self.refused = True
                raise
        self.refused = True
        raise ValueError("the agent did not answer in time")

    async def usable_keys(self) -> Sequence[asyncssh.SSHKeyPair]:
        """Return the keys of the kinds that are accepted, in the agent's order. Raises ConnectFailed if there is none."""
        with anyio.move_on_after(_ANSWER_WITHIN):
            try:
                keys = await self.get_keys()
            except ValueError:
                raise agent_failed("does not answer as an agent should") from None
            usable = [key for key in keys if _kind(key) in _KINDS]
            if not usable:
                raise agent_failed("has no key of a kind that this service uses")
            return usable
        raise agent_failed("did not answer in time")


@asynccontextmanager
async def open_agent(agent: Agent, environ: Mapping[str, str]) -> AsyncIterator[AgentClient]:
    """Yield a connection to an agent. Raises ConnectFailed if there is none."""
    path = agent.socket
    if path.startswith(_ENV):
        path = environ.get(path.removeprefix(_ENV), "")
        if not os.path.isabs(path):  # noqa: PTH117 - a Path would make '.' of nothing
            raise agent_failed("is not there: the environment variable of its socket is not set to an absolute path")
    client = AgentClient(path)
    try:
        with anyio.fail_after(_ANSWER_WITHIN):
            await client.connect()
    except (OSError, ValueError):  # TimeoutError is an OSError
        raise agent_failed("is not there, or its socket cannot be used") from None
    try:
        yield client
    finally:
        client.close()
        with anyio.move_on_after(1.0, shield=True):
            await client.wait_closed()


def agent_failed(what: str) -> ConnectFailed:
    return not_attempted(f"the SSH agent {what}", hint=_HINT)


_KINDS = frozenset(algorithms.SIGNATURE) | {"ssh-rsa"}


def _kind(key: asyncssh.SSHKeyPair) -> str:
    """The kind of a key, whether or not the agent holds a certificate with it."""
    return key.get_algorithm().removesuffix(_CERTIFICATE)
