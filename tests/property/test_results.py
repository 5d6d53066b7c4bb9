"""Whatever a command prints, a parser gives data that is JSON, or one of the documented errors, and never anything else."""

import csv
import io
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from cmdhttp.results.builtin import BUILTIN
from cmdhttp.results.library import find_library
from cmdhttp.results.model import MAX_DATA, Parsed
from cmdhttp.results.parsers import Parsers

LIBRARY = ("df", "ls", "ps", "uptime", "id", "yaml", "xml", "free", "ss")
_tokens = [
    "[", "]", "{", "}", '"', ":", ",", "=", "\t", "\n", "\r\n", " ", "'", "\\", "\\ud800", "\\u0041", "1e999", "-", "NaN",
    "0", "12", "a", "b", "é", "\ufeff", "\x00", "🦉", "<a>", "</a>", "&", "*", "Filesystem", "Use%", "PID", "%",
    "-rw-r--r-- 1 root root 12 Jan  1 10:00 f\n", "Filesystem 1K-blocks Used Available Use% Mounted on\n",
    " 07:22:33 up 33 min,  0 user,  load average: 0.90, 0.66, 0.35\n", "uid=0(root) gid=0(root) groups=0(root)\n",
]  # fmt: skip
_texts = st.lists(st.sampled_from(_tokens), max_size=60).map("".join)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
outputs = st.one_of(st.binary(max_size=200), _texts.map(str.encode), st.text(max_size=200).map(str.encode))


def check(parsed: Parsed) -> None:
    """An error that explains itself, or data that any JSON reader takes, within its bounds."""
    if parsed.error:
        assert parsed.data is None
        assert 0 < len(parsed.error.detail) <= 200
        return
    written = json.dumps(parsed.data, allow_nan=False)
    assert json.loads(written) == parsed.data
    written.encode("ascii")
    json.dumps(parsed.data, ensure_ascii=False).encode()  # no half of a surrogate pair anywhere
    assert len(json.dumps(parsed.data, separators=(",", ":"))) <= MAX_DATA


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture(scope="module", params=[*BUILTIN, *LIBRARY])
def parse(portal: BlockingPortal, request: pytest.FixtureRequest) -> Iterator[Any]:
    async def make() -> Parsers:
        return Parsers(find_library())

    with portal.wrap_async_context_manager(portal.call(make).open(request.param)) as opened:
        yield partial(portal.call, opened)


@settings(deadline=None, max_examples=40)
@given(output=outputs)
def test_any_bytes(parse: Any, output: bytes) -> None:
    """No bytes at all make a parser raise, or give anything that could not go out."""
    check(parse(output))


@given(value=_json)
def test_json_comes_back_as_it_went(value: Any) -> None:
    """What the json parser takes is what was printed, whatever it holds."""

    async def read() -> Parsed:
        async with Parsers(None).open("json") as parse:
            return await parse(json.dumps(value).encode())

    assert anyio.run(read) == Parsed(data=value)


@given(rows=st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers()), max_size=5))
def test_csv_is_read_as_it_is_written(rows: list[tuple[str, int]]) -> None:
    """What a CSV writer of the common kind writes comes back, quotes, commas and line ends included."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("text", "number"), *rows])
    assert BUILTIN["csv"](out.getvalue()) == [{"text": text, "number": str(number)} for text, number in rows]
