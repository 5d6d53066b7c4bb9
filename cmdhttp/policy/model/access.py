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
    Narrower,
    RateText,
    SecretRef,
    Sha256,
    TokenId,
)


class TokenSpec(Strict):
    """One live token of a principal; two make a rotation without a gap."""

    id: TokenId = Field(description="The public part of the token: 8 characters.")
    sha256: Sha256 = Field(description="The sha256 of the token; the token itself is kept nowhere.")
    expires: Instant | None = Field(default=None, description="When the token stops working; never if left out.")


class OidcSpec(Strict):
    """The JWT that proves a principal: its issuer, its audience, and the claim that names the principal."""

    issuer: Issuer = Field(description="Who signed the JWT: an https URL.")
    aud: Claim = Field(description="The audience that the JWT must be for.")
    email: Claim | None = Field(default=None, description="The email in the JWT of this principal.")
    common_name: Claim | None = Field(default=None, description="The common_name in the JWT of this principal.")

    @model_validator(mode="after")
    def _one_claim(self) -> Self:
        if (self.email is None) == (self.common_name is None):
            raise ValueError("must have exactly one of email and common_name")
        return self


class QuotaSpec(Strict):
    """How much a principal may ask for: calls in a time, jobs that run, jobs that wait."""

    rate: RateText | None = Field(default=None, description="Calls in a time.", examples=["120/min"])
    concurrency: Annotated[Int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Jobs that run at the same time."
    )
    queue: Annotated[Int, Field(ge=0, le=1_000_000)] | None = Field(default=None, description="Jobs that wait.")


class PrincipalSpec(Strict):
    """A caller and what proves it."""

    tokens: list[TokenSpec] = Field(
        default_factory=list, description="The tokens that prove this caller; `cmdhttp token new NAME` makes one."
    )
    oidc: OidcSpec | None = Field(default=None, description="The JWT that proves this caller.")
    sources: Names | None = Field(
        default=None, alias="from", description="Networks that the caller's connection must come from."
    )
    limits: QuotaSpec | None = Field(default=None, description="How much this caller may ask for.")


class RoleLine(Strict):
    """These commands, on these hosts, with these values: to run them or, with `jobs`, to oversee the jobs of others."""

    commands: CommandSelector = Field(description="Which commands.")
    hosts: HostSelector = Field(description="On which hosts.")
    params: dict[ParamName, Narrower] = Field(
        default_factory=dict,
        description="With which values; a parameter that is not named here keeps all of its values.",
    )
    jobs: Literal["read", "cancel"] | None = Field(
        default=None,
        description="What may be done with such jobs of others: `read`, or `cancel`, which includes it. Nothing may be run.",
    )
    of: Names | None = Field(
        default=None, description="Whose jobs: principals, or role:NAME for all that hold it; everybody's if left out."
    )

    @model_validator(mode="after")
    def _of_jobs(self) -> Self:
        if self.of is not None and self.jobs is None:
            raise ValueError("'of' says whose jobs: it needs 'jobs: read' or 'jobs: cancel'")
        return self


class GrantSpec(Strict):
    """Who holds which roles."""

    to: Names = Field(description="The principals.")
    roles: Names = Field(description="The roles that they get.")


class DenySpec(Strict):
    """What nobody named here may do, whatever else allows it. What is left out matches everything."""

    why: Annotated[str, Field(min_length=1)] = Field(description="The reason, for the audit; the caller is not told.")
    to: Names = Field(
        default_factory=lambda: ["*"],
        description="Principals, or role:NAME for all that hold it; everybody if left out.",
    )
    commands: CommandSelector = Field(default="*", description="Which commands; all if left out.")
    hosts: HostSelector = Field(default="*", description="On which hosts; all if left out.")
    params: dict[ParamName, Narrower] = Field(default_factory=dict, description="With which values; all if left out.")
    since: Instant | None = Field(
        default=None, alias="from", description="From when on it holds, this moment included."
    )
    until: Instant | None = Field(default=None, description="Until when it holds, this moment not included.")


class CallbackSpec(Strict):
    """Where to tell the end of a job; the URL is a secret, because it may hold one."""

    url: SecretRef = Field(description="Where to tell: a reference to the URL, like file:case_webhook_url.")
    sign: SecretRef | None = Field(default=None, description="The key that signs what is told, like file:callback_key.")


class CaseSpec(Strict):
    """A test of the policy: the decision that a call must get, or whether a job of another may be read or canceled.

    Without `at` a call is asked for the moment of the load.
    """

    name: str | None = Field(default=None, description="How messages call this test.")
    caller: str = Field(alias="as", description="The principal that calls.")
    run: str | None = Field(default=None, description="The command that is called.")
    read: str | None = Field(default=None, description="The command whose job is read.")
    cancel: str | None = Field(default=None, description="The command whose job is canceled.")
    of: str | None = Field(default=None, description="The principal that owns the job that is read or canceled.")
    on: str = Field(description="The host that it is called for, or that the job is on.", examples=["local"])
    values: dict[ParamName, Any] = Field(
        default_factory=dict, alias="with", description="The values, as a caller would send them."
    )
    at: Instant | None = Field(
        default=None, description="The date or time of the call; the moment of the load if left out."
    )
    expect: Literal["allow", "deny", "invalid", "needs-approval"] = Field(
        description="The decision that must come out."
    )
    because: str | None = Field(default=None, description="The `why` of the deny that must be among the reasons.")
    argv: list[str] | None = Field(default=None, description="The exact arguments that must come out.")

    @property
    def command(self) -> str:
        return self.run or self.read or self.cancel or ""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if sum(name is not None for name in (self.run, self.read, self.cancel)) != 1:
            raise ValueError("say one of 'run', 'read' and 'cancel'")
        if (self.of is None) != (self.run is not None):
            raise ValueError("'of' names the owner of a job: it goes with 'read' and 'cancel', and they need it")
        if self.run is None and (self.at or self.because or self.argv or self.expect not in ("allow", "deny")):
            raise ValueError(
                "a test with 'read' or 'cancel' expects 'allow' or 'deny', and takes no 'at', 'because' or 'argv'"
            )
        return self
