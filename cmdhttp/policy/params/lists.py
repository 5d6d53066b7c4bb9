"""A list of scalars: every item passes its own type, and each becomes an argument of its own.

A list is a JSON array. One text is never split at commas or taken for a list of one: that would be a second reading.
"""

from typing import ClassVar, Literal

from pydantic import Field

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Bool, Int
from cmdhttp.policy.params.base import ParamSpec, check_order, wrong_type
from cmdhttp.policy.params.narrowing import Narrowing, narrow_list
from cmdhttp.policy.params.scalars import ScalarParam
from cmdhttp.policy.params.values import Json, Value, canonical_json
from cmdhttp.policy.params.words import BoolParam

_MOST = 1000


class ListParam(ParamSpec):
    """`min_items` to `max_items` values of the type `of`; with `unique`, none of them twice."""

    narrow_by: ClassVar = ("min_items", "max_items")

    type: Literal["list"]
    of: ScalarParam = Field(description="What each item is; a value that is one argument.")
    min_items: Int | None = Field(
        default=None, description="The fewest items; 1 if left out, or 0 for an optional list."
    )
    max_items: Int = Field(default=32, description="The most items; 32 if left out.")
    unique: Bool = Field(default=False, description="Whether no item may stand in it twice.")

    @property
    def least(self) -> int:
        """Fewest items: one for a required list, none for an optional one, unless the policy says."""
        if self.min_items is not None:
            return self.min_items
        return 1 if self.required and not self.has_default else 0

    def check(self) -> None:
        check_order(0, self.min_items, names=("0", "min_items"))
        check_order(self.least, self.max_items, names=("min_items", "max_items"))
        check_order(self.max_items, _MOST, names=("max_items", str(_MOST)))
        if self.of.has_default or "required" in self.of.model_fields_set:
            raise ValueError("of: an item has no 'required' and no 'default'; say it of the list")
        if self.leading_dash:
            raise ValueError("leading_dash: say it of the items, inside 'of'")
        if isinstance(self.of, BoolParam) and self.of.flag is not None:
            raise ValueError("of: a flag cannot be an item")

    def normalise(self, value: object) -> tuple[Value, ...]:
        if not isinstance(value, list | tuple):
            raise wrong_type("a list (a JSON array)")
        if len(value) < self.least:
            raise BadValue("too_few_items", f"must have at least {self.least} items")
        if len(value) > self.max_items:
            raise BadValue("too_many_items", f"must have at most {self.max_items} items")
        items = tuple(self._item(position, item) for position, item in enumerate(value, start=1))
        if self.unique:
            self._check_unique(items)
        return items

    def _item(self, position: int, item: object) -> Value:
        try:
            return self.of.normalise(item)
        except BadValue as refused:
            raise BadValue(refused.code, f"item {position}: {refused.detail}", hint=refused.hint) from None

    def _check_unique(self, items: tuple[Value, ...]) -> None:
        seen = set()
        for position, item in enumerate(items, start=1):
            if self.of.identity(item) in seen:
                raise BadValue("duplicate_item", f"item {position} is already in the list")
            seen.add(self.of.identity(item))

    def render(self, value: Value) -> str:
        """For an environment variable: the list as canonical JSON."""
        return canonical_json(value)

    def arguments(self, value: Value) -> tuple[str, ...]:
        if not isinstance(value, tuple):
            raise TypeError("not the normal form of a list")
        return tuple(self.of.render(item) for item in value)

    def narrowed(self, by: object) -> Narrowing:
        return narrow_list(self, self.of, by)

    def from_policy(self, value: object) -> object:
        return [self.of.from_policy(item) for item in value] if isinstance(value, list | tuple) else value

    def constraints(self) -> dict[str, object]:
        return {**super().constraints(), "min_items": self.least}

    def input_schema(self) -> dict[str, Json]:
        return {
            "type": "array",
            "items": self.of.json_schema(),
            "minItems": self.least,
            "maxItems": self.max_items,
        }
