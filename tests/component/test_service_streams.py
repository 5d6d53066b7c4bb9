"""Live streams of the real program: order, latency, resuming, and raw output."""

import hashlib
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.service import NDJSON, SSE, Document, Event, Media, Service

medias = pytest.mark.parametrize("media", [NDJSON, SSE], ids=["ndjson", "sse"])
hosts = pytest.mark.parametrize("host", ["local", "far"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("streams") / "service", heartbeat="0.2") as running:
        yield running


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def raws(events: list[Event]) -> list[str]:
    return [event.raw for event in events]


@hosts
@medias
def test_a_stream_tells_the_job_from_accepted_to_finished(service: Service, host: str, media: Media) -> None:
    """Numbers run from 1 without a gap, offsets join up, and the hashes at the end are those of the raw output."""
    with service.stream("tick", {"params": {"count": 4}, "hosts": [host]}, media=media) as stream:
        events = [event for event in stream if event.type != "heartbeat"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    types = [event.type for event in events]
    assert types[:2] == ["accepted", "started"]
    assert types[-2:] == ["exited", "finished"]
    assert set(types[2:-2]) == {"output"}
    assert events[0].document["job"]["state"] == "queued"
    finished = events[-1].document["job"]
    assert (finished["state"], finished["exit_code"]) == ("succeeded", 0)
    assert "stdout" not in finished
    for name in ("stdout", "stderr"):
        data = b""
        for event in events:
            if event.type == "output" and event.document["stream"] == name:
                assert event.document["offset"] == len(data)
                data += event.document["text"].encode()
        assert data == service.output(finished["id"], name).content
        assert finished["sha256"][name] == sha256(data)
    assert all(event.document["job_id"] == finished["id"] for event in events)


def test_the_headers_of_a_stream_keep_proxies_from_holding_it_back(service: Service) -> None:
    """No length, no compression, no caching, no buffering; and the job can be found from the headers."""
    with service.client() as client:
        headers = {"Accept": SSE, "Accept-Encoding": "gzip, br"}
        body = {"params": {"count": 1}}
        with client.stream("POST", "/v1/run/tick", json=body, headers=headers) as answer:
            answer.read()
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["location"].startswith("/v1/jobs/job_")
    assert "content-length" not in answer.headers
    assert "content-encoding" not in answer.headers


@hosts
@pytest.mark.parametrize(("command", "body"), [("stamp", {}), ("hush", {"stdin": "a secret of some length"})])
def test_a_line_reaches_the_reader_within_50_ms(service: Service, host: str, command: str, body: Document) -> None:
    """From the moment that the process takes the time to the moment that the client has the line, in the median.

    A secret to mask delays no line that does not end with its start.
    """
    delays = []
    for _ in range(15):
        with service.stream(command, {"hosts": [host], **body}) as events:
            line = next(event for event in events if event.type == "output")
            delays.append(line.at - float(line.document["text"]))
    median = statistics.median(delays)
    sys.stdout.write(
        f"first line, {command} on {host}: median {median * 1000:.1f} ms, worst {max(delays) * 1000:.1f} ms\n"
    )
    assert median < 0.05


@medias
def test_silence_is_filled_with_heartbeats(service: Service, media: Media) -> None:
    """A heartbeat follows each silence of the set length, without a number, and is not kept."""
    with service.stream("tick", {"params": {"count": 1, "pause": 1}}, media=media) as stream:
        events = list(stream)
    beats = [event for event in events if event.type == "heartbeat"]
    assert 3 <= len(beats) <= 6
    assert not any(event.numbered for event in beats)
    assert not any("id: " in event.raw for event in beats)
    job_id = events[0].document["job_id"]
    assert raws(service.events(job_id, media=media)) == raws([event for event in events if event.numbered])


@hosts
def test_a_character_is_never_split(service: Service, host: str) -> None:
    """A character that the process writes in two halves comes whole in one event."""
    with service.stream("halves", {"hosts": [host]}) as stream:
        texts = [event.document["text"] for event in stream if event.type == "output"]
    assert "".join(texts) == "aéb"
    assert texts == ["a", "éb"]


@hosts
def test_bytes_that_are_no_text_come_as_base64(service: Service, host: str) -> None:
    """Nothing is replaced or lost: what is not UTF-8 is spelled in base64, in events and in the document."""
    with service.stream("binary", {"hosts": [host]}) as stream:
        outputs = [event.document for event in stream if event.type == "output"]
    assert [output.get("base64") for output in outputs] == ["//4AAQ=="]
    job = service.job(outputs[0]["job_id"])
    assert (job["encoding"], job["stdout"]) == ("base64", "//4AAQ==")
    assert service.output(job["id"]).content == b"\xff\xfe\x00\x01"


@medias
def test_a_live_stream_cut_anywhere_is_resumed_without_gap_or_repeat(service: Service, media: Media) -> None:
    """Cut after event i of a running job, for every i, and resumed: the parts make the uncut stream, byte for byte."""
    job_id = service.launch("tick", {"params": {"count": 6, "pause": 0.15}})["id"]

    def cut(at: int) -> list[str]:
        first: list[Event] = []
        with service.follow(job_id, media=media) as stream:
            for event in stream:
                first += [event] if event.numbered else []
                if len(first) == at:
                    break
        return raws(first) + raws(service.events(job_id, after=first[-1].seq, media=media))

    with ThreadPoolExecutor(11) as pool:
        parts = list(pool.map(cut, range(1, 11)))
    whole = raws(service.events(job_id, media=media))
    assert len(whole) >= 10
    for part in parts:
        assert part == whole


@medias
def test_a_replay_starts_after_any_event(service: Service, media: Media) -> None:
    """Of a finished job every suffix can be had, the empty one too."""
    job = service.result("tick", {"params": {"count": 5, "pause": 0.05}})
    whole = raws(service.events(job["id"], media=media))
    for after in range(len(whole)):
        assert raws(service.events(job["id"], after=after, media=media)) == whole[after:]


def test_twenty_followers_see_the_same(service: Service) -> None:
    """Readers do not disturb each other: all get the stream of the caller that started the job."""
    job_id = service.launch("tick", {"params": {"count": 10, "pause": 0.1}})["id"]
    with ThreadPoolExecutor(20) as pool:
        streams = list(pool.map(lambda _: raws(service.events(job_id)), range(20)))
    assert len(streams[0]) >= 10
    assert all(stream == streams[0] for stream in streams)


def test_events_can_be_had_by_post(service: Service) -> None:
    """For tunnels that hold back a GET, POST means the same."""
    job = service.result("tick", {"params": {"count": 2}})
    with service.follow(job["id"], after=1, method="POST") as stream:
        assert raws(list(stream)) == raws(service.events(job["id"], after=1))


def test_events_of_several_hosts_say_which(service: Service) -> None:
    """One numbering for the job; every event of a run names its run and host."""
    with service.stream("exit", {"params": {"code": 0}, "hosts": ["local", "far"]}) as stream:
        events = [event for event in stream if event.numbered]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    runs = {(event.document["run"], event.document["host"]) for event in events if event.type == "exited"}
    assert runs == {(0, "local"), (1, "far")}
    job = events[-1].document["job"]
    assert [run["sha256"]["stdout"] for run in job["runs"]] == [sha256(b"out\n")] * 2
    answer = service.output(job["id"])
    assert answer.status_code == 400
    with service.client() as client:
        assert client.get(f"/v1/jobs/{job['id']}/output/stdout?host=far").content == b"out\n"


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("", 200, slice(None)),
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=100-199", 206, slice(100, 200)),
        ("bytes=-10", 206, slice(-10, None)),
        ("bytes=280-", 206, slice(280, None)),
        ("bytes=280-99999", 206, slice(280, None)),
        ("bytes=0-0", 206, slice(0, 1)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_raw_output_comes_whole_or_in_ranges(service: Service, wanted: str, status: int, content: slice) -> None:
    """The bytes are those that the process wrote, and Range means what RFC 9110 says."""
    job = service.result("count", {"params": {"to": 100}})
    data = "".join(f"{number}\n" for number in range(1, 101)).encode()
    answer = service.output(job["id"], **({"Range": wanted} if wanted else {}))
    assert (answer.status_code, answer.content) == (status, data[content])
    assert answer.headers["content-length"] == str(len(data[content]))
    start, stop, _ = content.indices(len(data))
    expected = f"bytes {start}-{stop - 1}/{len(data)}" if status == 206 else None
    assert answer.headers.get("content-range") == expected


@pytest.mark.parametrize("wanted", ["bytes=292-", "bytes=1000-2000", "bytes=-0", "bytes=10-5"])
def test_a_range_outside_the_output_is_a_416(service: Service, wanted: str) -> None:
    """A range that holds no byte is refused, and not answered with the whole."""
    job = service.result("count", {"params": {"to": 100}})
    assert service.output(job["id"], Range=wanted).status_code == 416


def test_a_follower_may_start_where_nothing_is_written_yet(service: Service) -> None:
    """A follower that resumes at an offset waits for it, however little there is when it comes."""
    job_id = service.launch("tick", {"params": {"count": 3, "pause": 0.2}})["id"]
    with service.client() as client:
        answer = client.get(f"/v1/jobs/{job_id}/output/stdout?follow=1", headers={"Range": "bytes=14-"})
    assert (answer.status_code, answer.content) == (200, b"tick 2\n")


def test_raw_output_can_be_followed(service: Service) -> None:
    """With follow=1 the bytes come as they are written, from any offset, until the run ends."""
    job_id = service.launch("tick", {"params": {"count": 5, "pause": 0.2}})["id"]
    arrived = []
    with (
        service.client() as client,
        client.stream("GET", f"/v1/jobs/{job_id}/output/stdout?follow=1", headers={"Range": "bytes=2-"}) as answer,
    ):
        data = b""
        for chunk in answer.iter_raw():
            data += chunk
            arrived.append(time.monotonic())
    assert data == b"".join(b"tick %d\n" % number for number in range(5))[2:]
    assert arrived[-1] - arrived[0] > 0.4


@hosts
def test_plain_text_is_the_stdout_as_it_comes(service: Service, host: str) -> None:
    """A person with curl sees the lines appear; the verdict is in the job that the headers name."""
    with service.client() as client:
        body = {"params": {"count": 4, "pause": 0.2}, "hosts": [host]}
        with client.stream("POST", "/v1/run/tick", json=body, headers={"Accept": "text/plain"}) as answer:
            arrived = [(time.monotonic(), chunk) for chunk in answer.iter_text()]
        assert "".join(text for _, text in arrived) == "tick 0\ntick 1\ntick 2\ntick 3\n"
        assert arrived[-1][0] - arrived[0][0] > 0.3
        job = service.job(answer.headers["location"].rpartition("/")[2], wait=5)
    assert job["state"] == "succeeded"
