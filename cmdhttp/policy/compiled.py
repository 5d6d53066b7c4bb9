"""The policy as it is asked: plain data and indexes. Nothing here is changed after the load.

A role line or deny stands under the atoms of its command selector (`name:x`, `effect:change`, `tag:t`, `*`) and is looked
up by the atoms of the command, so a decision costs the same with ten commands and with ten thousand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import TypeVar

from cmdhttp.auth.tokens import TokenTable
from cmdhttp.policy.fields import Rate, Share
from cmdhttp.policy.findings import Position
from cmdhttp.policy.model import Effect
from cmdhttp.policy.params import Narrowing, ParamSpec, Value
from cmdhttp.policy.shells import POSIX, obstacles
from cmdhttp.policy.template import Template

LOCAL = "local"
"""The host that is this machine. It is always known, and a command runs on it only if its `on` names it."""

EVERYTHING = "*"

FILES_BY_SUDO = "files of commands that sudo runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Constant script text. It is handed to the interpreter whole; no value is ever put into it.

    `path` is its file, for messages; empty if the text stands in the policy. It makes no other script of the same text.
    """

    interpreter: tuple[str, ...]
    text: str = field(repr=False)
    sha256: str
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLogin:
    """By a private key: `path` is the absolute path of its file, or `env:NAME`."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLogin:
    """By the agent that listens on `socket`: an absolute path, or `env:NAME`."""

    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordLogin:
    """By a password: `secret` is the absolute path of its file, or `env:NAME`."""

    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAuthority:
    """Signs with a private key: `key` is the absolute path of its file, or `env:NAME`."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAuthority:
    """Signs through the agent on `socket` (absolute, or `env:NAME`) with the key whose public half is in a file."""

    socket: str
    public_key: str


Authority = KeyAuthority | AgentAuthority


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateLogin:
    """By a certificate of the authority `ca`, made for each job; lives `ttl` seconds.

    It is good from the networks `sources` alone; from everywhere if there are none; None: from our end of the connection.
    """

    ca: str
    authority: Authority
    ttl: float
    principal: str
    sources: tuple[str, ...] | None = None


