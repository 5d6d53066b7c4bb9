"""What a query string may say: numbers and times are plain, and what is none is refused by its name."""

from collections.abc import Callable

import pytest
from starlette.requests import Request

from cmdhttp.api.query import Query
from cmdhttp.errors import InvalidRequest

ODD = ("1_0", "+1", "-1", " 1", "1 ", "\uff11", "\u0661", "1e1", "0x1", "inf", "nan", "1,5", ".5", "1.", "", "9" * 400)
"""What Python would read as a number, or what nearly is one."""


def query(name: str, text: str) -> Query:
    encoded = "".join(f"%{byte:02x}" for byte in text.encode())
    return Query(Request({"type": "http", "query_string": f"{name}={encoded}".encode(), "headers": []}))


def refusal(name: str, text: str, read: Callable[[Query], object]) -> str:
    asked = query(name, text)
    assert read(asked) is None
    with pytest.raises(InvalidRequest) as refused:
        asked.check()
    (fault,) = refused.value.errors
    assert fault.pointer == f"?{name}"
    return fault.detail


@pytest.mark.parametrize("text", [*ODD, "90.1", "91"])
def test_what_is_no_time_to_wait(text: str) -> None:
    """Digits with a fraction or without, from 0 to the most; nothing else is guessed at."""
    assert "from 0 to 90" in refusal("wait", text, lambda asked: asked.seconds("wait", high=90))


@pytest.mark.parametrize("text", [*ODD, "0", "1.0", "201", "01"])
def test_what_is_no_size_of_a_page(text: str) -> None:
    """Whole numbers from 1 to the most, in digits."""
    assert "from 1 to 200" in refusal("limit", text, lambda asked: asked.count("limit", high=200))


def test_what_is_one() -> None:
    """And without one there is none, and no fault."""
    assert query("wait", "2.5").seconds("wait", high=90) == 2.5
    assert query("wait", "0").seconds("wait", high=90) == 0
    assert query("limit", "200").count("limit", high=200) == 200
    asked = query("other", "1")
    assert (asked.seconds("wait", high=90), asked.count("limit", high=200)) == (None, None)
    asked.check()
