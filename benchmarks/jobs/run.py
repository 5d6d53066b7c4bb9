"""Jobs that are kept: lists, single jobs, the start and the removal of old ones, with a long history and with a short one.

The journal is asked as the service asks it, without HTTP. The history is made up; see `history`.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Aim, Aims, Column, Sheet, percentile, race
from benchmarks.jobs.history import RARE, fill, principal
from benchmarks.measure import Report
from cmdhttp.clock import SystemClock
from cmdhttp.jobs import pruning
from cmdhttp.jobs.database import Work
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.retention import Retention
from cmdhttp.jobs.state import State

PARTS = ("lists", "prune")
_SHORT, _LONG, _QUICK_LONG = 1000, 1_000_000, 50_000
_GOES = 25
_PRUNED = 20_000
_MOST_MS = 20.0
P50, WORST = Column(name="p50", unit="ms"), Column(name="worst", unit="ms")


def run(*, rounds: int, quick: bool, parts: Sequence[str] = PARTS) -> Iterator[Report]:
    """Measure these parts, then say which aims are met."""
    size = _QUICK_LONG if quick else _LONG
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short", Path(folder) / "long"
        newest = time.time()
        fill(short, jobs=_SHORT, newest=newest)
        some = fill(long, jobs=size, newest=newest)
        aims: list[Aim] = []
        if "lists" in parts:
            sheet = _lists(long, some, newest=newest, jobs=size, rounds=rounds)
            yield sheet
            aims += [
                Aim(what=f"{row.name}: worst", unit="ms", wanted=_MOST_MS, found=sheet.figure(row.name, "worst").median)
                for row in sheet.rows
            ]
            yield _starts({"1,000 jobs": short, f"{size:,} jobs": long}, rounds=rounds)
        if "prune" in parts:
            yield _prune(long, keep=size - min(_PRUNED, size // 2))
        if aims:
            yield Aims(title="Aims", aims=tuple(aims))


def _lists(folder: Path, some: Sequence[str], *, newest: float, jobs: int, rounds: int) -> Sheet:
    old = newest - jobs * 0.9
    filters = {
        "newest page": Filter(principal=principal(1), limit=51),
        "state": Filter(principal=principal(1), limit=51, states=(State.FAILED,)),
        "a rare state": Filter(principal=principal(1), limit=51, states=(State.LOST,)),
        "command": Filter(principal=principal(1), limit=51, command="service.status-3"),
        "a rare command": Filter(principal=principal(1), limit=51, command=RARE),
        "host": Filter(principal=principal(1), limit=51, host="web-3"),
        "host and a rare state": Filter(principal=principal(1), limit=51, host="web-3", states=(State.LOST,)),
        "since and until, long ago": Filter(principal=principal(1), limit=51, since=old, until=old + 5000),
        "all of these": Filter(
            principal=principal(1),
            limit=51,
            host="web-3",
            command="service.status-3",
            states=(State.FAILED,),
            since=old,
        ),
        "a page of 200": Filter(principal=principal(1), limit=201),
    }
    with asyncio.Runner() as runner:
        journal = runner.run(_opened(folder))

        def goes(ask: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
            async def take() -> list[float]:
                found = []
                for go in range(_GOES):
                    start = time.perf_counter()
                    await ask(go)
                    found.append((time.perf_counter() - start) * 1000)
                return sorted(found)

            taken = runner.run(take())
            return percentile(taken, 0.5), taken[-1]

        work: dict[str, Callable[[], Sequence[float]]] = {
            name: lambda wanted=wanted: goes(lambda _go: journal.page(wanted))  # type: ignore[misc]  # bound by its default
            for name, wanted in filters.items()
        }
        work["one job"] = lambda: goes(lambda go: journal.get(some[go * 37 % len(some)]))
        try:
            return race(f"Lists and jobs, {jobs:,} finished jobs", (P50, WORST), work, rounds=rounds)
        finally:
            journal.close()


async def _opened(folder: Path) -> Journal:
    return Journal(folder)


def _starts(folders: dict[str, Path], *, rounds: int) -> Sheet:
    def start(folder: Path) -> tuple[float]:
        async def take() -> float:
            began = time.perf_counter()
            journal = Journal(folder)
            await journal.unfinished()
            taken = time.perf_counter() - began
            journal.close()
            return taken * 1000

        return (asyncio.run(take()),)

    work = {name: lambda folder=folder: start(folder) for name, folder in folders.items()}
    title = "The start: opening the journal, and looking for what has not ended"
    return race(title, (Column(name="took", unit="ms"),), work, rounds=rounds)


def _prune(folder: Path, *, keep: int) -> Sheet:
    """Remove the oldest, once, and time each hold of the writer, on its own thread."""
    held: list[float] = []
    spent: list[float] = []

    async def take() -> float:
        journal, clock = Journal(folder), SystemClock()
        real = journal.database.write

        def timed(work: Work[object], *, durable: bool) -> Awaitable[object]:
            def both(db: object) -> object:
                start, busy = time.perf_counter(), time.thread_time()
                try:
                    return work(db)  # type: ignore[arg-type]  # it is handed on
                finally:
                    held.append((time.perf_counter() - start) * 1000)
                    spent.append((time.thread_time() - busy) * 1000)

            return real(both, durable=durable)

        journal.database.write = timed  # type: ignore[method-assign,assignment]  # to time it
        limits = pruning.Limits(days=0, jobs=keep, bytes=0)
        retention = Retention(
            journal=journal,
            leases=Leases(monotonic=clock.monotonic),
            limits=limits,
            clock=clock,
            every=60,
            on_removed=_nothing,
        )
        before = (await journal.database.read(pruning.stored)).jobs
        began = time.perf_counter()
        await retention.round()
        rate = (before - retention.stored.jobs) / (time.perf_counter() - began)
        journal.close()
        return rate

    rate = asyncio.run(take())
    taken = sorted(held)
    names = ("hold p50", "p99", "worst", "cpu p99", "cpu worst")
    columns = (*(Column(name=name, unit="ms") for name in names), Column(name="jobs", unit="1/s"))
    busy = sorted(spent)
    figures = (percentile(taken, 0.5), percentile(taken, 0.99), taken[-1], percentile(busy, 0.99), busy[-1], rate)
    note = f"{len(taken)} pieces of work; the commits after them are apart from these."
    return race("Removing the oldest", columns, {"the writer": lambda: figures}, rounds=1, notes=(note,))


async def _nothing(_removed: pruning.Removed) -> None:
    pass
