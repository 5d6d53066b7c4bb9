"""Long output from a host: megabytes a second, the processor time that takes, and how much memory beyond idle.

Ours goes to curl, from a fresh service each time; `ssh` writes into a pipe that is read here; asyncssh counts.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Column, Sheet, race
from benchmarks.local import family
from benchmarks.local.http import WrongAnswer
from benchmarks.local.load import told_document
from benchmarks.local.output import fetch
from benchmarks.local.programs import Sizes
from benchmarks.ssh.contenders import BARE, OverSsh, bare, control_master
from benchmarks.ssh.fleet import Fleet
from benchmarks.ssh.short import MASTER

SPEED, CPU, CPU_ALL, MEMORY = "speed", "cpu", "with sshd", "memory"
COLUMNS = (
    Column(name=SPEED, unit="MB/s"),
    *(Column(name=name, unit="s") for name in (CPU, CPU_ALL)),
    Column(name=MEMORY, unit="MB"),
)
_WINDOWS = (2, 16)
_READ = 1 << 16
_NOTES = (
    "cpu: processor time of the client's side. memory: ours above idle; of asyncssh's process, the peak of all of it.",
    "Ours writes every byte to the output log before it tells it.",
)


def title(sizes: Sizes) -> str:
    return f"{sizes.zeros / (1 << 30):g} GiB of zeros from a host"


def measure(us: OverSsh, fleet: Fleet, folder: Path, sizes: Sizes, *, rounds: int) -> Iterator[Sheet]:
    """One sheet."""
    size = sizes.bytes_of("zeros")
    with ExitStack() as stack:
        argv, master = stack.enter_context(control_master(fleet, folder))
        work: dict[str, Callable[[], Sequence[float]]] = {
            us.name: lambda: _ours(us, fleet, size),
            MASTER: lambda: _piped([*argv, *us.argvs["zeros"]], master, fleet, size),
        }
        for window in _WINDOWS:
            command = bare(fleet, folder, "stream", str(size), str(window << 20))
            work[f"{BARE.name}, {window} MiB window"] = _bare(command, fleet, size)
        yield race(title(sizes), COLUMNS, work, rounds=rounds, notes=_NOTES)


def _ours(us: OverSsh, fleet: Fleet, size: int) -> tuple[float, ...]:
    there = fleet.cpu()
    found = fetch(us, "zeros", size)
    return found.speed, found.cpu, found.cpu + fleet.cpu() - there, found.memory


def _piped(argv: Sequence[str], master: int, fleet: Fleet, size: int) -> tuple[float, ...]:
    here, there, start = family.cpu([master]) + family.reaped(), fleet.cpu(), time.perf_counter()
    buffer, got = bytearray(_READ), 0
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0) as client:
        if client.stdout is None:
            raise RuntimeError("there is no pipe")
        while count := client.stdout.readinto(buffer):  # type: ignore[attr-defined] # without a buffer it is a FileIO
            got += count
    seconds = time.perf_counter() - start
    if client.returncode or got != size:
        raise WrongAnswer(f"ssh brought {got:,} of {size:,} bytes and ended with {client.returncode}")
    cpu = family.cpu([master]) + family.reaped() - here
    return size / seconds / 1e6, cpu, cpu + fleet.cpu() - there


def _bare(command: list[str], fleet: Fleet, size: int) -> Callable[[], tuple[float, ...]]:
    def work() -> tuple[float, ...]:
        there = fleet.cpu()
        found = told_document(command)
        return size / found["seconds"] / 1e6, found["cpu"], found["cpu"] + fleet.cpu() - there, found["peak"] / 1e6

    return work
