"""What a client makes of answers: refusals for now, redirects, pages of something else, streams that lie."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from cmdhttp.client.address import Address
from cmdhttp.client.exchange import Caller, Cut, Request
from tests.support.answering import (
    ACCEPTED,
    JOB,
    SUM_OF_ABC,
    answering,
    ended,
    event,
    printed,
    problem,
    reply,
)
from tests.support.calling import CalledService, call, calling, eventually

pytestmark = pytest.mark.timeout(240)  # each call is a process, and a start of the program takes long on a busy machine


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalledService]:
    with CalledService.running(tmp_path_factory.mktemp("client") / "service", heartbeat="0.3") as running:
        yield running


@pytest.mark.parametrize("status", [429, 503])
def test_busy_is_waited_for(service: CalledService, status: int) -> None:
    """A refusal for now is tried again when the service says so, with the same key, up to a bound."""

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number < 3:
            reply(handler, status, problem(status, "busy"), Content_Type="application/problem+json", Retry_After="1")
        else:
            reply(handler, 403, problem(403, "forbidden"), Content_Type="application/problem+json")

    with answering(answer) as (url, seen):
        began = time.monotonic()
        assert call(service, "run", "stamp", url=url).returncode == 241
        assert time.monotonic() - began >= 2
        assert len({sent["idempotency-key"] for sent in seen}) == 1
        assert len(seen) == 3
        assert call(service, "run", "stamp", "--retry-for", "0", url=url).returncode == 241
    with answering(lambda handler, _: answer(handler, 0)) as (url, seen):
        assert call(service, "run", "stamp", "--retry-for", "0.5", url=url).returncode == 246
        assert len(seen) == 1


def test_redirects_are_not_followed(service: CalledService) -> None:
    """The token goes to no other place; the message says what to do about a tunnel's login page."""
    with answering(lambda handler, _: reply(handler, 500, b"")) as (thief, stolen):
        with answering(lambda handler, _: reply(handler, 302, b"", Location=thief)) as (url, seen):
            done = call(service, "run", "stamp", url=url)
        assert (done.returncode, stolen, len(seen)) == (246, [], 1)
    assert b"--header-file" in done.stderr


