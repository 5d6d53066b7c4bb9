"""Where commands run: profiles, hosts."""

from ipaddress import ip_network
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from cmdhttp.policy.fields import Duration, Int, Name, Strict
from cmdhttp.policy.model.kinds import (
    MAX_PORT,
    Account,
    Address,
    AgentSocket,
    CertificatePrincipal,
    Label,
    Names,
    SecretRef,
)

Port = Annotated[Int, Field(ge=1, le=MAX_PORT)]
RelativePath = Annotated[str, Field(min_length=1)]

ANYWHERE = "none"


class AuthoritySpec(Strict):
    """Who signs user certificates: a private key, or an agent that holds it together with the public key."""

    key: SecretRef | None = Field(
        default=None, description="The authority's private key without passphrase, like file:user_ca."
    )
    agent: AgentSocket | None = Field(
        default=None, description="The socket of an SSH agent that holds the authority's private key."
    )
    public_key: RelativePath | None = Field(
        default=None,
        description="A file with the authority's public key, to find it in the agent; the path counts from the policy folder.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.model_fields_set not in ({"key"}, {"agent", "public_key"}):
            raise ValueError("must be key alone, or agent with public_key")
        return self


class CertificateSpec(Strict):
    """A user certificate made for each job by the authority `ca`; `<account>` in `principal` is the login account."""

    ca: Name = Field(description="The authority that signs it, a name of ssh_authorities.")
    ttl: Annotated[Duration, Field(ge=10, le=3600)] = Field(
        default=60.0, description="How long the certificate lives, 10s to 1h; 60s if left out.", examples=["60s"]
    )
    principal: CertificatePrincipal = Field(
        default="cmdhttp-<account>", description="The principal in the certificate; <account> is the login account."
    )
    source_address: Names | None = Field(
        default=None,
        description="Addresses or networks that the host sees us come from, or none; our end of the connection if left out.",
        examples=["203.0.113.7"],
    )

    @field_validator("source_address")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        try:
            if value != [ANYWHERE]:
                value = [str(ip_network(text)) for text in value]
        except ValueError:
            raise ValueError("must be IP addresses or networks, like 203.0.113.7 or 10.0.0.0/8, or none") from None
        return value


class AuthSpec(Strict):
    """How to log in: exactly one of these."""

    key: SecretRef | None = Field(default=None, description="A private key without passphrase, like file:ops_ed25519.")
    agent: AgentSocket | None = Field(default=None, description="The socket of an SSH agent.")
    password: SecretRef | None = Field(default=None, description="A reference to the password, like file:web_password.")
    certificate: CertificateSpec | None = Field(default=None, description="A certificate that is made for each job.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("must be exactly one of key, agent, password and certificate")
        return self


class HostKeysSpec(Strict):
    """Which host keys to trust: those of a known_hosts file, those that an authority signed, or both."""

    known_hosts: RelativePath | None = Field(
        default=None, description="A file with the host keys to trust; the path counts from the policy folder."
    )
    cert_authority: RelativePath | None = Field(
        default=None,
        description="A file with the public keys that sign host keys, one a line; the path counts from the policy folder.",
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have known_hosts, cert_authority, or both; there is no way to trust every key")
        return self


class SshProfile(Strict):
    """How to reach a kind of host. What is left out comes from the profile named by `inherit`."""

    inherit: Name | None = Field(default=None, description="Another profile, from which comes what is left out here.")
    user: Account | None = Field(default=None, description="The login account.")
    auth: AuthSpec | None = Field(default=None, description="How to log in: exactly one way.")
    host_keys: HostKeysSpec | None = Field(default=None, description="Which host keys to trust.")
    port: Port | None = Field(default=None, description="The port of the SSH server; 22 if left out.")
    jump: Name | None = Field(default=None, description="The host to go through, or none.", examples=["none"])
    shell: Literal["posix", "powershell", "cmd", "raw"] | None = Field(
        default=None,
        description="The login shell: posix (if left out), powershell, cmd, or raw for appliances without one.",
    )
    become: Literal["none", "sudo"] | None = Field(
        default=None, description="How to become the account of `as`; none if left out."
    )


class HostSpec(Strict):
    """One place to run."""

    address: Address = Field(description="The name or IP address, as it stands in known_hosts.")
    ssh: Name = Field(description="The name of an ssh_profile.")
    port: Port | None = Field(default=None, description="Instead of the profile's port.")
    labels: dict[Label, Label] = Field(default_factory=dict, description="Names and values to select hosts by.")
