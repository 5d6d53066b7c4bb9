"""Policies damaged at random: as text, byte by byte, and as trees, so that what comes out is well written and means nonsense.

All chance comes from the `Random` that is handed in: the same seed does the same damage.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import yaml

from cmdhttp.policy import model
from cmdhttp.policy.fields import Strict
from cmdhttp.policy.params import PARAM_TYPES
from tests.support.odd import FOR_KEY, KIN, ODD

Tree = Any
"""Text, or a list or dict of trees."""

PIECES = tuple(
    piece.encode() if isinstance(piece, str) else piece
    for piece in (
        *("\t", " ", "  ", "\n", "\r\n", "\r", ":", ": ", "- ", "? ", ",", "{", "}", "[", "]", "{a: ", "[[[["),
        *("&a ", "*a", "*", "!x ", "!", "!<x> ", "<<", "<<: {}\n", "'", '"', "''", "|\n", ">-\n", "|2\n", "|+\n"),
        *("#", " #", "%", "%YAML 1.1\n", "---\n", "...\n", "\\", "\\x00", "\\u202e", "\\UFFFFFFFF", "@", "`", "~"),
        *("\0", "\x1b", "\x85", "\u00a0", "\u2028", "\u202e", "\ufeff", "\U000e0041", "\U0001f600", "é", "deny: []\n"),
        *("\\ud800", b"\xff", b"\xfe\xff"),
        *(b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80", b"a" * 1100, b"[" * 60),
    )
)  # fmt: skip

PRINTABLE = bytes(range(0x20, 0x7F))


def damaged_text(chance: Random, texts: Sequence[bytes]) -> bytes:
    """One of the texts with one to six pieces put in, cut out, copied or overwritten."""
    data = bytearray(chance.choice(texts))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.randrange(1, 12))
        match chance.randrange(6):
            case 0 | 1:
                data[start:start] = chance.choice(PIECES)
            case 2:
                del data[start:end]
            case 3:
                data[start:end] = chance.choice(PIECES)
            case 4:
                there = chance.randrange(len(data) + 1)
                data[there:there] = data[start:end]
            case _:
                data[start:end] = bytes(chance.choice(PRINTABLE) for _ in range(start, end))
    return bytes(data)


def damaged_tree(chance: Random, trees: Sequence[str]) -> bytes:
    """One of the trees (each as JSON text) with one to three things in it changed, written as JSON or as YAML."""
    tree = json.loads(chance.choice(trees))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(DAMAGES)(chance, tree)
    return _written(chance, tree)


def _written(chance: Random, tree: Tree) -> bytes:
    """As JSON, with or without quotes around plain words, on one line or many; now and then in YAML's own block style."""
    if chance.random() < 0.03:
        return yaml.dump(_copy(tree), Dumper=yaml.CSafeDumper, default_flow_style=False, allow_unicode=True).encode()
    written = json.dumps(tree, ensure_ascii=False, indent=chance.choice((None, 1)))
    if chance.random() < 0.5:
        written = _QUOTED_WORD.sub(r"\1", written)
    return written.encode("utf-8", "surrogatepass")


# What can be done to a tree: each changes it in place.

_MODELS = [kind for kind in vars(model).values() if isinstance(kind, type) and issubclass(kind, Strict)]
_KEYS = sorted(
    {info.alias or name for kind in (*_MODELS, *PARAM_TYPES.values()) for name, info in kind.model_fields.items()}
)
_TYPES = sorted(PARAM_TYPES)
_FAMILIES = tuple(ODD)
_QUOTED_WORD = re.compile(r'(?<!\\)"([A-Za-z][A-Za-z0-9._/-]*)"(?=[,:\]}\n])')
_DEEP = (2, 3, 8, 20, 36, 45)


def _replace(chance: Random, tree: Tree) -> None:
    place, key = _spot(chance, tree)
    place[key] = odd(chance, FOR_KEY.get(key, ()) if isinstance(key, str) else ())


def _copy_here(chance: Random, tree: Tree) -> None:
    source, name = _spot(chance, tree)
    place, key = _spot(chance, tree)
    place[key] = _copy(source[name])


def _swap(chance: Random, tree: Tree) -> None:
    texts = [(place, key) for place, key in _spots(tree) if isinstance(place[key], str)]
    (place, key), (other, name) = chance.choice(texts), chance.choice(texts)
    place[key], other[name] = other[name], place[key]


def _drop(chance: Random, tree: Tree) -> None:
    place, key = _spot(chance, tree)
    if len(tree) > 1 or place is not tree:
        del place[key]


def _rename(chance: Random, tree: Tree) -> None:
    maps = [(place, key) for place, key in _spots(tree) if isinstance(place, dict)]
    place, key = chance.choice(maps)
    names = [name for _, name in maps]
    place[chance.choice((chance.choice(_KEYS), chance.choice(names), text(chance)))] = place.pop(key)


def _add(chance: Random, tree: Tree) -> None:
    place, _ = chance.choice([(place, key) for place, key in _spots(tree) if isinstance(place, dict)])
    key = chance.choice(_KEYS)
    place[key] = odd(chance, FOR_KEY.get(key, ()))


def _multiply(chance: Random, tree: Tree) -> None:
    lists = [place[key] for place, key in _spots(tree) if isinstance(place[key], list) and place[key]]
    if lists:
        found = chance.choice(lists)
        found += [_copy(chance.choice(found)) for _ in range(chance.choice((1, 2, 12)))]


def _edit(chance: Random, tree: Tree) -> None:
    place, key = chance.choice([(place, key) for place, key in _spots(tree) if isinstance(place[key], str)])
    old = place[key]
    at = chance.randrange(len(old) + 1)
    place[key] = chance.choice(
        (old[:at] + text(chance) + old[at:], old[:at], old[at:], old + old, old.upper(), old * 40)
    )


