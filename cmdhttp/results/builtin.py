"""Our own parsers: a text becomes data. Pure, strict, and in a time that grows no faster than the text.

A text that is not what its parser reads is refused as a whole, with the line: half of the data would look like all of it.
Nothing is guessed; what is no JSON becomes texts, never numbers.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping

from cmdhttp.results.model import MAX_DATA, Unreadable, malformed, too_large
from cmdhttp.results.strict import read_json

_SEPARATORS = "=:"
_QUOTES = "\"'"


class _Csv(csv.excel):
    strict = True


class _Tsv(csv.excel):
    delimiter = "\t"
    quoting = csv.QUOTE_NONE
    strict = True


def parse_ndjson(text: str) -> list[object]:
    """One JSON document a line; empty lines are skipped."""
    found = []
    for number, line in enumerate(parse_lines(text), start=1):
        if line.strip():
            try:
                found.append(read_json(line))
            except Unreadable as error:
                raise malformed(f"line {number}: {error.detail}") from None
    return found


def parse_lines(text: str) -> list[str]:
    """The lines without their ends, which are LF or CR LF."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def parse_csv(text: str) -> list[dict[str, str]]:
    """Comma-separated rows under a header row, quoted as in RFC 4180."""
    return _table(text, _Csv)


def parse_tsv(text: str) -> list[dict[str, str]]:
    """Rows with a tab between two cells, under a header row; nothing is quoted."""
    return _table(text, _Tsv)


def parse_keyvalue(text: str) -> dict[str, str]:
    """Lines of `KEY=value` or `key: value`; the first `=` or `:` parts them. Empty lines are skipped."""
    found: dict[str, str] = {}
    for number, line in enumerate(parse_lines(text), start=1):
        if not line.strip():
            continue
        places = [place for mark in _SEPARATORS if (place := line.find(mark)) >= 0]
        key = line[: min(places)].strip() if places else ""
        if not key:
            raise malformed(f"line {number} is not a key, '=' or ':', and a value")
        if key in found:
            raise malformed(f"line {number} gives a key again")
        found[key] = _unquoted(line[min(places) + 1 :].strip())
    return found


def _table(text: str, dialect: type[csv.Dialect]) -> list[dict[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), dialect)
    rows = []
    room = MAX_DATA
    try:
        header = next(reader, [])
        names = len(json.dumps(header))
        if len(set(header)) != len(header):
            raise malformed("the header names a column twice")
        for row in filter(None, reader):
            if len(row) != len(header):
                raise malformed(f"line {reader.line_num} has {len(row)} cells, and the header {len(header)}")
            room -= names + sum(map(len, row))
            if room < 0:
                raise too_large(f"the data is over {MAX_DATA} bytes")
            rows.append(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise malformed(f"line {reader.line_num}: {error}") from None
    return rows


def _unquoted(value: str) -> str:
    """Without the quotes around it, if they are one pair of the same kind."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES
    return value[1:-1] if quoted and value[0] not in value[1:-1] else value


BUILTIN: Mapping[str, Callable[[str], object]] = {
    "json": read_json,
    "ndjson": parse_ndjson,
    "lines": parse_lines,
    "csv": parse_csv,
    "tsv": parse_tsv,
    "keyvalue": parse_keyvalue,
}
"""Every parser of ours by its name. Each raises Unreadable."""
