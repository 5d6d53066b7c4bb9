"""The names of values in scripts: a script gets a value as the variable `P_NAME`, and nothing is ever put into its text.

`<name>`, which is right in a `run` list, is a redirection to a shell. A variable that no parameter fills is empty, and a
parameter that a shell script never names goes nowhere. What a script sets itself is its own.
"""

import re
from collections.abc import Iterator

from cmdhttp.policy import template
from cmdhttp.policy.compiled import Command, Script
from cmdhttp.policy.findings import Finding, suggestion
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.scripts import SHELLS, first, place, tokens
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CommandSpec
from cmdhttp.policy.params import ParamSpec

_COMMENT = re.compile(r"(?<!\S)#[^\n]*")
_PLACEHOLDER = re.compile(r"(?<!<)<([a-z][a-z0-9_]*)(?:\.\.\.)?>")
_SHELL_VALUE = re.compile(r"\$\{?P_([A-Z0-9_]+)")
_PYTHON_VALUE = re.compile(r"""(?:\benviron(?:\.get)?|\bgetenv)[(\[]["']P_([A-Z0-9_]+)["'](?!\]\s*=[^=])""")
_EXPANDED = ("variable", "heredoc", "test", "arithmetic")
"""The tokens of a shell script in which a variable is replaced, though not always split."""

Names = Iterator[tuple[str, int]]
"""Names, each with its line."""


def variables(book: Book) -> Iterator[Finding]:
    for command, defined in book.commands():
        interpreter = defined.spec.interpreter
        if command.script is None or interpreter not in (*SHELLS, "python"):
            continue
        shell = interpreter in SHELLS
        yield from _in_text(command, command.script, defined, shell=shell)
        yield from _undeclared(command, command.script, defined, shell=shell)
        if shell:
            yield from _unused(command, command.script, defined)


def _in_text(command: Command, script: Script, defined: Defined[CommandSpec], *, shell: bool) -> Iterator[Finding]:
    for name, line in first(placeholders(script.text)):
        if name in command.params:
            variable = _variable(name, command.params[name])
            right = f"${variable}" if shell else f"os.environ['{variable}']"
            there = "is a redirection there, or plain text in quotes" if shell else "means nothing there"
            message = f"a script gets {_what(name, command.params[name])} as {right}, and '<{name}>' {there}"
            hint = f'write "{right}"' if shell else f"write {right}"
            yield LintCode.PLACEHOLDER_IN_SCRIPT.found(message, place(script, defined, line), hint)


def _undeclared(command: Command, script: Script, defined: Defined[CommandSpec], *, shell: bool) -> Iterator[Finding]:
    known = {_variable(name, spec) for name, spec in command.params.items()} | command.env.keys()
    for name, line in first(read_values(script.text, shell=shell)):
        if f"P_{name}" not in known:
            hint = suggestion(f"P_{name}", known) or "declare it in 'params', or take it out"
            message = f"no parameter fills P_{name}, so it is never set"
            yield LintCode.UNDECLARED_VALUE.found(message, place(script, defined, line), hint)


def _unused(command: Command, script: Script, defined: Defined[CommandSpec]) -> Iterator[Finding]:
    in_args = set(template.names(command.template))
    in_text = {name for name, _ in placeholders(script.text)}
    for name, spec in command.params.items():
        variable = _variable(name, spec)
        if name not in in_args | in_text and not re.search(rf"{variable}(?![A-Z0-9_])", script.text):
            hint = f'use "${variable}" in the script, or take it out'
            at = defined.where("params", name)
            yield LintCode.UNUSED_PARAM.found(f"the parameter '{name}' goes nowhere", at, hint)


def _variable(name: str, spec: ParamSpec) -> str:
    """The variable by which a script reaches a value: of what is staged, the one with its path."""
    return f"P_{name.upper()}_FILE" if spec.staged else f"P_{name.upper()}"


def _what(name: str, spec: ParamSpec) -> str:
    return f"the path of '{name}'" if spec.staged else f"'{name}'"


def placeholders(text: str) -> Names:
    """Yield what looks like a parameter of a `run` list; not in comments, and not where it is markup with an end."""
    bare = _COMMENT.sub("", text)
    for found in _PLACEHOLDER.finditer(bare):
        if f"</{found[1]}>" not in text:
            yield found[1], _line(bare, found.start())


def read_values(text: str, *, shell: bool) -> Names:
    """Yield the values that a script reads and does not set itself."""
    if not shell:
        for found in _PYTHON_VALUE.finditer(text):
            yield found[1], _line(text, found.start())
        return
    for token in tokens(text):
        if token.lastgroup in _EXPANDED:
            for found in _SHELL_VALUE.finditer(token[0]):
                if not re.search(rf"(?<![\w${{])P_{found[1]}(?![A-Z0-9_])", text):
                    yield found[1], _line(text, token.start() + found.start())


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
