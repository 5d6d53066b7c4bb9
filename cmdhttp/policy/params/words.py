"""Words to choose from, and text that a pattern describes.

An `enum` value is one of the policy's own texts. A `string` must match its pattern as a whole; it is ASCII unless
`unicode: true`, and then in Unicode's composed form (NFC), in which the pattern sees it. No value has a second line.
"""

import re
import unicodedata
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Bool, Int
from cmdhttp.policy.params import guard
from cmdhttp.policy.params.base import ParamSpec, check_length, check_order, wrong_format, wrong_type
from cmdhttp.policy.params.patterns import Pattern, PatternText
from cmdhttp.policy.params.values import Json, Value

_SHOWN = 20
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_USERNAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


class EnumParam(ParamSpec):
    """One of `values`, which are texts. A JSON integer stands for its decimal text."""

    type: Literal["enum"]
    values: tuple[str, ...] = Field(description="The texts to choose from.")

    def check(self) -> None:
        if not self.values:
            raise ValueError("values: must list at least one")
        seen: set[str] = set()
        for position, text in enumerate(self.values, start=1):
            try:
                self.text_of(text, "text")
            except BadValue as refused:
                raise ValueError(f"values: value {position}: {refused.detail}") from None
            if not text:
                raise ValueError(f"values: value {position} is empty")
            if text in seen:
                raise ValueError(f"values: value {position} is listed twice")
            seen.add(text)

    def normalise(self, value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**19:
            value = str(value)
        text = self.text_of(value, "one of the listed values, as text")
        if text not in self.values:
            more = ", ..." if len(self.values) > _SHOWN else ""
            hint = f"Send one of: {', '.join(self.values[:_SHOWN])}{more}."
            raise BadValue("not_in_values", "is not one of the listed values", hint=hint)
        return text

    def input_schema(self) -> dict[str, Json]:
        numbers: list[Json] = [int(text) for text in self.values if _WHOLE.fullmatch(text)]
        return {"enum": [*self.values, *numbers]}


class StringParam(ParamSpec):
    """Text that matches `pattern` as a whole, of `min_length` to `max_length` characters."""

    narrow_by: ClassVar = ("pattern", "min_length", "max_length")

    type: Literal["string"]
    pattern: PatternText = Field(description="The pattern that the whole text must match.")
    min_length: Int = Field(default=0, description="The fewest characters; 0 if left out.")
    max_length: Int = Field(default=256, description="The most characters; 256 if left out.")
    unicode: Bool = Field(default=False, description="Whether characters beyond ASCII may stand in it.")

    def check(self) -> None:
        check_order(0, self.min_length, names=("0", "min_length"))
        check_order(self.min_length, self.max_length, names=("min_length", "max_length"))
        check_order(self.max_length, guard.MAX_BYTES, names=("max_length", str(guard.MAX_BYTES)))

    def normalise(self, value: object) -> str:
        text = self.ascii_of(value, "text") if not self.unicode else self._composed(value)
        check_length(text, low=self.min_length, high=self.max_length)
        check_pattern(self.pattern, text)
        return text

    def _composed(self, value: object) -> str:
        # Guarded on both sides: composing can lengthen a text, and what is run is what comes out.
        return self.text_of(unicodedata.normalize("NFC", self.text_of(value, "text")), "text")

    def input_schema(self) -> dict[str, Json]:
        # NFC can shorten a text, so only ASCII has a length that JSON Schema can state before it.
        schema: dict[str, Json] = {"type": "string"}
        if not self.unicode:
            schema |= {"minLength": self.min_length, "maxLength": self.max_length}
            if self.pattern.for_json_schema:
                schema["pattern"] = self.pattern.for_json_schema
        return schema


class UsernameParam(ParamSpec):
    """A POSIX account name: a small letter or '_', then small letters, digits, '_' or '-'; at most 32."""

    narrow_by: ClassVar = ("pattern",)

    type: Literal["username"]
    pattern: PatternText | None = Field(default=None, description="A pattern that the whole name must match.")

    def normalise(self, value: object) -> str:
        text = self.ascii_of(value, "an account name, as text")
        if not _USERNAME.fullmatch(text):
            raise wrong_format("a small letter or '_', then small letters, digits, '_' or '-', at most 32 in all")
        check_pattern(self.pattern, text)
        return text

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "pattern": f"^{_USERNAME.pattern}$"}


class BoolParam(ParamSpec):
    """A switch. With `flag`, it is that one argument when true and no argument when false; left out, it is false."""

    type: Literal["bool"]
    flag: str | None = Field(
        default=None, description="The argument that stands for true, like --verbose; false is none."
    )

    @model_validator(mode="before")
    @classmethod
    def _off(cls, words: Any) -> Any:
        """A flag that may be left out is false then: the argv is the same, and no rule can take the two for different."""
        if isinstance(words, dict) and "flag" in words and words.get("required") in ("false", False):
            return {"default": "false", **words}
        return words

    def check(self) -> None:
        if self.flag is None:
            return
        if not self.flag:
            raise ValueError("flag: must not be empty")
        guard.check_size(self.flag)
        guard.check_characters(self.flag)

    def normalise(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str):
            raise wrong_type("true or false")
        text = self.ascii_of(value, "true or false")
        if text not in ("true", "false"):
            raise wrong_format("true or false")
        return text == "true"

    def render(self, value: Value) -> str:
        if self.flag is not None:
            return self.flag if value else ""
        return self.identity(value)

    def arguments(self, value: Value) -> tuple[str, ...]:
        return () if self.flag is not None and not value else (self.render(value),)

    def identity(self, value: Value) -> str:
        return "true" if value else "false"

    def input_schema(self) -> dict[str, Json]:
        return {"enum": [True, False, "true", "false"]}


def check_pattern(pattern: Pattern | None, text: str) -> None:
    """Raise `BadValue` unless the whole text matches."""
    if pattern is not None and not pattern.matches(text):
        raise BadValue("pattern", "does not match the parameter's pattern")
