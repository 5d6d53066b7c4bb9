"""Removes old jobs in the background, as the limits say: a little at a time, so that nobody waits for it.

A job that somebody reads stays until they have done so. Each piece of work is small, and after each the others have as
long for theirs. Age is told by a clock that no jump of the wall clock can hurry; see `Calendar`. What fails, as on a full
disk, is tried again with the next round. Files that no job owns, which only a power cut can leave, are looked for once a
day, some at a time; the start waits for nothing of this.
"""

import logging
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import sleep, to_thread

from cmdhttp.clock import Clock
from cmdhttp.jobs import pruning
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.pruning import Limits, Removed, Stored, Victim

_log = logging.getLogger("cmdhttp.retention")

T = TypeVar("T")

_LEAST_PAUSE = 0.005
_REPORT_AFTER = 10_000
_VACUUM_PAGES = 32
_SPARE_PAGES = 2048
"""Free pages that the database keeps for the next jobs: to give back and to take again costs more."""
_SWEEP_FILES, _SWEEP_BATCHES = 256, 40
_SWEEP_EVERY = 86_400.0
_ORPHAN_SECONDS = 3600.0
_OPTIMIZE_EVERY = 86_400.0
_JUMP, _PROOF = 300.0, 3600.0


class Calendar:
    """Wall time for ages: it runs with the monotonic clock, and follows a jump forward only once that has lasted an hour.

    So a wall clock that is wrong for a moment makes no job old. A jump back is followed at once: it keeps more.
    `last` is when jobs were last written in an earlier life, in Unix seconds. What the wall clock is ahead of that at the start
    counts as a jump too: nobody knows how long the service was down.
    """

    def __init__(self, clock: Clock, *, last: float | None = None) -> None:
        self._clock = clock
        self._wall, self._at = clock.now(), clock.monotonic()
        if last is not None:
            self._wall = min(self._wall, last)
        self._ahead_since: float | None = None

    def now(self) -> float:
        """Return Unix seconds."""
        wall, at = self._clock.now(), self._clock.monotonic()
        expected = self._wall + (at - self._at)
        if wall > expected + _JUMP:
            self._ahead_since = at if self._ahead_since is None else self._ahead_since
            if at - self._ahead_since < _PROOF:
                return expected
        self._ahead_since, self._wall, self._at = None, wall, at
        return wall


