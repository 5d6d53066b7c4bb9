"""Figures of several kinds side by side, such as calls a second and milliseconds, each taken once in every round.

A figure is shown as its median, with the least and the spread (greatest less least, as a share of the median); *times* is the
median of the ratios to the first row within the rounds. An aim is held against a figure and is met or not; a run passes
either way.
"""

import math
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_WIDE = 110
SHOWN: Mapping[str, Callable[[float], str]] = {
    "ms": lambda value: f"{value:.2f}" if value < 100 else f"{value:.0f}",  # noqa: PLR2004 - two decimals tell no more there
    "s": lambda value: f"{value:.2f}",
    "us": lambda value: f"{value:.0f}",
    "1/s": lambda value: f"{value:,.0f}",
    "MB/s": lambda value: f"{value:,.0f}",
    "MB": lambda value: f"{value:,.1f}",
    "times": lambda value: f"{value:.3g}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one kind of figure is called, and its unit, of those in `SHOWN`."""

    name: str
    unit: str

    def shown(self, value: float) -> str:
        return SHOWN[self.unit](value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, once for each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def spread(self) -> float:
        """Greatest less least, as a share of the median; 0 if all are 0."""
        return (max(self.values) - min(self.values)) / abs(self.median) if self.median else 0.0

    def ratio(self, to: "Figure") -> float:
        """How many times the other: the median over the rounds. NaN where the other is 0 in a round."""
        pairs = list(zip(self.values, to.values, strict=True))
        if any(its == 0 for _, its in pairs):
            return math.nan
        return statistics.median(mine / its for mine, its in pairs)

    def less(self, other: "Figure") -> "Figure":
        """The difference, round by round."""
        return Figure(tuple(mine - its for mine, its in zip(self.values, other.values, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender's figures, one for each column; None where there is none."""

    name: str
    figures: tuple[Figure | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Contenders side by side. The first is what the others are held against."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def figure(self, row: str, column: str) -> Figure:
        """One figure by its names. Raises LookupError if it is not here."""
        names = [each.name for each in self.columns]
        for each in self.rows:
            found = each.figures[names.index(column)] if each.name == row and column in names else None
            if found is not None:
                return found
        raise LookupError(f"{self.title}: no {column!r} of {row!r}")

    def text(self) -> str:
        """The sheet for people."""
        wide = max(len(row.name) for row in self.rows)
        heads = [
            f"{f'{column.name} {column.unit}':>12} {'least':>8} {'spread':>6} {'times':>6}" for column in self.columns
        ]
        lines = [self.title, f"  {'':{wide}}" + " ".join(heads)]
        for row in self.rows:
            cells = [self._cell(index, figure) for index, figure in enumerate(row.figures)]
            lines.append(f"  {row.name:{wide}}" + " ".join(cells))
        return "\n".join([*lines, *map(_wrapped, self.notes)])

    def document(self) -> dict[str, object]:
        """The sheet for machines."""
        return {
            "title": self.title,
            "rows": [
                {
                    "name": row.name,
                    "figures": [
                        self._figure_document(index, figure)
                        for index, figure in enumerate(row.figures)
                        if figure is not None
                    ],
                }
                for row in self.rows
            ],
            "notes": self.notes,
        }

    def _cell(self, index: int, figure: Figure | None) -> str:
        if figure is None:
            return f"{'-':>12} {'':>8} {'':>6} {'':>6}"
        column, times = self.columns[index], self._times(index, figure)
        shown = f"{column.shown(figure.median):>12} {column.shown(figure.least):>8} {figure.spread:>6.0%}"
        return f"{shown} {'' if times is None else f'{times:.3g}':>6}"

    def _times(self, index: int, figure: Figure) -> float | None:
        first = self.rows[0].figures[index]
        ratio = math.nan if first is None else figure.ratio(first)
        return None if math.isnan(ratio) else ratio

    def _figure_document(self, index: int, figure: Figure) -> dict[str, object]:
        column = self.columns[index]
        return {
            "name": column.name,
            "unit": column.unit,
            "median": figure.median,
            "least": figure.least,
            "spread": figure.spread,
            "values": figure.values,
            "times_the_first": self._times(index, figure),
        }


def race(
    title: str,
    columns: tuple[Column, ...],
    work: Mapping[str, Callable[[], Sequence[float]]],
    *,
    rounds: int,
    notes: tuple[str, ...] = (),
) -> Sheet:
    """Let each contender do its work once in each round; it gives its figures for the first columns, as many as it has."""
    taken: dict[str, list[Sequence[float]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, each in work.items():
            taken[name].append(each())
    rows = []
    for name, found in taken.items():
        figures: list[Figure | None] = [Figure(values) for values in zip(*found, strict=True)]
        rows.append(Row(name=name, figures=(*figures, *[None] * (len(columns) - len(figures)))))
    return Sheet(title=title, columns=columns, rows=tuple(rows), notes=notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What was wanted of a figure: at least or at most so much."""

    what: str
    unit: str
    wanted: float
    found: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """Aims, with whether each is met."""

    title: str
    aims: tuple[Aim, ...]

    def text(self) -> str:
        wide = max(len(aim.what) for aim in self.aims)
        lines = [self.title, f"  {'':{wide}} {'wanted':>16} {'found':>10}"]
        for aim in self.aims:
            shown = SHOWN[aim.unit]
            wanted = f"{'>=' if aim.at_least else '<='} {shown(aim.wanted)} {aim.unit}"
            lines.append(f"  {aim.what:{wide}} {wanted:>16} {shown(aim.found):>10}  {'met' if aim.met else 'MISSED'}")
        return "\n".join(lines)

    def document(self) -> dict[str, object]:
        return {
            "title": self.title,
            "aims": [
                {
                    "what": aim.what,
                    "unit": aim.unit,
                    "at_least" if aim.at_least else "at_most": aim.wanted,
                    "found": aim.found,
                    "met": aim.met,
                }
                for aim in self.aims
            ],
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that `share` of all do not exceed (nearest rank). The values are in ascending order."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _wrapped(note: str) -> str:
    return textwrap.fill(note, width=_WIDE, initial_indent="  ", subsequent_indent="  ")
