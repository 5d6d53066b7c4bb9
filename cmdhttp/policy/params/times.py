"""Days, instants and spans of time, each with one spelling.

A date is `2026-12-20`. An instant is RFC 3339 with its offset, and becomes UTC in whole seconds
(`2026-12-20T08:00:00Z`): a fraction of a second is dropped, never rounded up. A span is written with its units
(`1h30m`) and becomes seconds (`5400s`, `0.5s`). No value depends on the clock or the zone of a machine.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cmdhttp.policy.fields import Duration, Instant, spelling
from cmdhttp.policy.params.base import ParamSpec, check_bounds, check_order, wrong_format
from cmdhttp.policy.params.values import Json

_DAY_WORDS = "a date, like 2026-12-20"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_SPAN = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m(?!s))?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_SECONDS = re.compile(r"([0-9]{1,16})(?:\.([0-9]{1,3}))?s")
_SPAN_SCHEMA = r"^(([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+(\.[0-9]{1,3})?s)$"


def _read_date(text: str) -> date | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _policy_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    day = _read_date(value) if isinstance(value, str) else None
    if day is None:
        raise ValueError(f"must be {_DAY_WORDS}")
    return day


Day = Annotated[date, BeforeValidator(_policy_date), WithJsonSchema(spelling(_DATE, _DAY_WORDS))]


class DateParam(ParamSpec):
    """A day of the calendar, `min` and `max` included."""

    narrow_by: ClassVar = ("min", "max")

    type: Literal["date"]
    min: Day | None = Field(default=None, description="The first day.")
    max: Day | None = Field(default=None, description="The last day.")

    def check(self) -> None:
        check_order(self.min, self.max)

    def normalise(self, value: object) -> str:
        day = _read_date(self.ascii_of(value, "a date, as text"))
        if day is None:
            raise wrong_format("a date, like 2026-12-20")
        check_bounds(day, low=self.min, high=self.max)
        return day.isoformat()

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "format": "date"}


class DatetimeParam(ParamSpec):
    """An instant with its offset, `min` and `max` included."""

    narrow_by: ClassVar = ("min", "max")

    type: Literal["datetime"]
    min: Instant | None = Field(default=None, description="The first moment.")
    max: Instant | None = Field(default=None, description="The last moment.")

    def check(self) -> None:
        check_order(self.min, self.max)

    def normalise(self, value: object) -> str:
        instant = self._read(self.ascii_of(value, "a date and time, as text"))
        check_bounds(instant, low=self.min, high=self.max)
        return instant.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"

    def _read(self, text: str) -> datetime:
        found = _INSTANT.fullmatch(text)
        try:
            if found:
                return datetime.fromisoformat(found[1] + found[2]).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # 25:00, 30 February, or an offset that leaves the calendar
        raise wrong_format("a date and time with its offset, like 2026-12-20T08:00:00Z")

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "format": "date-time"}


class DurationParam(ParamSpec):
    """A span of time longer than zero, `min` and `max` included."""

    narrow_by: ClassVar = ("min", "max")

    type: Literal["duration"]
    min: Duration | None = Field(default=None, description="The shortest span.")
    max: Duration | None = Field(default=None, description="The longest span.")

    def check(self) -> None:
        check_order(self.min, self.max)

    def normalise(self, value: object) -> str:
        millis = _read_span(self.ascii_of(value, "a duration with its unit, as text"))
        if millis is None or millis <= 0:
            raise wrong_format("a duration longer than zero with its unit, like 500ms, 30s, 2m or 1h30m")
        show = {"low": f"{self.min or 0:g}s", "high": f"{self.max or 0:g}s"}
        check_bounds(millis, low=_millis(self.min), high=_millis(self.max), show=show)
        seconds, rest = divmod(millis, 1000)
        return f"{seconds}.{rest:03d}".rstrip("0") + "s" if rest else f"{seconds}s"

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "pattern": _SPAN_SCHEMA}


def _millis(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _read_span(text: str) -> int | None:
    """Milliseconds; nothing if the text is not a span."""
    plain = _SECONDS.fullmatch(text)
    if plain:
        return int(plain[1]) * 1000 + int((plain[2] or "").ljust(3, "0"))
    found = _SPAN.fullmatch(text)
    if not found:
        return None
    days, hours, minutes, seconds, millis = (int(part or 0) for part in found.groups())
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + millis
