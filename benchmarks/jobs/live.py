"""Jobs: how many are accepted a second and what durability adds, what followers cost, and how long a start after a kill takes.

Nothing else here keeps jobs, so the peer of a follower is a bare server that streams the same lines (bare.py), and the others
are measured beside themselves. Our service is known by its flags and its HTTP alone, but for the folder that a kill has left,
which is made with its journal.
"""

import json
import re
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Column, Sheet, race
from benchmarks.local import family
from benchmarks.local.contenders import Cmdhttp
from benchmarks.local.http import Call, WrongAnswer, ask, connect, load, request
from benchmarks.local.programs import FULL, programs
from benchmarks.local.servers import ROOT, Place, Running, Server, running
from benchmarks.measure import Report

PARTS = ("accept", "followers", "recovery")
_CLIENTS = 64
_SECONDS, _QUICK_SECONDS = 1.5, 0.3
_FOLLOWERS, _QUICK_FOLLOWERS = 1000, 100
_UNDER_WAY, _QUICK_UNDER_WAY = 1000, 100
_LINES = 40
_READ = 1 << 16
_PATIENCE = 60.0
_SEQ = re.compile(rb'"type":"[a-z]+","job_id":"[^"]+","seq":(\d+)')
_DESCRIPTORS = 8192


class Jobs(Cmdhttp):
    """The service with its data at a given place and with further flags; `ticks` prints a line every 50 ms."""

    def __init__(self, data: Path | None = None, **flags: str) -> None:
        super().__init__(programs(FULL))
        self._data = data
        self._flags = flags

    def prepare(self, place: Place) -> list[list[str]]:
        (command,) = super().prepare(place)
        if self._data is not None:
            command[command.index("--data") + 1] = str(self._data)
        return [[*command, *(part for name, value in self._flags.items() for part in (f"--{name}", value))]]

    def policy(self, token: Mapping[str, str]) -> dict[str, object]:
        made = super().policy(token)
        script = f"i=0; while [ $i -lt {_LINES} ]; do echo line $i; i=$((i + 1)); sleep 0.05; done"
        plain = {"effect": "read", "on": "local", "timeout": "10m"}
        made["commands"]["ticks"] = {**plain, "script": script, "interpreter": "sh"}
        made["roles"]["all"][0]["commands"].append("ticks")
        return made

    def launch(self, port: int, command: str, body: Mapping[str, object]) -> str:
        """Start a job; returns its id."""
        sent = json.dumps({**body, "wait": 0}).encode()
        answer = ask(port, request("POST", f"/v1/run/{command}", headers=self.headers, body=sent))
        if answer.status != 202:  # noqa: PLR2004 - accepted
            raise WrongAnswer(f"{answer.status}: {answer.body[:300]!r}")
        return str(json.loads(answer.body)["id"])


class Bare(Server):
    """uvicorn and an application that streams lines and does nothing else."""

    name = "bare uvicorn"

    def prepare(self, place: Place) -> list[list[str]]:
        flags = ["--host", "127.0.0.1", "--port", str(place.port), "--log-level", "warning", "--no-access-log"]
        return [[sys.executable, "-m", "uvicorn", *flags, "--ws", "none", "benchmarks.jobs.bare:application"]]

    def environment(self) -> Mapping[str, str]:
        return {"BENCH_LINES": str(_LINES)}

    def call(self, program: str) -> Call:  # noqa: ARG002 - it runs nothing
        return Call(request=request("GET", "/"), holds=b"")


