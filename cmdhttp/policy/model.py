"""The shape of a policy file: strict, frozen, and no wider than what the service can do.

A key that this version does not know is an error, never ignored: a limit that is silently not applied is worse than a file
that does not load.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from cmdhttp.policy.fields import Duration, Instant, Int, Name, ParamName, Size, Strict
from cmdhttp.policy.params import AnyParam

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}\Z")
_SECRET_FILE = re.compile(r"file:([A-Za-z0-9_][A-Za-z0-9._-]{0,127})\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TOKEN_ID = re.compile(r"[0-9A-Za-z]{8}\Z")
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_MAX_PORT = 65535
_MAX_EXIT_CODE = 255


class Effect(StrEnum):
    """What a command does to the world."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


def _matching(pattern: re.Pattern[str], wanted: str) -> BeforeValidator:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise ValueError(f"must be {wanted}")
        return value

    return BeforeValidator(check)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _run_item(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("must be one argument as text, or an inner list of arguments that is left out whole")


Account = Annotated[str, _matching(_ACCOUNT, "an account name, like cmdhttp")]
Label = Annotated[str, _matching(_LABEL, "a label: letters, digits, '.', '_', '/' or '-', at most 63")]
Address = Annotated[str, _matching(_ADDRESS, "a host name or an IP address")]
SecretFile = Annotated[
    str, _matching(_SECRET_FILE, "a reference to a file in the secrets folder, like file:ops_ed25519")
]
Sha256 = Annotated[str, _matching(_SHA256, "64 hexadecimal digits in lower case")]
TokenId = Annotated[str, _matching(_TOKEN_ID, "the 8 characters between 'cmdh_' and '_'")]
EnvName = Annotated[str, _matching(_ENV_NAME, "a variable name in capitals, like LANG")]
RunItem = Annotated[
    str | tuple[str, ...],
    PlainValidator(_run_item),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
LabelValues = Annotated[list[Label], BeforeValidator(_one_or_many), Field(min_length=1)]
HostSelector = Annotated[
    Any, WithJsonSchema({"description": "a host, a group, local, a map of labels, a list of these, or '*'"})
]
CommandSelector = Annotated[
    Any, WithJsonSchema({"description": "a command, {effect: ...}, {tag: ...}, a list of these, or '*'"})
]
Names = Annotated[list[str], BeforeValidator(_one_or_many), Field(min_length=1)]


class KeyAuth(Strict):
    """Log in with a private key file of the secrets folder."""

    key: SecretFile


class KnownHosts(Strict):
    """Trust exactly the keys of a known_hosts file, given relative to the policy folder."""

    known_hosts: Annotated[str, Field(min_length=1)]


class SshProfile(Strict):
    """How to reach a kind of host."""

    user: Account
    auth: KeyAuth
    host_keys: KnownHosts
    port: Annotated[Int, Field(ge=1, le=_MAX_PORT)] = 22
    shell: Literal["posix"] = "posix"


class HostSpec(Strict):
    """One place to run."""

    address: Address
    ssh: Name
    port: Annotated[Int, Field(ge=1, le=_MAX_PORT)] | None = None
    labels: dict[Label, Label] = Field(default_factory=dict)


class OutputSpec(Strict):
    """How much a run may write, over both streams, before it is stopped."""

    max: Size = 16 << 20


class StdinSpec(Strict):
    """That a caller may send stdin, and how much."""

    type: Literal["text", "secret"] = "text"
    max: Annotated[Size, Field(le=1 << 20)] = 64 << 10


class CommandSpec(Strict):
    """A published command. Exactly one of `run`, `script` and `script_file` says what runs."""

    summary: str = ""
    description: str = ""
    effect: Effect = Effect.CHANGE
    tags: list[Label] = Field(default_factory=list)
    run: Annotated[list[RunItem], Field(min_length=1)] | None = None
    script: str | None = None
    script_file: str | None = None
    interpreter: str | None = None
    args: list[RunItem] = Field(default_factory=list)
    params: dict[ParamName, AnyParam] = Field(default_factory=dict)
    on: HostSelector
    account: Account | None = Field(default=None, alias="as")
    timeout: Annotated[Duration, Field(le=7 * 86400)] = 300.0
    output: OutputSpec = OutputSpec()
    stdin: StdinSpec | None = None
    env: dict[EnvName, str] = Field(default_factory=dict)
    success_codes: list[Annotated[Int, Field(ge=0, le=_MAX_EXIT_CODE)]] = Field(
        default_factory=lambda: [0], min_length=1
    )
    reason: Literal["required", "optional"] = "optional"
    max_parallel: Annotated[Int, Field(ge=1, le=1000)] = 10


class TokenSpec(Strict):
    """One live token of a principal; two make a rotation without a gap."""

    id: TokenId
    sha256: Sha256
    expires: Instant | None = None


class PrincipalSpec(Strict):
    """A caller and what proves it."""

    tokens: list[TokenSpec] = Field(default_factory=list)
    sources: Names | None = Field(default=None, alias="from")


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


class CaseSpec(Strict):
    """A test of the policy: the decision that a call must get. Without `at` it is asked for the moment of the load."""

    name: str | None = None
    caller: str = Field(alias="as")
    run: str
    on: str
    values: dict[ParamName, Any] = Field(default_factory=dict, alias="with")
    at: Instant | None = None
    expect: Literal["allow", "deny", "invalid"]
    because: str | None = None
    argv: list[str] | None = None


class PolicyFile(Strict):
    """One file; all files of the folder are merged."""

    version: Literal["1"]
    ssh_profiles: dict[Name, SshProfile] = Field(default_factory=dict)
    hosts: dict[Name, HostSpec] = Field(default_factory=dict)
    groups: dict[Name, HostSelector] = Field(default_factory=dict)
    commands: dict[Name, CommandSpec] = Field(default_factory=dict)
    principals: dict[Name, PrincipalSpec] = Field(default_factory=dict)
    roles: dict[Name, list[RoleLine]] = Field(default_factory=dict)
    grants: list[GrantSpec] = Field(default_factory=list)
    deny: list[DenySpec] = Field(default_factory=list)
    tests: list[CaseSpec] = Field(default_factory=list)
