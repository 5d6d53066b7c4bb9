"""The program of a parser's process, taken for itself."""

import io
import json
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import jc
import pytest

from cmdhttp.results import child
from cmdhttp.results.child import LENGTH, READY, answer, list_parsers, serve

DF = "Filesystem     1K-blocks     Used Use%\n/dev/sda1            100       41  41%\n"


def framed(*texts: str) -> io.BytesIO:
    return io.BytesIO(b"".join(LENGTH.pack(len(text.encode())) + text.encode() for text in texts))


def messages(data: bytes) -> Iterator[bytes]:
    while data:
        (size,) = LENGTH.unpack(data[: LENGTH.size])
        yield data[LENGTH.size : LENGTH.size + size]
        data = data[LENGTH.size + size :]


def test_texts_are_answered_in_order() -> None:
    """It says that it is ready, then gives one answer a text, an empty one included, and ends with its input."""
    replies = io.BytesIO()
    serve("df", most=1000, requests=framed(DF, "", DF), replies=replies)
    ready, first, second, third = messages(replies.getvalue())
    assert ready == READY
    assert json.loads(first) == {"data": [{"filesystem": "/dev/sda1", "1k_blocks": 100, "used": 41, "use_percent": 41}]}
    assert json.loads(second) == {"data": []}
    assert third == first


def test_no_such_parser() -> None:
    """A parser that is not there is told in place of being ready, and no text is read."""
    replies, requests = io.BytesIO(), framed("text")
    serve("no-such", most=1000, requests=requests, replies=replies)
    assert [json.loads(message)["error"]["code"] for message in messages(replies.getvalue())] == ["unavailable"]
    assert requests.tell() == 0


class ParseError(Exception):
    """Named as jc names what its parsers mean to say."""


def raising(error: BaseException) -> Any:
    def parse(_text: str, *, quiet: bool) -> object:
        assert quiet
        raise error

    return parse


def giving(value: object) -> Any:
    def parse(_text: str, *, quiet: bool) -> object:
        assert quiet
        return value

    return parse


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (ParseError("no\nheader " + "x" * 500), "malformed", "no header " + "x" * 190),
        (IndexError("secret text"), "malformed", "the parser could not read it (IndexError)"),
        (RecursionError(), "malformed", "the parser could not read it (RecursionError)"),
        (MemoryError(), "failed", "the parser needs more memory than it may have"),
    ],
)
def test_what_a_parser_raises(error: Exception, code: str, detail: str) -> None:
    """Whatever a parser raises becomes a code and one short line."""
    assert answer(raising(error), "text", most=1000) == {"error": {"code": code, "detail": detail}}


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {1, 2}, b"x", {("a", 1): 2}, object()])
def test_what_is_no_json(value: object) -> None:
    """A value that JSON cannot hold is refused."""
    refused: Any = answer(giving(value), "text", most=1000)
    assert refused["error"]["code"] == "malformed"


def test_too_much_data() -> None:
    """Data over the bound stays in the process."""
    assert answer(giving("x" * 88), "text", most=99) == b'{"data":"' + b"x" * 88 + b'"}'
    refused: Any = answer(giving("x" * 89), "text", most=99)
    assert refused == {"error": {"code": "too_large", "detail": "the data is over 99 bytes"}}


def test_names_are_as_people_write_them() -> None:
    """The list has the parsers of whole texts, also those for files of /proc, and none that reads a stream."""
    names = list_parsers()
    assert {"df", "ps", "airport-s", "x509-cert", "proc-meminfo"} <= set(names)
    assert "vmstat-s" not in names
    assert set(names) == {name.replace("_", "-") for name in jc.standard_parser_mod_list(show_hidden=True)}


def run_program(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> bytes:
    out = io.BytesIO()
    stdout = io.TextIOWrapper(out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(framed("")))
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["child.py", "/library", *arguments])
    runpy.run_path(child.__file__, run_name="__main__")
    assert sys.path[-1] == "/library"
    assert sys.stdout is sys.stderr
    assert sys.stdout is not stdout
    return out.getvalue()


def test_the_program_lists_its_parsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library alone it prints the names."""
    assert json.loads(run_program(monkeypatch)) == list_parsers()


def test_the_program_answers_where_stdout_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a parser it answers on what was stdout; anything that is printed from then on goes nowhere."""
    assert list(messages(run_program(monkeypatch, "df", "99"))) == [READY, b'{"data":[]}']