def _name_alike(chance: Random, tree: Tree) -> None:
    """One name becomes another: of a host or group or profile or command or role, perhaps its own."""
    sections = [section for section in tree.values() if isinstance(section, dict) and section]
    if sections:
        names = [name for section in sections for name in section]
        texts = [(place, key) for place, key in _spots(tree) if isinstance(place[key], str)]
        place, key = chance.choice(texts)
        place[key] = chance.choice(names)
        section = chance.choice(sections)
        if chance.random() < 0.5:
            section[chance.choice(names)] = section.pop(chance.choice(list(section)))


def _inherit(chance: Random, tree: Tree) -> None:
    for section, keys in (("ssh_profiles", ("inherit", "jump")), ("groups", ())):
        table = tree.get(section)
        if isinstance(table, dict) and table:
            name = chance.choice(list(table))
            other = chance.choice([*table, *(tree.get("hosts") or ("x",))])
            if keys and isinstance(table[name], dict):
                table[name][chance.choice(keys)] = other
            elif not keys:
                table[name] = chance.choice((other, name, [other, name]))


def _odd_param(chance: Random, tree: Tree) -> None:
    commands = tree.get("commands")
    if not isinstance(commands, dict) or not commands:
        return
    command = commands[chance.choice(list(commands))]
    if isinstance(command, dict) and isinstance(params := command.setdefault("params", {}), dict):
        name = chance.choice([*params, "x"])
        params[name] = odd_param(chance)
        rules = [
            rule
            for rules in (tree.get("roles"), {"": tree.get("deny")})
            if isinstance(rules, dict)
            for rule in _of(rules)
        ]
        if rules and chance.random() < 0.5:
            families = KIN.get(params[name]["type"], ())
            chance.choice(rules)["params"] = {
                name: odd(chance, families) if chance.random() < 0.5 else odd_keys(chance, params[name]["type"])
            }


def _of(rules: dict[str, Tree]) -> Iterator[dict[str, Tree]]:
    yield from (
        rule for listed in rules.values() if isinstance(listed, list) for rule in listed if isinstance(rule, dict)
    )


DAMAGES: tuple[Callable[[Random, Tree], None], ...] = (
    *(_replace, _replace, _replace, _copy_here, _swap, _drop, _rename, _add, _add, _multiply, _edit, _edit),
    *(_name_alike, _inherit, _odd_param, _odd_param, _odd_param),
)


# What is put in.


def text(chance: Random, families: Sequence[str] = ()) -> str:
    """An odd text, mostly of one of these families."""
    family = chance.choice(families) if families and chance.random() < 0.8 else chance.choice(_FAMILIES)
    return chance.choice(ODD[family])


def odd(chance: Random, families: Sequence[str] = ()) -> Tree:
    """An odd text mostly, or an empty, odd, long or deep collection."""
    match chance.randrange(20):
        case 0:
            return chance.choice(([], {}, [[]], [{}], {"": ""}))
        case 1 | 2:
            return [text(chance, families) for _ in range(chance.choice((1, 2, 2, 30)))]
        case 3:
            return {chance.choice(_KEYS): odd(chance, families)}
        case 4:
            return _deep(chance, text(chance, families))
        case 5:
            return odd_param(chance)
        case _:
            return text(chance, families)


def odd_param(chance: Random) -> dict[str, Tree]:
    """A parameter of some type, with a few of its keys and a value in each that it may take for one."""
    kind = chance.choice(_TYPES)
    spec = {"type": kind, **odd_keys(chance, kind)}
    if kind == "list":
        spec["of"] = {"type": (inner := chance.choice(_TYPES)), **odd_keys(chance, inner)}
    if kind == "string":
        spec.setdefault("pattern", text(chance, ("patterns",)))
    if kind == "enum":
        spec.setdefault("values", [text(chance, ("characters",)) for _ in range(3)])
    return spec


def odd_keys(chance: Random, kind: str) -> dict[str, Tree]:
    """Some of the keys that a type knows."""
    known = [info.alias or name for name, info in PARAM_TYPES[kind].model_fields.items() if name != "type"]
    wanted = chance.sample(known, chance.randint(0, min(3, len(known))))
    return {key: _for_key(chance, kind, key) for key in wanted}


def _for_key(chance: Random, kind: str, key: str) -> Tree:
    if key in ("required", "leading_dash", "unique", "unicode", "hidden"):
        return chance.choice(("true", "false", "yes"))
    if key.startswith(("min_", "max_")):
        return chance.choice(("0", "1", "2", "40", "1000", text(chance, ("numbers",))))
    if key in ("in", "not_in", "under", "values", "schemes", "hosts", "ports", "algorithms"):
        return [text(chance, KIN.get(kind, ())) for _ in range(chance.choice((0, 1, 1, 2, 40)))]
    return odd(chance, KIN.get(kind, ()))


def _deep(chance: Random, tree: Tree) -> Tree:
    for _ in range(chance.choice(_DEEP)):
        tree = [tree] if chance.random() < 0.7 else {"a": tree}
    return tree


def _spots(tree: Tree) -> Iterator[tuple[Any, Any]]:
    """Every place in the tree where a part stands, as a collection and a key of it."""
    waiting = [tree]
    while waiting:
        place = waiting.pop()
        for key, part in place.items() if isinstance(place, dict) else enumerate(place):
            yield place, key
            if not isinstance(part, str):
                waiting.append(part)


def _spot(chance: Random, tree: Tree) -> tuple[Any, Any]:
    return chance.choice(list(_spots(tree)))


def _copy(tree: Tree) -> Tree:
    return json.loads(json.dumps(tree))
