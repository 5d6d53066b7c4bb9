"""What a value is once its type has read it.

A normal form is plain data: text, numbers, switches, tuples, and mappings for `json`. The two exceptions, `Secret` and
`Upload`, are classes of their own so that `json.dumps`, `repr` and `%s` cannot spill their content by accident.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret that shows itself as `***`; whoever writes it to stdin or a 0400 file asks for `text` by name."""

    text: str

    def __repr__(self) -> str:
        return MASK


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that came with the call. `sha256` is lower-case hex of `content`, `size` its bytes."""

    name: str
    sha256: str
    size: int
    content: bytes = field(repr=False)


Value: TypeAlias = "str | int | float | bool | tuple[Value, ...] | Mapping[str, Value] | Secret | Upload | None"
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


def plain_json(value: Value) -> Json:
    """The value as `json.dumps` takes it: a secret as `***`, an upload as its name, sum and size."""
    match value:
        case Secret():
            return MASK
        case Upload():
            return {"name": value.name, "sha256": value.sha256, "size": value.size}
        case tuple():
            return [plain_json(item) for item in value]
        case Mapping():
            return {key: plain_json(value[key]) for key in sorted(value)}
        case _:
            return value


def canonical_json(value: Value) -> str:
    """Compact, keys sorted, ASCII only: one text for one value."""
    return json.dumps(plain_json(value), separators=(",", ":"), sort_keys=True, allow_nan=False)
