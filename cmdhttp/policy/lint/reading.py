"""How a program reads its arguments, as far as lint knows the program: which word is code, a script, a file, a program.

Options are read as getopt does: `-o value`, `-ovalue`, several letters in one word, `--option=value`, and `--` ends them. A
program that starts another leaves the rest of the words to it, and that is unfolded in turn.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cmdhttp.policy.lint.known import Program, base_name, lookup
from cmdhttp.policy.lint.words import Params, Word

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_ENDS_EXEC = (";", "+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a word is to the program; `option` is the option whose value it is, empty for an operand."""

    kind: str
    word: Word
    option: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A command that the program starts. With `applet`, its first word is not a path."""

    words: tuple[Word, ...]
    applet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One program of a chain, with the words that are its own and not those of a program that it starts."""

    path: str
    place: int
    program: Program
    words: tuple[Word, ...]
    uses: tuple[Use, ...]
    inner: tuple[Inner, ...]

    @property
    def name(self) -> str:
        return base_name(self.path)


def unfold(words: Sequence[Word], params: Params) -> Iterator[Stage]:
    """Yield the program that the words start, and every program that it starts in turn, as far as that is certain."""
    first, *rest = words
    for path in params.choices(first):
        stage = _stage(path, first.place, rest)
        yield stage
        for inner in stage.inner:
            yield from unfold(inner.words, params)


def _stage(path: str, place: int, words: list[Word]) -> Stage:
    program = lookup(path)
    reader = _Reader(program=program, waiting=deque(words), counts=_counts(program, words))
    reader.read()
    theirs = {word for inner in reader.inner for word in inner.words}
    own = tuple(word for word in words if word not in theirs) if theirs else tuple(words)
    uses, inner = tuple(reader.uses), tuple(reader.inner)
    return Stage(path=path, place=place, program=program, words=own, uses=uses, inner=inner)


def _counts(program: Program, words: list[Word]) -> bool:
    """Whether the operands are what `programs.toml` says, given the constants beside them."""
    if not program.only_with and not program.not_with:
        return True
    constants = {word.head.partition("=")[0] for word in words}
    if program.only_with and program.only_with.isdisjoint(constants):
        return False
    return program.not_with.isdisjoint(constants)


@dataclass(slots=True, kw_only=True)
class _Reader:
    program: Program
    waiting: deque[Word]
    counts: bool
    uses: list[Use] = field(default_factory=list)
    inner: list[Inner] = field(default_factory=list)
    operands: int = 0
    code_first: bool = False

    def read(self) -> None:
        ended = False
        while self.waiting:
            word = self.waiting.popleft()
            if not ended and word.constant == "--":
                ended = True
            elif ended or not self._option(word):
                self._operand(word)

    # -- options

    def _option(self, word: Word) -> bool:
        """Take the word as an option, with its value; false if it is none."""
        split = self._split(word)
        if split is None:
            return False
        name, value = split
        match self.program.options.get(name):
            case None:
                pass
            case "code_first":
                self.code_first = True
            case "code_rest":
                self._rest_is_code(name)
            case "exec":
                self._exec()
            case kind:
                self._value(kind, name, value)
        return True

    def _split(self, word: Word) -> tuple[str, Word | None] | None:
        """The option, and its value if that is in the same word."""
        head, options = word.head, self.program.options
        if word.constant in options:
            return head, None
        if not head.startswith("-") or word.constant == "-":
            return None
        name, equals, _ = head.partition("=")
        if equals and (name in options or head.startswith("--")):
            return name, word.after(len(name) + 1)
        if head in options:
            return head, word.after(len(head))
        if head.startswith("--") or "whole" in self.program.flags:
            return head, None
        return self._letters(word)

    def _letters(self, word: Word) -> tuple[str, Word | None]:
        for index, letter in enumerate(word.head[1:], start=1):
            kind = self.program.options.get(f"-{letter}")
            if kind == "code_first":
                self.code_first = True
            elif kind is not None:
                rest = word.after(index + 1)
                return f"-{letter}", rest if rest.head or rest.names else None
        return word.head, None

    def _value(self, kind: str, name: str, value: Word | None) -> None:
        if value is None and self.waiting:
            value = self.waiting.popleft()
        if value is not None:
            self.uses.append(Use(kind=kind, option=name, word=value))
        if name in self.program.instead:
            self.operands = max(self.operands, 1)
        if kind == "script" and self.program.operands == ("script",):
            self.waiting.clear()  # they belong to the script

    def _rest_is_code(self, name: str) -> None:
        self.uses += [Use(kind="code", option=name, word=word) for word in self.waiting]
        self.waiting.clear()

    def _exec(self) -> None:
        command = []
        while self.waiting and (word := self.waiting.popleft()).constant not in _ENDS_EXEC:
            command.append(word)
        if command:
            self.inner.append(Inner(words=tuple(command), applet=False))

    # -- operands

    def _operand(self, word: Word) -> None:
        kind = self.program.operand(self.operands) if self.counts else "text"
        if kind in ("program", "applet"):
            if not self._stands_before(word):
                self.inner.append(Inner(words=(word, *self.waiting), applet=kind == "applet"))
                self.waiting.clear()
            return
        self.operands += 1
        if kind == "script" and self.code_first:
            kind = "code"
        elif kind == "script" and any(use.kind == "code" for use in self.uses):
            kind = "text"
        self.uses.append(Use(kind="code" if kind == "shell" else kind, word=word))
        if kind == "shell":
            self._rest_is_code("")
        elif self.program.operands[-1] == "script" and self.operands >= len(self.program.operands):
            self.waiting.clear()  # what stands after a script, or after code in its place, belongs to it

    def _stands_before(self, word: Word) -> bool:
        """Whether the word stands before the program: `-`, or a variable."""
        assigns = "assignments" in self.program.flags and _ASSIGNMENT.match(word.head) is not None
        return word.constant == "-" or assigns
