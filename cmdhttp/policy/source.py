"""Policy text to nodes: every scalar stays text with its file, line and column.

A file is one small tree of mappings, sequences and scalars, and nothing else: no anchor, alias, tag, merge key,
directive or second document; no key given twice; no character that a reader cannot see. What a scalar means (`no`,
`0644`, `22:22`) is decided by the model, never here. Nothing but `PolicyError` comes out, whatever goes in, and it
holds all that was found: a syntax error, too much depth or too many nodes end the reading, the rest is collected.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple, Self

from yaml import events as ev

from cmdhttp.policy import yaml_events
from cmdhttp.policy.findings import Finding, PolicyError, Position

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 200_000
MAX_FINDINGS = 100


class SourceCode(StrEnum):
    """The findings of reading: P101 to P119 speak of the folder, P120 and up of the text of one file."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    NO_FOLDER = "P101", "the policy folder does not exist or is not a folder"
    UNREADABLE = "P102", "a file or folder cannot be read"
    NO_FILES = "P103", "the folder holds no policy file"
    BAD_SUFFIX = "P104", "a file looks like policy but does not end in .yaml"
    NOT_REGULAR = "P105", "a name ending in .yaml is not a regular file"
    FOLDER_TWICE = "P106", "symbolic links lead to the same folder twice"
    BAD_FILE_NAME = "P107", "a file name holds characters that cannot be shown"
    TOO_MANY_FILES = "P108", "the folder holds more than is ever read"
    UNSTABLE = "P109", "the folder kept changing while it was read"
    WORLD_WRITABLE = "P110", "everybody on this machine may write a policy file or folder"
    GROUP_WRITABLE = "P111", "a group other than root's and ours may write a policy file or folder"
    TOO_LARGE = "P120", "a file is larger than 1 MiB"
    NOT_UTF8 = "P121", "a file is not UTF-8 without a byte order mark"
    HIDDEN_CHARACTER = "P122", "a control, invisible or bidirectional character"
    SYNTAX = "P123", "the text is not YAML"
    EMPTY = "P124", "the file is empty"
    NOT_MAPPING = "P125", "the top level is not a mapping"
    ANCHOR = "P126", "an anchor or alias"
    TAG = "P127", "a YAML tag"
    MERGE_KEY = "P128", "a merge key"
    DIRECTIVE = "P129", "a YAML directive"
    SECOND_DOCUMENT = "P130", "a second document in one file"
    DUPLICATE_KEY = "P131", "a key given twice in one mapping"
    KEY_NOT_TEXT = "P132", "a key that is a list or a mapping"
    EMPTY_KEY = "P133", "a key without text"
    TOO_DEEP = "P134", "more than 40 levels"
    TOO_MANY_NODES = "P135", "more than 200,000 values in one file"
    TOO_MANY_FINDINGS = "P136", "the rest of a file was not read after 100 findings"


Place = tuple[str, int, int]  # file, line, column: far cheaper than a `Position`, and a file has 100,000 of them


