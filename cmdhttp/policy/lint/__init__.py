"""Lint: what loads and may still be a mistake, said before it costs something.

Every rule is in the table below, with its codes in `codes.py`. A rule reads a policy that compiled without errors; it
never raises for one, and where it cannot tell it says nothing. Nothing here decides a call.
"""

from datetime import datetime

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint import (
    access,
    commands,
    denies,
    patterns,
    programs,
    roles,
    scripts,
    sending,
    shellisms,
    variables,
)
from cmdhttp.policy.lint.book import Book, Rule
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.text import lint_text
from cmdhttp.policy.merge import Merged

__all__ = ["RULES", "LintCode", "lint", "lint_text"]

RULES: tuple[Rule, ...] = (
    programs.programs,  # P303 to P307, P320, P321, P325
    shellisms.shell_syntax,  # P333
    sending.cannot_be_sent,  # P334
    patterns.wide_patterns,  # P322
    patterns.wide_narrowings,  # P322
    commands.no_timeout,  # P323
    commands.as_root,  # P324
    commands.unused_params,  # P326
    scripts.scripts,  # P327, P328
    variables.variables,  # P326, P331, P332
    commands.secrets_in_env,  # P329
    commands.paths_anywhere,  # P330
    commands.paced_for_one,  # P335
    access.tokens,  # P401, P403 to P405
    access.sources,  # P406
    access.principals,  # P408
    access.grants,  # P409, P411
    access.commands_for_nobody,  # P410
    roles.role_lines,  # P412, P413, P415, P416
    roles.oversight_lines,  # P413, P421
    denies.denies,  # P414
    commands.changes_everywhere,  # P415
    commands.destroys_alone,  # P417
    commands.approver_is_caller,  # P418
    commands.untested,  # P419
    denies.tests_by_clock,  # P420
)
"""Every rule but those on text (P402, `lint_text`) and on files (P308 to P313, `policy.permissions`)."""


def lint(policy: Policy, merged: Merged, *, now: datetime, as_root: bool = False) -> list[Finding]:
    """Return what the rules have to say of a policy that compiled without errors, by place.

    `as_root`: whether a local command without `as` would run as root.
    """
    book = Book.of(policy, merged, now=now, as_root=as_root)
    found = [finding for rule in RULES for finding in rule(book)]
    return sorted(found, key=lambda finding: (finding.at, finding.code, finding.message))
