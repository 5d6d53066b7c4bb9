"""Rules in words: what a parameter takes, what a narrowing leaves of it, when a deny holds.

Words only: nothing here decides, and nothing reads these words again. Narrowings never hold secrets, so no word does.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from cmdhttp.policy.compiled import Approval
from cmdhttp.policy.params import EnumParam, ListParam, Narrowing, ParamSpec, Value
from cmdhttp.policy.params.patterns import Pattern

MOST = 10
"""How many names or values stand in one sentence; the rest is counted."""

_NO_WORDS = frozenset({"type", "summary", "required", "default", "values", "of"})
_BEFORE = {
    "min": "at least",
    "max": "at most",
    "under": "under",
    "pattern": "like",
    "in": "in",
    "not_in": "not in",
}


def shortened(names: Sequence[str], *, most: int = MOST) -> str:
    """Return `web1, web2 and 498 more`, and no name less only to say that there is 1 more."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def one_of(names: Sequence[str], *, kind: str = "") -> str:
    """Return `nginx` or `one of nginx, redis`; with a kind `the host web1` or `one of the hosts web1, web2`."""
    if len(names) == 1:
        return f"the {kind} {names[0]}" if kind else names[0]
    return f"one of the {kind}s {shortened(names)}" if kind else f"one of {shortened(names)}"


def shown(spec: ParamSpec, value: Value) -> str:
    """Return a value as it may be shown: text as it is, the rest as JSON, a secret as `***`."""
    recorded = spec.recorded(value)
    return recorded if isinstance(recorded, str) else json.dumps(recorded)


def values_left(spec: ParamSpec, narrowing: Narrowing | None) -> str:
    """Return what a rule leaves of a parameter: `any`, `nginx | redis`, `under /var/log`."""
    return ", ".join(_left(spec, narrowing)) if narrowing else "any"


def values_taken(spec: ParamSpec) -> str:
    """Return what a parameter takes: `nginx | redis`, `path under /var`, `list of ip, max_items 20`."""
    if isinstance(spec, EnumParam):
        return _either(spec.values)
    said = {key: value for key, value in _said(spec).items() if key not in _NO_WORDS}
    if not isinstance(spec, ListParam):
        return " ".join([spec.type, *([", ".join(_words(said))] if said else [])])
    if spec.min_items is None:
        del said["min_items"]
    return ", ".join([f"list of {values_taken(spec.of)}", *_words(said)])


def narrowings_left(specs: Mapping[str, ParamSpec], narrowings: Mapping[str, Narrowing]) -> str:
    """Return the narrowed parameters of a rule in words: `unit: nginx; path: under /var/log`."""
    return "; ".join(f"{name}: {values_left(specs[name], narrowings[name])}" for name in sorted(narrowings))


def window(since: datetime | None, until: datetime | None) -> str:
    """Return when a deny holds: `from 2026-12-20 until 2027-01-03`, or `always`."""
    parts = [*([f"from {instant(since)}"] if since else []), *([f"until {instant(until)}"] if until else [])]
    return " ".join(parts) or "always"


def approval_needed(approval: Approval) -> str:
    """Return `1 of alice, bob within 900 s, not the caller`."""
    by = f"{approval.needed} of {shortened(sorted(approval.by))} within {approval.within:g} s"
    return f"{by}, not the caller" if approval.not_self else by


def instant(at: datetime) -> str:
    """Return a date for midnight UTC, else an instant in UTC."""
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return text.removesuffix("T00:00:00") if text.endswith("T00:00:00") else f"{text}Z"


def _left(spec: ParamSpec, narrowing: Narrowing) -> Iterable[str]:
    if narrowing.among is not None:
        ordered = spec.values if isinstance(spec, EnumParam) else sorted(narrowing.among)
        yield _either([value for value in ordered if value in narrowing.among])
    if narrowing.within is not None:
        before, after = spec.constraints(), _said(narrowing.within)
        yield from _words({key: value for key, value in after.items() if key not in before or before[key] != value})
    if narrowing.each is not None and isinstance(spec, ListParam):
        yield f"each {values_left(spec.of, narrowing.each)}"


def _said(spec: ParamSpec) -> dict[str, object]:
    """What the type says of its values, in the order of its fields: the same words for the same type, always."""
    said = spec.constraints()
    names = (info.alias or name for name, info in type(spec).model_fields.items())
    return {name: said[name] for name in names if name in said}


def _words(said: Mapping[str, object]) -> list[str]:
    return [f"{_BEFORE.get(key, key)} {_text(value)}" for key, value in said.items()]


def _text(value: object) -> str:
    match value:
        case tuple():
            return _either([_text(item) for item in value])
        case Pattern():
            return value.text
        case datetime():
            return instant(value)
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _either(values: Sequence[str]) -> str:
    if len(values) <= MOST + 1:
        return " | ".join(values)
    return f"{' | '.join(values[:MOST])} and {len(values) - MOST} more"
