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
    FilesSpec,
    LimitsSpec,
    OutputSpec,
    ResultSpec,
    StdinSpec,
)
from cmdhttp.policy.model.hosts import AuthoritySpec, AuthSpec, CertificateSpec, HostKeysSpec, HostSpec, SshProfile
from cmdhttp.policy.model.kinds import Effect, HostSelector


class PolicyFile(Strict):
    """One file; all files of the folder are merged."""

    version: Literal["1"] = Field(description="The version of the format: 1.")
    ssh_profiles: dict[Name, SshProfile] = Field(default_factory=dict, description="How to reach hosts, by name.")
    ssh_authorities: dict[Name, AuthoritySpec] = Field(
        default_factory=dict, description="Who signs the certificates of logins, by name."
    )
    hosts: dict[Name, HostSpec] = Field(
        default_factory=dict, description="The hosts, by name; local, this machine, needs no definition."
    )
    groups: dict[Name, HostSelector] = Field(default_factory=dict, description="Names for sets of hosts.")
    commands: dict[Name, CommandSpec] = Field(default_factory=dict, description="What may run, by name.")
    principals: dict[Name, PrincipalSpec] = Field(
        default_factory=dict, description="The callers, by name, and what proves them."
    )
    roles: dict[Name, list[RoleLine]] = Field(
        default_factory=dict, description="By name: lists of lines, each of which allows commands on hosts."
    )
    grants: list[GrantSpec] = Field(default_factory=list, description="Who holds which roles.")
    deny: list[DenySpec] = Field(default_factory=list, description="What may not run, whatever allows it.")
    callbacks: dict[Name, CallbackSpec] = Field(
        default_factory=dict, description="Where to tell the end of a job, by name."
    )
    tests: list[CaseSpec] = Field(
        default_factory=list, description="What this policy must answer; if it does not, it does not load."
    )


NAMED: dict[str, Any] = {
    "ssh_profiles": SshProfile,
    "ssh_authorities": AuthoritySpec,
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
    "AuthoritySpec",
    "CallbackSpec",
    "CaseSpec",
    "CertificateSpec",
    "CommandSpec",
    "ConcurrencySpec",
    "DenySpec",
    "Effect",
    "FilesSpec",
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
