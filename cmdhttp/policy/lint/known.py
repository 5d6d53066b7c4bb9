"""What is known of programs by their names, from `programs.toml`.

The file is read once, when lint first asks. It serves lint alone: a program that is not in it is judged like every other.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

OPTIONS = (
    *("run", "code", "code_first", "code_rest", "script", "load", "read", "write", "upload", "form", "url", "exec"),
    "values",
)
"""The keys that list options. Each option stands under one of them."""

FLAGS = ("any_value", "by_name", "whole", "assignments", "stdin")
WORDS = ("also", "operands", "instead", "only_with", "not_with", "harmless")
STRICT = frozenset({"interpreter", "filter", "query", "launcher"})
"""The families in which a caller's choice of what is run is an error."""

_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_PARTS = re.compile(r"[\\/]")
_VERSION = re.compile(r"[-.]?[0-9][0-9.]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program. `options` tells what the value of each option is; the keys are explained in `programs.toml`."""

    name: str
    family: str
    why: str
    options: Mapping[str, str]
    operands: tuple[str, ...] = ("text",)
    instead: frozenset[str] = frozenset()
    only_with: frozenset[str] = frozenset()
    not_with: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()
    hands_over: frozenset[str] | bool = False
    flags: frozenset[str] = field(default_factory=frozenset)

    @property
    def strict(self) -> bool:
        return self.family in STRICT

    def operand(self, index: int) -> str:
        """What the operand of this index is."""
        return self.operands[min(index, len(self.operands) - 1)]

    def risk(self) -> str:
        """The option that matters most if a value becomes one; empty if none is known."""
        worst = ("run", "code", "script", "load", "write", "read", "upload")
        return next((option for kind in worst for option, found in self.options.items() if found == kind), "")


UNKNOWN = Program(name="", family="unknown", why="", options={})
"""A program of which nothing is known."""


@cache
def table() -> Mapping[str, Program]:
    """Every known program by each of its names."""
    text = files("cmdhttp.policy.lint").joinpath("programs.toml").read_text(encoding="utf-8")
    known: dict[str, Program] = {}
    for name, entry in tomllib.loads(text).items():
        known.update(dict.fromkeys([name, *entry.get("also", ())], _program(name, entry)))
    return known


def base_name(path: str) -> str:
    """Return the name of the program at this path; one of Windows without its `.exe` and in small letters."""
    if _OF_WINDOWS.match(path):
        return _PARTS.split(path)[-1].lower().removesuffix(".exe")
    return path.rpartition("/")[2]


def lookup(path: str) -> Program:
    """What is known of the program at this path; a version at the end of its name does not matter."""
    name = base_name(path)
    return table().get(name) or table().get(_VERSION.sub("", name), UNKNOWN)


def _program(name: str, entry: Mapping[str, Any]) -> Program:
    hands_over = entry.get("hands_over", False)
    return Program(
        name=name,
        family=entry["family"],
        why=entry["why"],
        options={option: kind for kind in OPTIONS for option in entry.get(kind, ())},
        operands=tuple(entry.get("operands", ("text",))),
        instead=frozenset(entry.get("instead", ())),
        only_with=frozenset(entry.get("only_with", ())),
        not_with=frozenset(entry.get("not_with", ())),
        harmless=frozenset(entry.get("harmless", ())),
        hands_over=hands_over if isinstance(hands_over, bool) else frozenset(hands_over),
        flags=frozenset(flag for flag in FLAGS if entry.get(flag)),
    )
