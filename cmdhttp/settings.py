"""What the person who starts the service may set: `CMDHTTP_*` variables, or the flags of `cmdhttp serve`.

`SETTINGS` is the one list; the help text, the parser and the documentation tests read it.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cmdhttp.errors import ConfigError

_PREFIX = "CMDHTTP_"
_ROOT_RUNS = Path("/var/lib/cmdhttp/runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Times in seconds, sizes in bytes; an address is `HOST:PORT` or `unix:/path`."""

    policies: Path = Path("policies")
    data: Path = Path(".data")
    secrets: Path | None = None
    runs: Path | None = None
    user: str = ""
    local_user: str = ""
    policy_poll: float = 2.0
    interpreters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listen: str = "127.0.0.1:8080"
    ops_listen: str = "127.0.0.1:9000"
    wait: float = 25.0
    heartbeat: float = 10.0
    drain: float = 20.0
    body_max: int = 1 << 20
    inline_max: int = 1 << 20
    max_running: int = 64
    max_queued: int = 1000
    queue_deadline: float = 600.0
    keep_alive: int = 120
    ssh_idle: float = 60.0
    keep_days: float = 30.0
    keep_jobs: int = 1_000_000
    keep_bytes: int = 20 << 30
    disk_reserve: int = 512 << 20
    audit_reserve: int = 16 << 20
    prune_every: float = 60.0
    damaged_database: str = "refuse"
    log_level: str = "info"

    @property
    def secrets_folder(self) -> Path:
        return self.secrets or self.data / "secrets"

    @property
    def local_account(self) -> str | None:
        """The account of local commands whose policy names none; None: that of whoever starts them."""
        return self.local_user or ("nobody" if self.user else None)

    @property
    def instance(self) -> str:
        """What tells this service from another one on the same machine: 12 digits made from where its data is."""
        return hashlib.sha256(os.fsencode(self.data.absolute())).hexdigest()[:12]

    @property
    def runs_folder(self) -> Path:
        """Where each run gets its private folder.

        As root it lies outside the data folder, which other accounts may not pass, so that a run can have another account.
        """
        if self.runs is not None:
            return self.runs.absolute()
        return _ROOT_RUNS / self.instance if os.geteuid() == 0 else self.data.absolute() / "runs"


SETTINGS: Mapping[str, str] = {
    "policies": "folder of the policy files",
    "data": "folder for jobs, output and the audit log; made with mode 0700",
    "secrets": "folder of the files that 'file:NAME' in a policy means; default: 'secrets' in the data folder",
    "runs": "folder in which each run gets a private one of its own; default: 'runs' in the data folder, or for a service"
    " that runs as root, whose commands may have other accounts, a folder of its own in /var/lib/cmdhttp/runs",
    "user": "account that the service takes when it is started as root; a small process that starts local programs stays root",
    "local_user": "account of local commands whose policy names none ('as'), for a service that is started as root; default:"
    " 'nobody' with --user, else root",
    "policy_poll": "seconds between looks for a change of the policy files; 0: only a SIGHUP makes it read them again",
    "interpreters": "more interpreters for scripts: NAME=/ABSOLUTE/PROGRAM ARGUMENT..., separated by ';'",
    "listen": "where callers reach the API: HOST:PORT or unix:/path",
    "ops_listen": "where health checks reach the service: HOST:PORT or unix:/path; never put it behind the tunnel",
    "wait": "seconds that a call waits for its result when it does not say, at most 90",
    "heartbeat": "seconds of silence after which a stream sends a heartbeat",
    "drain": "seconds that running jobs get to finish when the service is asked to stop",
    "body_max": "bytes of a request body",
    "inline_max": "bytes of each output stream that a JSON answer carries when the call does not say",
    "max_running": "runs at the same time; more wait in the queue",
    "max_queued": "jobs that may wait in the queue; more get 503",
    "queue_deadline": "seconds after its acceptance up to which a job that waited when the service stopped is run by the next"
    " start",
    "keep_alive": "seconds that an idle connection is kept; above the 90 s for which tunnels keep theirs",
    "ssh_idle": "seconds that an SSH connection which no run uses is kept open for the next one",
    "keep_days": "days that a finished job is kept; 0: without end",
    "keep_jobs": "finished jobs that are kept, the newest; 0: without limit",
    "keep_bytes": "bytes that finished jobs may take, with their output, artefacts and the database; never more than half of the"
    " disk; 0: without limit",
    "disk_reserve": "bytes of the disk that are left free: below that new jobs get 503 and those that run go on; never more than"
    " a tenth of the disk; 0: none",
    "audit_reserve": "bytes of the disk that are taken at the start for the ends of running jobs; without them new jobs get 503;"
    " never more than a tenth of the disk; 0: none",
    "prune_every": "seconds between two looks for finished jobs to remove",
    "damaged_database": "refuse or set_aside: what to do at the start when the job database is damaged",
    "log_level": "debug, info, warning or error",
}

