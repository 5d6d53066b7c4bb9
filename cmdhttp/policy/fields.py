"""How a policy file writes a number, a switch, a span of time or a size.

Every YAML scalar reaches the model as text (see `source`), so each field here reads exactly one spelling and refuses the
rest: `no`, `0644`, `22:22` and `1.10` mean nothing but themselves.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

_INT = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?\Z")
_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m(?!s))?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?\Z"
)
_SIZE = re.compile(r"([1-9][0-9]{0,14})(B|KiB|MiB|GiB|TiB)\Z")
_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|sec|min|h|hour|d|day)\Z")
_COUNT_SHARE = re.compile(r"(0|[1-9][0-9]{0,5}|(?:100|[1-9]?[0-9])%)\Z")
_BATCH = re.compile(r"([1-9][0-9]{0,5}|(?:100|[1-9][0-9]?)%)\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_PARAM_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_INSTANT_LIKE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}.{4,}(Z|[+-][0-9:.]{2,}))\Z"
)  # wider than `read_instant`
_INT_WORDS = "a whole number in plain decimals, like 30 (no leading zero, no other base)"
_NUMBER_WORDS = "a number in plain decimals, like 0.5"
_BOOL_WORDS = "true or false, written so"
_DURATION_WORDS = "a duration with its unit, like 500ms, 30s, 2m or 1h30m"
_SIZE_WORDS = "a size with its unit, like 512B, 64KiB or 1MiB"
_RATE_WORDS = "a rate: a count, '/' and s, min, h or d, like 120/min or 30/h"
_SHARE_WORDS = "a count of runs, like 3, or a share of all runs of a job, like 25%"
_BATCH_WORDS = "a count of hosts, like 10, or a share of all hosts of a job, like 25%, and over zero"
_INSTANT_WORDS = "a date (2026-12-20) or a time with its offset (2026-12-20T08:00:00Z)"
_NAME_WORDS = "a name: a letter or digit, then letters, digits, '.', '_' or '-', at most 64 in all"
_PARAM_NAME_WORDS = "a parameter name: a small letter, then small letters, digits or '_', at most 32 in all"
_PERIOD = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_UNIT = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
"""What else is installed has no say in how a policy is read; to look for it would take a tenth of the import of this package."""


class Strict(BaseModel):
    """A mapping of the policy format: unknown keys are errors, and nothing changes after the load."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `count` in `seconds`."""

    count: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of a job's hosts, or so many in a hundred of them."""

    number: int
    percent: bool = False

    def of(self, total: int) -> int:
        """Return how many of `total` that is at most, rounded down."""
        return total * self.number // 100 if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else f"{self.number}"


def _text(value: Any, wanted: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be {wanted}")  # noqa: TRY004 - pydantic reports ValueError
    return value


def read_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value, "a whole number, like 30")
    if not _INT.match(text):
        raise ValueError(f"must be {_INT_WORDS}")
    return int(text)


def read_number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = _text(value, "a number, like 0.5")
    if not _NUMBER.match(text):
        raise ValueError(f"must be {_NUMBER_WORDS}")
    return float(text)


def read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = _text(value, "true or false")
    if text not in ("true", "false"):
        raise ValueError(f"must be {_BOOL_WORDS}")
    return text == "true"


def read_duration(value: Any) -> float:
    """Seconds from `500ms`, `30s`, `2m`, `1h30m`, `7d`; at most nine digits before each unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.match(_text(value, "a duration, like 30s, 2m or 1h30m"))
    if not found:
        raise ValueError(f"must be {_DURATION_WORDS}")
    days, hours, minutes, seconds, millis = (int(part or 0) for part in found.groups())
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds + millis / 1000
    if total <= 0:
        raise ValueError("must be longer than zero")
    return total


def read_size(value: Any) -> int:
    """Bytes from `512B`, `64KiB`, `1MiB`, `2GiB`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.match(_text(value, "a size, like 1MiB"))
    if not found:
        raise ValueError(f"must be {_SIZE_WORDS}")
    return int(found[1]) * _UNIT[found[2]]


