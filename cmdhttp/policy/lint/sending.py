"""Commands that are made for a host which cannot be sent them, because of its login shell.

A call to such a host ends as `unsupported`, and that should not be the first that anybody hears of it.
"""

from collections.abc import Iterator

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.shells import POSIX, obstacles

_SHOWN = 3
_HINT = "take such hosts out of 'on', and write a command of its own for them"


def cannot_be_sent(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        for shell, hosts in _by_shell(book.policy, command.hosts).items():
            for key, what in obstacles(command, shell):
                if (key, shell) == ("interpreter", POSIX):
                    continue  # P216 has said so
                named = ", ".join(hosts[:_SHOWN]) + (f" and {len(hosts) - _SHOWN} more" if hosts[_SHOWN:] else "")
                message = f"'{command.name}' can never run on {named}: this version cannot do {what}"
                yield LintCode.CANNOT_BE_SENT.found(message, defined.where(key), _HINT)


def _by_shell(policy: Policy, hosts: frozenset[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(hosts):
        profile = policy.hosts[name].profile
        found.setdefault(profile.shell if profile else POSIX, []).append(name)
    return found
