"""Long output to curl: megabytes a second, and how much memory the server's processes take beyond what they have when idle.

Each server is started anew for each measurement, has answered a call, and has come to rest. The processes of the command count
as the server's. What curl got must have the size that the program printed.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Column, Figure, Row, Sheet
from benchmarks.local import family
from benchmarks.local.http import WrongAnswer, once
from benchmarks.local.load import cpu_of
from benchmarks.local.programs import Sizes
from benchmarks.local.servers import Running, Server, find, running, strangers

SPEED, MEMORY = "speed", "memory"
COLUMNS = (Column(name=SPEED, unit="MB/s"), Column(name=MEMORY, unit="MB"))
_REST = 0.5
_PATIENCE = 600
_NOTES = (
    "Memory: the peak of the resident memory of all processes of the server, the command's too, less the same when idle.",
    "The floor is the program through a pipe to `cat`, which writes to the connection.",
    "webhook and flask-shell2http collect the output before they answer, and are left out.",
)


@dataclass(slots=True)
class _Taken:
    speed: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """MB a second, MB above idle, and seconds of processor time of the server and of what it ran."""

    speed: float
    memory: float
    cpu: float


def title(program: str, sizes: Sizes) -> str:
    if program == "zeros":
        return f"{sizes.zeros / (1 << 30):g} GiB of zeros to curl"
    return f"{sizes.lines:,} lines of two bytes to curl"


def measure(servers: Sequence[Server], sizes: Sizes, *, rounds: int) -> Iterator[Sheet]:
    """One sheet for each kind of output."""
    for program in ("zeros", "lines"):
        taken = {server.name: _Taken() for server in servers}
        for _ in range(rounds):
            for server in servers:
                found = fetch(server, program, sizes.bytes_of(program))
                taken[server.name].speed.append(found.speed)
                taken[server.name].memory.append(found.memory)
        rows = tuple(
            Row(name=name, figures=(Figure(tuple(each.speed)), Figure(tuple(each.memory))))
            for name, each in taken.items()
        )
        yield Sheet(title=title(program, sizes), columns=COLUMNS, rows=rows, notes=_NOTES if program == "zeros" else ())


def fetch(server: Server, program: str, size: int) -> Fetched:
    """Start the server, let it come to rest, and fetch. Raises WrongAnswer."""
    with running(server) as up:
        once(up.port, server.call("echo"))
        time.sleep(_REST)
        idle = family.resident(family.family(up.roots, strangers=strangers(up)))
        peak, before = family.Peak(), cpu_of(up)
        seconds = _curl(up, program, size, peak)
        cpu = cpu_of(up) - before
    return Fetched(speed=size / seconds / 1e6, memory=max(0, peak.most - idle) / 1e6, cpu=cpu)


def _curl(up: Running, program: str, size: int, peak: family.Peak) -> float:
    streamed = up.server.streamed(program)
    if streamed is None:
        raise RuntimeError(f"{up.server.name} does not stream")
    lines = [f'header = "{name}: {value}"' for name, value in streamed.headers.items()]
    if streamed.method == "POST":
        lines += ['header = "Content-Type: application/json"', f"data = {json.dumps(streamed.body)}"]
    lines += ['output = "/dev/null"', 'noproxy = "*"']
    lines += ['write-out = "[%{http_code}, %{size_download}, %{time_total}]"', "silent", "show-error"]
    lines.append(f'url = "http://127.0.0.1:{up.port}{streamed.target}"')
    command = [find("curl") or "curl", "-q", "--config", "-"]  # a token is no argument
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
        try:
            with peak.watching(up.roots, strangers=strangers(up) | {curl.pid}):
                out, err = curl.communicate("\n".join(lines).encode(), timeout=_PATIENCE)
        except BaseException:
            curl.kill()
            raise
    if curl.returncode:
        raise WrongAnswer(f"{up.server.name}: curl ended with {curl.returncode}: {err.decode(errors='replace')}")
    status, got, seconds = json.loads(out)
    if (status, got) != (200, size):
        raise WrongAnswer(f"{up.server.name}: curl got {got:,} of {size:,} bytes with status {status}")
    return float(seconds)
