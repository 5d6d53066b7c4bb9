"""The `run` list of a command, taken apart once when the policy loads.

One item is exactly one argument. `<name>` is replaced by a parameter's text inside its item; `<name...>` alone is as many
arguments as the list has items; an inner list is left out whole when one of its optional parameters is absent; a boolean
with a `flag` is that flag or nothing. There is no other syntax, so there is nothing a value could break out of.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cmdhttp.policy.params import BoolParam, ParamSpec

_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.-]+)>")
_SPREAD = "..."


@dataclass(frozen=True, slots=True)
class Text:
    """Constant text within an argument."""

    text: str


@dataclass(frozen=True, slots=True)
class Ref:
    """The text of a parameter within an argument."""

    name: str


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, made of its parts joined."""

    parts: tuple[Text | Ref, ...]

    @property
    def constant(self) -> str | None:
        """The argument's text if no parameter has a part in it."""
        texts = [part.text for part in self.parts if isinstance(part, Text)]
        return "".join(texts) if len(texts) == len(self.parts) else None


@dataclass(frozen=True, slots=True)
class Spread:
    """As many arguments as the list parameter has items."""

    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """Arguments that stand together or not at all."""

    items: tuple[Argument | Spread, ...]


Template = tuple[Argument | Spread | Group, ...]


class TemplateError(ValueError):
    """One thing wrong with one item. `index` is the item's place in the list."""

    def __init__(self, index: int, message: str, *, name: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.name = name
        self.hint = hint


def parse(
    items: Sequence[str | tuple[str, ...]], params: Mapping[str, ParamSpec]
) -> tuple[Template, list[TemplateError]]:
    """Take every item apart and return all that is wrong with them, each at its item."""
    template: list[Argument | Spread | Group] = []
    errors: list[TemplateError] = []
    for index, item in enumerate(items):
        grouped = isinstance(item, tuple)
        texts = item if isinstance(item, tuple) else (item,)
        members = tuple([_parse_item(text) for text in texts])
        template.append(Group(members) if grouped else members[0])
        for text, member in zip(texts, members, strict=True):
            if "<" in text:  # most items are constant, and nothing can be wrong with them
                errors += _faults(index, member, params, grouped=grouped)
    return tuple(template), errors


def names(template: Iterable[Argument | Spread | Group]) -> Iterator[str]:
    """Yield every parameter that the template uses, in order, with repetitions."""
    for item in template:
        if isinstance(item, Argument):
            for part in item.parts:
                if isinstance(part, Ref):
                    yield part.name
        elif isinstance(item, Spread):
            yield item.name
        else:
            yield from names(item.items)


def _parse_item(text: str) -> Argument | Spread:
    if "<" not in text:
        return Argument((Text(text),))
    whole = _PLACEHOLDER.fullmatch(text)
    if whole and whole[1].endswith(_SPREAD):
        return Spread(whole[1].removesuffix(_SPREAD))
    parts: list[Text | Ref] = []
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        if found.start() > end:
            parts.append(Text(text[end : found.start()]))
        parts.append(Ref(found[1]))
        end = found.end()
    if end < len(text) or not parts:
        parts.append(Text(text[end:]))
    return Argument(tuple(parts))


def _faults(
    index: int, item: Argument | Spread, params: Mapping[str, ParamSpec], *, grouped: bool
) -> Iterator[TemplateError]:
    for name in names((item,)):
        spec = params.get(name)
        if spec is None:
            yield TemplateError(index, f"unknown placeholder '<{name}>'", name=name)
        else:
            yield from _misuse(index, item, name, spec, grouped=grouped)


def _misuse(
    index: int, item: Argument | Spread, name: str, spec: ParamSpec, *, grouped: bool
) -> Iterator[TemplateError]:
    whole = isinstance(item, Spread) or len(item.parts) == 1
    if not spec.argv_allowed:
        yield TemplateError(
            index,
            f"'{name}' is of type {spec.type}, which may not stand in an argument",
            hint="Arguments can be read by others; hand it over by stdin.",
        )
    elif isinstance(item, Spread) and spec.type != "list":
        yield TemplateError(
            index, f"'<{name}...>' spreads a list, and '{name}' is of type {spec.type}", hint=f"Write <{name}>."
        )
    elif isinstance(item, Argument) and spec.type == "list":
        yield TemplateError(
            index, f"'{name}' is a list and must stand alone as '<{name}...>'", hint=f"Write <{name}...>."
        )
    elif _has_flag(spec) and not whole:
        yield TemplateError(index, f"'{name}' has a flag and must stand alone as '<{name}>'")
    if not spec.required and not spec.has_default and not grouped and spec.type != "list":
        yield TemplateError(
            index,
            f"'{name}' may be absent, and then this argument would be incomplete",
            hint=f"Give '{name}' a default, or put the argument into an inner list: [...].",
        )


def _has_flag(spec: ParamSpec) -> bool:
    return isinstance(spec, BoolParam) and spec.flag is not None
