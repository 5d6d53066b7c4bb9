"""Commands without a limit, with too many rights, or with something left over."""

import re
from collections.abc import Iterator

from cmdhttp.policy import template
from cmdhttp.policy.compiled import EVERYTHING, LOCAL
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import CHANGING, Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.words import Params
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CommandSpec, Effect
from cmdhttp.policy.params import PathParam

_ROOT = "root"
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL")
_PLACE_NAME = re.compile(r"_(FILE|PATH|DIR|URL|HOST|NAME|USER|ID|TTL|TIMEOUT)\Z")
_SHORTEST_SECRET = 6


def no_timeout(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        if "timeout" not in defined.spec.model_fields_set:
            message = f"'{command.name}' has no timeout of its own, and ends after {command.timeout:g} seconds"
            yield LintCode.NO_TIMEOUT.found(message, defined.at, "say how long it may take, like 'timeout: 30s'")


def as_root(book: Book) -> Iterator[Finding]:
    hint = "use an account that may do no more than this"
    for command, defined in book.commands():
        if command.account == _ROOT:
            yield LintCode.AS_ROOT.found(f"'{command.name}' runs as root", defined.where("as"), hint)
        elif book.as_root and command.account is None and LOCAL in command.hosts:
            message = f"'{command.name}' runs as root on local, as the service does"
            yield LintCode.AS_ROOT.found(message, defined.at, "name an account that may do no more than this in 'as'")
    for name, profile in book.merged.ssh_profiles.items():
        if profile.spec.user == _ROOT:
            yield LintCode.AS_ROOT.found(f"the profile '{name}' logs in as root", profile.where("user"), hint)


def unused_params(book: Book) -> Iterator[Finding]:
    """Of `run` lists; a script can reach every parameter by its variable, see `variables`."""
    for command, defined in book.commands():
        if command.script is None:
            used = set(template.names(command.template))
            for name in command.params:
                if name not in used:
                    message = f"the parameter '{name}' goes nowhere"
                    hint = f"write <{name}> where it belongs, or take it out"
                    yield LintCode.UNUSED_PARAM.found(message, defined.where("params", name), hint)


def paths_anywhere(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        params = Params(specs=command.params)
        for name in command.params:
            spec = params.scalar(name)
            if isinstance(spec, PathParam) and spec.under is None:
                hint = "name the folders in 'under'; 'under: [/]' if it is really every path"
                yield LintCode.PATH_ANYWHERE.found(f"'{name}' takes every path", defined.where("params", name), hint)


def secrets_in_env(book: Book) -> Iterator[Finding]:
    for _, defined in book.commands():
        for name, value in defined.spec.env.items():
            harmless = _PLACE_NAME.search(name) or value.startswith("/") or value.isdigit()
            if _SECRET_NAME.search(name) and not harmless and len(value) >= _SHORTEST_SECRET:
                message = f"'{name}' looks like a secret, and its value stands here in plain text"
                hint = "let the program read it from a file that only it may read"
                yield LintCode.SECRET_IN_ENV.found(message, defined.where("env", name), hint)


def changes_everywhere(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        on = defined.spec.on
        if command.effect in CHANGING and EVERYTHING in (on if isinstance(on, list) else [on]):
            message = f"'{command.name}' is a {command.effect} command for every host, also those added later"
            yield LintCode.EVERY_HOST.found(message, defined.where("on"), f"name groups or labels{counts_as(defined)}")


def paced_for_one(book: Book) -> Iterator[Finding]:
    """Of commands that have one host now; a selector of labels or of every host may take in more at any time."""
    for command, defined in book.commands():
        on = defined.spec.on if isinstance(defined.spec.on, list) else [defined.spec.on]
        if len(command.hosts) != 1 or not all(isinstance(name, str) and name in command.hosts for name in on):
            continue
        for key in ("max_parallel", "batch", "max_failures"):
            if key in defined.spec.model_fields_set:
                message = f"'{key}' paces a job on several hosts, and '{command.name}' has one"
                yield LintCode.PACED_FOR_ONE.found(
                    message, defined.where(key), "leave it out, or name more hosts in 'on'"
                )


def counts_as(defined: Defined[CommandSpec]) -> str:
    """The end of a hint for a command that changes only because it does not say what it does; empty if it says."""
    if "effect" in defined.spec.model_fields_set:
        return ""
    return "; it counts as change because it says no 'effect': say 'effect: read' if it only reads"


def untested(book: Book) -> Iterator[Finding]:
    tested = {case.spec.run for case in book.merged.tests if case.spec.run is not None}
    for command, defined in book.commands():
        if command.effect in CHANGING and command.name not in tested:
            message = f"no test says who may run '{command.name}', a {command.effect} command"
            yield LintCode.UNTESTED.found(message, defined.at, f"write a test with 'run: {command.name}'")


# Approvals.


def destroys_alone(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        if command.effect is Effect.DESTROY and command.approval is None:
            message = f"'{command.name}' destroys, and one caller alone can run it"
            hint = "ask for a second person: 'approval: {by: [role:NAME]}'"
            yield LintCode.DESTROY_ALONE.found(message, defined.at, hint)


def approver_is_caller(book: Book) -> Iterator[Finding]:
    """Approvals that the caller gives itself, or that nobody is left to give."""
    for command, defined in book.commands():
        approval = command.approval
        if approval is None:
            continue
        for caller in book.callers(command):
            others = approval.by - {caller}
            if approval.not_self and len(others) < approval.needed:
                message = f"'{caller}' may run '{command.name}', and without it too few are left to approve"
                yield LintCode.APPROVER_IS_CALLER.found(message, defined.where("approval"), "name more in 'by'")
            elif not approval.not_self and caller in approval.by and approval.needed == 1:
                message = f"'{caller}' may run '{command.name}' and approve it alone"
                hint = "take out 'not_self: false', or need more approvals"
                yield LintCode.APPROVER_IS_CALLER.found(message, defined.where("approval"), hint)
