"""What is kept of an output over its limit, for any writes: the beginning, a mark, and the end of each stream."""

import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, BinaryIO

from hypothesis import given, settings
from hypothesis import strategies as st

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.ends import Ends, mark

OUT, ERR = Stream.STDOUT, Stream.STDERR
WRITES = st.lists(st.tuples(st.sampled_from(Stream), st.binary(max_size=40)), max_size=30)


@contextmanager
def ends_of(writes: list[tuple[Stream, bytes]], room: int) -> Iterator[Ends]:
    ends = Ends(room=room, scratch=lambda: tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - `close` closes it
    try:
        for stream, data in writes:
            ends.take(stream, data)
        yield ends
    finally:
        ends.close()


def kept(ends: Ends, stream: Stream) -> tuple[int, bytes]:
    """How much the mark says is missing, and what comes after it."""
    pieces = list(ends.pieces(stream))
    found = re.fullmatch(rb"\n\[cmdhttp: ([0-9]+) bytes left out here\]\n", pieces[0]) if pieces else None
    return (int(found[1]), b"".join(pieces[1:])) if found else (0, b"".join(pieces))


def written(writes: list[tuple[Stream, bytes]], stream: Stream) -> bytes:
    return b"".join(data for to, data in writes if to is stream)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(WRITES, st.integers(1, 60))
def test_the_end_of_each_stream(writes: list[tuple[Stream, bytes]], room: int) -> None:
    """What is kept is an end of what was written, the mark counts the rest, and both together are within the room."""
    with ends_of(writes, room) as ends:
        total = sum(len(data) for _, data in writes)
        sizes = []
        for stream in Stream:
            left_out, end = kept(ends, stream)
            all_of_it = written(writes, stream)
            assert (left_out, end) == (len(all_of_it) - len(end), all_of_it[left_out:])
            sizes.append(len(end))
        assert sum(sizes) <= room
        assert ends.full is (total > room)
        if not ends.full:
            assert sum(sizes) == total
        else:
            assert sum(sizes) >= room - 2 * 3  # what of a character is cut goes


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.binary(max_size=200), st.binary(max_size=15))
def test_a_flood_leaves_the_last_words_of_the_other(room: int, flood: bytes, words: bytes) -> None:
    """Whatever is printed on one stream, half of the room is the other's."""
    words = words[: room // 2].replace(b"\x80", b"x")
    with ends_of([(ERR, words), (OUT, flood)], room) as ends:
        assert kept(ends, ERR) == (0, words)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.integers(1, 40), st.lists(st.integers(0, 240), max_size=5))
def test_text_stays_text(text: str, room: int, cuts: list[int]) -> None:
    """The end of UTF-8 text begins with a character, however it was written."""
    data = text.encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    writes = [(OUT, data[a:b]) for a, b in pairwise(places)]
    with ends_of(writes, room) as ends:
        assert text.endswith(kept(ends, OUT)[1].decode())


def test_large_pieces() -> None:
    """More than a piece, over the edge of the file's ring, in writes that are larger than the ring and smaller."""
    data = bytes(range(128)) * 30_000
    for room in (1 << 20, (1 << 20) + 7, 4 << 20):
        for size in (300_001, 2 << 20):
            writes = [(OUT, data[at : at + size]) for at in range(0, len(data), size)]
            with ends_of(writes, room) as ends:
                assert kept(ends, OUT) == (max(len(data) - room, 0), data[-room:])


def test_two_streams_at_the_same_time() -> None:
    """Each stream comes on a thread of its own, and both find one file, however slowly that is made."""

    def scratch() -> BinaryIO:
        time.sleep(0.02)
        return tempfile.TemporaryFile(buffering=0)

    ends = Ends(room=1000, scratch=scratch)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ends.take, (OUT, ERR), (b"out" * 100, b"err" * 100)))
    assert (kept(ends, OUT), kept(ends, ERR)) == ((0, b"out" * 100), (0, b"err" * 100))
    ends.close()


def test_nothing_taken_needs_no_file() -> None:
    """A run within its limit makes no file."""

    def scratch() -> Any:
        raise AssertionError

    ends = Ends(room=5, scratch=scratch)
    assert (list(ends.pieces(OUT)), ends.full) == ([], False)
    ends.close()


def test_the_mark() -> None:
    """It is a line of its own."""
    assert mark(12) == b"\n[cmdhttp: 12 bytes left out here]\n"