class Scalar(NamedTuple):
    """Text as written, quotes and escapes resolved. An empty plain value is `''` with `quoted` false.

    A tuple, because four nodes in five are scalars, and a frozen dataclass takes five times as long to make.
    """

    text: str
    quoted: bool
    place: Place

    @property
    def at(self) -> Position:
        return _position(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    place: Place

    @property
    def at(self) -> Position:
        return _position(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(_Placed):
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping(_Placed):
    """Keys are unique and never empty; entries keep the order of the file."""

    entries: "tuple[tuple[Scalar, Node], ...]"

    def get(self, key: str) -> "Node | None":
        found = self.entry(key)
        return found[1] if found else None

    def entry(self, key: str) -> "tuple[Scalar, Node] | None":
        """The key itself, which has a position of its own, and its value."""
        for entry in self.entries:
            if entry[0].text == key:
                return entry
        return None


Node = Scalar | Sequence | Mapping
Plain = str | list["Plain"] | dict[str, "Plain"]


def _position(place: Place) -> Position:
    file, line, column = place
    return Position(file=file, line=line, column=column)


def read_source(data: bytes, *, file: str) -> Mapping:
    """The tree of one file, or `PolicyError` with every finding; `file` is the name that positions show."""
    if len(data) > MAX_BYTES:
        raise PolicyError([too_large(file)])
    text = _decode(data, file=file)
    findings = _text_findings(data, text, file=file)
    masked = bool(findings)  # what was masked may itself break the syntax, which is then no news
    if masked:
        text = _DIRECTIVE.sub("#", _HIDDEN_RAW.sub("\ufffd", text))
    builder = _Builder(file=file, events=yaml_events.events(text), findings=findings)
    try:
        if builder.read() and not masked:
            builder.check_top()
            builder.findings += _tab_findings(text, builder.tab_room, file=file)
    except yaml_events.NotYaml as error:
        if not masked:
            at = Position(file=file, line=error.line, column=error.column)
            builder.findings.append(Finding(code=SourceCode.SYNTAX, message=error.message, at=at, hint=error.hint))
    if builder.findings or not isinstance(builder.root, Mapping):
        raise PolicyError(builder.findings)
    return builder.root


def to_plain(node: Node) -> Plain:
    """Strings, lists and dicts only, for the model to read."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [to_plain(item) for item in node.items]
    return {name.text: to_plain(value) for name, value in node.entries}


def locate(node: Node, loc: AbstractSequence[str | int], *, key: bool = False) -> Position:
    """Where a pydantic error stands. Elements that the tree does not have (union tags, missing keys) are skipped.

    The value's position; with `key`, or when `loc` ends in pydantic's `[key]`, the position of the last key found.
    """
    key_place = node.place
    for step in loc:
        if isinstance(node, Mapping) and (entry := node.entry(str(step))) is not None:
            name, node = entry
            key_place = name.place
        elif isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            key_place = node.place
    return _position(key_place if key or (loc and loc[-1] == "[key]") else node.place)


def steps(node: Node, loc: AbstractSequence[str | int]) -> list[str]:
    """The keys on the way to where a pydantic error stands, without what the tree does not have (see `locate`)."""
    keys = []
    for step in loc:
        if isinstance(node, Mapping) and (value := node.get(str(step))) is not None:
            node = value
            keys.append(str(step))
        elif isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
    return keys


def too_large(file: str) -> Finding:
    return Finding(
        code=SourceCode.TOO_LARGE,
        message=f"the file is larger than {MAX_BYTES >> 20} MiB",
        at=Position(file=file),
        hint="split it: any number of files in the folder is one policy",
    )


# Text: what is refused before YAML is looked at.

_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680"
    "\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ufdd0-\ufdef"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
) + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
_HIDDEN_RAW = re.compile(rf"[{_HIDDEN}]|\r(?!\n)")
_HIDDEN_VALUE = re.compile(rf"[{_HIDDEN}\r]")
_ORDINARY = b"\t\n" + bytes(range(0x20, 0x7F))
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


def _decode(data: bytes, *, file: str) -> str:
    hint = "save it as UTF-8 without a byte order mark"
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        message = "the file starts with a byte order mark"
        raise PolicyError([Finding(code=SourceCode.NOT_UTF8, message=message, at=Position(file=file), hint=hint)])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        at = Position(file=file, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise PolicyError([Finding(code=SourceCode.NOT_UTF8, message=message, at=at, hint=hint)]) from None


def _text_findings(data: bytes, text: str, *, file: str) -> list[Finding]:
    """Directives and hidden characters in the raw text; each character once, at its first place, with its count."""
    if not data.translate(None, _ORDINARY) and not text.startswith("%") and "\n%" not in text:
        return []  # nearly every file: no need for the slower search
    first: dict[str, int] = {}
    count: Counter[str] = Counter()
    for found in _HIDDEN_RAW.finditer(text):
        first.setdefault(found[0], found.start())
        count[found[0]] += 1
    findings = [
        _hidden(char, at=_place(text, index, file=file), times=count[char])
        for char, index in islice(first.items(), MAX_FINDINGS)
    ]
    message, hint = "a YAML directive is not allowed", "remove this line"
    for found in islice(_DIRECTIVE.finditer(text), MAX_FINDINGS - len(findings)):
        at = _place(text, found.start(), file=file)
        findings.append(Finding(code=SourceCode.DIRECTIVE, message=message, at=at, hint=hint))
    return findings


def _tab_findings(text: str, tab_room: list[tuple[int, int]], *, file: str) -> list[Finding]:
    if "\t" not in text:
        return []
    message, hint = yaml_events.TAB
    return [
        Finding(code=SourceCode.SYNTAX, message=message, at=_place(text, index, file=file), hint=hint)
        for index in islice(yaml_events.stray_tabs(text, tab_room), MAX_FINDINGS)
    ]


def _place(text: str, index: int, *, file: str) -> Position:
    return Position(file=file, line=text.count("\n", 0, index) + 1, column=index - text.rfind("\n", 0, index))


def _hidden(char: str, *, at: Position, times: int = 1) -> Finding:
    name = unicodedata.name(char, "a control character" if char < "\xa0" else "no name")
    often = f" ({times} times)" if times > 1 else ""
    return Finding(
        code=SourceCode.HIDDEN_CHARACTER,
        message=f"the hidden character U+{ord(char):04X} ({name}) is not allowed{often}",
        at=at,
        hint="remove it, also where it is written as an escape",
    )


# Building: one pass over the events, by recursive descent, which the limit of depth keeps shallow.

_SCALAR, _ALIAS, _DOCUMENT = ev.ScalarEvent, ev.AliasEvent, ev.DocumentStartEvent
_MAPPING, _MAPPING_END = ev.MappingStartEvent, ev.MappingEndEvent
_SEQUENCE, _SEQUENCE_END = ev.SequenceStartEvent, ev.SequenceEndEvent
_NODES = (_SCALAR, _ALIAS, _MAPPING, _SEQUENCE)
_SHOWN = 64
_REPEAT = "write the value out; quote a value that begins with '*' or '&'"


class _Enough(Exception):
    """The rest of the file is not worth reading; the finding that says so is there."""


@dataclass(slots=True, kw_only=True)
class _Builder:
    file: str
    events: Iterator[Any]
    findings: list[Finding]
    root: Node | None = None
    nodes: int = 0
    depth: int = 0
    tab_room: list[tuple[int, int]] = field(default_factory=list)  # where quoted and block scalars stand in the text

    def read(self) -> bool:
        """Take all events; false when it stopped before the end, because the rest is not worth reading."""
        try:
            self._check_findings()
            for event in self.events:
                if type(event) in _NODES:
                    self.root = self._node(event)
                elif type(event) is _DOCUMENT and self.root is not None:
                    hint = "move it to a file of its own"
                    self.find(SourceCode.SECOND_DOCUMENT, "a second document is not allowed", self._at(event), hint)
                    raise _Enough  # noqa: TRY301 - the same end as everywhere below
        except _Enough:
            return False
        return True

    def check_top(self) -> None:
        """After the last event: there was a document, and it was a mapping."""
        if isinstance(self.root, Mapping):
            return
        start = "begin with `version: 1`"
        if self.root is None or (isinstance(self.root, Scalar) and not self.root.text and not self.root.quoted):
            self.find(SourceCode.EMPTY, "the file is empty", (self.file, 0, 0), start)
        else:
            self.find(SourceCode.NOT_MAPPING, "the top level must be a mapping of `key: value`", self.root.place, start)

    def _node(self, event: Any) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            message, hint = f"the file holds more than {MAX_NODES:,} values", "split it: many files make one policy"
            self.find(SourceCode.TOO_MANY_NODES, message, self._at(event), hint)
            raise _Enough
        kind = type(event)
        if kind is _SCALAR:
            return self._scalar(event)
        if kind is _ALIAS:
            return self._alias(event)
        place = self._open(event)
        node = self._mapping(place) if kind is _MAPPING else self._sequence(place)
        self.depth -= 1
        return node

    def _scalar(self, event: Any) -> Scalar:
        mark = event.start_mark
        place = (self.file, mark.line + 1, mark.column + 1)
        text, style = event.value, event.style
        if event.anchor is not None or event.tag is not None:
            self._properties(event, place)
        if style:
            self.tab_room.append((mark.index, event.end_mark.index))
            if style == '"' and not (text.isascii() and text.isprintable()) and (found := _HIDDEN_VALUE.search(text)):
                self.add(_hidden(found[0], at=_position(place)))
        return Scalar._make((text, bool(style), place))

    def _alias(self, event: Any) -> Scalar:
        place = self._at(event)
        self.find(SourceCode.ANCHOR, f"the alias {_shown('*' + event.anchor)} is not allowed", place, _REPEAT)
        return Scalar(f"*{event.anchor}", quoted=True, place=place)

    def _open(self, event: Any) -> Place:
        place = self._at(event)
        if event.anchor is not None or event.tag is not None:
            self._properties(event, place)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            message, hint = f"this is more than {MAX_DEPTH} levels deep", "no part of a policy needs so many"
            self.find(SourceCode.TOO_DEEP, message, place, hint)
            raise _Enough
        return place

    def _sequence(self, place: Place) -> Sequence:
        items: list[Node] = []
        while type(event := next(self.events)) is not _SEQUENCE_END:
            items.append(self._node(event))
        return Sequence(items=tuple(items), place=place)

    def _mapping(self, place: Place) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        keys: dict[str, Place] = {}
        while type(event := next(self.events)) is not _MAPPING_END:
            key = self._checked_key(self._node(event), keys)
            entries.append((key, self._node(next(self.events))))
        return Mapping(entries=tuple(entries), place=place)

    def _checked_key(self, key: Node, keys: dict[str, Place]) -> Scalar:
        if not isinstance(key, Scalar):
            hint = "quote a key or value that begins with '{' or '['"
            self.find(SourceCode.KEY_NOT_TEXT, "a key must be text", key.place, hint)
            return Scalar("", quoted=True, place=key.place)
        if key.text not in keys and key.text and (key.text != "<<" or key.quoted):
            keys[key.text] = key.place
        elif not key.text:
            self.find(SourceCode.EMPTY_KEY, "a key must not be empty", key.place, "write the key before the ':'")
        elif key.text == "<<" and not key.quoted:
            self.find(SourceCode.MERGE_KEY, "the merge key '<<' is not allowed", key.place, "write the entries out")
        else:
            first = keys[key.text]
            message = f"the key {_shown(key.text)} is given twice (first at {_position(first)})"
            self.find(SourceCode.DUPLICATE_KEY, message, key.place, "keep one of them, or mend the indentation")
        return key

    def _properties(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self.find(SourceCode.ANCHOR, f"the anchor {_shown('&' + event.anchor)} is not allowed", place, _REPEAT)
        if event.tag is not None:
            hint = "remove it: the policy format decides what a value means"
            self.find(SourceCode.TAG, f"the tag {_shown(event.tag)} is not allowed", place, hint)

    def _at(self, event: Any) -> Place:
        mark = event.start_mark
        return self.file, mark.line + 1, mark.column + 1

    def find(self, code: SourceCode, message: str, place: Place, hint: str) -> None:
        self.add(Finding(code=code, message=message, at=_position(place), hint=hint))

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._check_findings()

    def _check_findings(self) -> None:
        if len(self.findings) >= MAX_FINDINGS:
            message, hint = f"reading ended after {MAX_FINDINGS} findings", "mend these first, then check again"
            last = max(finding.at for finding in self.findings)
            self.findings.append(Finding(code=SourceCode.TOO_MANY_FINDINGS, message=message, at=last, hint=hint))
            raise _Enough


def _shown(text: str) -> str:
    """Text of the file in a message: short, quoted, on one line."""
    short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
    return "'" + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in short) + "'"
