"""Short runs on one host: one after the other over an open connection, one after the other over new ones, and 32 at once.

Ours is called over HTTP, with a client that keeps its connection, and `ssh` is started for each run. The processor time is taken
twice: of the client's side alone (our service, `ssh` and its master, the process with asyncssh), and with sshd and what it ran.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Column, Sheet, percentile, race
from benchmarks.local import family
from benchmarks.local.http import Load, check, connect, load, receive
from benchmarks.local.load import cpu_of, floor, told
from benchmarks.local.servers import Running, running
from benchmarks.ssh.contenders import BARE, OverSsh, bare, control_master, same_algorithms, ssh
from benchmarks.ssh.fleet import Fleet

RATE, P50, P99, CPU, CPU_ALL = "runs", "p50", "p99", "cpu", "with sshd"
MASTER, COLD, COLD_SAME = "ssh, ControlMaster", "ssh, cold", "ssh, cold, curve25519"
WARM_TITLE = "One run after the other, connection open"
COLD_TITLE = "One run after the other, each over a new connection"
CLIENTS = 32
LOAD_TITLE = f"{CLIENTS} runs at once on one host"
COLUMNS = (Column(name=RATE, unit="1/s"), *(Column(name=name, unit="ms") for name in (P50, P99, CPU, CPU_ALL)))
_PROGRAM = "/bin/true"
_NOTES = (
    "cpu: processor time for one run, of the client's side: our service, ssh and its master, asyncssh's process.",
    "ssh and asyncssh do their work without a token, a policy, a journal, an audit log, and a guard on the host.",
)
_COLD_NOTES = (
    "ssh's own first key exchange, sntrup761, takes most of its processor time; the row below has our algorithms.",
    "Ours runs each on a host that it has no connection to yet, and keeps the connection.",
)

Figures = tuple[float, ...]
Work = Callable[[], Figures]


def measure_single(us: OverSsh, fleet: Fleet, folder: Path, *, rounds: int, seconds: float) -> Iterator[Sheet]:
    """Two sheets: warm, cold. Each round takes as many hosts that are new to us as `cold_hosts` says."""
    with ExitStack() as stack:
        up = stack.enter_context(running(us))
        argv, master = stack.enter_context(control_master(fleet, folder))
        yield _measure_warm(WARM_TITLE, up, fleet, folder, [*argv, _PROGRAM], master, 1, rounds=rounds, seconds=seconds)
        fresh = iter(range(1, len(fleet.addresses)))
        work = {
            us.name: _ours_cold(up, us, fleet, fresh, count=cold_hosts(seconds)),
            COLD: _spawned([*ssh(fleet), _PROGRAM], fleet, clients=1, seconds=seconds),
            COLD_SAME: _spawned([*ssh(fleet, more=same_algorithms()), _PROGRAM], fleet, clients=1, seconds=seconds),
            BARE.name: _told(bare(fleet, folder, "cold", "1", str(seconds)), fleet),
        }
        yield race(COLD_TITLE, COLUMNS, work, rounds=rounds, notes=_COLD_NOTES)


def measure_load(us: OverSsh, fleet: Fleet, folder: Path, *, rounds: int, seconds: float) -> Iterator[Sheet]:
    """One sheet."""
    with ExitStack() as stack:
        up = stack.enter_context(running(us))
        argv, master = stack.enter_context(control_master(fleet, folder))
        command = [*argv, _PROGRAM]
        yield _measure_warm(LOAD_TITLE, up, fleet, folder, command, master, CLIENTS, rounds=rounds, seconds=seconds)


def cold_hosts(seconds: float) -> int:
    """How many hosts that are new to us one round takes."""
    return max(3, round(5 * seconds))


def _measure_warm(  # noqa: PLR0913 - both ways to measure share all of it
    title: str,
    up: Running,
    fleet: Fleet,
    folder: Path,
    command: list[str],
    master: int,
    clients: int,
    *,
    rounds: int,
    seconds: float,
) -> Sheet:
    work = {
        up.server.name: _ours(up, fleet, clients=clients, seconds=seconds),
        MASTER: _spawned(command, fleet, clients=clients, seconds=seconds, master=master),
        BARE.name: _told(bare(fleet, folder, "warm", str(clients), str(seconds)), fleet),
    }
    return race(title, COLUMNS, work, rounds=rounds, notes=_NOTES)


def _ours(up: Running, fleet: Fleet, *, clients: int, seconds: float) -> Work:
    call = up.server.call("true")

    def work() -> Figures:
        load(up.port, call, clients=clients, seconds=seconds / 4)  # warms it up
        here, there = cpu_of(up), fleet.cpu()
        found = load(up.port, call, clients=clients, seconds=seconds)
        return _figures(found, here=cpu_of(up) - here, there=fleet.cpu() - there)

    return work


def _ours_cold(up: Running, us: OverSsh, fleet: Fleet, fresh: Iterator[int], *, count: int) -> Work:
    def work() -> Figures:
        took = []
        here, there, start = cpu_of(up), fleet.cpu(), time.perf_counter()
        with connect(up.port) as client:
            for number in itertools.islice(fresh, count):
                call = us.call_on(f"h{number}", "true")
                begun = time.perf_counter()
                client.sendall(call.request)
                answer = receive(client)
                took.append(time.perf_counter() - begun)
                check(answer, call)
        if len(took) < count:
            raise RuntimeError("there are too few hosts for so many rounds")
        seconds, took = time.perf_counter() - start, sorted(took)
        p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
        found = Load(calls=count, seconds=seconds, p50=p50, p99=p99, client=0.0, reconnects=0)
        return _figures(found, here=cpu_of(up) - here, there=fleet.cpu() - there)

    return work


def _spawned(argv: list[str], fleet: Fleet, *, clients: int, seconds: float, master: int | None = None) -> Work:
    masters = [] if master is None else [master]

    def work() -> Figures:
        before, there = family.cpu(masters), fleet.cpu()
        found, cpu = floor(argv, in_flight=clients, seconds=seconds)
        return _figures(found, here=cpu + family.cpu(masters) - before, there=fleet.cpu() - there)

    return work


def _told(command: list[str], fleet: Fleet) -> Work:
    def work() -> Figures:
        there = fleet.cpu()
        found, cpu = told(command)
        return _figures(found, here=cpu, there=fleet.cpu() - there)

    return work


def _figures(found: Load, *, here: float, there: float) -> Figures:
    each = 1e3 / found.calls
    return found.rate, found.p50 * 1e3, found.p99 * 1e3, here * each, (here + there) * each
