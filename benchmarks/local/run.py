"""Local runs: cmdhttp, held against what else runs commands over HTTP on this machine, and against the floor.

Everything happens on the loopback interface, with servers that this starts and stops. What is not installed fails
the run.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Aim, Aims, Sheet
from benchmarks.local import load, moments, output
from benchmarks.local.contenders import Cat, Cmdhttp, Webhook, contenders
from benchmarks.local.family import adopt_orphans
from benchmarks.local.programs import FULL, QUICK, Sizes, programs
from benchmarks.local.servers import Server, check_installed
from benchmarks.measure import Report

PARTS = ("load", "output", "moments")
_SECONDS, _QUICK_SECONDS = 2.0, 0.3
_CLIENTS = 32


def run(*, rounds: int, quick: bool, parts: Sequence[str] = PARTS) -> Iterator[Report]:
    """Measure these parts, then say which aims are met. Raises Missing, WrongAnswer."""
    sizes = QUICK if quick else FULL
    argvs = programs(sizes)
    us, peers = contenders(argvs)
    check_installed([us, *peers])
    adopt_orphans()
    streaming: list[Server] = [*(peer for peer in peers if peer.streamed("zeros") is not None), Cat(argvs)]
    seconds = _QUICK_SECONDS if quick else _SECONDS
    measure = {
        "load": load.measure([us, *peers], argvs, rounds=rounds, seconds=seconds),
        "output": output.measure([us, *streaming], sizes, rounds=rounds),
        "moments": moments.measure(us, streaming, rounds=rounds),
    }
    sheets: dict[str, Sheet] = {}
    for part in parts:
        for sheet in measure[part]:
            sheets[sheet.title] = sheet
            yield sheet
    yield Aims(title=f"Aims (data on {file_system(tempfile.gettempdir())})", aims=tuple(aims(sheets, sizes)))


def aims(sheets: Mapping[str, Sheet], sizes: Sizes) -> Iterator[Aim]:
    """What is wanted of a local run, held against the medians of those sheets that are there."""
    for program in load.PROGRAMS:
        if many := sheets.get(load.title(program, _CLIENTS)):
            yield from _against_webhook(many)
        if alone := sheets.get(load.title(program, 1)):
            added = alone.figure(Cmdhttp.name, load.P50).less(alone.figure(load.FLOOR, load.P50))
            yield Aim(what=f"{alone.title}: added to the floor, p50", unit="ms", wanted=1, found=added.median)
    for program in ("zeros", "lines"):
        if long := sheets.get(output.title(program, sizes)):
            yield from _of_output(long)
    if lines := sheets.get(moments.LINE_TITLE):
        first = lines.figure(moments.NDJSON, moments.FIRST)
        yield Aim(what="first line: from its write to its receipt", unit="ms", wanted=5, found=first.median)
    if calls := sheets.get(moments.CALL_TITLE):
        first = calls.figure(moments.NDJSON, moments.P50)
        yield Aim(what="first line: from the call to its receipt, p50", unit="ms", wanted=5, found=first.median)


def _against_webhook(sheet: Sheet) -> Iterator[Aim]:
    rate, p99 = (
        sheet.figure(Cmdhttp.name, name).ratio(sheet.figure(Webhook.name, name)) for name in (load.RATE, load.P99)
    )
    yield Aim(what=f"{sheet.title}: calls a second, of webhook's", unit="times", wanted=1, found=rate, at_least=True)
    yield Aim(what=f"{sheet.title}: p99, of webhook's", unit="times", wanted=1 / 3, found=p99)


def _of_output(sheet: Sheet) -> Iterator[Aim]:
    slower = sheet.figure(Cat.name, output.SPEED).ratio(sheet.figure(Cmdhttp.name, output.SPEED))
    yield Aim(what=f"{sheet.title}: times as long as cat", unit="times", wanted=2, found=slower)
    memory = sheet.figure(Cmdhttp.name, output.MEMORY).median
    yield Aim(what=f"{sheet.title}: memory above idle", unit="MB", wanted=40, found=memory)


def file_system(folder: str) -> str:
    """The kind of file system that a folder is on: journal and audit log write to it. proc(5), /proc/self/mountinfo."""
    path = Path(folder).resolve()
    kinds: dict[Path, str] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kinds[Path(before.split(" ")[4])] = after.split(" ")[0]
    return next((kinds[each] for each in (path, *path.parents) if each in kinds), "an unknown file system")
