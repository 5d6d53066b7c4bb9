"""The policy as it is asked: plain data and indexes. Nothing here is changed after the load.

A role line or deny stands under the atoms of its command selector (`name:x`, `effect:change`, `tag:t`, `*`) and is looked
up by the atoms of the command, so a decision costs the same with ten commands and with ten thousand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from cmdhttp.auth.tokens import TokenTable
from cmdhttp.policy.findings import Position
from cmdhttp.policy.model import Effect
from cmdhttp.policy.params import Narrowing, ParamSpec
from cmdhttp.policy.template import Template

LOCAL = "local"
"""The host that is this machine. It is always known, and a command runs on it only if its `on` names it."""

EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Constant script text. It is handed to the interpreter whole; no value is ever put into it."""

    interpreter: tuple[str, ...]
    text: str = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How to log in. `key` and `known_hosts` are absolute paths."""

    account: str
    key: str
    known_hosts: str
    shell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One place to run; `profile` is None only for `local`."""

    name: str
    address: str = ""
    port: int = 0
    profile: Profile | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdin:
    """That a caller may send stdin: at most `max_bytes`, and whether it is secret."""

    max_bytes: int
    secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A published command. `hosts` is where it is made to run; `timeout` in seconds, `output_limit` in bytes."""

    name: str
    summary: str
    description: str
    effect: Effect
    tags: tuple[str, ...]
    template: Template
    script: Script | None
    params: Mapping[str, ParamSpec]
    hosts: frozenset[str]
    account: str | None
    timeout: float
    output_limit: int
    stdin: Stdin | None
    env: Mapping[str, str]
    success_codes: frozenset[int]
    reason_required: bool
    max_parallel: int
    atoms: tuple[str, ...]
    at: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One role line: what it allows, and where it stands. `narrowings` limit the values of some parameters."""

    role: str
    hosts: frozenset[str]
    narrowings: Mapping[str, Narrowing]
    at: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """One deny. `principals` is None for everybody; outside `since` to `until` it does not match."""

    why: str
    principals: frozenset[str] | None
    hosts: frozenset[str]
    narrowings: Mapping[str, Narrowing]
    since: datetime | None
    until: datetime | None
    at: Position


Rule = TypeVar("Rule")
ByAtom = Mapping[str, tuple[Rule, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What one principal holds: its roles, and their lines by the atoms of their command selectors."""

    roles: tuple[str, ...]
    lines: ByAtom[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything, compiled. `digest` names this policy in every job and audit record."""

    digest: str
    commands: Mapping[str, Command]
    hosts: Mapping[str, Host]
    groups: Mapping[str, frozenset[str]]
    principals: Mapping[str, Grants]
    denies: ByAtom[Deny]
    tokens: TokenTable

    def lines_for(self, principal: str, command: Command) -> Iterator[Line]:
        """Every role line of the principal that names the command, wherever and with whatever values."""
        held = self.principals.get(principal)
        return lookup(held.lines, command) if held else iter(())


def lookup(rules: ByAtom[Rule], command: Command) -> Iterator[Rule]:
    """Every rule whose command selector takes in the command."""
    for atom in command.atoms:
        yield from rules.get(atom, ())