def run(*, rounds: int, quick: bool, parts: Sequence[str] = PARTS) -> Iterator[Report]:
    """Measure these parts. Raises WrongAnswer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))
    measure: dict[str, Callable[[], Sheet]] = {
        "accept": lambda: _accept(rounds, _QUICK_SECONDS if quick else _SECONDS),
        "followers": lambda: _followers(rounds, _QUICK_FOLLOWERS if quick else _FOLLOWERS),
        "recovery": lambda: _recovery(rounds, _QUICK_UNDER_WAY if quick else _UNDER_WAY),
    }
    for part in parts:
        yield measure[part]()


# -- accepting


def _accept(rounds: int, seconds: float) -> Sheet:
    """The one place is taken, so that a call is accepted and nothing else: two syncs, of the audit log and of the journal."""

    def accepted(folder: str | None) -> Sequence[float]:
        with tempfile.TemporaryDirectory(dir=folder, prefix="cmdhttp-bench-") as name:
            us = Jobs(Path(name) / "data", **{"max-running": "1", "max-queued": "1000000", "drain": "0"})
            with running(us) as up:
                us.launch(up.port, "sleep", {"params": {"seconds": 600}})
                sent = request("POST", "/v1/run/true", headers=us.headers, body=b'{"wait": 0}')
                seen = load(up.port, Call(request=sent, holds=b'"state":"queued"'), clients=_CLIENTS, seconds=seconds)
        return seen.rate, seen.p50 * 1000, seen.p99 * 1000

    title = f"Accepted jobs, {_CLIENTS} clients: on a disk, and in memory, where a sync costs nothing"
    columns = (
        Column(name="accepted", unit="1/s"),
        Column(name="p50", unit="ms"),
        Column(name="p99", unit="ms"),
    )
    work = {"data on disk": lambda: accepted(None), "data in memory": lambda: accepted("/dev/shm")}  # noqa: S108 - memory
    notes = ("What durability adds to a call is the difference of the rows.",)
    return race(title, columns, work, rounds=rounds, notes=notes)


# -- following


def _followers(rounds: int, count: int) -> Sheet:
    def followed(many: int) -> Sequence[float]:
        us = Jobs()
        with running(us) as up:
            return _follow(up, many, lambda: _events_of(us, up))

    def bare() -> Sequence[float]:
        with running(Bare({})) as up:
            return _follow(up, count, lambda: request("GET", "/events"))

    title = f"Followers of one job that prints {_LINES} lines, 50 ms apart"
    columns = (
        Column(name="memory", unit="MB"),
        Column(name="processor", unit="s"),
        Column(name="last after", unit="ms"),
    )
    notes = (
        "Memory is that of the front above idle, while all follow. 'last after': from the first follower's end to the last's.",
        "Each follower is checked: every number once, in order, to the end.",
    )
    work = {
        f"{count:,} of a bare server": bare,
        f"{count:,} followers": lambda: followed(count),
        "1 follower": lambda: followed(1),
    }
    return race(title, columns, work, rounds=rounds, notes=notes)


def _events_of(us: Jobs, up: Running) -> bytes:
    """Start the job; returns the request for its events."""
    job = us.launch(up.port, "ticks", {})
    return request("GET", f"/v1/jobs/{job}/events", headers={**us.headers, "Accept": "application/x-ndjson"})


def _follow(up: Running, count: int, start: Callable[[], bytes]) -> Sequence[float]:
    front = up.roots
    idle, cpu = family.resident(front), family.cpu(front)
    sent = start()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        held: dict[socket.socket, bytearray] = {}
        for _ in range(count):
            connection = stack.enter_context(connect(up.port))
            connection.sendall(sent)
            held[connection] = bytearray()
            selector.register(connection, selectors.EVENT_READ)
        ends, most = _read_all(selector, held, lambda: family.resident(front))
    for seen in held.values():
        numbers = [int(number) for number in _SEQ.findall(bytes(seen))]
        if numbers != list(range(1, len(numbers) + 1)) or b'"type":"finished"' not in seen:
            raise WrongAnswer(f"a follower saw {numbers[:5]}...{numbers[-5:]}")
    return (most - idle) / 1e6, family.cpu(front) - cpu, (ends[-1] - ends[0]) * 1000


def _read_all(
    selector: selectors.BaseSelector, held: dict[socket.socket, bytearray], memory: Callable[[], int]
) -> tuple[list[float], int]:
    """Read until all have their last event; returns when each had, and the most memory that was seen."""
    ends: list[float] = []
    most, give_up = 0, time.monotonic() + _PATIENCE
    while len(ends) < len(held):
        if time.monotonic() > give_up:
            raise WrongAnswer(f"{len(held) - len(ends)} followers have no end")
        for key, _ in selector.select(0.2):
            connection = key.fileobj
            if not isinstance(connection, socket.socket):
                continue
            data = connection.recv(_READ)
            held[connection] += data
            if not data or b'"type":"finished"' in held[connection][-_READ:]:
                ends.append(time.monotonic())
                selector.unregister(connection)
        most = max(most, memory())
    return ends, most


# -- starting again


def _recovery(rounds: int, count: int) -> Sheet:
    def started(jobs: int) -> Sequence[float]:
        with tempfile.TemporaryDirectory(prefix="cmdhttp-bench-") as name:
            data = Path(name) / "data"
            data.mkdir(mode=0o700)
            if jobs:
                command = [sys.executable, "-m", "benchmarks.jobs.unfinished", str(data), str(jobs)]
                subprocess.run(command, cwd=ROOT, check=True)
            before = time.perf_counter()
            us = Jobs(data)
            with running(us) as up:
                took = time.perf_counter() - before
                still_open = ask(up.port, request("GET", "/v1/jobs?state=running", headers=us.headers))
                ended = ask(up.port, request("GET", "/v1/jobs?state=lost&limit=200", headers=us.headers))
            if b'"id"' in still_open.body or ended.body.count(b'"state":"lost"') < min(jobs, 200):
                raise WrongAnswer("not every job that was under way is lost")
            shutil.rmtree(data)
        return (took,)

    title = f"From the start to the first answer after a kill with {count:,} running jobs"
    notes = (
        "The processes of the runs are no part of it: a guard of each has ended them within a second of the kill.",
    )
    work = {"nothing to recover": lambda: started(0), f"{count:,} jobs": lambda: started(count)}
    return race(title, (Column(name="start", unit="s"),), work, rounds=rounds, notes=notes)
