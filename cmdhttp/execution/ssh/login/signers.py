"""Who signs user certificates: a private key in memory, or an agent that never lets its key out.

Either way the body of the certificate is ours and a signature over it is all that is asked for. RSA keys sign with SHA-512;
an agent that answers with anything weaker, or with another key, is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import asyncssh
from anyio import to_thread

from cmdhttp.execution.ssh.failures import not_attempted
from cmdhttp.execution.ssh.login.agents import agent_failed, open_agent
from cmdhttp.execution.ssh.login.wire import Reader
from cmdhttp.plan.model import Agent

_RSA = "ssh-rsa"
_SIGN_WITH = {
    "ssh-ed25519": "ssh-ed25519",
    _RSA: "rsa-sha2-512",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
}
"""By kind of key: the signature that it makes."""

_SHA512 = 4  # SSH_AGENT_RSA_SHA2_512, https://www.rfc-editor.org/rfc/rfc9987


class Signer(Protocol):
    """A certificate authority. `public_data` is its public key as it stands in certificates."""

    @property
    def public_data(self) -> bytes: ...

    @property
    def fingerprint(self) -> str: ...

    async def sign(self, data: bytes) -> bytes:
        """Return an SSH signature over `data`. Raises ConnectFailed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Signs with a private key that was read from a file or a variable."""

    key: asyncssh.SSHKey = field(repr=False)

    @property
    def public_data(self) -> bytes:
        return self.key.public_data

    @property
    def fingerprint(self) -> str:
        return self.key.get_fingerprint()

    async def sign(self, data: bytes) -> bytes:
        kind = signature_kind(self.key).encode()
        if self.key.get_algorithm() == _RSA:  # milliseconds, where the others take a tenth of one
            return await to_thread.run_sync(self.key.sign, data, kind)
        return self.key.sign(data, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSigner:
    """Has an agent sign; `key` is the public half that tells which of its keys."""

    agent: Agent
    key: asyncssh.SSHKey
    environ: Mapping[str, str] = field(repr=False)

    @property
    def public_data(self) -> bytes:
        return self.key.public_data

    @property
    def fingerprint(self) -> str:
        return self.key.get_fingerprint()

    async def sign(self, data: bytes) -> bytes:
        kind = signature_kind(self.key)
        async with open_agent(self.agent, self.environ) as client:
            try:
                signature = await client.sign(self.public_data, data, _SHA512 if kind.startswith("rsa") else 0)
            except ValueError:
                raise agent_failed("does not hold the authority's key, or refused to sign the certificate") from None
        if _kind_of(signature) != kind or not self.key.verify(data, signature):
            raise agent_failed("signed the certificate with another key or a weaker algorithm")
        return signature


def signature_kind(key: asyncssh.SSHKey) -> str:
    """Return the signature that an authority's key makes. Raises ConnectFailed for a key that signs no certificates."""
    kind = _SIGN_WITH.get(key.get_algorithm())
    if kind is None:
        raise not_attempted(
            "the certificate authority's key is of a kind that this service does not sign with",
            hint="Use an Ed25519, ECDSA or RSA key for the authority.",
        )
    return kind


def _kind_of(signature: bytes) -> str:
    try:
        return Reader(signature).string().decode("ascii", "replace")
    except ValueError:
        return ""
