"""The hosts that a caller means: a name, `group:NAME`, or `label=value`."""

from collections.abc import Collection, Iterator

from cmdhttp.policy.compiled import LOCAL, Command, Policy

_GROUP = "group:"


def select_hosts(policy: Policy, command: Command, text: str) -> Iterator[str]:
    """Yield the hosts of one selector, by name. A group or label stands for those hosts that the command is made for.

    A host name is yielded as it is, known or not: deciding is not this function's business.
    """
    if text.startswith(_GROUP):
        members = policy.groups.get(text.removeprefix(_GROUP), frozenset()) & command.hosts
        yield from sorted(members) or [text]
    elif "=" in text:
        label, _, value = text.partition("=")
        yield from sorted(policy.labelled.get((label, value), frozenset()) & command.hosts) or [text]
    else:
        yield text


def default_host(allowed: Collection[str]) -> str | None:
    """Return where a call without hosts goes: `local` if it may, else the only host that it may; else None."""
    if LOCAL in allowed:
        return LOCAL
    return next(iter(allowed)) if len(allowed) == 1 else None