HOSTILE: dict[str, Callable[[BaseHTTPRequestHandler, int], None]] = {
    "a page": lambda handler, _: reply(handler, 200, b"<html>hello</html>", Content_Type="text/html"),
    "no events": lambda handler, _: reply(handler, 200, b"[1]\n"),
    "deep": lambda handler, _: reply(handler, 200, b"[" * 100000 + b"\n"),
    "no job": lambda handler, _: reply(handler, 200, b'{"type":"accepted","seq":1,"job_id":"../x","job":{}}\n'),
    "a gap": lambda handler, _: reply(handler, 200, b'{"type":"finished","seq":2,"job_id":"x","job":{}}\n'),
    "empty": lambda handler, _: reply(handler, 200, b""),
    "nothing": lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR),
    "odd problem": lambda handler, _: reply(handler, 422, b'{"code":1}', Content_Type="application/problem+json"),
    "escape": lambda handler, _: reply(handler, 418, b"\x1b[2J", Content_Type="\x1btext"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_answers(service: CalledService, kind: str) -> None:
    """Whatever stands at the address, the end is a code of its own and a line without an escape; never a traceback."""
    with answering(HOSTILE[kind]) as (url, _):
        done = call(service, "run", "stamp", "--retry-for", "0.3", url=url)
    assert (done.returncode, done.stdout) == (246, b"")
    assert done.stderr.startswith(b"cmdhttp: ")
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr


def test_a_stream_that_repeats_itself(service: CalledService) -> None:
    """Events that come again, on one connection or from the beginning on the next one, are shown once."""
    first = [ACCEPTED, printed(2, "a", offset=0), printed(2, "a", offset=0), ACCEPTED]
    second = [*first, printed(3, "bc", offset=1), ended(4, sha256=SUM_OF_ABC)]
    with answering(lambda h, number: reply(h, 200, b"".join(first if number == 1 else second))) as (url, seen):
        done = call(service, "run", "stamp", url=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"abc", b"")
    assert [sent[""] for sent in seen] == ["/v1/run/stamp", f"/v1/jobs/{JOB}/events?after=2"]


@pytest.mark.parametrize(
    "events",
    [
        [ACCEPTED, printed(2, "abd", offset=0), ended(3, sha256=SUM_OF_ABC)],
        [ACCEPTED, ended(2, sha256=SUM_OF_ABC)],
        [ACCEPTED, printed(2, "ab", offset=0), printed(3, "c", offset=3), ended(4)],
        [ACCEPTED, printed(2, "abc", offset=1), ended(3)],
        [ACCEPTED, event(2, "output", host="web1", stream="stdout", offset=0), ended(3)],
        [ACCEPTED, event(2, "output", host="web1", stream="stdin", offset=0, text="abc"), ended(3)],
    ],
    ids=["another byte", "nothing", "a gap", "a late start", "no bytes", "no stream"],
)
def test_output_that_is_not_what_was_kept(service: CalledService, events: list[bytes]) -> None:
    """Numbers alone prove nothing: offsets must join up, and the sum must be that of the output as it is kept."""
    with answering(lambda handler, _: reply(handler, 200, b"".join(events))) as (url, _):
        done = call(service, "run", "stamp", url=url)
    assert done.returncode == 246
    assert done.stderr.startswith(b"cmdhttp: ")


def test_events_are_printed_in_ascii(service: CalledService) -> None:
    """Whoever answers, no line of JSON holds what a terminal would take for more than text."""
    odd = event(2, "odd", text="\x9b31m\u202e\x7f").replace(b"\\u009b", "\x9b".encode()).replace(b"\\u007f", b"\x7f")
    body = ACCEPTED + odd.replace(b"\\u202e", "\u202e".encode()) + ended(3)
    assert not body.isascii()
    with answering(lambda handler, _: reply(handler, 200, body)) as (url, _):
        done = call(service, "run", "stamp", "--json", "--follow", url=url)
    assert done.stdout.isascii()
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2, 3]
    assert b"\x7f" not in done.stdout


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b""], ids=["bytes", "provisional"])
def test_a_head_without_end(head: bytes) -> None:
    """A head that comes byte by byte, or one provisional answer after the other, is not waited for without end."""
    more = b"a" if head else b"HTTP/1.1 100 Continue\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(head)
                while True:
                    connection.sendall(more)
                    time.sleep(0.02)

        threading.Thread(target=drip, daemon=True).start()
        address = Address(host="127.0.0.1", port=server.getsockname()[1])
        caller = Caller(address, token="t", headers={}, context=None, proxy=None)
        with pytest.raises(Cut, match="silent"):
            caller.ask(Request(path="/v1/jobs", silence=0.3))


def test_ctrl_c_while_the_service_is_busy(service: CalledService) -> None:
    """Where nothing was accepted, the first interrupt leaves at once; where it may have been, it says so, and the second does."""

    def busy(handler: BaseHTTPRequestHandler, _: int) -> None:
        reply(handler, 503, problem(503, "unavailable"), Content_Type="application/problem+json", Retry_After="60")

    with answering(busy) as (url, seen), calling(service, "run", "stamp", url=url) as process:
        eventually(lambda: seen)
        time.sleep(3)  # so that the client has read the answer
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    hang = threading.Event()
    with answering(lambda *_: hang.wait(60)) as (url, seen), calling(service, "run", "stamp", url=url) as process:
        assert process.stderr
        eventually(lambda: seen)
        process.send_signal(signal.SIGINT)
        assert b"not known yet" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
        assert b"--idempotency-key" in process.stderr.read()
        hang.set()
