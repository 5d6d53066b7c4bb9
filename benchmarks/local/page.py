"""`python -m benchmarks.local.page FILE [ssh]`: what `--json` has written of local runs, or of SSH runs, as Markdown.

The tables are those of docs/explanation/performance.md.

Each figure is the median; the least, the spread and every round stay in the file.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import SHOWN

Document = Mapping[str, Any]
_LOAD = ("calls", "p50", "p99", "cpu")


def page(document: Document, *, of: str = "local") -> str:
    """The tables: loads with a column for each number of clients, everything else as measured, then the aims."""
    reports = [report for name, found in document["benchmarks"].items() if name.startswith(of) for report in found]
    sheets = [report for report in reports if "rows" in report]
    parts = [*_loads(sheets), *(_plain(sheet) for sheet in sheets if not _is_load(sheet))]
    parts += [_aims(report) for report in reports if "aims" in report]
    return "\n\n".join([_where(document), *parts]) + "\n"


def _where(document: Document) -> str:
    where = "{python}, {system}, {processors} processors".format_map(document["machine"])
    return f"{where}; load {document['machine']['load']} at the start; {document['rounds']} rounds."


def _is_load(sheet: Document) -> bool:
    return tuple(figure["name"] for figure in sheet["rows"][0]["figures"]) == _LOAD


def _loads(sheets: Sequence[Document]) -> Iterator[str]:
    """One table for each program: calls a second, p50, p99 and processor time in a cell."""
    programs: dict[str, dict[str, Document]] = {}
    for sheet in filter(_is_load, sheets):
        program, _, clients = sheet["title"].partition(", ")
        programs.setdefault(program, {})[clients] = sheet
    for program, by_clients in programs.items():
        cells: dict[str, list[str]] = {}
        for sheet in by_clients.values():
            for row in sheet["rows"]:
                shown = {figure["name"]: _shown(figure) for figure in row["figures"]}
                cell = "{calls} ({p50}, {p99}; {cpu})".format_map({"cpu": "?", **shown})
                cells.setdefault(row["name"], []).append(cell)
        head = [f"`{program}`: calls a second (p50, p99; processor time a call; in ms)", *by_clients]
        yield _table(head, [[name, *row] for name, row in cells.items()])


def _plain(sheet: Document) -> str:
    first = sheet["rows"][0]["figures"]
    head = [sheet["title"], *(f"{figure['name']}, {figure['unit']}" for figure in first)]
    rows = [[row["name"], *map(_shown, row["figures"])] for row in sheet["rows"]]
    return _table(head, [row + [""] * (len(head) - len(row)) for row in rows])


def _aims(report: Document) -> str:
    rows = []
    for aim in report["aims"]:
        shown = SHOWN[aim["unit"]]
        bound = f"at least {shown(aim['at_least'])}" if "at_least" in aim else f"at most {shown(aim['at_most'])}"
        rows.append([aim["what"], f"{bound} {aim['unit']}", shown(aim["found"]), "yes" if aim["met"] else "**no**"])
    return _table(["aim", "wanted", "found", "met"], rows)


def _shown(figure: Document) -> str:
    return SHOWN[figure["unit"]](figure["median"])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    file, *of = sys.argv[1:]
    print(page(json.loads(Path(file).read_text()), of=of[0] if of else "local"), end="")
