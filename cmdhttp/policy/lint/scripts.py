"""Shell scripts that split a value into words, and scripts that run a value as code.

Only values that a caller writes count, and only where the script names them: `$P_NAME`. This is a reader of quotes, not
of the whole language: what stands in a here-document, an assignment, `[[ ]]` or `$(( ))` is not split, and so is no news.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cmdhttp.policy.compiled import Script
from cmdhttp.policy.findings import Finding, Position
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.words import FREE_TEXT
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CommandSpec
from cmdhttp.policy.params import ParamSpec
from cmdhttp.policy.source import Mapping

SHELLS = ("sh", "bash")
_LONGEST_LINE = 2000  # what stands further right is not searched
_TOKEN = re.compile(
    r"""
    (?P<escape> \\.)
    | (?P<single> '[^']*')
    | (?P<variable> \$(?:P_(?P<bare>[A-Z0-9_]+)|\{P_(?P<braced>[A-Z0-9_]+)[^}]*\}))
    | (?P<arithmetic> \$\(\( .{0,500}? \)\))
    | (?P<open> \$\()
    | (?P<double> ")
    | (?P<close> \))
    | (?P<heredoc> <<-?\s*["']?(?P<end>\w+)["']?[^\n]*\n (?:.{0,8000}?\n)?? [ \t]*(?P=end)(?=\n|\Z))
    | (?P<test> (?<!\S)\[\[\s .{0,500}? \s\]\])
    | (?P<case> (?<!\S)case\s+\S+\s+in\b)
    | (?P<comment> (?<!\S)\#[^\n]*)
    | (?P<assignment> (?<![^\s;&|(])[A-Za-z_][A-Za-z0-9_]*\+?=)
    | (?P<space> [\s;&|]+)
    | (?P<other> .)
    """,
    re.VERBOSE | re.DOTALL,
)
_VALUE = r"\$\{?P_([A-Z0-9_]+)"
_SHELL_CODE = (
    re.compile(r"(?:^|[\s;&|(])eval\s[^\n;&|]*" + _VALUE),
    re.compile(r"\s-c\s+\"(?:[^\"\\\n]|\\.)*" + _VALUE),
)
_PYTHON_CODE = (re.compile(r"\b(?:eval|exec|os\.system|os\.popen)\([^\n]*environ[^\n]*[\"']P_([A-Z0-9_]+)[\"']"),)


def scripts(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        interpreter = defined.spec.interpreter
        if command.script is None or interpreter is None:
            continue
        values = {name.upper(): spec for name, spec in command.params.items() if _is_text(spec)}
        text = command.script.text
        if interpreter in SHELLS:
            for name, line in first(unquoted(text)):
                if name in values:
                    message = f"$P_{name} stands without quotes, so its blanks and wildcards count"
                    at = place(command.script, defined, line)
                    yield LintCode.UNQUOTED_VALUE.found(message, at, f'write "$P_{name}"')
        for name, line in first(evaluated(text, shell=interpreter in SHELLS)):
            if name in values:
                message = f"the value of P_{name} becomes part of code that is run"
                hint = "hand it over as an argument or variable, and keep the code constant"
                yield LintCode.EVALUATED_VALUE.found(message, place(command.script, defined, line), hint)


def place(script: Script, defined: Defined[CommandSpec], line: int) -> Position:
    """Where a line of the script stands: in its own file, or in the policy if each line there is one of the script.

    In a quoted text of several lines it does not; then the script as a whole is the place.
    """
    if script.path:
        return Position(file=script.path, line=line, column=1)
    at = defined.where("script")
    return replace(at, line=at.line + line, column=1) if _is_block(script.text, defined, at) else at


def _is_block(text: str, defined: Defined[CommandSpec], at: Position) -> bool:
    """Whether the text fills the lines below its place: a block of YAML does, a text with escapes leaves no room."""
    if "\n" not in text or not isinstance(defined.node, Mapping):
        return False
    lines = text.count("\n") + (not text.endswith("\n"))
    others = [key.at.line for key, _ in defined.node.entries if key.text != "script"]
    return not any(at.line <= other <= at.line + lines for other in others)


def _is_text(spec: ParamSpec) -> bool:
    return spec.type in FREE_TEXT or spec.type == "list"


def first(found: Iterator[tuple[str, int]]) -> list[tuple[str, int]]:
    """Each name once, at its first line."""
    lines: dict[str, int] = {}
    for name, line in found:
        lines.setdefault(name, line)
    return list(lines.items())


def tokens(text: str) -> Iterator[re.Match[str]]:
    """Yield the parts of a shell script; `lastgroup` tells what each is."""
    return _TOKEN.finditer(text)


def evaluated(text: str, *, shell: bool) -> Iterator[tuple[str, int]]:
    """Yield the name and line of each value that a script runs as code."""
    for number, line in enumerate(text.split("\n"), start=1):
        for pattern in _SHELL_CODE if shell else _PYTHON_CODE:
            for found in pattern.finditer(line[:_LONGEST_LINE]):
                yield found[1], number


def unquoted(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name and line of each value that a shell splits into words."""
    state = _Quotes()
    for token in tokens(text):
        if token.lastgroup == "variable":
            if state.splits:
                yield token["bare"] or token["braced"], text.count("\n", 0, token.start()) + 1
        else:
            state.take(str(token.lastgroup))


@dataclass(slots=True)
class _Quotes:
    """Whether the shell is inside double quotes, per level of `$( )`, and inside an assignment."""

    levels: list[bool] = field(default_factory=lambda: [False])
    assigning: bool = False

    @property
    def splits(self) -> bool:
        return not self.levels[-1] and not self.assigning

    def take(self, kind: str) -> None:
        match kind:
            case "double":
                self.levels[-1] = not self.levels[-1]
            case "open":
                self.levels.append(False)
            case "close" if len(self.levels) > 1:
                self.levels.pop()
            case "assignment":
                self.assigning = not self.levels[-1]
            case "space" if not self.levels[-1]:
                self.assigning = False
            case _:
                pass
