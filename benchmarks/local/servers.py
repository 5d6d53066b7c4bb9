"""Servers for the length of a `with` block: started on a loopback port of their own, asked until they answer, stopped by id.

Nothing of a server is left behind: what outlives it is killed by its id, and said. A server that is not installed fails the run
before anything is measured, with what to install.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from benchmarks.local import family
from benchmarks.local.http import HOST, Call, WrongAnswer, once

ROOT = Path(__file__).parents[2]
_START, _STOP, _LINGER = 20.0, 15.0, 2.0
_PAUSE = 0.02
_PACKAGES = {"clush": "clustershell", "ssh": "openssh-client", "sshd": "openssh-server"}
"""Debian's packages that have not the name of their program."""


class Missing(Exception):
    """Something to measure against is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a server gets: a folder for its files and a port to listen on."""

    folder: Path
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A call whose answer is the output as it comes. A POST has a JSON body."""

    target: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = "{}"


class Server(ABC):
    """A way to run commands over HTTP. The programs that it runs are given when it is made."""

    name: ClassVar[str]
    programs: ClassVar[Sequence[str]] = ()
    """What must be installed, by the name of its package."""
    modules: ClassVar[Sequence[str]] = ()
    forsakes: ClassVar[bool] = False
    """Whether its processes do not end with their parent, so that each must be told."""
    waits: ClassVar[bool] = True
    """Whether it waits for what it runs; the kernel charges no one for the processor time of the others."""

    def __init__(self, argvs: Mapping[str, list[str]]) -> None:
        self.argvs = argvs

    @abstractmethod
    def prepare(self, place: Place) -> list[list[str]]:
        """Write its files; returns what to start, in this order."""

    @abstractmethod
    def call(self, program: str) -> Call:
        """The call that runs a program and brings back its output."""

    def environment(self) -> Mapping[str, str]:
        """Variables beyond ours."""
        return {}

    def streamed(self, program: str) -> Streamed | None:  # noqa: ARG002 - those who can, look at it
        """The call that brings back the output as it comes, or None if the server collects it first."""
        return None


@dataclass(slots=True)
class Running:
    """A server that answers."""

    server: Server
    place: Place
    processes: list[subprocess.Popen[bytes]]

    @property
    def port(self) -> int:
        return self.place.port

    @property
    def roots(self) -> list[int]:
        return [process.pid for process in self.processes]


class Needs(Protocol):
    """Something that needs programs and modules to be installed."""

    @property
    def programs(self) -> Sequence[str]: ...

    @property
    def modules(self) -> Sequence[str]: ...


_running: list[Running] = []
_apart: list[int] = []


def check_installed(servers: Sequence[Needs]) -> None:
    """Raise Missing with what to install if something is not there."""
    programs = sorted({program for server in servers for program in (*server.programs, "curl") if not find(program)})
    modules = sorted(
        {module for server in servers for module in server.modules if importlib.util.find_spec(module) is None}
    )
    lines = []
    if programs:
        names, packages = " ".join(programs), " ".join(_PACKAGES.get(program, program) for program in programs)
        lines.append(f"not installed: {names}. Run scripts/ensure-peers.sh, or as root: apt-get install {packages}")
    if modules:
        names = ", ".join(modules)
        lines.append(
            f"no such Python modules: {names}. `make bench` installs them; they are in requirements-bench.lock"
        )
    if lines:
        raise Missing("\n".join(lines))


def find(program: str) -> str | None:
    """The path of a program, looked for where servers are, too."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start a server in a new folder; stop it and remove the folder. Raises RuntimeError if it does not start."""
    with tempfile.TemporaryDirectory(prefix="cmdhttp-bench-", ignore_cleanup_errors=True) as name:
        place = Place(folder=Path(name), port=free_port())
        place.folder.chmod(0o755)  # a server may run as another user
        found = Running(server, place, [])
        _running.append(found)
        try:
            _start(found)
            yield found
        finally:
            try:
                _stop(found)
            finally:
                _running.remove(found)


@contextmanager
def apart(pids: Collection[int]) -> Iterator[None]:
    """Know these processes, which somebody else has started and will wait for, as no part of any server."""
    _apart.extend(pids)
    try:
        yield
    finally:
        for pid in pids:
            _apart.remove(pid)


def known() -> set[int]:
    """The processes that are waited for by whoever has started them, here or elsewhere."""
    return {pid for each in _running for pid in each.roots} | set(_apart)


def strangers(mine: Running) -> set[int]:
    """Our children that are no part of a server's family."""
    return known() - set(mine.roots)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _start(found: Running) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CMDHTTP_")}
    environment = clean | dict(found.server.environment())
    log = found.place.folder / "log"
    for command in found.server.prepare(found.place):
        with log.open("ab") as output:
            found.processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )
    call = found.server.call("true")
    give_up = time.monotonic() + _START
    while True:
        try:
            once(found.port, call)
        except (OSError, WrongAnswer) as error:
            if time.monotonic() > give_up or any(process.poll() is not None for process in found.processes):
                text = log.read_text(errors="replace")[-3000:] if log.exists() else ""
                raise RuntimeError(f"{found.server.name} did not start ({error}):\n{text}") from None
            time.sleep(_PAUSE)
        else:
            return


def _stop(found: Running) -> None:
    everything = family.family(found.roots, strangers=known())
    forced = []
    for process in reversed(found.processes):
        process.terminate()
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            forced.append(process.pid)
    if found.server.forsakes:
        family.tell(everything - set(found.roots))
    left = family.end(everything - set(found.roots), seconds=_LINGER)
    family.reap_orphans(known())
    if left or forced:
        said = f"{found.server.name} did not stop by itself: {forced}; it left {left}; all were killed"
        print(said, file=sys.stderr)
