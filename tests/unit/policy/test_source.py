import re

# ruff: noqa: E501 - a message stands as it is printed
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cmdhttp.policy import source, yaml_events
from cmdhttp.policy.findings import PolicyError, Position
from cmdhttp.policy.source import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_FINDINGS,
    MAX_NODES,
    Mapping,
    Scalar,
    Sequence,
    SourceCode,
    locate,
    read_source,
    to_plain,
)

FILE = "policies/a.yaml"


@pytest.fixture(params=[yaml_events.PARSER, yaml_events.PythonParser], ids=["c", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test that uses this runs with both event parsers."""
    monkeypatch.setattr(yaml_events, "PARSER", request.param)


def read(text: str | bytes) -> Mapping:
    return read_source(text.encode() if isinstance(text, str) else text, file=FILE)


def refused(text: str | bytes) -> list[str]:
    """The findings, each as `line:column: code message | hint`."""
    with pytest.raises(PolicyError) as caught:
        read(text)
    assert caught.value.findings
    texts = [str(finding).removeprefix(f"{FILE}:").strip() for finding in caught.value.findings]
    return [text.replace("\n    hint: ", " | ") for text in texts]


REPEAT = "write the value out; quote a value that begins with '*' or '&'"
UNTAG = "remove it: the policy format decides what a value means"
UNHIDE = "remove it, also where it is written as an escape"
ENCODE = "save it as UTF-8 without a byte order mark"
TAB = "a tab is not allowed here | indent and separate with spaces; quote a value that holds a tab"
INDENT = "check the indentation and the quotes"

REFUSED = {
    "anchor": ("a: &x b\n", [f"1:4: P126 the anchor '&x' is not allowed | {REPEAT}"]),
    "anchor on a mapping": ("a: &x {b: c}\n", [f"1:4: P126 the anchor '&x' is not allowed | {REPEAT}"]),
    "anchor on a list": ("a: &x\n  - b\n", [f"1:4: P126 the anchor '&x' is not allowed | {REPEAT}"]),
    "anchor on a key": ("&x a: b\n", [f"1:1: P126 the anchor '&x' is not allowed | {REPEAT}"]),
    "alias": ("a: *x\n", [f"1:4: P126 the alias '*x' is not allowed | {REPEAT}"]),
    "alias as key": ("*x : b\n", [f"1:1: P126 the alias '*x' is not allowed | {REPEAT}"]),
    "bare star": (
        "hosts: *\n",
        ["1:8: P123 '*' and '&' have a meaning of their own in YAML | quote the value, like \"*\""],
    ),
    "tag": ("a: !!int b\n", [f"1:4: P127 the tag 'tag:yaml.org,2002:int' is not allowed | {UNTAG}"]),
    "local tag": ("a: !x b\n", [f"1:4: P127 the tag '!x' is not allowed | {UNTAG}"]),
    "bare tag": ("a: ! b\n", [f"1:4: P127 the tag '!' is not allowed | {UNTAG}"]),
    "tag on a list": ("a: !!set [b]\n", [f"1:4: P127 the tag 'tag:yaml.org,2002:set' is not allowed | {UNTAG}"]),
    "object tag": (
        "a: !!python/object/apply:os.system [id]\n",
        [f"1:4: P127 the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed | {UNTAG}"],
    ),
    "merge key": ("a:\n  <<: {b: c}\n", ["2:3: P128 the merge key '<<' is not allowed | write the entries out"]),
    "two merge keys": (
        "<<: a\n<<: b\n",
        [f"{line}:1: P128 the merge key '<<' is not allowed | write the entries out" for line in (1, 2)],
    ),
    "directive": ("%YAML 1.2\n---\na: b\n", ["1:1: P129 a YAML directive is not allowed | remove this line"]),
    "tag directive": (
        "%TAG ! tag:x:\n---\na: b\n",
        ["1:1: P129 a YAML directive is not allowed | remove this line"],
    ),
    "future directive": ("%FUTURE x\n---\na: b\n", ["1:1: P129 a YAML directive is not allowed | remove this line"]),
    "second document": (
        "a: b\n---\nc: d\n",
        ["2:1: P130 a second document is not allowed | move it to a file of its own"],
    ),
    "duplicate key": (
        "deny: []\nb: c\ndeny: []\n",
        [
            "3:1: P131 the key 'deny' is given twice (first at policies/a.yaml:1:1) | keep one of them, or mend the indentation"
        ],
    ),
    "duplicate quoted key": (
        "a: {deny: b, \"deny\": c, 'd\u0065ny': d}\n",
        [
            f"1:{column}: P131 the key 'deny' is given twice (first at policies/a.yaml:1:5) | keep one of them, or mend the indentation"
            for column in (14, 25)
        ],
    ),
    "duplicate escaped key": (
        'deny: b\n"den\\x79": c\n',
        [
            "2:1: P131 the key 'deny' is given twice (first at policies/a.yaml:1:1) | keep one of them, or mend the indentation"
        ],
    ),
    "list as key": (
        "[a]: b\n",
        ["1:1: P132 a key must be text | quote a key or value that begins with '{' or '['"],
    ),
    "mapping as key": (
        "a: {{b: c}: d}\n",
        ["1:5: P132 a key must be text | quote a key or value that begins with '{' or '['"],
    ),
    "empty key": ("a:\n  ?\n  : b\n", ["2:4: P133 a key must not be empty | write the key before the ':'"]),
    "empty quoted key": ('"": b\n', ["1:1: P133 a key must not be empty | write the key before the ':'"]),
    "byte order mark": (b"\xef\xbb\xbfa: b\n", [f"P121 the file starts with a byte order mark | {ENCODE}"]),
    "utf-16": ("a: b\n".encode("utf-16"), [f"P121 the file starts with a byte order mark | {ENCODE}"]),
    "not utf-8": ("a: b\nc: ä".encode("latin-1"), [f"2:4: P121 the byte 0xe4 is not UTF-8 | {ENCODE}"]),
    "encoded surrogate": (b"a: \xed\xa0\x80\n", [f"1:4: P121 the byte 0xed is not UTF-8 | {ENCODE}"]),
    "overlong nul": (b"a: \xc0\x80\n", [f"1:4: P121 the byte 0xc0 is not UTF-8 | {ENCODE}"]),
    "empty": ("", ["P124 the file is empty | begin with `version: 1`"]),
    "only a comment": ("# nothing\n", ["P124 the file is empty | begin with `version: 1`"]),
    "only a marker": ("---\n", ["P124 the file is empty | begin with `version: 1`"]),
    "a list": ("- a\n", ["1:1: P125 the top level must be a mapping of `key: value` | begin with `version: 1`"]),
    "a text": ("a\n", ["1:1: P125 the top level must be a mapping of `key: value` | begin with `version: 1`"]),
    "tab as indentation": ("a:\n\tb: c\n", [f"2:1: P123 {TAB}"]),
    "tab after a colon": ("a:\tb\n", [f"1:3: P123 {TAB}"]),
    "tab inside plain text": ("a: b\tc\n", [f"1:5: P123 {TAB}"]),
    "tab before a comment": ("a: b\t# c\n", [f"1:5: P123 {TAB}"]),
    "tab that only looks commented": ("a: b#c\td\n", [f"1:7: P123 {TAB}"]),
    "open quote": (
        "a: b\nc: 'd\ne: f\n",
        ["2:4: P123 the quote that opens here is not closed | close it, or quote the whole value"],
    ),
    "regex in double quotes": (
        'a: "\\d+"\n',
        ["1:4: P123 a backslash in double quotes begins an escape | use single quotes, or '\\\\'"],
    ),
    "no colon": (
        "a: b\nrun\nc: d\n",
        ["2:1: P123 this line has no ': ' after a key | write `key: value`, and check the indentation"],
    ),
    "colon in a value": (
        "a: b: c\n",
        ["1:5: P123 a ':' is not allowed here | quote a value that holds ':', or check the indentation"],
    ),
    "list item after a key": (
        "a: - b\n",
        ["1:4: P123 a list item '-' is not allowed here | begin the list on its own line, indented"],
    ),
    "at sign": ("a: @b\n", ["1:4: P123 a value cannot begin with this character | quote the value"]),
    "text after a block header": (
        "a: | b\n",
        ["1:6: P123 text cannot follow '|' or '>' on the same line | begin the text on the next line"],
    ),
    "bad indentation": ("a:\n  b: c\n d: e\n", [f"3:2: P123 this does not line up with what stands above | {INDENT}"]),
    "open list": (
        "a: [b\nc: d\n",
        ["2:2: P123 a ',' or ']' is missing here, in the list of line 1 | close the list, or quote the value"],
    ),
    "open mapping at the end of the file": (
        "a: 1\nb: {c: d",
        ["2:9: P123 a ',' or '}' is missing here, in the mapping of line 2 | close the mapping, or quote the value"],
    ),
}


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(text: str | bytes, expected: list[str]) -> None:
    """Each construct that no policy may hold is refused with its code, its place, its message and a hint."""
    assert refused(text) == expected


HIDDEN = {
    "nul": ("a: b\0c\n", "1:5", "U+0000 (a control character)"),
    "escape": ("a: b\x1b[2J\n", "1:5", "U+001B (a control character)"),
    "next line": ("a: b\x85\n", "1:5", "U+0085 (a control character)"),
    "bare return": ("a: b\rc: d\n", "1:5", "U+000D (a control character)"),
    "line separator": ("a: b\u2028\n", "1:5", "U+2028 (LINE SEPARATOR)"),
    "no-break space": ("x: y\na:\u00a0b\n", "2:3", "U+00A0 (NO-BREAK SPACE)"),
    "in a comment": ("a: b # \u202e\n", "1:8", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
    "mark inside": ("a: b\ufeff\n", "1:5", "U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
    "tag character": ("a: b\U000e0041\n", "1:5", "U+E0041 (TAG LATIN CAPITAL LETTER A)"),
    "escaped nul": ('a: "b\\x00"\n', "1:4", "U+0000 (a control character)"),
    "escaped short nul": ('a: "b\\0"\n', "1:4", "U+0000 (a control character)"),
    "escaped override": ('a: "b\\u202e"\n', "1:4", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
    "escaped return": ('a: "b\\r"\n', "1:4", "U+000D (a control character)"),
    "escaped in a key": ('"b\\u200b": c\n', "1:1", "U+200B (ZERO WIDTH SPACE)"),
}


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "at", "character"), HIDDEN.values(), ids=HIDDEN.keys())
def test_hidden_characters(text: str, at: str, character: str) -> None:
    """A character that a reader cannot see is refused, raw or as an escape, with its name and place."""
    assert refused(text) == [f"{at}: P122 the hidden character {character} is not allowed | {UNHIDE}"]


def test_a_hidden_character_is_told_once_with_its_count() -> None:
    """The same character a thousand times is one finding at its first place."""
    message = "P122 the hidden character U+200B (ZERO WIDTH SPACE) is not allowed (1000 times)"
    assert refused("a: b" + "\u200b" * 1000) == [f"1:5: {message} | {UNHIDE}"]


@pytest.mark.parametrize("text", ['a: "\\ud800"', 'a: "\\U00110000"', 'a: "\\UFFFFFFFF"', 'a: "\\xZZ"', 'a: "\\'])
@pytest.mark.usefixtures("parser")
def test_escapes_of_no_character(text: str) -> None:
    """An escape that names no character is a finding, whatever the parser makes of it."""
    assert re.match(r"(1:4: P122|(1:\d+: )?P123) ", refused(text)[0])


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes",
        "0644",
        "22:22",
        "1.10",
        "1e3",
        "0x10",
        "null",
        "~",
        "true",
        "2026-12-20",
        "=",
        "1_000",
        "-0",
        ".inf",
    ],
)
def test_plain_values_stay_text(text: str) -> None:
    """What YAML would turn into a number, a date or a truth value stays the text that was written."""
    assert to_plain(read(f"a: {text}\nb: [{text}]\n{text}: c\n")) == {"a": text, "b": [text], text: "c"}


@pytest.mark.usefixtures("parser")
def test_empty_values_stay_apart() -> None:
    """An empty plain value is text without quotes, an empty quoted one is quoted: the schema decides."""
    root = read("a:\nb: ''\nc: \"\"\nd: |\ne: null\n")
    assert [(name.text, value.text, value.quoted) for name, value in root.entries if isinstance(value, Scalar)] == [
        ("a", "", False),
        ("b", "", True),
        ("c", "", True),
        ("d", "", True),
        ("e", "null", False),
    ]


@pytest.mark.usefixtures("parser")
def test_tree() -> None:
    """Mappings, lists, flow and block text come out in order, with the line and column of each."""
    root = read(
        'version: 1\r\ncommands:\n  a.b:\n    run: [/bin/x, "<n>"]\n    script: |\n      set -eu\n      \techo ü\n'
    )
    assert to_plain(root) == {
        "version": "1",
        "commands": {"a.b": {"run": ["/bin/x", "<n>"], "script": "set -eu\n\techo ü\n"}},
    }
    commands = root.get("commands")
    assert isinstance(commands, Mapping)
    command = commands.get("a.b")
    assert isinstance(command, Mapping)
    run = command.get("run")
    assert isinstance(run, Sequence)
    assert [str(item.at) for item in (commands, command, run, *run.items)] == [
        "policies/a.yaml:3:3",
        "policies/a.yaml:4:5",
        "policies/a.yaml:4:10",
        "policies/a.yaml:4:11",
        "policies/a.yaml:4:19",
    ]
    assert root.get("hosts") is None
    assert root.entry("hosts") is None


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text",
    [
        "a: b # \tc\n",
        "#\t\na: b\n",
        "a: 'b\tc'\n",
        'a: "b\t\\t"\n',
        "a: |\n  b\n  \tc\n",
        "---\na: b\n...\n",
        "'<<': a\n",
    ],
)
def test_taken(text: str) -> None:
    """Tabs in comments, quotes and block text, one document marker and a quoted '<<' are no danger."""
    assert read(text).entries


def test_all_findings_at_once() -> None:
    """What does not end the reading is collected: one run shows all of it, in file order."""
    text = "%YAML 1.1\n---\na: &x b\na: !y c\nd: *x\n<<: {}\n'': e\n[f]: g\u200b\n"
    assert [finding.split()[1] for finding in refused(text)] == [
        "P129", "P126", "P131", "P127", "P126", "P128", "P133", "P132", "P122",
    ]  # fmt: skip


def test_a_masked_character_makes_no_second_finding() -> None:
    """What a hidden character may itself have broken is not reported beside it."""
    for text in ("a: b\n\u00a0 c: d\n", "a:\u00a0b\n", "\u00a0", "a: b\n\u2028\tc: d\n"):
        assert len(refused(text)) == 1


def test_at_most_a_hundred_findings() -> None:
    """A hopeless file ends after a hundred findings, and the last one says so."""
    findings = refused("a: b\n" * 5_000)
    assert len(findings) == MAX_FINDINGS + 1
    assert findings[-1].endswith("P136 reading ended after 100 findings | mend these first, then check again")


@pytest.mark.parametrize("count", range(MAX_FINDINGS - 2, MAX_FINDINGS + 3))
@pytest.mark.parametrize("end", ["", "\t", "'", "&x y: z", "c: *d", "---", "<<: {}", "- e", "[f"])
def test_the_last_finding_may_be_of_any_kind(count: int, end: str) -> None:
    """However many findings stand before it, the last one ends in a PolicyError like the others."""
    assert len(refused("a: b\n" * (count + 1) + end)) in (count, count + 1, MAX_FINDINGS + 1)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("style", ["flow", "block", "mixed"])
def test_depth(style: str) -> None:
    """Forty levels are read, and the forty-first is refused however it is written."""

    def nested(levels: int) -> str:
        inner = levels - 1
        if style == "flow":
            return "a: " + "[" * inner + "]" * inner
        if style == "mixed":
            return "a: " + "{b: " * inner + "c" + "}" * inner
        return "".join(f"{'  ' * level}a:\n" for level in range(levels))

    assert read(nested(MAX_DEPTH)).entries
    assert "P134 this is more than 40 levels deep" in refused(nested(MAX_DEPTH + 1))[0]


def test_size() -> None:
    """Exactly 1 MiB is read; a byte more, or 2 MiB, is refused without a look inside."""
    assert read(b"a: b\n" + b"#" * (MAX_BYTES - 5)).entries
    for size in (MAX_BYTES + 1, 2 * MAX_BYTES):
        assert refused(b"#" * size) == [
            "P120 the file is larger than 1 MiB | split it: any number of files in the folder is one policy"
        ]


def test_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many values as allowed are read, one more is refused."""
    assert MAX_NODES == 200_000
    monkeypatch.setattr(source, "MAX_NODES", 1_000)
    assert read("a: [" + "b," * 997 + "]").entries
    assert "P135 the file holds more than 1,000 values" in refused("a: [" + "b," * 998 + "]")[0]


@pytest.mark.parametrize(
    "data",
    [
        b"[" * MAX_BYTES,
        b"a: " + b"{a: " * 200_000,
        b"- " * 500_000,
        b"? " * 500_000,
        b"\0" * 100_000,
        b"a: b" + b"\t" * 900_000,
    ],
    ids=["lists", "mappings", "items", "keys", "nul", "tabs"],
)
def test_hostile_files_end_soon(data: bytes) -> None:
    """Nesting bombs and floods of bad characters are refused like anything else."""
    assert refused(data)


def test_messages_are_short_and_on_one_line() -> None:
    """Text of the file in a message is cut and escaped, so that it cannot break or flood a log."""
    first, second = refused(f"{'k' * 500}: a\n{'k' * 500}: b\n? |\n  x\n  y\n: a\n? |\n  x\n  y\n: b\n")
    assert "the key '" + "k" * 61 + "...' is given twice" in first
    assert "the key 'x\\u000ay\\u000a' is given twice" in second


class Unit(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: str = Field(pattern="^enum$")
    values: list[str] = Field(max_length=2)


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    units: dict[str, Unit | list[Unit]]


@pytest.mark.parametrize(
    ("text", "key", "line", "column"),
    [
        ("units:\n  a: {type: enum, values: [b, c]}\nextra: 1\n", True, 3, 1),
        ("units:\n  a: {type: enum, values: [b, c], extra: 1}\n", True, 2, 35),
        ("units:\n  a:\n    type: enum\n    values: [b, {c: d}]\n", False, 4, 17),
        ("units:\n  a: {type: number, values: []}\n", False, 2, 13),
        ("units:\n  a: {type: enum}\n", False, 2, 6),
    ],
    ids=["top key", "inner key", "item", "value", "missing"],
)
def test_locate(text: str, key: bool, line: int, column: int) -> None:
    """A pydantic error is found in the tree: union tags are skipped, missing keys end at their mapping."""
    root = read(text)
    with pytest.raises(ValidationError) as caught:
        File.model_validate(to_plain(root))
    loc = caught.value.errors()[0]["loc"]
    assert locate(root, loc, key=key) == Position(file=FILE, line=line, column=column)


def test_locate_of_a_bad_key() -> None:
    """An error about a dictionary's key, which pydantic marks with `[key]`, stands at the key."""
    root = read("hosts:\n  1x: {a: b}\n")
    assert locate(root, ("hosts", "1x", "[key]")) == Position(file=FILE, line=2, column=3)
    assert locate(root, ("hosts", "1x")) == Position(file=FILE, line=2, column=7)
    assert locate(root, ()) == Position(file=FILE, line=1, column=1)
    assert locate(root, ("hosts", 0, "none")) == Position(file=FILE, line=2, column=3)


def test_codes() -> None:
    """Every code is unique, between P100 and P199, and has its one-line meaning."""
    assert len({code.value for code in SourceCode}) == len(SourceCode.__members__)
    assert all(re.fullmatch("P1[0-9][0-9]", code) and code.meaning for code in SourceCode)
    assert f"{SourceCode.DUPLICATE_KEY}" == "P131"
