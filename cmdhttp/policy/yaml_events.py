"""YAML text to events: the one place that touches the YAML library's parsers, and none of their exceptions leave it.

The C parser where PyYAML has it, else the Python one. From one text both make the same tree or one of them refuses it,
never two different trees (but for the place of an empty value); tabs between tokens, which only one of them takes, are
found by `stray_tabs` and refused. Every syntax error becomes `NotYaml`, in plain words with a hint.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner


class NotYaml(Exception):
    """The text breaks off here. `line` and `column` count from 1; line 0 is the file as a whole."""

    def __init__(self, message: str, *, hint: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column


class PythonParser(Reader, Scanner, Parser):
    """The event parser where the C library is missing."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)


PARSER: Any = vars(yaml.cyaml)["CParser"] if yaml.__with_libyaml__ else PythonParser


def events(text: str) -> Iterator[Any]:
    """Events of `yaml.events`, one by one; raises NotYaml at the first syntax error."""
    parser = None
    try:
        parser = PARSER(text)
        while (event := parser.get_event()) is not None:
            yield event
    except yaml.MarkedYAMLError as error:
        raise _explained(error, text) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # chr() of an escape, mostly
        raise NotYaml(f"the text is not YAML ({type(error).__name__})", hint=_INDENT) from None
    finally:
        if parser is not None:
            parser.dispose()


def stray_tabs(text: str, room: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Index of each tab that stands neither in `room` (the spans of quoted and block values) nor in a comment."""
    start = 0
    for end, resume in [*room, (len(text), len(text))]:
        for found in _TAB_OR_COMMENT.finditer(text, start, end):
            if found[0] == "\t":
                yield found.start()
        start = resume


TAB = ("a tab is not allowed here", "indent and separate with spaces; quote a value that holds a tab")

_TAB_OR_COMMENT = re.compile(r"(?:(?<=\s)|\A)#[^\n]*|\t")
_QUOTE = "quote the value"
_INDENT = "check the indentation and the quotes"
_COLON = "quote a value that holds ':', or check the indentation"
_LIST = "a ',' or ']' is missing here, in the list of line {opened}"
_MAPPING = "a ',' or '}}' is missing here, in the mapping of line {opened}"
_UNCLOSED = "the quote that opens here is not closed"
_NO_COLON = "this line has no ': ' after a key"
_ESCAPE = "a backslash in double quotes begins an escape"
_STAR = "'*' and '&' have a meaning of their own in YAML"
_AT_OPENING = (_UNCLOSED, _NO_COLON, _ESCAPE, _STAR)  # the parsers notice these only further on

# A pattern of the words of either parser, our message, our hint. `{opened}` is the line where the construct began.
_SYNTAX = (
    ("escape|hexdecimal|hexadecimal", _ESCAPE, "use single quotes, or '\\\\'"),
    ("unexpected end of stream|unexpected document", _UNCLOSED, "close it, or quote the whole value"),
    ("find expected ':'", _NO_COLON, "write `key: value`, and check the indentation"),
    ("mapping values are not|unexpected ':'", "a ':' is not allowed here", _COLON),
    ("mapping keys are not", "a '?' is not allowed here", _QUOTE),
    ("sequence entries are not", "a list item '-' is not allowed here", "begin the list on its own line, indented"),
    ("',' or '\\]'", _LIST, "close the list, or quote the value"),
    ("',' or '}'", _MAPPING, "close the mapping, or quote the value"),
    ("expected key|<block end>|'-' ind", "this does not line up with what stands above", _INDENT),
    ("alphabetic or numeric", _STAR, 'quote the value, like "*"'),
    ("cannot start any token", "a value cannot begin with this character", _QUOTE),
    ("tag|whitespace or line", "a YAML tag is not allowed", "quote a value that begins with '!'"),
    ("document start", "there is text after the end of the document", _INDENT),
    ("comment or|indicator", "text cannot follow '|' or '>' on the same line", "begin the text on the next line"),
    ("node content", "a key or a value is missing here", _QUOTE),
)


def _explained(error: yaml.MarkedYAMLError, text: str) -> NotYaml:
    problem = error.problem or ""
    opened = error.context_mark or error.problem_mark
    mark = error.problem_mark or opened
    message, hint = f"the text is not YAML ({problem})", _INDENT
    if (mark is not None and text[mark.index : mark.index + 1] == "\t") or "tab character" in problem:
        message, hint = TAB
    else:
        for pattern, words, advice in _SYNTAX:
            if re.search(pattern, problem):
                message, hint = words.format(opened=opened.line + 1 if opened else 1), advice
                mark = opened if words in _AT_OPENING else mark
                break
    if mark is None:
        return NotYaml(message, hint=hint)
    line, column = _inside(text, mark.line + 1, mark.column + 1)
    return NotYaml(message, hint=hint, line=line, column=column)


def _inside(text: str, line: int, column: int) -> tuple[int, int]:
    """The place, or the end of the text: the parsers see one more line where the last one has no line break."""
    lines = text.count("\n") + 1
    return (line, column) if line <= lines else (lines, len(text) - text.rfind("\n"))
