"""Bodies: strict JSON, and every wrong field told at once."""

import json
from typing import Any

import pytest

from cmdhttp.api.body import Answer, RunRequest, parse_object, run_request
from cmdhttp.errors import RequestError
from cmdhttp.jobs.state import OnDisconnect


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON at line 1, column 1"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON at line 1, column 4"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b'"x"', "not an object"),
        (b"1", "not an object"),
        (b'{"a": 1, "a": 1}', "same key twice"),
        (b'{"p": [{"x": {"a": 1, "\\u0061": 2}}]}', "same key twice"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": [Infinity]}', "holds Infinity"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"a": ["x\\udfff"]}', "half of a surrogate pair"),
        (b'{"\\ud800": 1}', "half of a surrogate pair"),
        (nested(33), "nested"),
        (b'{"a":' + b"[" * 200_000, "nested|not JSON"),
        (b"[" * 200_000, "nested|not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
    ],
)
def test_hostile_bodies(data: bytes, message: str) -> None:
    """Whatever two readers could take differently is refused with a text that says which."""
    with pytest.raises(RequestError, match=message):
        parse_object(data)


@pytest.mark.parametrize(
    "data",
    [b"{}", b' {"a": 1}\n', nested(30), b'{"a": "\\ud83d\\ude00"}', '{"a": "é\u202e"}'.encode(), b'{"a": "NaN"}'],
)
def test_good_bodies(data: bytes) -> None:
    """JSON that can be read in one way is read so."""
    assert parse_object(data) == json.loads(data)


def test_a_number_beyond_floats() -> None:
    """A number that would be infinite is not let through as one."""
    with pytest.raises(RequestError):
        parse_object(b'{"a": 1e999}')


def read(body: dict[str, Any], *, header_key: str | None = None) -> RunRequest:
    return run_request("c", body, header_key=header_key, request_id="req_1")


def faults(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in read(body).call.faults]


def test_an_empty_body() -> None:
    """Everything but the command has a default."""
    request = read({})
    assert (request.call.params, request.call.hosts, request.call.faults) == ({}, (), ())
    assert request.call.on_disconnect is OnDisconnect.CONTINUE
    assert request.answer == Answer()


def test_every_field() -> None:
    """Each field reaches its place."""
    request = read(
        {
            "params": {"x": 1},
            "hosts": "web1",
            "stdin": {"base64": "AAE="},
            "wait": "2.5",
            "timeout": 30,
            "on_disconnect": "cancel",
            "output": {"encoding": "base64", "max_bytes": 5},
            "labels": ["a", "é"],
            "reason": "because",
            "idempotency_key": "k",
        }
    )
    call = request.call
    assert call.faults == ()
    assert (call.params, call.hosts, call.labels, call.reason, call.key) == (
        {"x": 1},
        ("web1",),
        ("a", "é"),
        "because",
        "k",
    )
    assert (call.wish.stdin, call.wish.timeout, call.on_disconnect) == (b"\x00\x01", 30.0, OnDisconnect.CANCEL)
    assert request.answer == Answer(wait=2.5, encoding="base64", max_bytes=5)


def test_the_header_s_key_comes_first() -> None:
    """An Idempotency-Key header wins over the body's field."""
    assert read({"idempotency_key": "b"}, header_key="h").call.key == "h"


