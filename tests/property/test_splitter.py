"""Where a stream is cut: between characters, whatever the reads were and wherever they fell."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cmdhttp.jobs.recorder import Splitter


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=6), max_size=8))
def test_bytes_pass_unchanged(reads: list[bytes]) -> None:
    """Nothing is lost, added or moved, and never more than three bytes wait."""
    splitter, told = Splitter(), b""
    for number, data in enumerate(reads, start=1):
        told += splitter.feed(data)
        assert len(b"".join(reads[:number])) - len(told) <= 3
    assert told + splitter.rest() == b"".join(reads)
    assert splitter.rest() == b""


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=12), st.lists(st.integers(0, 48), max_size=6))
def test_every_piece_of_text_is_text(text: str, cuts: list[int]) -> None:
    """Pieces of UTF-8 text are UTF-8 text, however the reads fall."""
    data, splitter = text.encode(), Splitter()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [splitter.feed(data[start:end]) for start, end in pairwise(places)]
    assert "".join(piece.decode() for piece in pieces) == text
