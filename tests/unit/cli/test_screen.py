"""What is said beside the output stays on the line that it is said on."""

import os
from collections.abc import Callable

import pytest

from cmdhttp.cli.calls.screen import Screen

_FORGED = "web1\ncmdhttp: all is well\x1b[2J"


@pytest.mark.parametrize(
    "tell",
    [
        lambda screen: screen.text(_FORGED),
        lambda screen: screen.say(_FORGED),
        lambda screen: screen.host_output(_FORGED, "stdout", b"\n"),
    ],
    ids=["text", "say", "host"],
)
def test_nobody_else_begins_a_line(tell: Callable[[Screen], None]) -> None:
    """A name or an error with a line feed in it does not pass for a line of ours, on a terminal or elsewhere."""
    reading, writing = os.pipe()
    try:
        tell(Screen(out=writing, err=writing))
        seen = os.read(reading, 999)
    finally:
        os.close(reading)
        os.close(writing)
    assert seen.count(b"\n") == 1
    assert seen.startswith(b"web1\\ncmdhttp: all is well\\x1b[2J")
