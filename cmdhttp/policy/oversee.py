"""What a principal may do with a job of another. Pure, and apart from the decision what may be run.

    1. Default nothing. Only a role line with `jobs` that the principal holds gives a right; a line that lets run gives none.
    2. A job of a command that the policy does not know now, or on a host that it is not made for now, is nobody else's.
    3. Every host of the job must be taken in by some line, with the job's owner and values. To stop the job, every host
       must be taken in by a line with `jobs: cancel`.

A deny says what may not be run, and touches nothing here. An error while deciding is no right.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from cmdhttp.errors import BadValue
from cmdhttp.policy.compiled import Command, Oversight, Policy, lookup
from cmdhttp.policy.params import Narrowing


class Right(IntEnum):
    """Each includes those before it."""

    NONE = 0
    READ = 1
    CANCEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Overseen:
    """What matters of a job: its owner, its command, all of its hosts, and its values as they are kept."""

    owner: str
    command: str
    hosts: Collection[str]
    params: Mapping[str, object]


def right_over(policy: Policy, principal: str, job: Overseen) -> Right:
    """Return what the principal may do with a job of another. Never raises."""
    try:
        return _right_over(policy, principal, job)
    except Exception:  # noqa: BLE001 - the law: an error while deciding is no right
        return Right.NONE


def lines_over(policy: Policy, principal: str, job: Overseen) -> list[Oversight]:
    """Return the lines that take in the owner and the values of a job and some of its hosts."""
    held, command = policy.principals.get(principal), policy.commands.get(job.command)
    if held is None or command is None or not job.hosts or not command.hosts.issuperset(job.hosts):
        return []
    return list(_fitting(lookup(held.oversight, command), command, job))


def _right_over(policy: Policy, principal: str, job: Overseen) -> Right:
    fitting = lines_over(policy, principal, job)
    if _cover((line for line in fitting if line.cancel), job.hosts):
        return Right.CANCEL
    return Right.READ if _cover(iter(fitting), job.hosts) else Right.NONE


def _fitting(lines: Iterator[Oversight], command: Command, job: Overseen) -> Iterator[Oversight]:
    for line in lines:
        whose = line.principals is None or job.owner in line.principals
        where = whose and not line.hosts.isdisjoint(job.hosts)
        if where and all(_allowed(name, narrowing, command, job) for name, narrowing in line.narrowings.items()):
            yield line


def _allowed(name: str, narrowing: Narrowing, command: Command, job: Overseen) -> bool:
    """Whether a kept value is taken in. What is absent, masked, or no value of the parameter any more never is."""
    spec = command.params.get(name)
    if spec is None or spec.secret or name not in job.params:
        return False
    try:
        return narrowing.allows(spec.normalise(job.params[name]))
    except BadValue:
        return False


def _cover(lines: Iterator[Oversight], hosts: Collection[str]) -> bool:
    return bool(hosts) and frozenset[str]().union(*(line.hosts for line in lines)).issuperset(hosts)