class Retention:
    """Keeps one data folder within its limits."""

    def __init__(
        self,
        *,
        journal: Journal,
        leases: Leases,
        limits: Limits,
        clock: Clock,
        every: float,
        last: float | None = None,
        on_removed: Callable[[Removed], Awaitable[None]],
    ) -> None:
        """`every` is in seconds; for `last` see `Calendar`.

        `on_removed` is awaited after a round that has removed anything, and within a long one.
        """
        self._journal = journal
        self._database = journal.database
        self._leases = leases
        self._limits = limits
        self._clock = clock
        self._calendar = Calendar(clock, last=last)
        self._every = every
        self._on_removed = on_removed
        self._sweep: Iterator[list[Path]] | None = None
        self._next_sweep = clock.monotonic()
        self._next_optimize = self._next_sweep + _OPTIMIZE_EVERY
        self.stored = Stored(jobs=0, files=0, database=0)

    async def watch(self) -> None:
        """Do a round now and then, for ever."""
        while True:
            try:
                await self.round()
            except (OSError, sqlite3.Error) as error:
                _log.error("old jobs cannot be removed: %s", getattr(error, "strerror", None) or error)
            await sleep(self._every)

    async def round(self) -> None:
        """Remove all that is over the limits. Raises OSError or sqlite3.Error; what was begun is then taken up by the next."""
        last = ""
        while jobs := await self._database.read(partial(pruning.marked, after=last)):
            await self._finish(jobs)
            last = jobs[-1][0]
        removed = Removed()
        try:
            await self._remove_over(removed)
            removed.orphans = await self._sweep_some()
        finally:
            await self._report(removed)
        await self._tidy()
        self.stored = await self._database.read(pruning.stored)

    async def _report(self, removed: Removed) -> None:
        if removed.total or removed.orphans:
            await self._on_removed(removed)

    # -- jobs

    async def _remove_over(self, removed: Removed) -> None:
        place: pruning.Place | None = pruning.START
        while place is not None:
            found = await self._database.read(
                partial(pruning.find, limits=self._limits, now=self._calendar.now(), after=place)
            )
            removed.add(await self._remove(found.victims))
            place = found.after
            if removed.total >= _REPORT_AFTER:
                await self._on_removed(removed)
                removed.clear()

    async def _remove(self, victims: Sequence[Victim]) -> list[Victim]:
        """Remove those that nobody reads; returns them."""
        free = self._leases.condemn(victim.id for victim in victims)
        try:
            chosen = [victim for victim in victims if victim.id in frozenset(free)]
            if not chosen:
                return []
            now = self._calendar.now()
            gone = await self._paced(lambda db: pruning.mark(db, chosen, now=now), durable=True)
        finally:
            self._leases.spare(free)
        await self._finish([(victim.id, victim.runs) for victim in gone])
        return gone

    async def _finish(self, jobs: Sequence[tuple[str, int]]) -> None:
        """Remove the files and the events of jobs that are marked. What cannot be removed stays marked, and holds up no other."""

        def remove() -> tuple[list[str], list[OSError]]:
            done, wrong = [], []
            for job, runs in jobs:
                try:
                    pruning.remove_files(self._journal.output, self._journal.artefacts, job, runs)
                    done.append(job)
                except OSError as error:
                    wrong.append(error)
            return done, wrong

        names, wrong = await to_thread.run_sync(remove)
        if wrong:
            _log.error("the files of %d old jobs cannot be removed; the first: %s", len(wrong), wrong[0])
        while names and not await self._paced(lambda db: pruning.clear(db, names), durable=False):
            pass

    # -- files without a job

    async def _sweep_some(self) -> int:
        """Look at some files; returns how many belonged to no job and are removed."""
        if self._sweep is None:
            if self._clock.monotonic() < self._next_sweep:
                return 0
            self._sweep = self._all_files()
            self._next_sweep = self._clock.monotonic() + _SWEEP_EVERY
        removed = 0
        for _ in range(_SWEEP_BATCHES):
            paths = await to_thread.run_sync(next, self._sweep, None)
            if paths is None:
                self._sweep = None
                break
            removed += await self._remove_orphans(paths)
        return removed

    def _all_files(self) -> Iterator[list[Path]]:
        yield from self._journal.output.batches(_SWEEP_FILES)
        yield from self._journal.artefacts.batches(_SWEEP_FILES)

    async def _remove_orphans(self, paths: Sequence[Path]) -> int:
        owners = {path: pruning.owner(path) for path in paths}
        lost = await self._database.read(lambda db: pruning.without_owner(db, list(owners.values())))
        if not lost:
            return 0
        suspects = [path for path, owner in owners.items() if owner in lost]
        return await to_thread.run_sync(_remove_paths, suspects, self._calendar.now() - _ORPHAN_SECONDS)

    # -- the database

    async def _tidy(self) -> None:
        while await self._paced(
            lambda db: pruning.give_back(db, pages=_VACUUM_PAGES, spare=_SPARE_PAGES), durable=False
        ):
            pass
        if self._clock.monotonic() >= self._next_optimize:
            self._next_optimize = self._clock.monotonic() + _OPTIMIZE_EVERY
            await self._paced(pruning.optimize, durable=False)

    async def _paced(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        """Have something written, then leave as much time to the others."""
        began = self._clock.monotonic()
        result = await self._database.write(work, durable=durable)
        await sleep(max(self._clock.monotonic() - began, _LEAST_PAUSE))
        return result


def _remove_paths(paths: Sequence[Path], older_than: float) -> int:
    """Remove files and folders whose last change is before a Unix time: younger ones may belong to what is not committed yet."""
    removed = 0
    for path in paths:
        try:
            if path.lstat().st_mtime >= older_than:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed += 1
        except FileNotFoundError:
            continue
    return removed
