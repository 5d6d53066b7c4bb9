"""One command on many hosts at once: how long until the last has answered, and the processor time of all that.

Ours gets one HTTP call, with a fresh service in each round, and then the same call again with its connections open. What each
contender brings back is counted: a host that is missing ends the run. Who takes longer than `LIMIT` is stopped, and counts as
that.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Column, Sheet, race
from benchmarks.local import family
from benchmarks.local.http import Answer, WrongAnswer, connect, receive, request
from benchmarks.local.load import cpu_of
from benchmarks.local.programs import WORD
from benchmarks.local.servers import ROOT, Running, running
from benchmarks.ssh.contenders import FLEET, TOOLS, OverSsh, Tool, clean_environment
from benchmarks.ssh.fleet import Fleet

LIMIT = 300.0
ROUNDS = 3
"""At most, for some contenders take minutes."""
WALL, CPU, CPU_ALL, MEMORY = "wall", "cpu", "with sshd", "memory"
COLUMNS = (*(Column(name=name, unit="s") for name in (WALL, CPU, CPU_ALL)), Column(name=MEMORY, unit="MB"))
OPEN = "cmdhttp, connections open"
_WAIT = 90
_ACCEPTED = 202
_EVERY = 0.2
_NOTES = (
    "cpu: processor time of the client's side. memory: the peak of its resident memory; shared pages count in each process.",
    "parallel-ssh knows no known_hosts files and takes any host key; all others check them.",
    f"Nobody has a policy or keeps a record but we. Who takes longer than {LIMIT:.0f} s is stopped there and counts as that.",
)


@dataclass(slots=True)
class _Ours:
    """Our service for one round: started for the cold call, stopped after the warm one."""

    us: OverSsh
    fleet: Fleet
    stack: ExitStack = field(default_factory=ExitStack)
    _up: Running | None = None

    def cold(self) -> tuple[float, ...]:
        self._up = self.stack.enter_context(running(self.us))
        return self._call(self._up)

    def warm(self) -> tuple[float, ...]:
        if self._up is None:
            raise RuntimeError("the cold call comes first")
        found = self._call(self._up)
        self.stack.close()
        return found

    def _call(self, up: Running) -> tuple[float, ...]:
        peak, here, there, start = family.Peak(every=_EVERY), cpu_of(up), self.fleet.cpu(), time.perf_counter()
        with peak.watching(up.roots, strangers=()):
            answer = finished(up, self.us)
        wall, here, there = time.perf_counter() - start, cpu_of(up) - here, self.fleet.cpu() - there
        check_all(answer, len(self.fleet.addresses) - 1)
        return wall, here, here + there, peak.most / 1e6


def measure(us: OverSsh, fleet: Fleet, *, rounds: int, tools: Sequence[Tool] = TOOLS) -> Iterator[Sheet]:
    """One sheet. The first host of the fleet is left out: our service has a connection to it already."""
    ours = _Ours(us, fleet)
    work: dict[str, Callable[[], Sequence[float]]] = {us.name: ours.cold, OPEN: ours.warm}
    work |= {tool.name: _tool(tool, fleet) for tool in tools}
    with ours.stack:
        yield race(title(len(fleet.addresses) - 1), COLUMNS, work, rounds=min(rounds, ROUNDS), notes=_NOTES)


def title(hosts: int) -> str:
    return f"One command on {hosts} hosts"


def finished(up: Running, us: OverSsh) -> Answer:
    """The answer to one call for all hosts; where that comes before the end, the job is asked for. Raises WrongAnswer."""
    give_up = time.monotonic() + LIMIT
    with connect(up.port, patience=_WAIT + 30) as client:
        client.sendall(us.call_on(FLEET, "echo", wait=_WAIT).request)
        answer = receive(client)
        while answer.status == _ACCEPTED and time.monotonic() < give_up:
            job = json.loads(answer.body)["id"]
            client.sendall(request("GET", f"/v1/jobs/{job}?wait={_WAIT}", headers=us.headers))
            answer = receive(client)
    return answer


def check_all(answer: Answer, hosts: int) -> None:
    """Raise WrongAnswer unless the command succeeded on so many hosts, and each said the word."""
    if answer.status != 200:  # noqa: PLR2004 - the one good status
        raise WrongAnswer(f"not an answer: {answer.held[:2000]!r}")
    document = json.loads(answer.body)
    said = [run for run in document["runs"] if run["ok"] and run["stdout"] == f"{WORD}\n"]
    if not document["ok"] or len(said) != hosts:
        wrong = next((run for run in document["runs"] if run not in said), document.get("error"))
        raise WrongAnswer(f"{len(said)} of {hosts} hosts said {WORD}; one of the others: {wrong}")


def _tool(tool: Tool, fleet: Fleet) -> Callable[[], tuple[float, ...]]:
    hosts = fleet.addresses[1:]

    def work() -> tuple[float, ...]:
        there = fleet.cpu()
        with tempfile.TemporaryDirectory(prefix="cmdhttp-bench-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            argv = tool.argv(fleet, hosts, folder)
            found = limited(argv, clean_environment() | dict(tool.environment(fleet, folder)), seconds=LIMIT)
        if found.stopped:
            print(f"{tool.name}: stopped after {LIMIT:.0f} s; its figures are what it took until then", file=sys.stderr)
        elif (said := found.output.count(WORD.encode())) != len(hosts):
            raise WrongAnswer(f"{tool.name}: {said} of {len(hosts)} hosts said {WORD}: {found.output[-2000:]!r}")
        return found.seconds, found.cpu, found.cpu + fleet.cpu() - there, found.memory / 1e6

    return work


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """What became of a program: seconds, of processor time too, bytes of memory, what it printed, and whether it was stopped."""

    seconds: float
    cpu: float
    memory: int
    output: bytes
    stopped: bool


def limited(argv: Sequence[str], environment: Mapping[str, str], *, seconds: float) -> Limited:
    """Run a program, and end it and all that it started after so many seconds."""
    peak, before, start = family.Peak(every=_EVERY), family.reaped(), time.perf_counter()
    with subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        stopped = False
        with peak.watching([process.pid], strangers=()):
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                stopped = True
                everything = family.below([process.pid])
                family.tell(everything)
                family.end(everything - {process.pid}, seconds=2)
                process.kill()
                output, _ = process.communicate()
    took = min(time.perf_counter() - start, seconds) if stopped else time.perf_counter() - start
    return Limited(seconds=took, cpu=family.reaped() - before, memory=peak.most, output=output, stopped=stopped)
