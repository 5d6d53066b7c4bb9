r"""A pattern matches the whole value, in time linear in its length.

It is compiled by pydantic-core's Rust regex as `\A(?:PATTERN)\z`. The bare pattern must compile first, so that it
cannot close our group and open its own, and verbose mode is refused, because its comments could swallow the closing
parenthesis. Look-around and back-references do not exist in that engine and are refused at load with a text that says
so.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_PATTERN = 2000

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_VERBOSE = re.compile(r"\(\?[A-Za-z-]*x")
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_NOT_ECMA = re.compile(r"\(\?(?!:)|\[\[|\[\]|&&|--|~~|[+*?}]\+")
_ECMA_ESCAPE = re.compile(r"\\[dDwWsSbnrt.\\/*+?()\[\]{}|^$-]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of the policy, compiled. Two with the same text are equal."""

    text: str
    _validator: SchemaValidator = field(repr=False, compare=False)

    def matches(self, value: str) -> bool:
        """Whether the whole of the value matches."""
        return self._validator.isinstance_python(value, strict=True)

    @property
    def for_json_schema(self) -> str | None:
        """The same as a JSON Schema `pattern`, or nothing where ECMA 262 would read it otherwise."""
        bare = _ESCAPE.sub("", self.text)
        escapes = _ESCAPE.findall(self.text)
        if _NOT_ECMA.search(bare) or not all(_ECMA_ESCAPE.fullmatch(escape) for escape in escapes):
            return None
        return f"^(?:{self.text})$"


def _build(pattern: str) -> SchemaValidator:
    schema = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
    try:
        return SchemaValidator(schema)
    except SchemaError as error:
        raise ValueError(_reason(pattern, str(error))) from None


def _reason(pattern: str, message: str) -> str:
    if "look-around" in message or _LOOK_AROUND.search(_ESCAPE.sub("", pattern)):
        return "look-around is refused: patterns run in a linear-time engine"
    if "backreferences" in message or "(?P=" in pattern:
        return "back-references are refused: patterns run in a linear-time engine"
    if "size limit" in message:
        return "the pattern is too large once compiled; use smaller repeat counts"
    last = message.strip().splitlines()[-1].strip().removeprefix("error: ")
    return f"the pattern does not compile: {last}"


@lru_cache(maxsize=4096)
def compile_pattern(text: str) -> Pattern:
    """The pattern, anchored at both ends. Raises `ValueError` with a text for the policy's author."""
    if not text:
        raise ValueError("the pattern is empty: it would match only an empty value")
    if len(text) > MAX_PATTERN:
        raise ValueError(f"the pattern is longer than {MAX_PATTERN} characters")
    if _VERBOSE.search(_ESCAPE.sub("", text)):
        raise ValueError("verbose mode '(?x)' is refused: its comments could hide the end of the pattern")
    _build(text)
    return Pattern(text, _build(rf"\A(?:{text})\z"))


def read_pattern(value: Any) -> Pattern:
    """The pattern a policy gives as text; one that is compiled already stays as it is."""
    if isinstance(value, Pattern):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a pattern, written as text")  # noqa: TRY004 - pydantic reports ValueError
    return compile_pattern(value)


PatternText = Annotated[
    Pattern,
    PlainValidator(read_pattern),
    PlainSerializer(lambda pattern: pattern.text, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_PATTERN}),
]
