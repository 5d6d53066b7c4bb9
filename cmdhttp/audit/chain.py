"""The hash chain. Pure.

A record is one line of compact JSON with its keys sorted; `prev` is the sha256 of the line before, without its newline, and
`seq` counts from 1. The first record's `prev` is 64 zeros. So no line can be changed, dropped or moved without breaking
every later one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

GENESIS = "0" * 64
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a chain: the last record's number and the hash of its line."""

    seq: int = 0
    hash: str = GENESIS


def link(head: Head, *, time: str, code: str, fields: Mapping[str, object]) -> tuple[bytes, Head]:
    """Return the next line, newline included, and the head after it."""
    record = {**fields, "seq": head.seq + 1, "prev": head.hash, "time": time, "code": code}
    line = _ENCODER.encode(record).encode()
    return line + b"\n", Head(seq=head.seq + 1, hash=hashlib.sha256(line).hexdigest())


def head_after(line: bytes) -> Head:
    """Return the head that this line (without newline) makes. Raises ValueError if it is no record."""
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("seq"), int):
        raise ValueError("not an audit record")  # noqa: TRY004 - one error for all that is no record
    return Head(seq=record["seq"], hash=hashlib.sha256(line).hexdigest())


def first_break(lines: Iterable[bytes], *, start: Head = Head()) -> int | None:
    """Return the index of the first line that does not follow from the one before, or None."""
    head = start
    for index, line in enumerate(lines):
        try:
            record, after = json.loads(line), head_after(line)
        except ValueError:
            return index
        if record.get("prev") != head.hash or after.seq != head.seq + 1:
            return index
        head = after
    return None
