"""Messages between front, broker and guards: all that was sent arrives, whatever the other side left unread."""

import os
import socket
from collections.abc import Iterator

import pytest

from cmdhttp.execution.local.wire import close_all, memory_file, pair, receive, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = pair()
    with ours, theirs:
        yield ours, theirs


def test_the_last_words_of_a_side_that_did_not_listen(ends: Ends) -> None:
    """A side that closes with a message unread resets the line; what it had said before is heard all the same, in order."""
    ours, theirs = ends
    file = memory_file("file", b"content")
    send(theirs, {"file": "a"}, [file])
    send(theirs, {"ended": 0})
    os.close(file)
    send(ours, {"do": "kill"})
    theirs.close()
    first = receive(ours)
    assert first is not None
    message, descriptors = first
    assert (message, [os.read(one, 9) for one in descriptors]) == ({"file": "a"}, [b"content"])
    close_all(descriptors)
    assert receive(ours) == ({"ended": 0}, [])
    assert receive(ours) is None
    assert receive(ours) is None


def test_the_end_of_a_side_that_said_nothing(ends: Ends) -> None:
    """A line that was reset with nothing on it has ended, and so has one that was closed in order."""
    ours, theirs = ends
    send(ours, {"do": "kill"})
    theirs.close()
    assert receive(ours) is None
    ours.settimeout(0)
    assert receive(ours) is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("beside", [0, 1])
def test_a_side_that_does_not_listen_holds_nobody_up(ends: Ends, beside: int) -> None:
    """What does not fit is an error at once, with or without descriptors."""
    ours, _ = ends
    file = memory_file("file", b"content")
    try:
        with pytest.raises(BlockingIOError):
            _send_for_ever(ours, [file] * beside)
    finally:
        os.close(file)


def _send_for_ever(to: socket.socket, descriptors: list[int]) -> None:
    for _ in range(10_000):
        send(to, {"text": "x" * 10_000}, descriptors)
