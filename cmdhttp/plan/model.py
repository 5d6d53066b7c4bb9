"""The plan: immutable, fully resolved, serialisable. Whoever holds one can run it and can ask for nothing more.

`argv` is what people see of the arguments, one item an argument, and but for files it is what the process gets. A secret or
an upload is a file that is there before the start; its argument is its path, known once the run has a folder, and in `argv`
the placeholder `<name>` stands for it. So `argv` never holds a secret, and may stand in records, events and answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cmdhttp.policy.compiled import Collect, Limits, Script

HERE = "\0"
"""Stands for the run's private folder in `Step.unplaced`. No value and no constant of a policy can hold a NUL."""


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
class KeyFile:
    """A login by the private key in the file `path`, which is absolute."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVariable:
    """A login by the private key in an environment variable of the service, read when a connection is made."""

    variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A login by the keys of an SSH agent; `socket` is the absolute path of its socket, or `env:NAME`."""

    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordFile:
    """A login by the password in the file `password_file`, which is absolute."""

    password_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordVariable:
    """A login by the password in an environment variable of the service, read when a connection is made."""

    password_variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSigner:
    """An authority whose private key an agent holds; `public_key` is the absolute path of a file."""

    agent: Agent
    public_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A login by a certificate that is made for it, for the principal `principal`, and that lives `ttl` seconds.

    It is good from the networks `sources` alone; from everywhere if there are none; None: from our end of the connection.
    """

    authority: KeyFile | KeyVariable | AgentSigner
    principal: str
    ttl: float
    sources: tuple[str, ...] | None = None


SshLogin = KeyFile | KeyVariable | Agent | PasswordFile | PasswordVariable | Certificate
"""Where the means of a login lie. Never the means: a plan may be stored and shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """One SSH host. `known_hosts` and `cert_authority` are absolute paths of files; `shell` is the login shell's family.

    `jump` is the host whose connection leads there. `shared` says that one connection may serve many runs; if not, each run
    gets one of its own, with a certificate that is good for its command line alone. `leads_on` says that only forwarding to
    the hosts behind is asked of it, so a certificate permits that and no command. Equal targets are one place.
    """

    address: str
    port: int
    account: str
    login: SshLogin
    known_hosts: str | None
    cert_authority: str | None = None
    shell: Shell = Shell.POSIX
    jump: "SshTarget | None" = None
    become: str | None = None
    shared: bool = True
    leads_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedTarget:
    """A place or command that asks for what this version cannot do; the run ends without a start. `what` names it."""

    what: str


Target = LocalTarget | SshTarget | UnsupportedTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A file that is there before the process starts: an upload (`mode` 0600) or a secret (0400). `name` is one safe segment."""

    param: str
    name: str
    data: bytes = field(repr=False)
    mode: int

    @property
    def place(self) -> str:
        """Where it lies, as a path beneath the run's private folder: no two files of a run lie in one folder."""
        return f"files/{self.param}/{self.name}"


def staged_path(folder: str, staged: Staged) -> str:
    """Return the path of a staged file of the run whose private folder is `folder`."""
    return f"{folder}/{staged.place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run on one host. `timeout` is in seconds; `output_limit` in bytes over both streams; `limits` are for local runs.

    `staged` are the files to write before the start, `collect` says which to keep at the end. `unplaced` is the argv with
    `HERE` for the run's folder, if any argument is a file's path.
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
    staged: tuple[Staged, ...] = ()
    unplaced: tuple[str, ...] | None = field(default=None, repr=False)
    collect: Collect | None = None
    masks: tuple[bytes, ...] = field(default=(), repr=False)
    redact: tuple[str, ...] = ()

    def argv_in(self, folder: str) -> tuple[str, ...]:
        """Return the exact argv of the run whose private folder is `folder`."""
        if self.unplaced is None:
            return self.argv
        return tuple(item.replace(HERE, folder) for item in self.unplaced)

    def env_in(self, folder: str) -> dict[str, str]:
        """Return the variables of that run: a script also learns where its files lie, as `P_<NAME>_FILE`."""
        places = {f"P_{staged.param.upper()}_FILE": staged_path(folder, staged) for staged in self.staged}
        return {**self.env, **(places if self.script else {})}

    @property
    def shown_argv(self) -> tuple[str, ...]:
        """The argv that people see: a script's text stands as its digest."""
        if self.script is None:
            return self.argv
        return (*self.script.interpreter, f"sha256:{self.script.sha256}", *self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps of one call. `policy` is the hash of the policy that allowed it; `parser` reads stdout as data.

    Runs start in the order of the steps: at most `max_parallel` at the same time, `batch` of them before any further one, and
    none once more than `max_failures` have failed (None: all of them, whatever fails).
    """

    command: str
    policy: str
    shown_params: Mapping[str, object]
    steps: tuple[Step, ...]
    success_codes: frozenset[int]
    max_parallel: int
    batch: int
    max_failures: int | None = None
    parser: str | None = None
