"""What reading an output comes to, and how much is read. Pure."""

from dataclasses import dataclass
from enum import StrEnum

MAX_OUTPUT = 1 << 20
"""Bytes of stdout that a parser takes."""

MAX_DATA = 2 << 20
"""Bytes of the JSON that the data of one run may become."""


class DataErrorCode(StrEnum):
    """Why a run has no data. Stable; `docs/reference/results.md` explains each."""

    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    NOT_UTF8 = "not_utf8"
    MALFORMED = "malformed"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataError:
    """`detail` is for the caller, who may read the output anyway."""

    code: DataErrorCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """Data of JSON types only, or an error; neither if there was nothing to read."""

    data: object = None
    error: DataError | None = None


class Unreadable(ValueError):
    """An output that does not become data."""

    def __init__(self, code: DataErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def parsed(self) -> Parsed:
        return Parsed(error=DataError(code=self.code, detail=self.detail))


def malformed(detail: str) -> Unreadable:
    return Unreadable(DataErrorCode.MALFORMED, detail)


def too_large(detail: str) -> Unreadable:
    return Unreadable(DataErrorCode.TOO_LARGE, detail)
