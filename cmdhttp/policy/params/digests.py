"""Identifiers in hexadecimal: UUIDs and sums of files. Lower case, in full, one spelling."""

import re
from typing import ClassVar, Literal, TypeAlias

from pydantic import Field

from cmdhttp.errors import BadValue
from cmdhttp.policy.params.base import ParamSpec, wrong_format
from cmdhttp.policy.params.values import Json

Algorithm: TypeAlias = Literal["md5", "sha1", "sha256"]

_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_BY_LENGTH: dict[int, Algorithm] = {32: "md5", 40: "sha1", 64: "sha256"}


class UuidParam(ParamSpec):
    """A UUID of any version, with its hyphens."""

    type: Literal["uuid"]

    def normalise(self, value: object) -> str:
        text = self.ascii_of(value, "a UUID, as text")
        if not _UUID.fullmatch(text):
            raise wrong_format("a UUID, like 123e4567-e89b-42d3-a456-426614174000")
        return text.lower()

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "pattern": f"^{_UUID.pattern}$"}


class HashParam(ParamSpec):
    """An MD5, SHA-1 or SHA-256 sum, told apart by length; `algorithms` allows fewer."""

    narrow_by: ClassVar = ("algorithms",)

    type: Literal["hash"]
    algorithms: tuple[Algorithm, ...] = Field(
        default=("md5", "sha1", "sha256"), description="Of which algorithms; of all three if left out."
    )

    def check(self) -> None:
        if not self.algorithms:
            raise ValueError("algorithms: an empty list allows nothing")

    def normalise(self, value: object) -> str:
        text = self.ascii_of(value, "a sum in hexadecimal, as text")
        algorithm = _BY_LENGTH.get(len(text))
        if algorithm is None or not _HEX.fullmatch(text):
            raise wrong_format("a sum of 32, 40 or 64 hexadecimal digits")
        if algorithm not in self.algorithms:
            raise BadValue("algorithm", f"must be a sum by {' or '.join(self.algorithms)}")
        return text.lower()

    def input_schema(self) -> dict[str, Json]:
        lengths = [length for length, name in _BY_LENGTH.items() if name in self.algorithms]
        return {
            "type": "string",
            "pattern": "^({})$".format("|".join(f"[0-9A-Fa-f]{{{length}}}" for length in lengths)),
        }
