"""The shape of a policy file: strict, frozen, and no wider than the format.

A key that the format does not know is an error, never ignored: a limit that is silently not applied is worse than a file
that does not load. `SECTIONS` says what each section is made of; a file is read definition by definition, so one that is
wrong does not hide the others.
"""

from typing import Any, Literal

from pydantic import Field

from cmdhttp.policy.fields import Name, Strict
from cmdhttp.policy.model.access import (
    CallbackSpec,
    CaseSpec,
    DenySpec,
    GrantSpec,
    OidcSpec,
    PrincipalSpec,
    QuotaSpec,
    RoleLine,
    TokenSpec,
)
from cmdhttp.policy.model.commands import (
    ApprovalSpec,
    CommandSpec,
    ConcurrencySpec,
    LimitsSpec,
    OutputSpec,
    ResultSpec,
    StdinSpec,
)
from cmdhttp.policy.model.hosts import AuthSpec, CertificateSpec, HostKeysSpec, HostSpec, SshProfile
from cmdhttp.policy.model.kinds import Effect, HostSelector


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
    callbacks: dict[Name, CallbackSpec] = Field(default_factory=dict)
    tests: list[CaseSpec] = Field(default_factory=list)


NAMED: dict[str, Any] = {
    "ssh_profiles": SshProfile,
    "hosts": HostSpec,
    "groups": HostSelector,
    "commands": CommandSpec,
    "principals": PrincipalSpec,
    "roles": list[RoleLine],
    "callbacks": CallbackSpec,
}
"""Sections of the form `name: definition`."""

LISTED: dict[str, Any] = {"grants": GrantSpec, "deny": DenySpec, "tests": CaseSpec}
"""Sections that are lists."""

__all__ = [
    "LISTED",
    "NAMED",
    "ApprovalSpec",
    "AuthSpec",
    "CallbackSpec",
    "CaseSpec",
    "CertificateSpec",
    "CommandSpec",
    "ConcurrencySpec",
    "DenySpec",
    "Effect",
    "GrantSpec",
    "HostKeysSpec",
    "HostSpec",
    "LimitsSpec",
    "OidcSpec",
    "OutputSpec",
    "PolicyFile",
    "PrincipalSpec",
    "QuotaSpec",
    "ResultSpec",
    "RoleLine",
    "SshProfile",
    "StdinSpec",
    "TokenSpec",
]
