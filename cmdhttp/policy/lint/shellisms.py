"""Shell syntax in a `run` list. There is no shell: a program gets each item as it stands.

A pipe becomes an argument named `|`, a `*` stays a `*`, and two words in one item stay one argument. Programs that have
their own use for such an item, or that start a shell, are left alone.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode

_OPERATORS = frozenset({"|", "||", "&&", ";", ">", ">>", "<", "2>&1", "2>/dev/null", "&"})
_TWO_WORDS = re.compile(r"-[A-Za-z] +\S")
_CODE = re.compile(r"-[a-z]*c\Z")
_SHELLS = frozenset({"parallel", "runuser", "ssh", "su", "watch"})
"""Programs that hand their words to a shell."""

_PATTERNS = frozenset({"egrep", "fd", "fdfind", "fgrep", "find", "grep", "locate", "plocate", "rg", "rsync", "tar"})
"""Programs that have wildcards of their own."""

_COMPARE = frozenset({"[", "expr", "test"})
_EXEC = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_SEPARATE = frozenset({"awk", "column", "cut", "gawk", "join", "mawk", "paste", "sort", "tr", "xargs"})
_SEPARATORS = frozenset({"-d", "-F", "-o", "-s", "-t"})
_SCRIPT = "use a script"
_TWO_ITEMS = "write two items"


def shell_syntax(book: Book) -> Iterator[Finding]:
    for _, defined in book.commands():
        placed = list(_flat(defined.spec.run or ()))
        items = [item for _, item in placed]
        for index, (where, item) in enumerate(placed):
            hint = _mend(item, items[:index])
            if hint:
                message = f"there is no shell: '{item}' is handed over as it stands"
                yield LintCode.SHELL_SYNTAX.found(message, defined.where("run", *where), hint)


def _flat(run: Iterable[str | tuple[str, ...]]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield each item, also those of inner lists, with the way to it."""
    for place, item in enumerate(run):
        if isinstance(item, str):
            yield (place,), item
        else:
            yield from (((place, inner), text) for inner, text in enumerate(item))


def _mend(item: str, before: Sequence[str]) -> str:
    """How to mend an item that a shell would take apart; empty if there is nothing to mend."""
    if not before:
        return _TWO_ITEMS if " " in item else ""
    names = {each.rpartition("/")[2] for each in before}
    if _CODE.match(before[-1]) or not names.isdisjoint(_SHELLS):
        return ""
    if _TWO_WORDS.match(item):
        return _TWO_ITEMS
    if item in _OPERATORS:
        return "" if _is_own(item, before, names) else _SCRIPT
    expands = item.startswith("~/") or (item.startswith("/") and "*" in item)
    return _SCRIPT if expands and names.isdisjoint(_PATTERNS) else ""


def _is_own(operator: str, before: Sequence[str], names: set[str]) -> bool:
    """Whether a program has a use of its own for it: the end of `-exec`, a comparison, a separator."""
    if operator == ";" and not _EXEC.isdisjoint(before):
        return True
    return not names.isdisjoint(_COMPARE) or (before[-1] in _SEPARATORS and not names.isdisjoint(_SEPARATE))
