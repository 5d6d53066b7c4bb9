"""`cmdhttp diff`: who gains and who loses what between two policy folders."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

from cmdhttp.cli.asking import place, time, usable_policy
from cmdhttp.cli.text import say
from cmdhttp.policy.compiled import Host, Policy
from cmdhttp.policy.review.describe import shortened
from cmdhttp.policy.review.diff import Difference, What, diff
from cmdhttp.policy.review.meaning import Sign

_MARKS = {Sign.GAINED: "+", Sign.LOST: "-", Sign.CHANGED: "~"}
_AMOUNT = {Sign.GAINED: "more", Sign.LOST: "less", Sign.CHANGED: "something else"}


def run_diff(old: Path, new: Path, *, since: datetime, as_json: bool) -> int:
    """Print what differs. Returns 1 if anything is gained or changed, else 0. Raises PolicyError if one does not load."""
    found = diff(_portable(old), _portable(new), since=since)
    if as_json:
        print(json.dumps({"time": time(since), **{sign: _documents(found, sign) for sign in Sign}}, indent=2))
    else:
        _print(found)
    return 1 if any(one.sign is not Sign.LOST for one in found) else 0


def _portable(folder: Path) -> Policy:
    """The policy of a folder, its key files named from the folder and by what is in them, so that two can be compared."""
    policy = usable_policy(folder)

    @cache
    def named(path: str | None) -> str | None:
        return None if path is None else f"{os.path.relpath(path, folder.absolute())} {_sum(Path(path))}"

    def portable(host: Host) -> Host:
        if host.profile is None:
            return host
        known, authority = named(host.profile.known_hosts), named(host.profile.cert_authority)
        return replace(host, profile=replace(host.profile, known_hosts=known, cert_authority=authority))

    return replace(policy, hosts={name: portable(host) for name, host in policy.hosts.items()})


def _sum(path: Path) -> str:
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        return f"({error.strerror})"


# -- for people


def _print(found: Sequence[Difference]) -> None:
    folded = list(_folded(found))
    for one, commands in folded:
        say(f"{_MARKS[one.sign]} {_sentence(one, commands)}{f' ({one.at})' if one.at else ''}")
    counts = [(sum(one.sign is sign for one, _ in folded), sign) for sign in Sign]
    say(", ".join(f"{number} {sign}" for number, sign in counts))


def _folded(found: Iterable[Difference]) -> Iterator[tuple[Difference, list[str]]]:
    """Each difference with its command; one in a host only once, with every command that it concerns."""
    table: dict[Difference, tuple[set[str], list[str]]] = {}
    for one in found:
        same = replace(one, command="", hosts=(), at=None) if one.what is What.HOST else one
        hosts, commands = table.setdefault(same, (set(), []))
        hosts.update(one.hosts)
        commands.append(one.command)
    for one, (hosts, commands) in table.items():
        yield replace(one, hosts=tuple(sorted(hosts))), commands


def _sentence(one: Difference, commands: Sequence[str]) -> str:
    right = f"{shortened(commands)} on {shortened(one.hosts)}"
    change = f"now {one.now}, was {one.before}"
    match one.what:
        case What.RIGHT if one.sign is Sign.LOST:
            return f"{one.principal} may no longer run {right} ({one.before}) by role {one.subject}"
        case What.RIGHT:
            return f"{one.principal} may now run {right} ({one.now}) by role {one.subject}"
        case What.VALUES:
            return f"{one.principal} may send {_AMOUNT[one.sign]} to {right} by role {one.subject}: {change}"
        case What.DENY:
            return f"{one.principal} is held back {_held(one.sign)} from {right} by the deny '{one.subject}': {change}"
        case What.COMMAND | What.HOST:
            return f"{one.principal} gets {_AMOUNT[one.sign]} from {right}: {one.subject}: {change}"
        case What.JOBS:
            return f"{one.principal} may do {_AMOUNT[one.sign]} with jobs of others, {right}, by role {one.subject}: {change}"
        case What.ENTRY:
            return f"{one.principal} has {_AMOUNT[one.sign]} to come in with: {one.subject}: {change}"


def _held(sign: Sign) -> str:
    return {Sign.GAINED: "less", Sign.LOST: "more", Sign.CHANGED: "otherwise"}[sign]


# -- for machines


def _documents(found: Iterable[Difference], sign: Sign) -> list[dict[str, object]]:
    return [
        {
            "what": one.what,
            "principal": one.principal,
            "command": one.command or None,
            "hosts": one.hosts,
            "subject": one.subject,
            "before": one.before,
            "now": one.now,
            "at": place(one.at),
        }
        for one in found
        if one.sign is sign
    ]
