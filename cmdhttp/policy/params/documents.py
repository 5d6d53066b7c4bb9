"""What is too rich for an argument: JSON, secrets and uploads.

None of them is ever text within argv. JSON goes by environment as one canonical text. A secret and an upload are staged
as private files, and their argument is that file's path, which is known only when the run starts; every record shows a
secret as `***`. A policy never holds the value of a secret or an upload, not even as a default.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import ClassVar, Literal, NoReturn

from pydantic import Field

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Bool, Int, Size
from cmdhttp.policy.params import guard
from cmdhttp.policy.params.base import ParamSpec, check_length, check_order, wrong_format, wrong_type
from cmdhttp.policy.params.paths import read_filename
from cmdhttp.policy.params.values import MASK, Json, Secret, Upload, Value, canonical_json

_MAX_JSON = 512 * 1024
_MAX_DEPTH = 40
_MAX_INT = 2**63 - 1
_MAX_UPLOAD = 16 * 1024 * 1024
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class JsonParam(ParamSpec):
    """Any JSON value of at most `max` bytes and `max_depth` levels. Text is a JSON string, never parsed again."""

    argv_allowed: ClassVar = False
    narrow_by: ClassVar = ("max", "max_depth")

    type: Literal["json"]
    max: Size = Field(default=guard.MAX_BYTES, description="The most bytes; 8KiB if left out.")
    max_depth: Int = Field(default=16, description="The most levels; 16 if left out.")

    def check(self) -> None:
        check_order(1, self.max_depth, names=("1", "max_depth"))
        check_order(self.max_depth, _MAX_DEPTH, names=("max_depth", str(_MAX_DEPTH)))
        check_order(self.max, _MAX_JSON, names=("max", f"{_MAX_JSON // 1024}KiB"))

    def normalise(self, value: object) -> Value:
        found = self._copy(value, depth=1)
        text = canonical_json(found)
        if len(text) > self.max:
            raise BadValue("too_long", f"must be at most {self.max} bytes as JSON")
        if not self.leading_dash:
            guard.check_dash(text)
        return found

    def _copy(self, value: object, *, depth: int) -> Value:
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, Mapping | list | tuple):
            if depth > self.max_depth:
                raise BadValue("too_deep", f"must be nested at most {self.max_depth} levels deep")
            if not isinstance(value, Mapping):
                return tuple(self._copy(item, depth=depth + 1) for item in value)
            return {self._clean(key): self._copy(item, depth=depth + 1) for key, item in value.items()}
        return _scalar(value)

    def _clean(self, text: object) -> str:
        if not isinstance(text, str):
            raise wrong_type("JSON with text for keys")
        guard.check_size(text, limit=self.max)
        guard.check_characters(text)
        return text

    def render(self, value: Value) -> str:
        return canonical_json(value)

    def from_policy(self, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("must be JSON text in quotes, because YAML's own scalars are read as text")  # noqa: TRY004
        try:
            return json.loads(value, parse_constant=_no_constant, object_pairs_hook=_no_twins)
        except RecursionError:
            raise ValueError("must be JSON text that is nested less deeply") from None
        except ValueError:
            raise ValueError("must be JSON text, with each key once, like '{\"a\": 1}'") from None

    def input_schema(self) -> dict[str, Json]:
        return {}


def _scalar(value: object) -> Value:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadValue("not_finite", "must not hold an infinite number or NaN")
        return value
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise BadValue("too_large", "must not hold an integer of more than 63 bits")
    if value is None or isinstance(value, bool | int):
        return value
    raise wrong_type("JSON")


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


class SecretParam(ParamSpec):
    """A secret of `min_length` to `max_length` characters and at most `max` bytes; any script, one line.

    Its text is never an argument, so a leading '-' is allowed unless the policy says otherwise.
    """

    staged: ClassVar = True
    env_allowed: ClassVar = False
    secret: ClassVar = True
    default_allowed: ClassVar = False
    narrow_by: ClassVar = ("min_length", "max_length", "max")

    type: Literal["secret"]
    leading_dash: Bool = Field(default=True, description="Whether it may begin with '-'; true if left out.")
    min_length: Int = Field(default=1, description="The fewest characters; 1 if left out.")
    max_length: Int = Field(default=guard.MAX_BYTES, description="The most characters; 8192 if left out.")
    max: Size = Field(default=guard.MAX_BYTES, description="The most bytes; 8KiB if left out.")

    def check(self) -> None:
        check_order(0, self.min_length, names=("0", "min_length"))
        check_order(self.min_length, self.max_length, names=("min_length", "max_length"))
        check_order(self.max, guard.MAX_BYTES, names=("max", f"{guard.MAX_BYTES // 1024}KiB"))

    def normalise(self, value: object) -> Secret:
        text = self.text_of(value.text if isinstance(value, Secret) else value, "text")
        check_length(text, low=self.min_length, high=self.max_length)
        guard.check_size(text, limit=self.max)
        return Secret(text)

    def render(self, value: Value) -> str:  # noqa: ARG002 - whatever it is
        return MASK

    def payload(self, value: Value) -> bytes:
        if not isinstance(value, Secret):
            raise TypeError("not the normal form of a secret")
        return value.text.encode()

    def identity(self, value: Value) -> str:
        return self.payload(value).decode()

    def input_schema(self) -> dict[str, Json]:
        length: dict[str, Json] = {"minLength": self.min_length, "maxLength": self.max_length}
        return {"type": "string", "format": "password", "writeOnly": True, **length}


class FileParam(ParamSpec):
    """An upload `{"name": ..., "base64": ..., "sha256"?: ...}` of at most `max` bytes, staged in a private folder."""

    staged: ClassVar = True
    env_allowed: ClassVar = False
    default_allowed: ClassVar = False
    narrow_by: ClassVar = ("max",)

    type: Literal["file"]
    max: Size = Field(default=512 * 1024, description="The most bytes; 512KiB if left out.")
    hidden: Bool = Field(default=False, description="Whether its name may begin with a dot.")

    def check(self) -> None:
        check_order(self.max, _MAX_UPLOAD, names=("max", f"{_MAX_UPLOAD >> 20}MiB"))

    def normalise(self, value: object) -> Upload:
        upload = value if isinstance(value, Upload) else self._read(value)
        if upload.size > self.max:
            raise self._too_large()
        return upload

    def _too_large(self) -> BadValue:
        return BadValue("too_large", f"must be at most {self.max} bytes")

    def _read(self, value: object) -> Upload:
        if not isinstance(value, Mapping):
            raise wrong_type("an object with 'name' and 'base64'")
        if not value.keys() <= {"name", "base64", "sha256"}:
            raise BadValue("unknown_key", "may have the keys 'name', 'base64' and 'sha256' only")
        if not value.keys() >= {"name", "base64"}:
            raise BadValue("missing_key", "must have the keys 'name' and 'base64'")
        name = read_filename(self.ascii_of(value["name"], "an object whose 'name' is text"), hidden=self.hidden)
        content = self._decode(value["base64"])
        sha256 = hashlib.sha256(content).hexdigest()
        self._check_sum(value.get("sha256", sha256), sha256)
        return Upload(name=name, sha256=sha256, size=len(content), content=content)

    def _decode(self, text: object) -> bytes:
        if not isinstance(text, str):
            raise wrong_type("an object whose 'base64' is text")
        if len(text) > (self.max + 2) // 3 * 4:
            raise self._too_large()
        try:
            content = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            content = None
        # Encoded again, because the decoder takes stray bits and padding in the last group.
        if content is None or base64.b64encode(content).decode("ascii") != text:
            raise BadValue("base64", "must have plain base64 with its padding, without line breaks")
        return content

    def _check_sum(self, given: object, actual: str) -> None:
        if not isinstance(given, str) or not _SHA256.fullmatch(given):
            raise wrong_format("an object whose 'sha256' is 64 hexadecimal digits")
        if given.lower() != actual:
            raise BadValue("sha256_mismatch", "the content does not have the given sha256", hint="Send the file again.")

    def render(self, value: Value) -> str:  # noqa: ARG002 - whatever it is
        raise TypeError("an upload is rendered as its path, which is known when the run starts")

    def payload(self, value: Value) -> bytes:
        if not isinstance(value, Upload):
            raise TypeError("not the normal form of an upload")
        return value.content

    def identity(self, value: Value) -> str:
        return canonical_json(value)

    def input_schema(self) -> dict[str, Json]:
        return {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 255},
                "base64": {"type": "string", "contentEncoding": "base64", "maxLength": (self.max + 2) // 3 * 4},
                "sha256": {"type": "string", "pattern": f"^{_SHA256.pattern}$"},
            },
            "required": ["name", "base64"],
            "additionalProperties": False,
        }
