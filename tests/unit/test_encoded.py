"""The bytes of events that followers share: never those of another event, and never more than their bound."""

from cmdhttp.api.encoders import Media
from cmdhttp.api.streams import Encoded
from cmdhttp.jobs.feed import Told
from cmdhttp.jobs.state import Progress


def told(seq: int, *, shared: bool = True, data: bytes = b"") -> Told:
    event = Progress(seq=seq, ts=0.0, done=0, total=2, failed=0, batch=1, batches=1)
    return Told(event=event, data=data, shared=shared)


def test_each_media_type_has_its_own() -> None:
    encoded, event = Encoded(), told(1)
    encoded.keep(event, Media.SSE, b"sse")
    assert encoded.get(event, Media.NDJSON) is None
    encoded.keep(event, Media.NDJSON, b"ndjson")
    assert (encoded.get(event, Media.SSE), encoded.get(event, Media.NDJSON)) == (b"sse", b"ndjson")


def test_an_equal_event_of_another_job_is_another() -> None:
    encoded, event = Encoded(), told(1)
    encoded.keep(event, Media.SSE, b"mine")
    assert encoded.get(told(1), Media.SSE) is None


def test_what_was_read_from_the_log_is_not_kept() -> None:
    encoded, event = Encoded(), told(1, shared=False)
    encoded.keep(event, Media.SSE, b"x")
    assert encoded.get(event, Media.SSE) is None


def test_the_oldest_go_when_there_are_too_many_bytes() -> None:
    """The bytes of the event count beside those that were made of them, and one that is too large by itself goes at once."""
    encoded = Encoded(most=10_000)
    events = [told(seq, data=b"x" * 2000) for seq in range(6)]
    for event in events:
        encoded.keep(event, Media.SSE, b"y" * 2000)
    assert [encoded.get(event, Media.SSE) is not None for event in events] == [False] * 4 + [True] * 2
    large = told(9, data=b"x" * 20_000)
    encoded.keep(large, Media.SSE, b"y")
    assert encoded.get(large, Media.SSE) is None
