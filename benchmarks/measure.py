"""How things are measured here: contenders take turns within each round, so that a busy machine is busy for all of them.

A figure is the median over the rounds, shown with its least and greatest; a ratio is the median of the ratios within the
rounds. Nothing here passes or fails.
"""

import gc
import os
import platform
import statistics
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Work = Callable[[], object]

_MICRO = 1e6
_WIDE = 110


class Report(Protocol):
    """What a benchmark has found: text for people, a document for machines."""

    def text(self) -> str: ...

    def document(self) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds for one go, once for each round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio(self, to: "Measured") -> float:
        """How many times as long as the other it takes."""
        return statistics.median(mine / its for mine, its in zip(self.seconds, to.seconds, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What was measured side by side. The first is what the others are held against; `notes` say what each does not do."""

    title: str
    measured: tuple[Measured, ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """The group for people: median, least, greatest, and times as long as the first."""
        wide = max(len(each.name) for each in self.measured)
        lines = [self.title, f"  {'':{wide}}  {'median':>10} {'least':>10} {'greatest':>10} {'times':>8}"]
        for each in self.measured:
            figures = " ".join(f"{_shown(value):>10}" for value in (each.median, min(each.seconds), max(each.seconds)))
            lines.append(f"  {each.name:{wide}}  {figures} {each.ratio(self.measured[0]):>8.3g}")
        notes = (textwrap.fill(note, width=_WIDE, initial_indent="  ", subsequent_indent="  ") for note in self.notes)
        return "\n".join([*lines, *notes])

    def document(self) -> dict[str, object]:
        """The group for machines, in seconds."""
        return {
            "title": self.title,
            "measured": [
                {
                    "name": each.name,
                    "median_seconds": each.median,
                    "seconds": each.seconds,
                    "times_the_first": each.ratio(self.measured[0]),
                }
                for each in self.measured
            ],
            "notes": self.notes,
        }


def race(contenders: Mapping[str, Work], *, rounds: int, seconds: float = 0.05) -> tuple[Measured, ...]:
    """Measure all contenders in each round. What is short is repeated until it takes about `seconds`."""
    goes = {name: _goes(work, seconds) for name, work in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            taken[name].append(_time(work, goes[name]))
    return tuple(Measured(name=name, seconds=tuple(times)) for name, times in taken.items())


def machine() -> dict[str, str | int]:
    """What the figures are measured on, and how busy it is already."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count() or 0,
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _goes(work: Work, seconds: float) -> int:
    once = _time(work, 1)  # which also warms it up
    return max(1, round(seconds / max(once, 1 / _MICRO)))


def _time(work: Work, goes: int) -> float:
    gc.collect()
    start = time.perf_counter()
    for _ in range(goes):
        work()
    return (time.perf_counter() - start) / goes


def _shown(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1 / 1000:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * _MICRO:.2f} us"
