"""YAML as an editor reads it: by the core schema of YAML 1.2, where plain `30`, `true` and `null` are no text."""

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml import events as ev

_NULL = re.compile(r"(null|Null|NULL|~)?")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_as_editor(text: str) -> Any:
    """Return the only document of a text that has no anchors and no tags. Keys stay text."""
    return read_with(text, lambda value, quoted: value if quoted else plain_value(value))


def read_with(text: str, scalar: Callable[[str, bool], Any]) -> Any:
    """Return the only document; `scalar` makes a value of a text and of whether it is quoted."""
    stack: list[list[Any]] = [[]]
    for event in yaml.parse(text, Loader=yaml.CLoader):
        if isinstance(event, ev.ScalarEvent):
            is_key = isinstance(stack[-1], _Entries) and len(stack[-1]) % 2 == 0
            stack[-1].append(event.value if is_key else scalar(event.value, bool(event.style)))
        elif isinstance(event, ev.MappingStartEvent):
            stack.append(_Entries())
        elif isinstance(event, ev.SequenceStartEvent):
            stack.append([])
        elif isinstance(event, ev.MappingEndEvent):
            entries = stack.pop()
            stack[-1].append(dict(zip(entries[::2], entries[1::2], strict=True)))
        elif isinstance(event, ev.SequenceEndEvent):
            items = stack.pop()
            stack[-1].append(items)
    ((document,),) = stack
    return document


class _Entries(list[Any]):
    """Key, value, key, value."""


def plain_value(text: str) -> Any:
    """What a scalar without quotes is."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
