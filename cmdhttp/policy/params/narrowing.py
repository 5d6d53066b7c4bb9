"""How a role line narrows a parameter: never more than the type allows, whatever the line says.

A line gives allowed values (`[nginx, redis]`, or one alone) or a mapping in the words of the type (`{max: 5}`,
`{under: [/var/log]}`, `{values: [...]}`). A value passes if it is one of those values and if the type, tightened by the
mapping, reads it to the very same normal form. A line that could never apply, or that pretends to widen, is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from pydantic import ValidationError

from cmdhttp.errors import BadValue
from cmdhttp.policy.findings import suggestion

if TYPE_CHECKING:
    from cmdhttp.policy.params.base import ParamSpec
    from cmdhttp.policy.params.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """What one role line leaves of one parameter. `among` holds identities of values; `each` is for items of a list."""

    spec: ParamSpec
    among: frozenset[str] | None = None
    within: ParamSpec | None = None
    each: Narrowing | None = None

    def allows(self, value: Value) -> bool:
        """Whether a value in the normal form of `spec` passes this line. Never raises for such a value.

        What the items must be, no empty list is: to a program it is the same as a list that was left out.
        """
        if self.among is not None and self.spec.identity(value) not in self.among:
            return False
        if self.within is not None and not self.within.keeps(value):
            return False
        return self.each is None or (_has_items(value) and all(self.each.allows(item) for item in value))

    def touches(self, value: Value) -> bool:
        """Whether a deny written like this line meets the value: for a list one item is enough, for a network one address."""
        if self.among is not None and not self.spec.meets_values(value, self.among):
            return False
        if self.within is not None and not self.within.meets(value):
            return False
        return self.each is None or (_has_items(value) and any(self.each.touches(item) for item in value))


def _has_items(value: Value) -> TypeGuard[tuple[Value, ...]]:
    return isinstance(value, tuple) and bool(value)


def narrow(spec: ParamSpec, by: object) -> Narrowing:
    """The narrowing of a scalar parameter. Raises `ValueError` with a text for the policy's author."""
    if not isinstance(by, Mapping):
        return Narrowing(spec=spec, among=_among(spec, by))
    _check_keys(spec, by, spec.narrow_by)
    rest = {key: given for key, given in by.items() if key != "values"}
    return Narrowing(
        spec=spec,
        among=_among(spec, by["values"]) if "values" in by else None,
        within=tighten(spec, rest) if rest else None,
    )


def narrow_list(spec: ParamSpec, items: ParamSpec, by: object) -> Narrowing:
    """The narrowing of a list: the words of the list itself hold for the whole, everything else for each item."""
    if not isinstance(by, Mapping):
        return Narrowing(spec=spec, each=narrow(items, by))
    _check_keys(spec, by, (*spec.narrow_by, *items.narrow_by))
    whole = {key: given for key, given in by.items() if key in spec.narrow_by}
    each = {key: given for key, given in by.items() if key not in spec.narrow_by}
    return Narrowing(
        spec=spec,
        within=tighten(spec, whole) if whole else None,
        each=narrow(items, each) if each else None,
    )


def _among(spec: ParamSpec, by: object) -> frozenset[str]:
    if spec.secret or spec.staged:
        raise ValueError(f"a parameter of type {spec.type} cannot be narrowed to values")
    values = list(by) if isinstance(by, list | tuple) else [by]
    if not values:
        raise ValueError("an empty list of values allows nothing; leave the role line out instead")
    allowed = set()
    for position, value in enumerate(values, start=1):
        try:
            allowed.add(spec.identity(spec.normalise(spec.from_policy(value))))
        except ValueError as refused:
            raise ValueError(f"value {position} is not one this parameter can have: {refused}") from None
    return frozenset(allowed)


def _check_keys(spec: ParamSpec, by: Mapping[object, object], words: Iterable[str]) -> None:
    known = sorted({*words, *(() if spec.secret or spec.staged else ("values",))})
    if not by:
        raise ValueError("an empty mapping narrows nothing; leave the parameter out instead")
    for key in by:
        if key not in known:
            hint = suggestion(str(key), known) or f"known here: {', '.join(known)}"
            raise ValueError(f"unknown key {key!r} to narrow a parameter of type {spec.type}; {hint}")


def tighten(spec: ParamSpec, by: Mapping[str, object]) -> ParamSpec:
    """The type with some of its words replaced by tighter ones."""
    try:
        tighter = type(spec).model_validate({**spec.constraints(), **by})
    except ValidationError as error:
        raise ValueError("; ".join(_plain(detail["loc"], detail["msg"]) for detail in error.errors())) from None
    for key in by:
        _check_not_wider(spec, tighter, key)
    return tighter


def _plain(loc: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in loc)
    text = message.removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _check_not_wider(spec: ParamSpec, tighter: ParamSpec, key: str) -> None:
    declared, given = getattr(spec, key, None), getattr(tighter, key, None)
    if declared is None or given is None:
        return
    wider = (key.startswith("max") and given > declared) or (key.startswith("min") and given < declared)
    if wider:
        raise ValueError(f"{key}: a role can only narrow, and this is wider than the command allows")
    if key == "under":
        for prefix in given:
            try:
                spec.normalise(spec.from_prefix(prefix))
            except BadValue as refused:
                raise ValueError(f"under: lies outside what the command allows: {refused.detail}") from None
