"""Where commands run: profiles, hosts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cmdhttp.policy.fields import Duration, Int, Name, Strict
from cmdhttp.policy.model.kinds import (
    MAX_PORT,
    Account,
    Address,
    AgentSocket,
    CertificatePrincipal,
    Label,
    SecretRef,
)

Port = Annotated[Int, Field(ge=1, le=MAX_PORT)]
RelativePath = Annotated[str, Field(min_length=1)]


class CertificateSpec(Strict):
    """A user certificate made for each job by the authority `ca`; `<account>` in `principal` is the login account."""

    ca: Name
    ttl: Annotated[Duration, Field(ge=10, le=3600)] = 60.0
    principal: CertificatePrincipal = "cmdhttp-<account>"


class AuthSpec(Strict):
    """How to log in: exactly one of these."""

    key: SecretRef | None = None
    agent: AgentSocket | None = None
    password: SecretRef | None = None
    certificate: CertificateSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("must be exactly one of key, agent, password and certificate")
        return self


class HostKeysSpec(Strict):
    """Which host keys to trust: those of a known_hosts file, those that an authority signed, or both."""

    known_hosts: RelativePath | None = None
    cert_authority: RelativePath | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have known_hosts, cert_authority, or both; there is no way to trust every key")
        return self


class SshProfile(Strict):
    """How to reach a kind of host. What is left out comes from the profile named by `inherit`."""

    inherit: Name | None = None
    user: Account | None = None
    auth: AuthSpec | None = None
    host_keys: HostKeysSpec | None = None
    port: Port | None = None
    jump: Name | None = None
    shell: Literal["posix", "powershell", "cmd", "raw"] | None = None
    become: Literal["none", "sudo"] | None = None


class HostSpec(Strict):
    """One place to run."""

    address: Address
    ssh: Name
    port: Port | None = None
    labels: dict[Label, Label] = Field(default_factory=dict)
