"""The plan: immutable, fully resolved, serialisable. Whoever holds one can run it and can ask for nothing more.

`argv` is what the process gets, one item an argument. It never holds a secret: the template compiler lets no secret into
an argument or a variable, so argv may stand in records, events and answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cmdhttp.policy.compiled import Limits, Script


class Shell(StrEnum):
    """How the login shell of an SSH host takes a command line."""

    POSIX = "posix"
    POWERSHELL = "powershell"
    CMD = "cmd"
    RAW = "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTarget:
    """Here: as `account` (None: as whoever starts processes), and `isolated` in a PID namespace of its own or not."""

    account: str | None = None
    isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """One SSH host. `key` and `known_hosts` are absolute paths; `shell` is the login shell's family."""

    address: str
    port: int
    account: str
    key: str
    known_hosts: str
    shell: Shell = Shell.POSIX


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedTarget:
    """A place or command that asks for what this version cannot do; the run ends without a start. `what` names it."""

    what: str


Target = LocalTarget | SshTarget | UnsupportedTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run on one host. `timeout` is in seconds; `output_limit` in bytes over both streams; `limits` are for local runs.

    At the output limit the run ends, or with `keep_ends` goes on while the beginning and the end of its output are kept.
    `masks` are the secrets of the call and `redact` the patterns of the policy that its output must not show.
    """

    run: int
    host: str
    target: Target
    argv: tuple[str, ...] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    script: Script | None = None
    stdin: bytes | None = field(default=None, repr=False)
    timeout: float
    output_limit: int
    keep_ends: bool = False
    limits: Limits = field(default_factory=Limits)
    masks: tuple[bytes, ...] = field(default=(), repr=False)
    redact: tuple[str, ...] = ()

    @property
    def shown_argv(self) -> tuple[str, ...]:
        """The argv that people see: a script's text stands as its digest."""
        if self.script is None:
            return self.argv
        return (*self.script.interpreter, f"sha256:{self.script.sha256}", *self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps of one call. `policy` is the hash of the policy that allowed it; `parser` reads stdout as data."""

    command: str
    policy: str
    shown_params: Mapping[str, object]
    steps: tuple[Step, ...]
    success_codes: frozenset[int]
    max_parallel: int
    parser: str | None = None
