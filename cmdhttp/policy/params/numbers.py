"""Numbers in plain decimals: what is compared is what is rendered, without exponents, leading zeros or other scripts.

Text is taken as well as JSON numbers, and a whole JSON number may be written `22.0`. A negative number starts with
'-', so it is refused like any other such value unless the policy says `leading_dash: true`.
"""

import math
import re
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Int, Number
from cmdhttp.policy.params import guard
from cmdhttp.policy.params.base import ParamSpec, check_bounds, check_order, wrong_format, wrong_type
from cmdhttp.policy.params.values import Json, Value

_EXACT = 2**53
_LEAST = 1e-15
_MAX_PORT = 65535
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,40})?")


def _check_sign(low: float | None, high: float | None, *, leading_dash: bool) -> None:
    for name, bound in (("min", low), ("max", high)):
        if bound is not None and bound < 0 and not leading_dash:
            raise ValueError(f"{name}: a negative number starts with '-'; allow that with 'leading_dash: true'")


class _WholeParam(ParamSpec):
    """What `int` and `port` share."""

    narrow_by: ClassVar = ("min", "max")

    min: Int | None = Field(default=None, description="The least value.")
    max: Int | None = Field(default=None, description="The greatest value.")

    @property
    def low(self) -> int:
        return -_EXACT if self.min is None else self.min

    @property
    def high(self) -> int:
        return _EXACT if self.max is None else self.max

    def check(self) -> None:
        check_order(self.low, self.high)
        _check_sign(self.min, self.max, leading_dash=self.leading_dash)

    def normalise(self, value: object) -> int:
        number = self._read(value)
        if number < 0 and not self.leading_dash:
            guard.check_dash("-")
        check_bounds(number, low=self.low, high=self.high)
        return number

    def _read(self, value: object) -> int:
        if isinstance(value, bool):
            raise wrong_type("a whole number")
        if isinstance(value, int):
            return value
        if isinstance(value, float):
            if not value.is_integer() or abs(value) > _EXACT:
                raise wrong_format("a whole number")
            return int(value)
        text = self.ascii_of(value, "a whole number")
        if not _WHOLE.fullmatch(text):
            raise wrong_format("a whole number in plain decimals, without a leading zero")
        return int(text)

    def input_schema(self) -> dict[str, Json]:
        return {
            "type": ["integer", "string"],
            "minimum": self.low if self.leading_dash else max(self.low, 0),
            "maximum": self.high,
            "pattern": "^(0|-?[1-9][0-9]*)$",
        }


class IntParam(_WholeParam):
    """A whole number of `min` to `max`, both 2^53 away from zero unless given."""

    type: Literal["int"]


class PortParam(_WholeParam):
    """A TCP or UDP port, 1 to 65535, or narrower by `min` and `max`."""

    type: Literal["port"]

    @property
    def low(self) -> int:
        return 1 if self.min is None else self.min

    @property
    def high(self) -> int:
        return _MAX_PORT if self.max is None else self.max

    def check(self) -> None:
        super().check()
        check_order(1, self.low, names=("1", "min"))
        check_order(self.high, _MAX_PORT, names=("max", str(_MAX_PORT)))


class NumberParam(ParamSpec):
    """A finite number of `min` to `max`, both 2^53 away from zero unless given; zero or at least 1e-15 from it."""

    narrow_by: ClassVar = ("min", "max")

    type: Literal["number"]
    min: Number | None = Field(default=None, description="The least value.")
    max: Number | None = Field(default=None, description="The greatest value.")

    @property
    def low(self) -> float:
        return -_EXACT if self.min is None else self.min

    @property
    def high(self) -> float:
        return _EXACT if self.max is None else self.max

    def check(self) -> None:
        check_order(self.low, self.high)
        _check_sign(self.min, self.max, leading_dash=self.leading_dash)

    def normalise(self, value: object) -> float:
        number = self._read(value)
        if number < 0 and not self.leading_dash:
            guard.check_dash("-")
        texts = {"low": decimal_text(self.low), "high": decimal_text(self.high)}
        check_bounds(number, low=self.low, high=self.high, show=texts)
        if 0 < abs(number) < _LEAST:
            raise wrong_format("zero, or at least 0.000000000000001 away from it")
        return float(number) or 0.0  # -0.0 is 0.0

    def _read(self, value: object) -> float:
        if isinstance(value, bool):
            raise wrong_type("a number")
        if isinstance(value, int | float):
            if not math.isfinite(value if isinstance(value, float) else 0):
                raise BadValue("not_finite", "must be a finite number")
            return value  # an int stays one until its bounds are checked: 10**400 has no float
        text = self.ascii_of(value, "a number")
        if not _DECIMAL.fullmatch(text):
            raise wrong_format("a number in plain decimals, without an exponent or a leading zero")
        return float(text)

    def render(self, value: Value) -> str:
        return decimal_text(value) if isinstance(value, int | float) else str(value)

    def input_schema(self) -> dict[str, Json]:
        low = self.low if self.leading_dash else max(self.low, 0)
        return {
            "type": ["number", "string"],
            "minimum": low,
            "maximum": self.high,
            "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$",
        }


def decimal_text(number: float) -> str:
    """The shortest plain decimals that read back as the same float: `0.00001`, never `1e-05`; `5`, never `5.0`."""
    text = format(Decimal(repr(float(number))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
