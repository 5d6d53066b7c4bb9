"""`cmdhttp can`: the effective table of a policy at one moment."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from cmdhttp.cli.asking import check_known, place, time, usable_policy
from cmdhttp.cli.text import columns, say
from cmdhttp.errors import ConfigError
from cmdhttp.policy.review.describe import approval_needed, instant, shortened, window
from cmdhttp.policy.review.oversight import Overseer, overseers
from cmdhttp.policy.review.table import Cut, Row, Wanted, table

_MOST_SHOWN = 3
"""How many hosts stand in a cell; the rest is counted."""

_HEADS = ("principal", "command", "effect", "hosts", "values", "by role", "")


def run_can(folder: Path, wanted: Wanted, *, at: datetime, as_json: bool) -> int:
    """Print the rows, and rights over jobs of others. Returns 0 if something may be run, else 1.

    Raises PolicyError or ConfigError if that cannot be told.
    """
    if wanted == Wanted():
        raise ConfigError("say of whom or what", hint="Give --as PRINCIPAL, --run COMMAND or --on HOST, or several.")
    policy = usable_policy(folder)
    check_known("principal", wanted.principal, policy.principals)
    check_known("command", wanted.command, policy.commands)
    check_known("host", wanted.host, policy.hosts)
    rows = table(policy, wanted, at=at)
    allowed = [row for row in rows if row.hosts]
    denied = [row for row in rows if not row.hosts]
    over = overseers(policy, wanted)
    if as_json:
        jobs = [_overseer_document(one) for one in over]
        print(json.dumps({**_document(policy.digest, at, allowed, denied), "jobs": jobs}, indent=2))
    else:
        _print(wanted, at, allowed, denied)
        for one in over:
            say(f"jobs of others: {_overseer(one)}")
    return 0 if allowed else 1


# -- for people


def _print(wanted: Wanted, at: datetime, allowed: Sequence[Row], denied: Sequence[Row]) -> None:
    who = " ".join(name for name in (wanted.principal, wanted.command, wanted.host and f"on {wanted.host}") if name)
    if allowed:
        say(f"{who}: allowed at {instant(at)}")
        known = (wanted.principal, wanted.command)
        kept = [place for place in range(len(_HEADS)) if place >= len(known) or known[place] is None]
        cells = [_HEADS, *(_cells(row) for row in allowed)]
        head, *lines = columns([[row[place] for place in kept] for row in cells])
        say(f"  {head}")
        for line, row in zip(lines, allowed, strict=True):
            say(f"  {line}")
            for note in _notes(row):
                say(f"      {note}")
    else:
        say(f"{who}: nothing is allowed at {instant(at)}")
    for row in denied:
        why = "; ".join(f"'{cut.deny.why}' {cut.deny.at}" for cut in row.cuts)
        say(f"denied now: {row.principal} {row.command.name} by role {row.line.role} {row.line.at}: {why}")


def _cells(row: Row) -> tuple[str, ...]:
    values = "; ".join(f"{name}: {left}" for name, left in row.values.items()) or "none"
    hosts = shortened(row.hosts, most=_MOST_SHOWN)
    return row.principal, row.command.name, row.command.effect, hosts, values, row.line.role, str(row.line.at)


def _overseer(one: Overseer) -> str:
    where = f"{one.command.name} on {shortened(sorted(one.hosts), most=_MOST_SHOWN)}"
    return f"{one.principal} {where}: {one.words}, by role {one.line.role} {one.line.at}"


def _notes(row: Row) -> Iterator[str]:
    if row.command.approval:
        yield f"once approved: {approval_needed(row.command.approval)}"
    yield from (_note(cut) for cut in row.cuts)


def _note(cut: Cut) -> str:
    values = "; ".join(f"{name}: {left}" for name, left in cut.values.items())
    what = f"with {values} " if values else ""
    where = f"on {shortened(cut.hosts, most=_MOST_SHOWN)}"
    return f"not {what}{where}: '{cut.deny.why}' {window(cut.deny.since, cut.deny.until)} {cut.deny.at}"


# -- for machines


def _document(digest: str, at: datetime, allowed: Iterable[Row], denied: Iterable[Row]) -> dict[str, object]:
    return {
        "policy": digest,
        "time": time(at),
        "allowed": [_row_document(row) for row in allowed],
        "denied": [_row_document(row) for row in denied],
    }


def _row_document(row: Row) -> dict[str, object]:
    approval = row.command.approval
    return {
        "principal": row.principal,
        "command": row.command.name,
        "effect": row.command.effect,
        "hosts": row.hosts,
        "values": row.values,
        "role": row.line.role,
        "at": place(row.line.at),
        "approval": approval_needed(approval) if approval else None,
        "except": [_cut_document(cut) for cut in row.cuts],
    }


def _overseer_document(one: Overseer) -> dict[str, object]:
    return {
        "principal": one.principal,
        "command": one.command.name,
        "hosts": sorted(one.hosts),
        "right": one.right,
        "of": one.owners,
        "values": one.values,
        "role": one.line.role,
        "at": place(one.line.at),
    }


def _cut_document(cut: Cut) -> dict[str, object]:
    return {
        "why": cut.deny.why,
        "hosts": cut.hosts,
        "values": cut.values,
        "from": time(cut.deny.since),
        "until": time(cut.deny.until),
        "at": place(cut.deny.at),
    }
