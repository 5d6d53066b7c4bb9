"""Many short calls: how many a second, how long the middle one and the slowest hundredth take, and their processor time.

The processor time is that of the server and of what it ran, by the call: what a busy machine changes least.

All servers are up; in each round each takes its turn with each number of clients. The floor has as many processes going as there
are clients, without pipes and HTTP.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Column, Figure, Row, Sheet, percentile
from benchmarks.local import family
from benchmarks.local.http import Load, load
from benchmarks.local.servers import ROOT, Running, Server, running, strangers

FLOOR = "floor: spawn"
CLIENTS = (1, 8, 32, 64)
PROGRAMS = ("true", "echo")
RATE, P50, P99, CPU = "calls", "p50", "p99", "cpu"
COLUMNS = (Column(name=RATE, unit="1/s"), *(Column(name=name, unit="ms") for name in (P50, P99, CPU)))
_CLIENT = Column(name="client's work a call", unit="us")
_NOTES = (
    "webhook, nginx and flask-shell2http do their work without a token, a policy, a journal and an audit log.",
    "flask-shell2http needs two requests for a call. The floor is posix_spawn and wait: no pipes, no HTTP.",
    "cpu: processor time of the server and of what it ran, for one call. fcgiwrap does not wait for what it runs.",
)


@dataclass(slots=True, kw_only=True)
class _Taken:
    """The figures of one contender, round by round."""

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)

    def add(self, found: Load, *, cpu: float | None) -> None:
        """Add a round; `cpu` is the processor time of all its calls, or None if it is not known."""
        self.rate.append(found.rate)
        self.p50.append(found.p50 * 1e3)
        self.p99.append(found.p99 * 1e3)
        if cpu is not None:
            self.cpu.append(cpu / found.calls * 1e3)
        self.client.append(found.client * 1e6)

    def figures(self) -> tuple[Figure | None, ...]:
        return tuple(Figure(tuple(values)) if values else None for values in (self.rate, self.p50, self.p99, self.cpu))


def measure(
    servers: Sequence[Server], argvs: Mapping[str, list[str]], *, rounds: int, seconds: float
) -> Iterator[Sheet]:
    """One sheet for each program and number of clients, then what the client itself costs."""
    costs: dict[str, list[float]] = {server.name: [] for server in servers}
    with ExitStack() as stack:
        up = [stack.enter_context(running(server)) for server in servers]
        for program in PROGRAMS:
            for clients in CLIENTS:
                taken = _cell(up, argvs, program, clients, rounds=rounds, seconds=seconds)
                for name in costs:
                    costs[name] += taken[name].client
                yield sheet(program, clients, {name: each.figures() for name, each in taken.items()})
    rows = tuple(Row(name=name, figures=(Figure(tuple(values)),)) for name, values in costs.items())
    yield Sheet(title="What the load generator costs: its own CPU time", columns=(_CLIENT,), rows=rows)


def title(program: str, clients: int) -> str:
    return f"/bin/{program}, {clients} client{'s' if clients > 1 else ''}"


def sheet(program: str, clients: int, figures: Mapping[str, tuple[Figure | None, ...]]) -> Sheet:
    rows = tuple(Row(name=name, figures=found) for name, found in figures.items())
    first = program == PROGRAMS[0] and clients == CLIENTS[0]
    return Sheet(title=title(program, clients), columns=COLUMNS, rows=rows, notes=_NOTES if first else ())


def _cell(
    up: list[Running], argvs: Mapping[str, list[str]], program: str, clients: int, *, rounds: int, seconds: float
) -> dict[str, _Taken]:
    taken = {name: _Taken() for name in [*(each.server.name for each in up), FLOOR]}
    for number in range(rounds):
        for each in up:
            call = each.server.call(program)
            if number == 0:
                load(each.port, call, clients=clients, seconds=seconds / 4)  # warms it up
            before = cpu_of(each)
            found = load(each.port, call, clients=clients, seconds=seconds)
            cpu = cpu_of(each) - before if each.server.waits else None
            taken[each.server.name].add(found, cpu=cpu)
        found, cpu = floor(argvs[program], in_flight=clients, seconds=seconds)
        taken[FLOOR].add(found, cpu=cpu)
    return taken


def cpu_of(up: Running) -> float:
    """Seconds of processor time that a server and what it ran have had."""
    return family.cpu(family.family(up.roots, strangers=strangers(up)))


def floor(argv: list[str], *, in_flight: int, seconds: float) -> tuple[Load, float]:
    """The floor, in a process of its own, and its processor time."""
    path = str(Path(__file__).with_name("floor.py"))
    return told([sys.executable, "-I", "-S", path, "spawn", str(in_flight), str(seconds), *argv])


def told(command: Sequence[str]) -> tuple[Load, float]:
    """The load that a program of ours tells as JSON, and its processor time. Raises RuntimeError if it fails."""
    document = told_document(command)
    took = sorted(document["took"])
    found = Load(
        calls=len(took),
        seconds=document["seconds"],
        p50=percentile(took, 0.5),
        p99=percentile(took, 0.99),
        client=0.0,
        reconnects=0,
    )
    return found, document["cpu"]


def told_document(command: Sequence[str]) -> Any:
    """What a program of ours tells as JSON. Raises RuntimeError if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return json.loads(done.stdout)
