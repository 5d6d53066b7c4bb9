"""The law that every parameter type keeps.

A value is normalised once, by `normalise`; the normal form normalises to itself, and it is what is matched, run,
shown and recorded. Every type accepts text, because automation tools send strings, but never one kind for another: no
bool for a number, no number for a bool. All text passes the guard (see `guard`). A refusal is a `BadValue` whose code
is in `CODES` and whose text never holds the value.

A spec is read from a policy (every scalar arrives as text), is frozen, and needs no second compilation.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Bool, Strict
from cmdhttp.policy.params import guard
from cmdhttp.policy.params.narrowing import Narrowing, narrow
from cmdhttp.policy.params.values import Json, Value, plain_json

CODES: dict[str, str] = {
    "type": "The JSON type is not one this parameter takes.",
    "format": "The text is not written the way this type is written.",
    "pattern": "The text does not match the parameter's pattern.",
    "not_in_values": "The value is not one of those the command lists.",
    "too_small": "The value is below the least that is allowed.",
    "too_large": "The value is above the most that is allowed.",
    "too_short": "The text has fewer characters than required.",
    "too_long": "The text has more characters or bytes than allowed.",
    "too_few_items": "The list has fewer items than required.",
    "too_many_items": "The list has more items than allowed.",
    "duplicate_item": "The list holds the same item twice.",
    "control_character": "A character is a control character or a line break.",
    "invisible_character": "A character cannot be seen, or changes the direction of text.",
    "lone_surrogate": "A character is half of a surrogate pair.",
    "unassigned_character": "A character is for private use or not assigned.",
    "leading_dash": "The value starts with '-' and could be taken for an option.",
    "not_ascii": "A character is beyond ASCII.",
    "not_finite": "The number is infinite or not a number.",
    "not_absolute": "The path does not start with '/'.",
    "dot_segment": "The path or URL has a segment that points elsewhere ('..').",
    "not_under": "The path or name lies outside the places that are allowed.",
    "hidden": "The file name starts with a dot.",
    "version": "The address is of the other IP version.",
    "outside": "The address lies outside the networks that are allowed.",
    "excluded": "The address lies in a network that is excluded.",
    "host_bits": "The network has bits set after its prefix.",
    "algorithm": "The sum is of an algorithm that is not allowed.",
    "scheme": "The URL's scheme is not allowed.",
    "host": "The URL's host is not allowed.",
    "port": "The URL's port is not allowed.",
    "userinfo": "The URL carries a user name or password.",
    "fragment": "The URL carries a fragment.",
    "too_deep": "The JSON value is nested too deeply.",
    "unknown_key": "The object has a key that is not known here.",
    "missing_key": "The object lacks a key.",
    "base64": "The content is not plain base64.",
    "sha256_mismatch": "The content does not have the sha256 that came with it.",
}

_NOT_CONSTRAINTS = frozenset({"summary", "required", "default"})


class ParamSpec(Strict):
    """What all types have in common. `argv_allowed`, `env_allowed`: where the template compiler may put the value.

    What is `staged` reaches the process as a private file; its argument is the file's path.
    """

    argv_allowed: ClassVar[bool] = True
    env_allowed: ClassVar[bool] = True
    secret: ClassVar[bool] = False
    staged: ClassVar[bool] = False
    default_allowed: ClassVar[bool] = True
    narrow_by: ClassVar[tuple[str, ...]] = ()

    type: str = Field(description="What kind of value it takes.")
    summary: str = Field(default="", description="What it means, for callers.")
    required: Bool = Field(default=True, description="Whether a caller must send it; true unless there is a default.")
    default: Any = Field(default=None, description="The value when a caller sends none.")
    leading_dash: Bool = Field(
        default=False, description="Whether a value may begin with '-', which a program could take for an option."
    )

    @property
    def has_default(self) -> bool:
        """Whether the policy gives a default (which may be JSON's null)."""
        return "default" in self.model_fields_set

    def check(self) -> None:
        """Whether the fields agree with each other; raises `ValueError` for the policy's author."""

    def normalise(self, value: object) -> Value:
        """The normal form of a value from a request. Raises `BadValue`."""
        raise NotImplementedError

    def render(self, value: Value) -> str:
        """The exact text of a normal form, as it stands in argv or environment."""
        return str(value)

    def arguments(self, value: Value) -> tuple[str, ...]:
        """The argv items of a normal form: none for a flag that is off, several for a list, else just `render`."""
        return (self.render(value),)

    def payload(self, value: Value) -> bytes:
        """The bytes of a normal form for stdin or a private file; the one door to a secret's text."""
        return self.render(value).encode()

    def recorded(self, value: Value) -> Json:
        """What answers, records and logs may show of a normal form."""
        return plain_json(value)

    def identity(self, value: Value) -> str:
        """One text per value, for comparing: `1`, `1.0` and `true` are equal in Python."""
        return self.render(value)

    def keeps(self, value: Value) -> bool:
        """Whether this type takes a value, given in its normal form, and leaves it as it is."""
        try:
            return self.identity(self.normalise(value)) == self.identity(value)
        except BadValue:
            return False

    def meets(self, value: Value) -> bool:
        """Whether a deny in the words of this type meets a value that the parameter took, given in its normal form."""
        return self.keeps(value)

    def meets_values(self, value: Value, among: frozenset[str]) -> bool:
        """Whether a deny of the values with these identities meets such a value."""
        return self.identity(value) in among

    def narrowed(self, by: object) -> Narrowing:
        """What a role line leaves of this parameter. Raises `ValueError` with a text for the policy's author."""
        return narrow(self, by)

    def json_schema(self) -> dict[str, Json]:
        """JSON Schema 2020-12 of what a request may send."""
        schema = self.input_schema()
        if self.summary:
            schema["description"] = self.summary
        if self.has_default:
            schema["default"] = self.recorded(self.default)
        return schema

    def input_schema(self) -> dict[str, Json]:
        """The type's own part of `json_schema`. It may accept more than `normalise`, never less."""
        return {"type": "string"}

    def from_policy(self, value: object) -> object:
        """A value as a policy writes it, turned into what a request would send."""
        return value

    def from_prefix(self, prefix: str) -> str:
        """A value that stands for everything under a prefix of `under`."""
        return prefix

    def constraints(self) -> dict[str, object]:
        """The fields that were set, by the names a policy uses, without those that say nothing about the value."""
        fields = type(self).model_fields
        names = self.model_fields_set - _NOT_CONSTRAINTS
        return {fields[name].alias or name: getattr(self, name) for name in names}

    @model_validator(mode="after")
    def _settle(self) -> Self:
        self.check()
        if not self.has_default:
            return self
        if not self.default_allowed:
            raise ValueError(f"a parameter of type {self.type} takes no default")
        if self.required and "required" in self.model_fields_set:
            raise ValueError("a parameter with a default is not required: drop 'required: true' or the default")
        try:
            settled = self.normalise(self.from_policy(self.default))
        except ValueError as refused:
            raise ValueError(f"default: {refused}") from None
        # The model is frozen for everyone else; this is still its own construction.
        object.__setattr__(self, "default", settled)
        object.__setattr__(self, "required", False)
        return self

    def text_of(self, value: object, wanted: str) -> str:
        """Guarded text of any script. `wanted` finishes the sentence "must be ..."."""
        if not isinstance(value, str):
            raise wrong_type(wanted)
        guard.check_size(value)
        guard.check_characters(value)
        if not self.leading_dash:
            guard.check_dash(value)
        return value

    def ascii_of(self, value: object, wanted: str) -> str:
        """Guarded text, ASCII only."""
        text = self.text_of(value, wanted)
        guard.check_ascii(text)
        return text


def wrong_type(wanted: str) -> BadValue:
    """For a JSON type that the parameter does not take."""
    return BadValue("type", f"must be {wanted}")


def wrong_format(wanted: str) -> BadValue:
    """For text that is not written as the type is written."""
    return BadValue("format", f"must be {wanted}")


def check_order(low: Any, high: Any, *, names: tuple[str, str] = ("min", "max")) -> None:
    """Raise `ValueError` if both bounds are given and no value lies between them."""
    if low is not None and high is not None and low > high:
        raise ValueError(f"{names[0]} is above {names[1]}: no value could pass")


def check_bounds(value: Any, *, low: Any, high: Any, show: Mapping[str, str] | None = None) -> None:
    """Raise `BadValue` outside the bounds; `show` holds their texts where `str` would not do."""
    texts = show or {"low": str(low), "high": str(high)}
    if low is not None and value < low:
        raise BadValue("too_small", f"must be at least {texts['low']}")
    if high is not None and value > high:
        raise BadValue("too_large", f"must be at most {texts['high']}")


def check_length(text: str, *, low: int, high: int) -> None:
    """Raise `BadValue` if the text has too few or too many characters."""
    if len(text) < low:
        raise BadValue("too_short", f"must be at least {low} characters long")
    if len(text) > high:
        raise BadValue("too_long", f"must be at most {high} characters long")
