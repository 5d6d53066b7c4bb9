"""`cmdhttp serve`, and the token that `--demo` makes for a first try."""

import logging
import os
import pwd
import secrets
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cmdhttp.auth.tokens import ENTROPY_BYTES, TokenRecord, digest, mint
from cmdhttp.cli.text import print_error
from cmdhttp.clock import SystemClock
from cmdhttp.errors import CmdHttpError, ConfigError
from cmdhttp.execution.local.keeper import KeptBrokers, keep
from cmdhttp.execution.local.link import Brokers, OwnBrokers
from cmdhttp.execution.local.tree import hide_memory
from cmdhttp.policy.compiled import Policy
from cmdhttp.reload.source import PolicyFolder
from cmdhttp.server import broker_config, serve
from cmdhttp.settings import Settings, read_settings
from cmdhttp.telemetry import set_up_logging

_log = logging.getLogger("cmdhttp.server")

_DEMO = "demo"
_DEMO_LIFE = 30 * 86400

_CURL = "curl -sN -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
_CALLS = f"""
The example policy is served on {{url}} (token of the principal 'demo' in {{file}}):

  {{token}}

Paste one of these:

  # one JSON document
  {_CURL} -d '{{{{"params": {{{{"path": "/"}}}}}}}}' {{url}}/v1/run/disk.usage

  # a live stream
  {_CURL} -H 'Accept: application/x-ndjson' -d '{{{{"params": {{{{"steps": 5}}}}}}}}' {{url}}/v1/run/demo.count

  # denied: published, but not for 'demo'
  {_CURL} -d '{{{{}}}}' {{url}}/v1/run/service.restart

The policy's hosts are examples: warnings of key files that are not there (P311) are no trouble here.
"""


def run_serve(environ: Mapping[str, str], given: Mapping[str, str], *, demo: bool) -> int:
    """Serve until told to stop. Raises ConfigError or PolicyError if the service cannot start."""
    settings = read_settings(environ, given)
    set_up_logging(settings.log_level)
    hide_memory()
    may_switch = os.geteuid() == 0
    _check_local_user(settings)
    if may_switch:
        _check_ground(settings.runs_folder)
    account = _front_account(settings) if settings.user else None
    if account is None and os.getpid() != 1:
        return _serve(settings, demo=demo, may_switch=may_switch)
    if account is not None:
        _prepare_data_folder(settings, account)

    def front(keeper: socket.socket) -> int:
        try:
            return _serve(settings, demo=demo, may_switch=may_switch, brokers=KeptBrokers(keeper))
        except CmdHttpError as error:
            print_error(error)
            return 2
        except Exception:  # noqa: BLE001 - os._exit follows, which would end it without a word
            _log.exception(
                "the service ended by a defect, or its account cannot read the program and Python's own files"
            )
            return 1

    return keep(front, account=account, brokers=OwnBrokers(broker_config(settings), adopt=True))


def _serve(settings: Settings, *, demo: bool, may_switch: bool, brokers: Brokers | None = None) -> int:
    clock = SystemClock()
    if not demo:
        serve(settings, PolicyFolder(settings, now=clock.now, may_switch=may_switch), brokers=brokers)
        return 0
    token = _demo_token(_token_file(settings))
    record = _demo_record(token, made_at=_token_file(settings).stat().st_mtime)
    calls = _CALLS.format(url=f"http://{settings.listen}", token=token, file=_token_file(settings))
    source = PolicyFolder(
        settings, now=clock.now, prepare=lambda policy: _with_demo_token(policy, record), may_switch=may_switch
    )
    serve(settings, source, announce=lambda: print(calls, flush=True), brokers=brokers)
    return 0


def _front_account(settings: Settings) -> pwd.struct_passwd:
    hint = "Start it as root, or leave --user out: then it stays the account that starts it."
    if os.geteuid() != 0:
        raise ConfigError("only root can take another account (--user)", hint=hint)
    try:
        entry = pwd.getpwnam(settings.user)
    except KeyError:
        raise ConfigError(f"there is no account '{settings.user}' (--user)", hint="Make it, or name another.") from None
    if entry.pw_uid == 0:
        raise ConfigError("--user must name an account that is not root", hint=hint)
    return entry


def _check_local_user(settings: Settings) -> None:
    if not settings.local_user:
        return
    try:
        pwd.getpwnam(settings.local_user)
    except KeyError:
        hint = "Make it, or name another."
        raise ConfigError(f"there is no account '{settings.local_user}' (--local-user)", hint=hint) from None


def _check_ground(runs: Path) -> None:
    """Refuse a folder for runs that another account could put something else in the place of: root removes what is there."""
    real = Path(os.path.realpath(runs))
    for place in {runs, *runs.parents, real, *real.parents}:
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        sticky = place not in (runs, real) and found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or (found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky):
            raise ConfigError(
                f"the folder for runs ({runs}) could be replaced by others than root, because of {place}",
                hint="What lies there is removed with root's rights. Take a folder that only root can write to, on all of its"
                " way, or leave --runs out.",
            )


def _prepare_data_folder(settings: Settings, account: pwd.struct_passwd) -> None:
    """Make the data folder for the account, if there is none yet; one that is there is the admin's."""
    if not settings.data.exists():
        try:
            settings.data.mkdir(mode=0o700, parents=True)
            os.chown(settings.data, account.pw_uid, account.pw_gid)
        except OSError as error:
            raise ConfigError(f"the data folder {settings.data} cannot be made: {error.strerror}") from error


def _with_demo_token(policy: Policy, record: TokenRecord) -> Policy:
    if record.principal not in policy.principals:
        raise ConfigError("--demo needs a principal 'demo' in the policy", hint="Leave out --demo for your own policy.")
    return replace(policy, tokens={**policy.tokens, record.id: record})


def _demo_record(token: str, *, made_at: float) -> TokenRecord:
    return TokenRecord(id=token[5:13], principal=_DEMO, sha256=digest(token), expires=made_at + _DEMO_LIFE)


def _token_file(settings: Settings) -> Path:
    return settings.data / "demo-token"


def _demo_token(path: Path) -> str:
    """Return the token of this data folder; made on the first start, and anew when it has expired."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and _age(path) < _DEMO_LIFE:
            return path.read_text().strip()
        path.unlink(missing_ok=True)
        token = mint(secrets.token_bytes(ENTROPY_BYTES)).token
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
    except OSError as error:
        raise ConfigError(f"the demo token {path} cannot be kept: {error.strerror}") from error
    return token


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
