"""Runs on SSH hosts: cmdhttp, held against `ssh` and what else runs commands on many hosts, and against asyncssh alone.

Everything happens on the loopback interface, with an sshd that this starts and stops. What is not installed fails the run.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Aim, Aims, Sheet
from benchmarks.local.programs import FULL, QUICK, Sizes, programs
from benchmarks.local.run import file_system
from benchmarks.local.servers import Needs, check_installed
from benchmarks.measure import Report
from benchmarks.ssh import fanout, short, stream
from benchmarks.ssh.contenders import TOOLS, AnsibleCommand, AnsibleRaw, Clush, OverSsh
from benchmarks.ssh.fleet import Fleet, addresses, fleet

PARTS = ("single", "load", "fanout", "stream")
HOSTS, QUICK_HOSTS = 500, 100
_SECONDS, _QUICK_SECONDS = 2.0, 0.5
_PROGRAMS = ("true", "echo", "zeros")


class _OpenSsh:
    """What everything here needs."""

    programs = ("ssh", "sshd")
    modules = ()


def run(*, rounds: int, quick: bool, parts: Sequence[str] = PARTS) -> Iterator[Report]:
    """Measure these parts, then say which aims are met. Raises Missing, WrongAnswer."""
    sizes, seconds = (QUICK, _QUICK_SECONDS) if quick else (FULL, _SECONDS)
    needs: list[Needs] = [_OpenSsh(), *(TOOLS if "fanout" in parts else ())]
    check_installed(needs)
    hosts = 1 + (QUICK_HOSTS if quick else HOSTS)
    argvs = {name: argv for name, argv in programs(sizes).items() if name in _PROGRAMS}
    sheets: dict[str, Sheet] = {}
    with (
        tempfile.TemporaryDirectory(prefix="cmdhttp-bench-") as name,
        fleet(Path(name) / "sshd", hosts=hosts) as everywhere,
    ):
        us, folder = OverSsh(everywhere, argvs), Path(name)
        some = _enough(everywhere, rounds=rounds, seconds=seconds)
        few = OverSsh(some, argvs)
        measure = {
            "single": short.measure_single(few, some, folder, rounds=rounds, seconds=seconds),
            "load": short.measure_load(few, some, folder, rounds=rounds, seconds=seconds),
            "fanout": fanout.measure(us, everywhere, rounds=rounds),
            "stream": stream.measure(few, some, folder, sizes, rounds=rounds),
        }
        for part in parts:
            for sheet in measure[part]:
                sheets[sheet.title] = sheet
                yield sheet
    found = tuple(aims(sheets, sizes, hosts=hosts - 1))
    if found:
        yield Aims(title=f"Aims (data on {file_system(tempfile.gettempdir())})", aims=found)


def aims(sheets: Mapping[str, Sheet], sizes: Sizes, *, hosts: int) -> Iterator[Aim]:
    """What is wanted of a run on a host, held against the medians of those sheets that are there."""
    ours = OverSsh.name
    if warm := sheets.get(short.WARM_TITLE):
        found = warm.figure(ours, short.P50).ratio(warm.figure(short.MASTER, short.P50))
        yield Aim(what="one run warm: p50, of ControlMaster's", unit="times", wanted=1, found=found)
    if cold := sheets.get(short.COLD_TITLE):
        found = cold.figure(short.COLD, short.P50).ratio(cold.figure(ours, short.P50))
        yield Aim(what="one run cold: times as fast as ssh", unit="times", wanted=1.5, found=found, at_least=True)
    if many := sheets.get(short.LOAD_TITLE):
        rate = many.figure(ours, short.RATE).median
        yield Aim(what=f"{short.LOAD_TITLE}: runs a second", unit="1/s", wanted=500, found=rate, at_least=True)
    if fan := sheets.get(fanout.title(hosts)):
        yield from _of_fanout(fan)
    if long := sheets.get(stream.title(sizes)):
        found = long.figure(ours, stream.SPEED).ratio(long.figure(short.MASTER, stream.SPEED))
        what = f"{long.title}: speed, of ControlMaster's"
        yield Aim(what=what, unit="times", wanted=0.5, found=found, at_least=True)
        memory = long.figure(ours, stream.MEMORY).median
        yield Aim(what=f"{long.title}: memory above idle", unit="MB", wanted=40, found=memory)


def _of_fanout(sheet: Sheet) -> Iterator[Aim]:
    ours = sheet.figure(OverSsh.name, fanout.WALL)
    for tool, wanted in ((Clush, 4), (AnsibleRaw, 10), (AnsibleCommand, 10)):
        found = sheet.figure(tool.name, fanout.WALL).ratio(ours)
        what = f"{sheet.title}: times as fast as {tool.name}"
        yield Aim(what=what, unit="times", wanted=wanted, found=found, at_least=True)


def _enough(fleet: Fleet, *, rounds: int, seconds: float) -> Fleet:
    """The same with as many hosts as short runs need: each round takes some that are new to us. Raises ValueError."""
    needed = 1 + rounds * short.cold_hosts(seconds)
    return replace(fleet, addresses=addresses(needed))
