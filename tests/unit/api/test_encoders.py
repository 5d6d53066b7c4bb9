"""Documents as bytes, and which form a caller prefers."""

import json

import pytest

from cmdhttp.api.encoders import Media, choose_media, encode_event, encode_json

OFFERED = (Media.JSON, Media.SSE, Media.NDJSON, Media.TEXT)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", Media.JSON),
        ("*/*", Media.JSON),
        ("application/json", Media.JSON),
        ("APPLICATION/X-NDJSON", Media.NDJSON),
        ("text/event-stream", Media.SSE),
        ("text/*", Media.SSE),
        ("text/plain, */*", Media.TEXT),
        ("*/*, text/plain", Media.TEXT),
        ("text/plain;q=0.5, application/json;q=0.4", Media.TEXT),
        ("text/plain;q=0.4, application/json;q=0.5", Media.JSON),
        ("application/json;q=0, */*;q=0.1, text/event-stream", Media.SSE),
        ("application/x-ndjson; charset=utf-8", Media.NDJSON),
        ("application/x-ndjson;q=2", Media.NDJSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Media.JSON),
        ("application/*", Media.JSON),
        ("image/png", None),
        ("application/json;q=0", None),
        ("application/json;q=x", None),
        ("json", None),
        ("*", None),
        (",;,;q=", None),
        ("text/event-stream\x00", None),
    ],
)
def test_accept(accept: str, chosen: Media | None) -> None:
    """The highest weight wins, then the exact name, then our own order; None where nothing fits."""
    assert choose_media(accept, OFFERED) is chosen


def test_only_what_is_offered() -> None:
    """A type that this answer has not is never chosen."""
    assert choose_media("text/plain", (Media.JSON,)) is None
    assert choose_media("*/*", (Media.NDJSON, Media.JSON)) is Media.NDJSON


HOSTILE = "a\nb\r\rc\r\n\ndata: x\nevent: finished\u2028\u2029\x85\x00\x1b]52;c;eA==\x07\u202e\ud800é"


def test_output_cannot_break_a_frame() -> None:
    """Whatever a command prints, an event is three lines and one data field that reads back to the same text."""
    frame = encode_event({"type": "output", "seq": 7, "text": HOSTILE}, Media.SSE)
    lines = frame.decode("ascii").split("\n")
    assert lines[:2] == ["id: 7", "event: output"]
    assert lines[3:] == ["", ""]
    assert json.loads(lines[2].removeprefix("data: "))["text"] == HOSTILE
    assert not set(frame) & (set(range(32)) - {10}), "no control character but the line ends"


def test_output_cannot_break_a_line() -> None:
    """An event is one line of NDJSON."""
    line = encode_event({"type": "output", "seq": 7, "text": HOSTILE}, Media.NDJSON)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line)["text"] == HOSTILE


def test_only_numbered_events_have_an_id() -> None:
    """A heartbeat moves no reader's position."""
    assert encode_event({"type": "heartbeat"}, Media.SSE) == b'event: heartbeat\ndata: {"type":"heartbeat"}\n\n'


def test_json_is_compact_ascii() -> None:
    """A document is JSON without spaces and without a byte beyond ASCII."""
    assert encode_json({"a": ["é", 1]}) == b'{"a":["\\u00e9",1]}'
