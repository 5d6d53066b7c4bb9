"""Definitions become indexes. Every name is resolved and every pattern compiled here, once; what is left cannot fail.

`*` means every host, `local` included, in a role line and in a deny; in a command's `on` it means every host of the `hosts`
sections, and `local` must be named.
"""

import hashlib
from dataclasses import dataclass

from cmdhttp.policy.compile.access import (
    Access,
    Holders,
    by_atom,
    compile_approval,
    compile_callbacks,
    compile_oidc,
    compile_sources,
    compile_tokens,
)
from cmdhttp.policy.compile.commands import INTERPRETERS, compile_command
from cmdhttp.policy.compile.hosts import compile_groups, compile_hosts
from cmdhttp.policy.compile.report import Folders, Report
from cmdhttp.policy.compile.selectors import CommandNames
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.findings import Finding, PolicyError, Severity
from cmdhttp.policy.merge import Merged

__all__ = ["INTERPRETERS", "Compiled", "Folders", "compile_all", "compile_policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A policy, and what there is to say of it. With an error among the findings, the policy may not be used."""

    policy: Policy
    findings: tuple[Finding, ...]


def compile_policy(merged: Merged, *, folders: Folders, digest: str) -> Policy:
    """Resolve everything. Raises PolicyError with all that does not fit together."""
    compiled = compile_all(merged, folders=folders, digest=digest)
    errors = [finding for finding in compiled.findings if finding.severity is Severity.ERROR]
    if errors:
        raise PolicyError(errors)
    return compiled.policy


def compile_all(merged: Merged, *, folders: Folders, digest: str) -> Compiled:
    """Resolve everything, and collect all that does not fit together."""
    report = Report(merged=merged, folders=folders)
    places = compile_groups(compile_hosts(report), report)
    holders = Holders.of(report)
    commands: dict[str, Command] = {}
    for name, defined in merged.commands.items():
        approval = compile_approval(defined, holders)
        commands[name] = compile_command(name, defined, places, report, approval)
    access = Access(commands=CommandNames.of(commands, report), hosts=places, holders=holders, report=report)
    roles, oversight, rules = access.roles(), access.oversight(), access.rules()
    sources = compile_sources(report)
    scripts = "".join(
        f"{name} {command.script.sha256}\n" for name, command in sorted(commands.items()) if command.script
    )
    policy = Policy(
        digest="sha256:" + hashlib.sha256((digest + scripts).encode()).hexdigest(),
        commands=commands,
        hosts=places.hosts,
        groups=places.groups,
        labels=places.labels,
        roles=roles,
        principals=access.principals(roles, oversight),
        rules=rules,
        denies=by_atom(rules),
        tokens=compile_tokens(report, sources),
        oidc=compile_oidc(report, sources),
        callbacks=compile_callbacks(report),
        oversight=oversight,
    )
    return Compiled(policy=policy, findings=tuple(report.found))