def read_rate(value: Any) -> Rate:
    """A count in a time from `5/s`, `120/min`, `30/h`, `100/d`."""
    if isinstance(value, Rate):
        return value
    found = _RATE.match(_text(value, "a rate, like 30/h"))
    if not found:
        raise ValueError(f"must be {_RATE_WORDS}")
    return Rate(count=int(found[1]), seconds=_PERIOD[found[2]])


def read_share(value: Any) -> Share:
    """A count from `3`, or so many in a hundred from `25%`, at most `100%`."""
    return _share(value, _COUNT_SHARE, _SHARE_WORDS)


def read_batch(value: Any) -> Share:
    """The same, over zero."""
    return _share(value, _BATCH, _BATCH_WORDS)


def _share(value: Any, spelled: re.Pattern[str], words: str) -> Share:
    text = _text(value, words)
    if not spelled.match(text):
        raise ValueError(f"must be {words}")
    return Share(number=int(text.removesuffix("%")), percent=text.endswith("%"))


def read_instant(value: Any) -> datetime:
    """The moment in UTC: midnight for a date (`2026-12-20`), else that of a date-time with its offset."""
    if isinstance(value, datetime):
        return value
    text = _text(value, "a date, like 2026-12-20")
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"must be {_INSTANT_WORDS}") from None
    if instant.tzinfo is None:
        raise ValueError("must carry its offset from UTC, like 2026-12-20T08:00:00Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie in the years 1 to 9999 of UTC") from None


def read_name(value: Any) -> str:
    text = _text(value, "a name")
    if not _NAME.match(text):
        raise ValueError(f"must be {_NAME_WORDS}")
    return text


def read_param_name(value: Any) -> str:
    text = _text(value, "a parameter name")
    if not _PARAM_NAME.match(text):
        raise ValueError(f"must be {_PARAM_NAME_WORDS}")
    return text


def spelling(pattern: re.Pattern[str], words: str) -> dict[str, Any]:
    r"""JSON Schema of text that a pattern (which ends in `\Z`) matches; where it does not, an editor shows the words."""
    return {
        "type": "string",
        "pattern": f"^(?:{pattern.pattern.removesuffix(chr(92) + 'Z')})$",
        "errorMessage": f"must be {words}",
    }


QUOTED: Mapping[str, dict[str, Any]] = {
    "integer": spelling(_INT, _INT_WORDS),
    "number": spelling(_NUMBER, _NUMBER_WORDS),
    "boolean": spelling(re.compile(r"true|false\Z"), _BOOL_WORDS),
}
"""By JSON type: how the text is written that means such a value. JSON Schema of `Int`, `Number` and `Bool` is the type."""

RATE = spelling(_RATE, _RATE_WORDS)
SHARE = spelling(_COUNT_SHARE, _SHARE_WORDS)
BATCH = spelling(_BATCH, _BATCH_WORDS)

Int = Annotated[int, BeforeValidator(read_int)]
Number = Annotated[float, BeforeValidator(read_number)]
Bool = Annotated[bool, BeforeValidator(read_bool)]
Duration = Annotated[float, BeforeValidator(read_duration), WithJsonSchema(spelling(_DURATION, _DURATION_WORDS))]
Size = Annotated[int, BeforeValidator(read_size), WithJsonSchema(spelling(_SIZE, _SIZE_WORDS))]
Instant = Annotated[datetime, BeforeValidator(read_instant), WithJsonSchema(spelling(_INSTANT_LIKE, _INSTANT_WORDS))]
Name = Annotated[str, BeforeValidator(read_name), WithJsonSchema(spelling(_NAME, _NAME_WORDS))]
ParamName = Annotated[str, BeforeValidator(read_param_name), WithJsonSchema(spelling(_PARAM_NAME, _PARAM_NAME_WORDS))]
