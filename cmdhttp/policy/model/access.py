"""Who may do what: principals, roles, grants, denies, and the tests that hold them to it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cmdhttp.policy.fields import Instant, Int, ParamName, Strict
from cmdhttp.policy.model.kinds import (
    Claim,
    CommandSelector,
    HostSelector,
    Issuer,
    Names,
    RateText,
    SecretRef,
    Sha256,
    TokenId,
)


class TokenSpec(Strict):
    """One live token of a principal; two make a rotation without a gap."""

    id: TokenId
    sha256: Sha256
    expires: Instant | None = None


class OidcSpec(Strict):
    """The JWT that proves a principal: its issuer, its audience, and the claim that names the principal."""

    issuer: Issuer
    aud: Claim
    email: Claim | None = None
    common_name: Claim | None = None

    @model_validator(mode="after")
    def _one_claim(self) -> Self:
        if (self.email is None) == (self.common_name is None):
            raise ValueError("must have exactly one of email and common_name")
        return self


class QuotaSpec(Strict):
    """How much a principal may ask for: calls in a time, jobs that run, jobs that wait."""

    rate: RateText | None = None
    concurrency: Annotated[Int, Field(ge=1, le=100_000)] | None = None
    queue: Annotated[Int, Field(ge=0, le=1_000_000)] | None = None


class PrincipalSpec(Strict):
    """A caller and what proves it."""

    tokens: list[TokenSpec] = Field(default_factory=list)
    oidc: OidcSpec | None = None
    sources: Names | None = Field(default=None, alias="from")
    limits: QuotaSpec | None = None


class RoleLine(Strict):
    """These commands, on these hosts, with these values."""

    commands: CommandSelector
    hosts: HostSelector
    params: dict[ParamName, Any] = Field(default_factory=dict)


class GrantSpec(Strict):
    """Who holds which roles."""

    to: Names
    roles: Names


class DenySpec(Strict):
    """What nobody named here may do, whatever else allows it. What is left out matches everything."""

    why: Annotated[str, Field(min_length=1)]
    to: Names = Field(default_factory=lambda: ["*"])
    commands: CommandSelector = "*"
    hosts: HostSelector = "*"
    params: dict[ParamName, Any] = Field(default_factory=dict)
    since: Instant | None = Field(default=None, alias="from")
    until: Instant | None = None


class CallbackSpec(Strict):
    """Where to tell the end of a job; the URL is a secret, because it may hold one."""

    url: SecretRef
    sign: SecretRef | None = None


class CaseSpec(Strict):
    """A test of the policy: the decision that a call must get. Without `at` it is asked for the moment of the load."""

    name: str | None = None
    caller: str = Field(alias="as")
    run: str
    on: str
    values: dict[ParamName, Any] = Field(default_factory=dict, alias="with")
    at: Instant | None = None
    expect: Literal["allow", "deny", "invalid", "needs-approval"]
    because: str | None = None
    argv: list[str] | None = None
