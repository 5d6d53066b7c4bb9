"""The effective table: who may run what, where, with which values, at one moment.

A row is one role line in the hands of one principal, for one command. It holds only hosts on which some call passes: a host
that denies close altogether is taken out, and what they take of the rest stands with the row. Where it cannot be told
whether denies leave any value (text that a pattern describes), the table says that the right exists.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cmdhttp.policy.compiled import Command, Deny, Line, Policy
from cmdhttp.policy.decide import Arguments, bind
from cmdhttp.policy.review.describe import values_left
from cmdhttp.policy.review.misses import concerns, denies_of, in_force, lines_of, value_misses
from cmdhttp.policy.space import calls, space


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a deny takes from a row: on these hosts everything, or the calls with such `values`."""

    deny: Deny
    hosts: tuple[str, ...]
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one role line gives one principal. `values` says for each parameter what is left of it, `any` if all."""

    principal: str
    command: Command
    hosts: tuple[str, ...]
    values: Mapping[str, str]
    line: Line
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows; None means every one."""

    principal: str | None = None
    command: str | None = None
    host: str | None = None


def table(policy: Policy, wanted: Wanted, *, at: datetime) -> list[Row]:
    """Return the rows by principal, command and place. A row without hosts is one that denies close at that moment."""
    rows = (row for principal in policy.principals for row in _rows(policy, principal, wanted, at))
    return sorted(rows, key=lambda row: (row.principal, row.command.name, row.line.at))


def possible(command: Command, line: Line, denies: Sequence[Deny]) -> bool:
    """Whether some call passes the line and meets none of the denies. Who, where and when are settled already."""
    if any(not deny.narrowings for deny in denies):
        return False
    return _some_call(command, line, denies, lambda found: not any(_meets(deny, found) for deny in denies))


def _rows(policy: Policy, principal: str, wanted: Wanted, at: datetime) -> Iterator[Row]:
    if wanted.principal not in (None, principal):
        return
    for command in policy.commands.values():
        if wanted.command not in (None, command.name):
            continue
        denies = [deny for deny in denies_of(policy, command) if concerns(deny, principal) and in_force(deny, at)]
        for line in lines_of(policy, principal, command):
            hosts = line.hosts & command.hosts
            if wanted.host is not None:
                hosts &= {wanted.host}
            if hosts:
                yield _row(principal, command, line, hosts, denies)


def _row(principal: str, command: Command, line: Line, hosts: frozenset[str], denies: Sequence[Deny]) -> Row:
    cutting = [deny for deny in denies if deny.hosts & hosts and _cuts(command, line, deny)]
    return Row(
        principal=principal,
        command=command,
        hosts=tuple(sorted(_open_hosts(command, line, hosts, cutting))),
        values={name: values_left(spec, line.narrowings.get(name)) for name, spec in command.params.items()},
        line=line,
        cuts=tuple(
            Cut(
                deny=deny,
                hosts=tuple(sorted(deny.hosts & hosts)),
                values={name: values_left(command.params[name], by) for name, by in deny.narrowings.items()},
            )
            for deny in cutting
        ),
    )


def _open_hosts(command: Command, line: Line, hosts: Iterable[str], denies: Sequence[Deny]) -> Iterator[str]:
    known: dict[tuple[bool, ...], bool] = {}
    for host in hosts:
        met = tuple(host in deny.hosts for deny in denies)
        if met not in known:
            known[met] = possible(command, line, [deny for deny in denies if host in deny.hosts])
        if known[met]:
            yield host


def _cuts(command: Command, line: Line, deny: Deny) -> bool:
    return not deny.narrowings or _some_call(command, line, [deny], lambda found: _meets(deny, found))


def _some_call(command: Command, line: Line, denies: Sequence[Deny], wanted: Callable[[Arguments], bool]) -> bool:
    """Whether some call that the line allows is wanted; true as well where that cannot be told."""
    names = {*line.narrowings, *(name for deny in denies for name in deny.narrowings)}
    reduced = replace(command, params={name: command.params[name] for name in names})
    tried = calls(
        {
            name: space(
                [command.params[name]],
                [deny.narrowings[name] for deny in denies if name in deny.narrowings],
                inside=line.narrowings.get(name),
            )
            for name in names
        }
    )
    found = (bind(reduced, values) for values in tried.values)
    return not tried.whole or any(_passes(line, arguments) and wanted(arguments) for arguments in found)


def _passes(line: Line, arguments: Arguments) -> bool:
    return not arguments.errors and not value_misses(line.narrowings, arguments.values)


def _meets(deny: Deny, arguments: Arguments) -> bool:
    return not value_misses(deny.narrowings, arguments.values, touching=True)
