"""What is to be served, where, and what serves there already."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from cmdhttp.cli.doctor.case import Case, Seen, State, fail, name_of, ok, warn
from cmdhttp.cli.doctor.running import answers_here
from cmdhttp.clock import SystemClock
from cmdhttp.http_server import bind_tcp
from cmdhttp.policy.modes import Trusted, is_read_only, writer
from cmdhttp.reload.source import read_policy

_ONLY_ROOT = Trusted(groups=frozenset({0}), accounts=frozenset({0}))
_UNIX = "unix:"
_LONGEST_PATH = 107


def check_service(case: Case) -> Iterator[Seen]:
    """Whether a service runs with this data folder, and whether it is well."""
    if case.blind:
        hint = "Run the doctor as the account that serves, or as root."
        yield fail(f"it cannot be told whether one runs with this data folder: {case.blind}", hint)
        return
    if case.running is None:
        yield ok("none runs with this data folder")
        return
    ready, ops = case.running.ready, case.settings.ops_listen
    if ready is None:
        hint = "Give the doctor the settings that the service has; if they are the same, the service hangs or has just begun."
        yield warn(f"one runs with this data folder, and does not answer on {ops}", hint)
    elif ready.get("failing"):
        for name, wrong in ready["failing"].items():
            yield fail(f"one runs and is not ready: {name}: {wrong}", f"See its log, and /readyz on {ops}.")
    else:
        yield ok("one runs with this data folder, and is ready")


def check_policy(case: Case) -> Iterator[Seen]:
    """Whether the policy loads, and whether anybody could call."""
    folder, now = case.settings.policies, SystemClock().now()
    loaded = read_policy(case.settings, now=now, may_switch=os.geteuid() == 0)
    errors, warnings = len(loaded.errors), len(loaded.warnings)
    shown = [f"{finding.at}: {finding.code} {finding.message}" for finding in loaded.errors or loaded.warnings][:3]
    hint = "; ".join([*shown, f"'cmdhttp check {folder}' says what else it can see from here"])
    if loaded.policy is None:
        yield fail(f"{folder} does not load: {errors} errors, {warnings} warnings", hint)
    elif not loaded.policy.tokens:
        yield fail(f"{folder} has no principal with a token, so nobody could call", "See 'cmdhttp token new'.")
    elif not any(token.expires is None or now < token.expires for token in loaded.policy.tokens.values()):
        yield fail(f"every token in {folder} has expired", "See 'cmdhttp token new'.")
    elif warnings:
        yield warn(f"{folder} loads, with {warnings} warnings", hint)
    else:
        yield ok(f"{folder} loads: {len(loaded.policy.commands)} commands")


def check_writers(case: Case) -> Iterator[Seen]:
    """Who may write the policy decides what runs; a command that may write it decides what it may do next."""
    folder = case.settings.policies
    for place in (folder, *sorted(folder.rglob("*"))):
        status = place.stat()
        if (who := writer(status, _ONLY_ROOT, may_add=False)) and not is_read_only(place):
            ours = f": {name_of(status.st_uid)}" if who.endswith(f"account {status.st_uid}") else ""
            hint = "Give the folder and all in it to root, and chmod go-w, at the latest where others rely on it."
            yield warn(f"{who} may write {place}{ours}", hint)
            return
    yield ok(f"nobody but root may write {folder}")


def check_listen(case: Case) -> Iterator[Seen]:
    yield _place(case, case.settings.listen, flag="--listen")


def check_ops_listen(case: Case) -> Iterator[Seen]:
    """The address is free or ours, and not for everybody: whoever reaches it needs no token."""
    address = case.settings.ops_listen
    if address == case.settings.listen and not address.endswith(":0"):
        yield fail(f"{address} is the address for callers too", "Give --ops-listen another one.")
        return
    seen = _place(case, address, flag="--ops-listen")
    if seen.state is State.OK and (reach := _reach(address)):
        hint = "Health checks and metrics need no token: listen on 127.0.0.1, or on a network of your own."
        yield warn(f"{seen.what}, on {reach}", hint)
    else:
        yield seen


def _place(case: Case, address: str, *, flag: str) -> Seen:
    hint = f"Choose another address with {flag}: HOST:PORT, [IPV6]:PORT or unix:/path."
    try:
        free = _is_free(address)
    except ValueError as error:
        return fail(f"{address}: {error}", hint)
    except OSError as error:
        return fail(f"{address}: {error.strerror}", hint)
    if free:
        return ok(f"{address} is free")
    ours = case.running is not None and (
        case.running.ready is not None if flag == "--ops-listen" else answers_here(address)
    )
    if ours:
        return ok(f"{address} is in use by the running service")
    return fail(f"{address} is taken", f"Stop what listens there, or choose another address with {flag}.")


def _is_free(address: str) -> bool:
    """Whether nothing listens there. Raises OSError or ValueError if nothing could."""
    if address.startswith(_UNIX):
        return _is_free_path(address.removeprefix(_UNIX))
    try:
        bind_tcp(address).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _is_free_path(path: str) -> bool:
    place = Path(path)
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ValueError("the path is too long for a socket")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise ValueError("no socket can be made in that folder")
    if not place.exists():
        return True
    if not place.is_socket():
        raise ValueError("something that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(path) != 0


def _reach(address: str) -> str:
    """Whom an address for operations lets in that it should not; empty if nobody."""
    if address.startswith(_UNIX):
        return ""
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    if any(one.is_unspecified for one in addresses):
        return "every address of this machine"
    return "a public address" if any(one.is_global for one in addresses) else ""