Login = KeyLogin | AgentLogin | PasswordLogin | CertificateLogin


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How to log in, and whom to believe. `known_hosts` and `cert_authority` are absolute paths; at least one is there.

    `jump` is the host to go through, or None. `become` is `sudo` or `none`. `unsupported` names what this version cannot do.
    """

    account: str
    login: Login
    known_hosts: str | None
    cert_authority: str | None = None
    jump: str | None = None
    shell: str = "posix"
    become: str = "none"
    unsupported: tuple[str, ...] = ()

    def becomes(self, account: str | None) -> str | None:
        """Return the account that sudo is to become for a command with `as: account`; None where the login's runs it."""
        return account if self.become == "sudo" and account != self.account else None

    def no_files(self, account: str | None) -> str | None:
        """Name why a run here can have no files, None if it can: they are the login account's, in a folder of its own."""
        if self.shell != POSIX:
            return f"files on hosts with the shell {self.shell}"
        return FILES_BY_SUDO if self.becomes(account) else None


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
class Collect:
    """Which files of its working folder a run leaves to the job: relative patterns, and at most so many bytes of them."""

    patterns: tuple[str, ...]
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRules:
    """Bytes over both streams, what happens at that cap (`stop` or `keep_ends`), and the patterns that are masked."""

    max_bytes: int
    when_full: str = "stop"
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may take: bytes of memory and of one file, seconds of CPU, processes, open files. None: unlimited."""

    memory: int | None = None
    cpu: float | None = None
    processes: int | None = None
    files: int | None = None
    file_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Runs at the same time, on one host and in all; `when_busy` is `reject` or `queue`."""

    per_host: int | None
    total: int | None
    when_busy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`needed` of the principals in `by` must agree within `within` seconds; with `not_self`, not the caller."""

    needed: int
    by: frozenset[str]
    not_self: bool
    within: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much one principal may ask for: calls in a time, jobs that run, jobs that wait. None: no limit of its own."""

    rate: Rate | None = None
    concurrency: int | None = None
    queue: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """Where to tell the end of a job: references to the URL and to the key that signs, never their values."""

    url: str
    sign: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """The JWT that proves a principal: issuer, audience, and the value of one claim (`email` or `common_name`).

    It holds from these networks alone; none means from everywhere.
    """

    principal: str
    issuer: str
    audience: str
    claim: str
    value: str
    sources: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A published command. `hosts` is where it is made to run; `timeout` in seconds.

    `batch`, `max_failures`: how many hosts of a job are done before any other, and how many runs may fail; None: no limit.
    `isolated`: whether a local run gets a PID namespace of its own.
    """

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
    output: OutputRules
    stdin: Stdin | None
    env: Mapping[str, str]
    limits: Limits
    concurrency: Concurrency | None
    rate: Rate | None
    parser: str | None
    success_codes: frozenset[int]
    reason_required: bool
    approval: Approval | None
    max_parallel: int
    isolated: bool
    atoms: tuple[str, ...]
    at: Position
    collect: Collect | None = None
    batch: Share | None = None
    max_failures: Share | None = None

    def missing_on(self, host: Host, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Return what cannot be done of a call with these values on a host, all that it asks for there."""
        profile = host.profile
        if profile is None:
            return tuple(what for _, what in obstacles(self, POSIX))
        files = self.collect is not None or any(self.params[name].staged for name in values)
        no_files = profile.no_files(self.account) if files else None
        here = (what for _, what in obstacles(self, profile.shell))
        return (*here, *profile.unsupported, *(() if no_files is None else (no_files,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One role line: what it allows, and where it stands. `narrowings` limit the values of some parameters."""

    role: str
    atoms: frozenset[str]
    hosts: frozenset[str]
    narrowings: Mapping[str, Narrowing]
    at: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversight:
    """One role line with `jobs`: over whose jobs, and whether they may be stopped. It lets nobody run anything.

    `principals` is None for everybody's jobs.
    """

    role: str
    atoms: frozenset[str]
    hosts: frozenset[str]
    narrowings: Mapping[str, Narrowing]
    principals: frozenset[str] | None
    cancel: bool
    at: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """One deny. `principals` is None for everybody; outside `since` to `until` it does not match."""

    why: str
    atoms: frozenset[str]
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
    """What one principal holds: its roles, their lines by the atoms of their command selectors, and its own limits.

    `oversight` holds the lines with `jobs`, which are in `lines` never.
    """

    roles: tuple[str, ...]
    lines: ByAtom[Line]
    oversight: ByAtom[Oversight] = field(default_factory=dict)
    quota: Quota = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything, compiled. `digest` names this policy in every job and audit record.

    `roles` holds every role line that lets run, also those that nobody holds, and `oversight` every one with `jobs`; `rules`,
    every deny, once; `labels`, the hosts by label and value.
    """

    digest: str
    commands: Mapping[str, Command]
    hosts: Mapping[str, Host]
    groups: Mapping[str, frozenset[str]]
    labels: Mapping[str, Mapping[str, frozenset[str]]]
    roles: Mapping[str, tuple[Line, ...]]
    principals: Mapping[str, Grants]
    rules: tuple[Deny, ...]
    denies: ByAtom[Deny]
    tokens: TokenTable
    oidc: tuple[Oidc, ...] = ()
    callbacks: Mapping[str, Callback] = field(default_factory=dict)
    oversight: Mapping[str, tuple[Oversight, ...]] = field(default_factory=dict)

    def lines_for(self, principal: str, command: Command) -> Iterator[Line]:
        """Every role line of the principal that names the command, wherever and with whatever values."""
        held = self.principals.get(principal)
        return lookup(held.lines, command) if held else iter(())


def lookup(rules: ByAtom[Rule], command: Command) -> Iterator[Rule]:
    """Every rule whose command selector takes in the command."""
    return chain.from_iterable([rules.get(atom, ()) for atom in command.atoms])
