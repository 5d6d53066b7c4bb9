"""Requests that two readers could understand in two ways."""

import pytest

from cmdhttp.api.gate import check_request
from cmdhttp.errors import RequestError

Headers = list[tuple[bytes, bytes]]
GOOD: Headers = [(b"host", b"h"), (b"authorization", b"Bearer x"), (b"content-type", b"application/json")]


def check(headers: Headers = GOOD, path: bytes = b"/v1/run/disk.usage") -> None:
    check_request({"type": "http", "headers": headers, "raw_path": path})


@pytest.mark.parametrize(
    "path", [b"/", b"/v1/jobs/job_1/output/stdout", b"/v1/run/a.b-c_d", b"/v1/jobs?x=%2F..%00//", b"/v1/..x/x..", b"*"]
)
def test_plain_paths(path: bytes) -> None:
    """A path in its plain form passes, whatever the query holds."""
    check(path=path)


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/jobs/%2e%2e/x",
        b"/v1%2Fjobs",
        b"/v1/jobs/%00",
        b"/v1/run/%E2%80%AE",
        b"/%",
        b"//v1",
        b"/v1//jobs",
        b"/v1/jobs//",
        b"/v1/../ops",
        b"/v1/./jobs",
        b"/v1/\\..\\x",
        b"http://other//v1/jobs",
        b"/v1//jobs?x",
        b"/v1/jobs/..",
        b"/v1/jobs/.",
    ],
)
def test_other_paths(path: bytes) -> None:
    """Escapes, empty segments, dot segments and backslashes are refused, none is decoded."""
    with pytest.raises(RequestError, match="plain form"):
        check(path=path)


@pytest.mark.parametrize(
    "name", [b"host", b"authorization", b"content-type", b"content-length", b"idempotency-key", b"last-event-id"]
)
@pytest.mark.parametrize("values", [(b"a", b"a"), (b"a", b"b"), (b"", b"")])
def test_headers_that_decide_stand_once(name: bytes, values: tuple[bytes, bytes]) -> None:
    """A header that decides anything is refused when given twice, even with the same value."""
    with pytest.raises(RequestError, match=rf"'{name.decode()}' is given twice"):
        check([(name, value) for value in values])


def test_others_may_repeat() -> None:
    """Headers that decide nothing may come as often as they like."""
    check([*GOOD, (b"accept", b"a/b"), (b"accept", b"c/d"), (b"cookie", b"a"), (b"cookie", b"b")])


def test_two_lengths() -> None:
    """A request that says its length in two ways is refused, in either order."""
    both: Headers = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    for headers in (both, both[::-1]):
        with pytest.raises(RequestError, match="both"):
            check(headers)


def test_how_many_headers() -> None:
    """A hundred headers pass and no more."""
    check([(b"x", b"")] * 100)
    with pytest.raises(RequestError, match="too many"):
        check([(b"x", b"")] * 101)


def test_how_large_headers() -> None:
    """Names and values together may be 32 KiB and not a byte more."""
    check([(b"x", b"v" * ((32 << 10) - 1))])
    with pytest.raises(RequestError, match="too many"):
        check([(b"x", b"v" * (32 << 10))])


def test_hostile_values_are_not_repeated() -> None:
    """The refusal names the header and not its value."""
    with pytest.raises(RequestError) as caught:
        check([(b"authorization", b"CANARY"), (b"authorization", b"CANARY")])
    assert "CANARY" not in caught.value.detail + caught.value.hint
