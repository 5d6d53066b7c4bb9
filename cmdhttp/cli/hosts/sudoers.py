r"""The sudoers lines for the commands of a policy: the exact argv where the policy lists what it can be.

sudo compares the arguments as one text. So what a caller may write freely is `*` there, which also takes spaces and with
them further arguments; a line without arguments takes any, unless it ends in `""`. Each other character that means
something to sudo there is escaped, and no other may be. Source: sudoers(5).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import assert_never

from cmdhttp.policy.compiled import Command
from cmdhttp.policy.params import BoolParam, EnumParam, ListParam, ParamSpec
from cmdhttp.policy.template import Argument, Group, Ref, Spread, Template, Text, names

MOST_LINES = 32
"""Lines for one command; with more, a caller's choice is written as `*`."""

_SPECIAL = frozenset(" :,=#*?[]!\\^")
_ANY = "*"
_NOTHING = '""'
_ROOT = "root"

_Way = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What sudo has to allow for one command. `free` are the parameters that are `*` in it; `problem`: why there is none."""

    lines: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """What a command that starts sudo itself runs by it: as `account`, from this item of its template on."""

    account: str
    start: int = 0
    problem: str = ""


def rules_for(command: Command, *, start: int = 0) -> Rules:
    """Return what stands behind `NOPASSWD:` for a command, or for its argv from an item on: one line for each way to call it."""
    template, params = command.template[start:], command.params
    if command.script is not None:
        return Rules(problem="it is a script, and sudo cannot tell one script from another")
    path = _constant(template[0]) if template else None
    if path is None or not path.startswith("/"):
        return Rules(problem="its program is not an absolute path, and sudo needs one")
    free = tuple(dict.fromkeys(name for name in names(template) if _is_free(params[name])))
    ways = list(islice(_ways(template, params, listed=True), MOST_LINES + 1))
    if len(ways) > MOST_LINES:
        free = tuple(dict.fromkeys(names(template)))
        ways = list(dict.fromkeys(islice(_ways(template, params, listed=False), MOST_LINES)))
    if any("" in way or _NOTHING in way for way in ways):
        return Rules(problem="an argument is empty, which sudoers cannot say")
    lines = tuple(" ".join(way) if way[1:] else f"{way[0]} {_NOTHING}" for way in ways)
    if not all(line.isprintable() for line in lines):
        return Rules(problem="an argument has a line break or what cannot be seen, which sudoers cannot hold")
    return Rules(lines=lines, free=free)


def inner_of(command: Command) -> Inner | None:
    """Return what the command runs by a sudo of its own, or None if it starts none."""
    words = [_constant(item) for item in command.template]
    if command.script is not None or not words or (words[0] or "").rpartition("/")[2] != "sudo":
        return None
    account, place = _ROOT, 1
    while place < len(words) and (word := words[place] or "").startswith("-"):
        place += 1
        if word == "--":
            break
        if word == "-u" and place < len(words):
            account, place = words[place] or "", place + 1
        elif word != "-n":
            return Inner(account=account, problem=f"it gives sudo the option {word}: write its line by hand")
    return Inner(account=account, start=place, problem="" if account else "a caller chooses for whom sudo runs it")


def _constant(item: Argument | Spread | Group) -> str | None:
    return item.constant if isinstance(item, Argument) else None


def _ways(template: Template, params: Mapping[str, ParamSpec], *, listed: bool) -> Iterable[_Way]:
    """Yield every argv that can come of the template, in sudo's spelling."""
    items = [_item(item, params, listed=listed) for item in template]
    return (tuple(word for part in parts for word in part) for parts in product(*items))


def _item(
    item: Argument | Spread | Group, params: Mapping[str, ParamSpec], *, listed: bool, grouped: bool = False
) -> list[_Way]:
    """The ways of one item. `grouped`: it stands in a group, which is left out whole if a parameter of it is."""
    match item:
        case Group(members):
            inner = product(*(_item(member, params, listed=listed, grouped=True) for member in members))
            return [(), *(tuple(word for part in parts for word in part) for parts in inner)]
        case Spread(name):
            return [*([()] if _may_be_empty(params[name], grouped=grouped) else []), (_ANY,)]
        case Argument((Ref(name),)):
            return _whole(params[name], listed=listed)
        case Argument(parts):
            texts = product(*(_texts(part, params, listed=listed) for part in parts))
            return [("".join(text),) for text in texts]
        case _:
            assert_never(item)


def _may_be_empty(spec: ParamSpec, *, grouped: bool) -> bool:
    optional = not (spec.required or spec.has_default)
    return (isinstance(spec, ListParam) and spec.least == 0) or (optional and not grouped)


def _whole(spec: ParamSpec, *, listed: bool) -> list[_Way]:
    """The ways of an argument that is a parameter and nothing else."""
    if isinstance(spec, BoolParam) and spec.flag is not None:
        return [(), (_escaped(spec.flag),)]
    return [(text,) for text in _values(spec, listed=listed)]


def _texts(part: Text | Ref, params: Mapping[str, ParamSpec], *, listed: bool) -> list[str]:
    return [_escaped(part.text)] if isinstance(part, Text) else _values(params[part.name], listed=listed)


def _values(spec: ParamSpec, *, listed: bool) -> list[str]:
    if listed and isinstance(spec, EnumParam):
        return [_escaped(value) for value in spec.values]
    return [_ANY]


def _is_free(spec: ParamSpec) -> bool:
    return not isinstance(spec, EnumParam | BoolParam)


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)