def test_a_value_beside_params() -> None:
    """Who sends the values of a command as fields of the body is told where they go."""
    (fault,) = read({"path": "/var"}).call.faults
    assert (fault.pointer, fault.code) == ("/path", "unknown_field")
    assert '{"params": {"NAME": ...}}' in fault.hint


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"parms": {}}, ("/parms", "unknown_field")),
        ({"a/b~": 1}, ("/a~1b~0", "unknown_field")),
        ({"params": []}, ("/params", "type")),
        ({"params": True}, ("/params", "type")),
        ({"hosts": 1}, ("/hosts", "type")),
        ({"hosts": {"a": 1}}, ("/hosts", "type")),
        ({"hosts": ["a"] * 1001}, ("/hosts", "type")),
        ({"hosts": [1]}, ("/hosts", "format")),
        ({"hosts": [""]}, ("/hosts", "format")),
        ({"hosts": "a\nb"}, ("/hosts", "format")),
        ({"hosts": ["x" * 256]}, ("/hosts", "format")),
        ({"stdin": 1}, ("/stdin", "type")),
        ({"stdin": ["a"]}, ("/stdin", "type")),
        ({"stdin": {"base64": 1}}, ("/stdin", "type")),
        ({"stdin": {"base64": "AA==", "x": 1}}, ("/stdin", "type")),
        ({"stdin": {"base64": "A"}}, ("/stdin", "base64")),
        ({"stdin": {"base64": "A A="}}, ("/stdin", "base64")),
        ({"stdin": {"base64": "ÄÄÄÄ"}}, ("/stdin", "base64")),
        ({"wait": -1}, ("/wait", "out_of_range")),
        ({"wait": 90.1}, ("/wait", "out_of_range")),
        ({"wait": True}, ("/wait", "out_of_range")),
        ({"wait": "soon"}, ("/wait", "out_of_range")),
        ({"wait": "nan"}, ("/wait", "out_of_range")),
        ({"wait": [1]}, ("/wait", "out_of_range")),
        ({"timeout": 0}, ("/timeout", "out_of_range")),
        ({"timeout": "inf"}, ("/timeout", "out_of_range")),
        ({"timeout": 10**400}, ("/timeout", "out_of_range")),
        ({"on_disconnect": "stop"}, ("/on_disconnect", "not_in_values")),
        ({"on_disconnect": ["cancel"]}, ("/on_disconnect", "not_in_values")),
        ({"on_disconnect": {}}, ("/on_disconnect", "not_in_values")),
        ({"output": []}, ("/output", "type")),
        ({"output": {"max": 1}}, ("/output", "unknown_field")),
        ({"output": {"encoding": "hex"}}, ("/output", "not_in_values")),
        ({"output": {"encoding": []}}, ("/output", "not_in_values")),
        ({"output": {"max_bytes": -1}}, ("/output", "out_of_range")),
        ({"output": {"max_bytes": True}}, ("/output", "out_of_range")),
        ({"output": {"max_bytes": 1.5}}, ("/output", "out_of_range")),
        ({"output": {"max_bytes": (64 << 20) + 1}}, ("/output", "out_of_range")),
        ({"labels": ["x"] * 17}, ("/labels", "type")),
        ({"labels": ["x" * 129]}, ("/labels", "format")),
        ({"labels": ["\u202e"]}, ("/labels", "format")),
        ({"reason": ""}, ("/reason", "format")),
        ({"reason": "x" * 1001}, ("/reason", "format")),
        ({"reason": "a\x1b[0m"}, ("/reason", "format")),
        ({"idempotency_key": "x" * 256}, ("/idempotency_key", "format")),
        ({"idempotency_key": 5}, ("/idempotency_key", "type")),
    ],
)
def test_each_wrong_field(body: dict[str, Any], expected: tuple[str, str]) -> None:
    """A field that cannot be used is one fault with its pointer, and never an exception."""
    assert faults(body) == [expected]


def test_all_faults_at_once() -> None:
    """Every wrong field is told in one answer, with the nearest name for an unknown one."""
    request = read({"parms": {}, "wait": "x", "labels": 1})
    assert [(fault.pointer, fault.hint) for fault in request.call.faults] == [
        ("/parms", "did you mean 'params'?"),
        ("/labels", ""),
        ("/wait", ""),
    ]


def test_null_is_absent() -> None:
    """A field that is null is as if it were not there, which is how low-code tools leave it out."""
    names = ("params", "hosts", "stdin", "wait", "timeout", "output", "labels", "reason", "idempotency_key")
    assert read(dict.fromkeys(names)) == read({})
