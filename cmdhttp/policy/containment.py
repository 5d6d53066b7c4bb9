"""Whether one rule reaches no further than another, read off their words.

`True` is a proof: no value passes the first and fails the second. `False` means only that the words do not prove it: two
different patterns are never compared. So whoever asks "is the new one wider?" hears "perhaps" rather than a wrong "no".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from operator import ge, le
from typing import Any

from cmdhttp.errors import BadValue
from cmdhttp.policy.compiled import Deny, Line
from cmdhttp.policy.params import (
    BoolParam,
    CidrParam,
    EmailParam,
    EnumParam,
    IpParam,
    JsonParam,
    ListParam,
    Narrowing,
    ParamSpec,
    Value,
)

Network = IPv4Network | IPv6Network
Specs = Mapping[str, ParamSpec]

_MEETS_MORE = (CidrParam, EmailParam, IpParam)
"""Types of which a deny meets values that a role line in the same words does not allow."""

_NOT_VALUES = frozenset({"summary", "required", "default", "flag"})


def line_within(inner: Line, outer: Line, *, specs: Specs, outer_specs: Specs) -> bool:
    """Whether the outer line, for a command with `outer_specs`, takes in every call that the inner takes in. Hosts aside."""
    if not all(name in specs for name in outer.narrowings):
        return False
    if any(name not in specs and not _may_lack(spec, None) for name, spec in outer_specs.items()):
        return False
    return all(
        name in outer_specs
        and _param_within(spec, inner.narrowings.get(name), outer_specs[name], outer.narrowings.get(name))
        for name, spec in specs.items()
    )


def deny_within(inner: Deny, outer: Deny, *, specs: Specs, outer_specs: Specs) -> bool:
    """Whether the outer deny meets every call that the inner meets. Principals, hosts and windows aside."""
    return all(
        name in inner.narrowings
        and _same_form(specs[name], outer_specs[name])
        and narrowing_within(specs[name], inner.narrowings[name], narrowing, touching=True)
        for name, narrowing in outer.narrowings.items()
    )


def narrowing_within(
    spec: ParamSpec, inner: Narrowing | None, outer: Narrowing | None, *, touching: bool = False
) -> bool:
    """Whether every value of `spec` that passes `inner` passes `outer`; `touching` reads both as denies do."""
    if outer is None:
        return True
    counted = _counted(spec, inner)
    if counted is not None and not (touching and isinstance(spec, _MEETS_MORE)):
        return all(outer.allows(value) for value in counted)
    if outer.among is not None and (inner is None or inner.among is None or not inner.among <= outer.among):
        return False
    tightest = [spec, *([inner.within] if inner and inner.within else [])]
    if outer.within is not None and not any(spec_within(one, outer.within) for one in tightest):
        return False
    return outer.each is None or _each_within(tightest, inner, outer.each, touching=touching)


def spec_within(inner: ParamSpec, outer: ParamSpec) -> bool:
    """Whether every value that the inner type takes is one that the outer takes, in the same normal form."""
    if inner.type != outer.type:
        return False
    names = type(inner).model_fields.keys() - _NOT_VALUES
    return all(_field_within(name, inner, outer) for name in names)


def same_values(one: ParamSpec, other: ParamSpec) -> bool:
    """Whether two types take the same values, and the same calls may leave them out."""
    optional = [_may_lack(spec, None) for spec in (one, other)]
    return optional[0] == optional[1] and spec_within(one, other) and spec_within(other, one)


def networks_within(inner: Iterable[Network], outer: Iterable[Network]) -> bool:
    """Whether each of the inner networks lies inside one of the outer."""
    wider = tuple(outer)
    return all(any(_inside(network, other) for other in wider) for network in inner)


def _param_within(spec: ParamSpec, inner: Narrowing | None, outer_spec: ParamSpec, outer: Narrowing | None) -> bool:
    if _may_lack(spec, inner) and not _may_lack(outer_spec, outer):
        return False
    tightest = [spec, *([inner.within] if inner and inner.within else [])]
    counted = _counted(spec, inner)
    if counted is not None:
        return all(_passes(outer_spec, outer, value) for value in counted)
    taken = any(spec_within(one, outer_spec) for one in tightest)
    return taken and narrowing_within(spec, inner, outer)


def _may_lack(spec: ParamSpec, narrowing: Narrowing | None) -> bool:
    """Whether a call that leaves the parameter out can pass."""
    if spec.has_default:
        return narrowing is None or narrowing.allows(spec.default)
    return not spec.required and narrowing is None


def _same_form(one: ParamSpec, other: ParamSpec) -> bool:
    """Whether both read a value to the same normal form, and take the same for one that is left out."""
    items = [spec.of.type if isinstance(spec, ListParam) else "" for spec in (one, other)]
    same = one.type == other.type and items[0] == items[1]
    return same and one.has_default == other.has_default and one.default == other.default


def _passes(spec: ParamSpec, narrowing: Narrowing | None, value: Value) -> bool:
    try:
        normal = spec.normalise(value)
    except BadValue:
        return False
    return narrowing is None or narrowing.allows(normal)


def _counted(spec: ParamSpec, narrowing: Narrowing | None) -> list[Value] | None:
    """Every value that passes, where they can be counted."""
    if narrowing is not None and narrowing.among is not None and not isinstance(spec, JsonParam):
        values: Iterable[Value] = [spec.normalise(text) for text in sorted(narrowing.among)]
    elif isinstance(spec, EnumParam):
        values = spec.values
    elif isinstance(spec, BoolParam):
        values = (True, False)
    else:
        return None
    return [value for value in values if narrowing is None or narrowing.allows(value)]


def _each_within(tightest: Sequence[ParamSpec], inner: Narrowing | None, outer: Narrowing, *, touching: bool) -> bool:
    lists = [spec for spec in tightest if isinstance(spec, ListParam)]
    each = inner.each if inner else None
    if each is None and not any(spec.least for spec in lists):
        return False  # an empty list passes what asks for no item, and never what does
    return bool(lists) and narrowing_within(lists[0].of, each, outer, touching=touching)


def _field_within(name: str, inner: ParamSpec, outer: ParamSpec) -> bool:
    if isinstance(inner, ListParam) and isinstance(outer, ListParam):
        if name == "of":
            return spec_within(inner.of, outer.of)
        if name == "min_items":
            return inner.least >= outer.least
    one, other = getattr(inner, name), getattr(outer, name)
    if one == other:
        return True
    if one is None or other is None:
        return other is None and name in _UNBOUNDED
    if name == "under":
        return all(_passes(outer, None, outer.from_prefix(prefix)) for prefix in one)
    return name in _WORDS and _WORDS[name](one, other)


def _inside(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


def _subset(one: Iterable[object], other: Iterable[object]) -> bool:
    return set(one) <= set(other)


def _some_subset(one: Sequence[object], other: Sequence[object]) -> bool:
    """For words of which an empty list means something else than nothing."""
    return bool(one) and bool(other) and set(one) <= set(other)


def _first(one: object, _: object) -> bool:
    return bool(one)


def _second(_: object, other: object) -> bool:
    return bool(other)


def _excluded(one: Iterable[Network], other: Iterable[Network]) -> bool:
    return networks_within(other, one)


_UNBOUNDED = frozenset({"min", "max", "pattern", "version", "under", "in_"})
"""The words that leave everything open when a type does not say them."""

_WORDS: Mapping[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("values", "algorithms", "schemes"), _subset),
    **dict.fromkeys(("hosts", "ports"), _some_subset),
    **dict.fromkeys(("leading_dash", "hidden", "unicode"), _second),
    **dict.fromkeys(("min", "min_length", "min_prefix"), ge),
    **dict.fromkeys(("max", "max_length", "max_prefix", "max_items", "max_depth"), le),
    "unique": _first,
    "in_": networks_within,
    "not_in": _excluded,
}
"""Whether a word with the first value reaches no further than with the second, which is another."""
