"""The values that rules can tell apart: a few stand for all.

`whole` is a promise: every other value of the parameter passes or fails the same types and narrowings as one of `values`.
Where that cannot be promised (text that a pattern describes, paths, addresses), `values` are still real candidates, and
whoever looks for a value that passes may trust one that is found, but not that there is none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations, islice, pairwise, product
from typing import cast

from cmdhttp.errors import BadValue
from cmdhttp.policy.params import (
    BoolParam,
    EnumParam,
    IntParam,
    ListParam,
    Narrowing,
    NumberParam,
    ParamSpec,
    PortParam,
    Value,
)

_MOST_ITEMS = 6
"""Of a list with more different items only lists of one or two of them are tried."""

_MOST_CALLS = 4_000
"""How many calls are made of all candidates; with more, they do not stand for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Candidates for one parameter, and whether they stand for all of its values."""

    values: tuple[Value, ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The values of some calls, and whether they stand for all calls."""

    values: tuple[dict[str, Value], ...]
    whole: bool


def calls(spaces: Mapping[str, Space]) -> Calls:
    """Return every combination of candidates, each parameter also left out."""
    ways: list[list[dict[str, Value]]] = [
        [{}, *({name: value} for value in found.values)] for name, found in spaces.items()
    ]
    tried = product(*ways)
    values = tuple({name: one[name] for one in call for name in one} for call in islice(tried, _MOST_CALLS))
    return Calls(values=values, whole=next(tried, None) is None and all(found.whole for found in spaces.values()))


def space(specs: Sequence[ParamSpec], narrowings: Sequence[Narrowing], *, inside: Narrowing | None = None) -> Space:
    """Return candidates for values that one of `specs` takes, told apart by all the specs and narrowings.

    With `inside`, a narrowing too, only values that it allows are wanted.
    """
    rules = (*narrowings, *([inside] if inside else []))
    if all(isinstance(spec, ListParam) for spec in specs):
        found = _lists([spec for spec in specs if isinstance(spec, ListParam)], rules, inside)
    else:
        found = _scalars([*specs, *(rule.within for rule in rules if rule.within)], rules)
    if inside is None:
        return found
    values = tuple(value for value in found.values if _allowed(inside, value))
    return Space(values=values, whole=found.whole or inside.among is not None)


def _allowed(rule: Narrowing, value: Value) -> bool:
    try:
        return rule.allows(rule.spec.normalise(value))
    except BadValue:
        return False


def _met(rule: Narrowing, value: Value) -> bool:
    try:
        return rule.touches(rule.spec.normalise(value))
    except BadValue:
        return False


def _takes(spec: ParamSpec, value: Value) -> bool:
    try:
        spec.normalise(value)
    except BadValue:
        return False
    return True


# -- scalars


def _scalars(specs: Sequence[ParamSpec], rules: Sequence[Narrowing]) -> Space:
    listed = [(rule.spec, text) for rule in rules for text in sorted(rule.among or ())]
    if all(isinstance(spec, EnumParam | BoolParam) for spec in specs):
        return Space(values=_unique(value for spec in specs for value in _members(spec)), whole=True)
    whole = [spec for spec in specs if isinstance(spec, IntParam | PortParam)]
    decimal = [spec for spec in specs if isinstance(spec, NumberParam)]
    if len(specs) in (
        len(whole),
        len(decimal),
    ):  # side by side, 2.5 and 3 are told apart without any bound between them
        texts = [text for _, text in listed]
        return Space(values=_numbers(whole or decimal, texts, exact=bool(whole)), whole=True)
    named = [cast("Value", spec.from_policy(text)) for spec, text in listed]  # of JSON, the text is not the value
    return Space(values=_unique([*named, *(value for spec in specs for value in _examples(spec))]), whole=False)


def _members(spec: ParamSpec) -> tuple[Value, ...]:
    return spec.values if isinstance(spec, EnumParam) else (True, False)


def _numbers(
    specs: Sequence[IntParam | PortParam] | Sequence[NumberParam], listed: Iterable[str], *, exact: bool
) -> tuple[Value, ...]:
    """Every bound and listed number, its neighbours, and a number between each two: in between, no rule changes its mind."""
    read = int if exact else float
    bounds = sorted({read(0), *(read(end) for spec in specs for end in (spec.low, spec.high)), *map(read, listed)})
    between = [(low + high) // 2 if exact else (low + high) / 2 for low, high in pairwise(bounds)]
    near = [bound + step for bound in bounds for step in (-1, 0, 1)]
    return tuple(dict.fromkeys([*near, *between]))


def _examples(spec: ParamSpec) -> Iterator[Value]:
    """A few values that the words of a type name; whether the type takes them is for the caller to try."""
    if spec.has_default:
        yield cast("Value", spec.default)
    if isinstance(spec, EnumParam | BoolParam):
        yield from _members(spec)
    yield from (spec.from_prefix(prefix) for prefix in getattr(spec, "under", None) or ())
    for bound in (getattr(spec, "min", None), getattr(spec, "max", None)):
        if isinstance(bound, datetime | date):
            yield bound.isoformat()
        elif isinstance(bound, int | float):
            yield f"{bound:g}s" if spec.type == "duration" else bound


# -- lists


def _lists(specs: Sequence[ListParam], rules: Sequence[Narrowing], inside: Narrowing | None) -> Space:
    each = [rule.each for rule in rules if rule.each]
    items = space([spec.of for spec in specs], each, inside=inside.each if inside else None)
    closed = not any(spec.unique for spec in specs)
    members = _kinds([spec.of for spec in specs], each, items.values) if closed else items.values
    few = len(members) <= _MOST_ITEMS
    sizes = range(len(members) + 1) if few else range(3)
    starts = _starts(specs, [rule.within for rule in rules if isinstance(rule.within, ListParam)])
    chosen = [some for size in sizes for some in combinations(members, size)]
    twice = [] if closed else [some + some[-1:] for some in chosen]
    longer = [some + some[-1:] * (start - len(some)) for some in chosen for start in starts if start > len(some)]
    countable = closed or all(isinstance(spec.of, EnumParam | BoolParam) for spec in specs)
    return Space(values=_unique([*chosen, *twice, *longer]), whole=items.whole and few and countable)


def _kinds(specs: Sequence[ParamSpec], each: Sequence[Narrowing], items: Iterable[Value]) -> tuple[Value, ...]:
    """One item of each kind: of two that the same types and narrowings take, one is enough."""
    found: dict[tuple[bool, ...], Value] = {}
    for item in items:
        said = (judge(rule, item) for rule in each for judge in (_allowed, _met))
        kind = (*(_takes(spec, item) for spec in specs), *said)
        found.setdefault(kind, item)
    return tuple(found.values())


def _starts(specs: Sequence[ListParam], tighter: Sequence[ListParam]) -> list[int]:
    """The lengths from which on some type or rule changes its mind; longer lists than any type takes are not wanted."""
    bounds = {start for spec in (*specs, *tighter) for start in (spec.least, spec.max_items + 1)}
    most = max(spec.max_items for spec in specs)
    return sorted(start for start in bounds if start <= most)


def _unique(values: Iterable[Value]) -> tuple[Value, ...]:
    """Each value once: `1` and `True` are equal in Python, and are two values here."""
    return tuple({(type(value).__name__, repr(value)): value for value in values}.values())
