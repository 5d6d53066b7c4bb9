"""Our own parsers, each by a table, and what hostile output does to them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cmdhttp.results.builtin import BUILTIN, parse_csv
from cmdhttp.results.model import MAX_DATA, MAX_OUTPUT, DataErrorCode, Unreadable
from cmdhttp.results.strict import DEPTH, check_data

READ: list[tuple[str, str, Any]] = [
    ("json", '{"a": [1, -2.5, true, false, null, "é"]}\n', {"a": [1, -2.5, True, False, None, "é"]}),
    ("json", ' "text" ', "text"),
    ("json", "9" * 308, int("9" * 308)),
    ("json", '"\\ud83e\\udd89"', "🦉"),
    ("json", "[" * DEPTH + "]" * DEPTH, json.loads("[" * DEPTH + "]" * DEPTH)),
    ("ndjson", '{"a": 1}\r\n\n[2]\n   \n"x"', [{"a": 1}, [2], "x"]),
    ("ndjson", "", []),
    ("lines", "a\nb\r\n\n c ", ["a", "b", "", " c "]),
    ("lines", "a\n", ["a"]),
    ("lines", "", []),
    ("lines", "one\x0bline\u2028only\n", ["one\x0bline\u2028only"]),
    ("csv", 'name,size\r\n"a, b",1\n"say ""hi""",\n', [{"name": "a, b", "size": "1"}, {"name": 'say "hi"', "size": ""}]),
    ("csv", 'a,b\n\n"two\nlines",2\n', [{"a": "two\nlines", "b": "2"}]),
    ("csv", "a,b\n", []),
    ("csv", "", []),
    ("tsv", 'a\tb\n"x"\ty,z\n', [{"a": '"x"', "b": "y,z"}]),
    ("keyvalue", "A=1\n\nB = b c \nC: x=y\nD=\nE=a:b\r\n", {"A": "1", "B": "b c", "C": "x=y", "D": "", "E": "a:b"}),
    ("keyvalue", "A=\"x y\"\nB='z'\nC=\"\n", {"A": "x y", "B": "z", "C": '"'}),
    ("keyvalue", "A=\"x\" \"y\"\nB='z\"\n", {"A": '"x" "y"', "B": "'z\""}),
    ("keyvalue", "", {}),
]  # fmt: skip

REFUSED: list[tuple[str, str, str]] = [
    ("json", "", "not JSON at column 1"),
    ("json", '{"a": 1}\n{"a": 2}\n', "not JSON at line 2, column 1"),
    ("json", "{'a': 1}", "not JSON at column 2"),
    ("json", '{"a": 1, "a": 2}', "an object has the same key twice"),
    ("json", '[{"a": {"b": 1, "b": 1}}]', "an object has the same key twice"),
    ("json", '{"a": NaN}', "NaN is not JSON"),
    ("json", "[-Infinity]", "-Infinity is not JSON"),
    ("json", "1e999999", "a number is too large to be one"),
    ("json", "-1e400", "a number is too large to be one"),
    ("json", "9" * 309, "a number is too large to be one"),
    ("json", "9" * 100_000, "a number is too large to be one"),
    ("json", '"\\ud800"', "a text holds half of a surrogate pair, which is no character"),
    ("json", '{"\\udc00": 1}', "a text holds half of a surrogate pair, which is no character"),
    ("json", "[" * (DEPTH + 1) + "]" * (DEPTH + 1), f"nested more than {DEPTH} levels deep"),
    ("json", "[" * 500_000, f"nested more than {DEPTH} levels deep"),
    ("json", '{"a":' * 100_000, f"nested more than {DEPTH} levels deep"),
    ("ndjson", '{"a": 1}\n\n{"a": \n', "line 3: not JSON at column 7"),
    ("ndjson", "1\nNaN\n", "line 2: NaN is not JSON"),
    ("csv", "a,b\n1\n", "line 2 has 1 cells, and the header 2"),
    ("csv", "a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, and the header 2"),
    ("csv", "a,a\n1,2\n", "the header names a column twice"),
    ("csv", 'a,b\n"1"2,3\n', "line 2: ',' expected after '\"'"),
    ("csv", 'a,b\n"1,2\n', "line 2: unexpected end of data"),
    ("csv", "x" * 200_000, "line 1: field larger than field limit (131072)"),
    ("tsv", "a\tb\n1\n", "line 2 has 1 cells, and the header 2"),
    ("keyvalue", "A=1\njust words\n", "line 2 is not a key, '=' or ':', and a value"),
    ("keyvalue", "=1\n", "line 1 is not a key, '=' or ':', and a value"),
    ("keyvalue", "A=1\nB=2\nA: 3\n", "line 3 gives a key again"),
]

BOMBS: dict[str, tuple[str, str]] = {
    "many empty lines": ("lines", "\n" * MAX_OUTPUT),
    "characters that JSON spells long": ("lines", "\x01" * MAX_OUTPUT),
    "characters beyond ASCII": ("json", '"' + "é" * (MAX_OUTPUT // 2 - 1) + '"'),
}


def numbered(cases: Sequence[tuple[str, str, Any]]) -> list[str]:
    return [f"{name} {number}" for number, (name, _, _) in enumerate(cases)]


@pytest.mark.parametrize(("name", "text", "data"), READ, ids=numbered(READ))
def test_what_is_read(name: str, text: str, data: object) -> None:
    """Each parser makes of a good text exactly this, and it passes the check of what may go out."""
    made = BUILTIN[name](text)
    assert made == data
    check_data(made, most=MAX_DATA)


@pytest.mark.parametrize(("name", "text", "detail"), REFUSED, ids=numbered(REFUSED))
def test_what_is_refused(name: str, text: str, detail: str) -> None:
    """Whatever is not what the parser reads is refused as a whole, and says where and why."""
    with pytest.raises(Unreadable) as caught:
        check_data(BUILTIN[name](text), most=MAX_DATA)
    assert (caught.value.code, caught.value.detail) == (DataErrorCode.MALFORMED, detail)


@pytest.mark.parametrize(("name", "text"), BOMBS.values(), ids=BOMBS)
def test_what_would_grow(name: str, text: str) -> None:
    """Output within its bound that would become far more JSON is refused, and not spelled out first."""
    assert len(text.encode()) <= MAX_OUTPUT
    with pytest.raises(Unreadable) as caught:
        check_data(BUILTIN[name](text), most=MAX_DATA)
    assert (caught.value.code, caught.value.detail) == (DataErrorCode.TOO_LARGE, f"the data is over {MAX_DATA} bytes")


@pytest.mark.parametrize(
    "text", ["a,b\n" + ",\n" * 500_000, "x" * 100_000 + ",y\n" + ",\n" * 300_000], ids=["rows", "names"]
)
def test_rows_are_bounded_while_they_are_read(text: str) -> None:
    """A table that would be too large, by its rows or by the names in each, is given up before all of it is in memory."""
    with pytest.raises(Unreadable) as caught:
        parse_csv(text)
    assert caught.value.code is DataErrorCode.TOO_LARGE


@pytest.mark.parametrize("data", [[], {}, "é\n", [1, None, True, 2.5], {"a": {"b": ["x", {}]}}, [[[]]]])
def test_size_is_what_the_encoder_writes(data: object) -> None:
    """The count that bounds the data is that of its ASCII JSON: it passes at its size, give or take a byte a part."""
    size = len(json.dumps(data, separators=(",", ":")))
    parts = json.dumps(data).count(",") + json.dumps(data).count(":") + json.dumps(data).count("[") + 2
    check_data(data, most=size + parts)
    with pytest.raises(Unreadable):
        check_data(data, most=size - 1)
