"""Texts that no careful author means to let through, tried on the type of a parameter.

A path type with `under`, a file name or a tight pattern refuses them, and then there is nothing to say. What stands before
the value decides what is tried: after `/srv/` only a way out of that folder matters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cmdhttp.policy.lint.reading import Use
from cmdhttp.policy.lint.refused import Refused
from cmdhttp.policy.lint.words import Params
from cmdhttp.policy.params import PathParam

_FILES = ("/etc/shadow", "/root/.ssh/authorized_keys")
_OUT = ("../../../etc/shadow", "x/../../../../etc/shadow")
_URLS = ("https://unlisted.example/", "http://unlisted.example/", "file:///etc/shadow", "unlisted.example")
_HOSTS = ("unlisted.example", "@unlisted.example/", ".unlisted.example/")
_WHOLE: Mapping[str, tuple[str, ...]] = {
    "read": _FILES,
    "write": _FILES,
    "edit": (*_FILES, "+!id"),
    "upload": ("@/etc/shadow",),
    "form": ("@/etc/shadow",),
    "url": _URLS,
    "remote": ("ext::sh -c id", "ext::id"),
    "assign": ("SHELL=/srv/x", "kernel.core_pattern=|/srv/x", "a=b"),
    "unit": ("/srv/x.service", "/srv/x"),
    "sibling": ("../../bin/sh",),
}
_OPENS = ("read", "write", "edit")
PROBED = frozenset(_WHOLE)
"""The kinds of use that are judged by what the parameter lets through."""

_FILE_HINT = "use a path with 'under', or a filename after a constant folder"
_LISTED = "list the values that are meant in an enum"
SCRIPT_HINT = "use a script: it gets its values as P_NAME variables, never as text inside it"
HINTS: Mapping[str, str] = {
    "read": _FILE_HINT,
    "write": _FILE_HINT,
    "edit": _FILE_HINT,
    "upload": "let the pattern refuse a leading '@', or send it by stdin",
    "form": "let the pattern refuse a leading '@', or send it by stdin",
    "url": "use a url with 'hosts'",
    "remote": "use a url with 'hosts', or an enum",
    "assign": "let the pattern refuse '=', or use an enum",
    "unit": "let the pattern refuse '/', or use an enum",
    "sibling": "let the pattern refuse '/', or use an enum",
    "code": _LISTED,
    "script": _LISTED,
    "load": _LISTED,
    "run": _LISTED,
    "packages": _LISTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A word that a caller can make and that reaches too far, and how to mend that."""

    word: str
    hint: str


def probe(use: Use, params: Params, refused: Refused) -> Reach | None:
    """Return what a caller can make of the word and reaches too far; None if nothing is known."""
    word = use.word
    before = word.head
    for name in word.names:
        for text in _tried(use.kind, before):
            if params.accepts(name, text) and not refused.meets(name, text):
                return Reach(word=f"{before}{text}{word.tail}", hint=_hint(use.kind, name, text, params))
        before = f"{before}<{name}>/"
    return None


def _hint(kind: str, name: str, text: str, params: Params) -> str:
    spec = params.scalar(name)
    if HINTS[kind] is _FILE_HINT and isinstance(spec, PathParam) and spec.under is not None:
        return f"narrow 'under' so that {text} lies outside"
    return HINTS[kind]


def _tried(kind: str, before: str) -> Iterator[str]:
    """What to try after the text that stands before the value."""
    if not before:
        yield from _WHOLE[kind]
    elif kind == "url":
        yield from _HOSTS if "://" in before and "/" not in before.partition("://")[2] else ()
    elif before.endswith("@") and kind in ("upload", "form"):
        yield from _FILES
    elif before.endswith("=") and kind == "form":
        yield from _WHOLE["form"]
    elif kind in _OPENS:
        yield from _FILES if before[-1] in "=:@," else _OUT if "/" in before else ()
