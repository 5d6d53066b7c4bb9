"""The arguments of a command as lint sees them: what stands there for certain, and what a caller can put there.

An optional group counts as present, and a flag as set, because that is what a caller can have. A parameter is free if a
caller can write text into it; a number, a date or a choice of the admin's own words is not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cmdhttp.errors import BadValue
from cmdhttp.policy.params import BoolParam, EnumParam, ListParam, ParamSpec
from cmdhttp.policy.template import Argument, Group, Ref, Spread, Template, Text

FREE_TEXT = frozenset({"string", "path", "filename", "url", "email", "json", "secret", "file"})
"""Types whose values can hold characters that mean something in code."""

FREE_NAME = FREE_TEXT | {"hostname", "username"}
"""Types whose values can be the name of a program or file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Word:
    """One argument: constant text, then perhaps a parameter and more text. `place` is its item in the list.

    With more than one parameter, `tail` begins after the first.
    """

    head: str
    place: int
    names: tuple[str, ...] = ()
    tail: str = ""

    @property
    def constant(self) -> str | None:
        return None if self.names else self.head

    def after(self, count: int) -> "Word":
        """The same word without its first characters."""
        return replace(self, head=self.head[count:])


def flatten(template: Template, params: Mapping[str, ParamSpec]) -> Iterator[Word]:
    """Yield the words of a template, with everything optional present."""
    for place, item in enumerate(template):
        for member in item.items if isinstance(item, Group) else (item,):
            yield _word(member, place, params)


def _word(item: Argument | Spread, place: int, params: Mapping[str, ParamSpec]) -> Word:
    if isinstance(item, Spread):
        return Word(head="", names=(item.name,), place=place)
    match item.parts:
        case (Text(text),):
            return Word(head=text, place=place)
        case (Ref(name),):
            spec = params[name]
            flag = spec.flag if isinstance(spec, BoolParam) else None
            return Word(head="", names=(name,), place=place) if flag is None else Word(head=flag, place=place)
        case parts:
            head = parts[0].text if isinstance(parts[0], Text) else ""
            names = tuple(part.name for part in parts if isinstance(part, Ref))
            tail = "".join(part.text for part in parts[1:] if isinstance(part, Text))
            return Word(head=head, names=names, tail=tail, place=place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the parameters of one command can hold."""

    specs: Mapping[str, ParamSpec]

    def scalar(self, name: str) -> ParamSpec:
        """The type of the parameter, or of its items."""
        spec = self.specs[name]
        return spec.of if isinstance(spec, ListParam) else spec

    def free(self, word: Word, kinds: frozenset[str] = FREE_NAME) -> str:
        """The first parameter of the word by which a caller can write text there; empty if there is none."""
        return next((name for name in word.names if self.scalar(name).type in kinds), "")

    def choices(self, word: Word) -> tuple[str, ...]:
        """All that the word can be, if the admin has listed it; else nothing."""
        if word.constant is not None:
            return (word.constant,)
        spec = self.scalar(word.names[0])
        if len(word.names) == 1 and isinstance(spec, EnumParam):
            return tuple(f"{word.head}{value}{word.tail}" for value in spec.values)
        return ()

    def accepts(self, name: str, text: str) -> bool:
        """Whether a caller may send this text for the parameter, or as an item of it, and it would stand in the argument."""
        spec = self.scalar(name)
        try:
            spec.normalise(text)
        except BadValue:
            return False
        return not spec.staged