_LOWEST: Mapping[str, float] = {
    "policy_poll": 0, "wait": 0, "heartbeat": 0.05, "drain": 0, "body_max": 1024, "inline_max": 0, "max_running": 1,
    "max_queued": 0, "queue_deadline": 0, "keep_alive": 1, "ssh_idle": 0, "keep_days": 0, "keep_jobs": 0, "keep_bytes": 0,
    "disk_reserve": 0, "audit_reserve": 0, "prune_every": 0.1,
}  # fmt: skip
_HIGHEST: Mapping[str, float] = {
    "policy_poll": 3600, "wait": 90, "heartbeat": 60, "body_max": 64 << 20, "inline_max": 64 << 20, "ssh_idle": 3600,
    "queue_deadline": 7 * 86400, "keep_days": 36_500, "prune_every": 86_400,
}  # fmt: skip
_INTERPRETER = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "log_level": ("debug", "info", "warning", "error"),
    "damaged_database": ("refuse", "set_aside"),
}


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return _PREFIX + name.upper()


def read_settings(environ: Mapping[str, str], given: Mapping[str, str]) -> Settings:
    """Build the settings from flags (`given`) over variables over defaults. Raises ConfigError that names the culprit."""
    values: dict[str, Any] = {}
    for known in fields(Settings):
        origin = f"--{known.name.replace('_', '-')}" if known.name in given else variable(known.name)
        text = given.get(known.name, environ.get(variable(known.name), ""))
        if text:
            values[known.name] = _parse(known.name, text, origin=origin)
    _refuse_unknown(environ)
    return Settings(**values)


def _parse(name: str, text: str, *, origin: str) -> object:
    default = getattr(Settings(), name)
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise ConfigError(f"{origin} must be one of {', '.join(_CHOICES[name])}", hint=SETTINGS[name])
        return text
    if name == "interpreters":
        return read_interpreters(text, origin=origin)
    if not isinstance(default, int | float):
        return Path(text) if name in ("policies", "data", "secrets", "runs") else text
    kind = "a whole number" if isinstance(default, int) else "a number"
    try:
        number = type(default)(text)
    except ValueError:
        raise ConfigError(f"{origin} must be {kind}", hint=SETTINGS[name]) from None
    low, high = _LOWEST[name], _HIGHEST.get(name, float("inf"))
    if not low <= number <= high:
        bounds = f"of at least {low}" if high == float("inf") else f"from {low} to {high}"
        raise ConfigError(f"{origin} must be {kind} {bounds}", hint=SETTINGS[name])
    return number


def read_interpreters(text: str, *, origin: str) -> dict[str, tuple[str, ...]]:
    """Read `NAME=/PROGRAM ARGUMENT...; NAME=...`. Raises ConfigError that says which entry is wrong."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, _, line = entry.partition("=")
        argv = tuple(line.split())
        if not _INTERPRETER.fullmatch(name.strip()) or not argv or not argv[0].startswith("/"):
            hint = "Write NAME=/ABSOLUTE/PROGRAM ARGUMENT..., and ';' between two, like ruby=/usr/bin/ruby."
            raise ConfigError(f"{origin}: '{entry}' is not an interpreter", hint=hint)
        found[name.strip()] = argv
    return found


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {variable(name) for name in SETTINGS}
    for name in environ:
        if name.startswith(_PREFIX) and name not in known and name not in _FOR_CLIENTS:
            raise ConfigError(f"there is no setting {name}", hint=f"The settings are: {', '.join(sorted(known))}.")


_FOR_CLIENTS = frozenset(
    {
        "CMDHTTP_CA_FILE",
        "CMDHTTP_FUZZ",
        "CMDHTTP_HEADERS",
        "CMDHTTP_HEADER_FILE",
        "CMDHTTP_JOB_ID",
        "CMDHTTP_PROXY",
        "CMDHTTP_TOKEN",
        "CMDHTTP_TOKEN_FILE",
        "CMDHTTP_URL",
    }
)
