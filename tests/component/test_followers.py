"""What a follower leaves behind, from where it may start, and that one who does not read delays nobody and misses nothing."""

import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.support.service import NDJSON, SSE, Media, Service, wait_until

_PRINTED = 3_000_000
_MOST_KEPT = 16 << 20
_FLAT_BYTES = 24 << 20
_EACH = 16 << 10
_LISTENS = "0A"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("followers") / "service", heartbeat="0.2") as running:
        yield running


@pytest.fixture(scope="module")
def ended(service: Service) -> str:
    return str(service.result("tick", {"params": {"count": 2, "pause": 0}})["id"])


def connections(service: Service) -> int:
    """The descriptors that the front holds of connections to its port."""
    port = f":{httpx.URL(service.url).port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] != _LISTENS}
    held = 0
    for entry in Path(f"/proc/{service.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held += str(entry.readlink()) in inodes
    return held


def memory(service: Service, *, peak: bool = False) -> int:
    """The memory that the front has, or the most that it ever had, in bytes."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.partition("VmHWM:" if peak else "VmRSS:")[2].split()[0]) << 10


def as_sent(request: httpx.Request) -> bytes:
    lines = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + request.content


def connected(service: Service, *sent: httpx.Request) -> socket.socket:
    """Send requests, one right after the other, on a socket with a small buffer, and read nothing."""
    follower = socket.socket()
    follower.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    follower.settimeout(60)
    url = httpx.URL(service.url)
    follower.connect((url.host, url.port or 80))
    follower.sendall(b"".join(map(as_sent, sent)))
    return follower


def raw_follower(
    service: Service, job_id: str, *, media: Media = NDJSON, padding: Mapping[str, str] | None = None, body: bytes = b""
) -> socket.socket:
    headers = {"Accept": media, "Connection": "close", **(padding or {})}
    with service.client() as client:
        return connected(
            service, client.build_request("GET", f"/v1/jobs/{job_id}/events", headers=headers, content=body)
        )


def read_until(follower: socket.socket, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        data = follower.recv(65536)
        assert data, seen
        seen += data


def read_chunked(follower: socket.socket) -> bytes:
    """Return the body of a chunked answer, read to its end."""
    with follower.makefile("rb") as answer:
        while answer.readline() != b"\r\n":
            pass
        parts = []
        while size := int(answer.readline(), 16):
            parts.append(answer.read(size))
            answer.readline()
    return b"".join(parts)


def test_what_a_follower_has_sent_is_not_kept(service: Service) -> None:
    """Three hundred that wait cost some kB each with all that the server has for them, whatever headers and bodies they sent.

    It comes first, while the front has no memory to spare from which it could be given any.
    """
    job_id = service.launch("sleep", {"params": {"seconds": 30}})["id"]
    padding = {"X-Padding": "x" * 30_000}
    with ExitStack() as stack:

        def follow(count: int) -> int:
            for _ in range(count):
                follower = stack.enter_context(raw_follower(service, job_id, padding=padding, body=b"b" * 60_000))
                read_until(follower, b"accepted")
            return memory(service)

        before = follow(20)
        assert follow(300) - before < 300 * _EACH
    service.cancel(job_id)


def test_who_does_not_read_misses_nothing(service: Service) -> None:
    """16 MiB go past eight readers that stand still: memory stays bounded, and two who read on get every byte, once."""
    job_id = service.launch("count", {"params": {"to": _PRINTED}})["id"]
    before = memory(service, peak=True)
    with ExitStack() as stack:
        stopped = [stack.enter_context(raw_follower(service, job_id)) for _ in range(8)]
        whole = service.events(job_id)
        assert whole[-1].type == "finished"
        assert memory(service, peak=True) - before < _FLAT_BYTES
        sums = []
        for follower in stopped[:2]:
            documents = [json.loads(line) for line in read_chunked(follower).splitlines()]
            numbered = [document for document in documents if "seq" in document]
            assert [document["seq"] for document in numbered] == [event.seq for event in whole]
            data = b"".join(each["text"].encode() for each in numbered if each["type"] == "output")
            sums.append((len(data), hashlib.sha256(data).hexdigest()))
    wanted = service.output(job_id).content
    assert len(wanted) == _MOST_KEPT
    assert sums == [(len(wanted), hashlib.sha256(wanted).hexdigest())] * 2


@pytest.mark.parametrize("media", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_followers_that_go_leave_nothing(service: Service, media: Media) -> None:
    """Of forty that hang up on a silent job no descriptor is left, long before the job ends."""
    job_id = service.launch("sleep", {"params": {"seconds": 30}})["id"]
    service.first_line(job_id)
    wait_until(lambda: connections(service) == 0, "nobody is connected", seconds=30)
    with ExitStack() as stack:
        followers = [stack.enter_context(raw_follower(service, job_id, media=media)) for _ in range(40)]
        for follower in followers:
            read_until(follower, b"accepted")
        assert connections(service) == 40
    wait_until(lambda: connections(service) == 0, "the descriptors are given back", seconds=30)
    service.cancel(job_id)
    service.check_log()


def test_a_caller_that_goes_is_missed_behind_a_second_request(service: Service) -> None:
    """The server tells the newest request that the connection is lost; the stream before it has to end too, and its job."""
    with service.client() as client:
        body = {"params": {"seconds": 30}, "on_disconnect": "cancel"}
        first = client.build_request("POST", "/v1/run/sleep", json=body, headers={"Accept": NDJSON})
        second = client.build_request("GET", "/v1/me")
    before = {job["id"] for job in service.list_jobs(command="sleep")}
    with connected(service, first, second) as caller:
        read_until(caller, b"heartbeat")
    (job,) = [job for job in service.list_jobs(command="sleep") if job["id"] not in before]
    wait_until(lambda: service.job(job["id"])["state"] == "canceled", "the job has ended with its caller", seconds=30)


def test_a_crowd_of_requests_behind_a_stream_closes_it(service: Service) -> None:
    """Each would cost some kB for as long as the stream goes on. The job goes on."""
    job_id = service.launch("sleep", {"params": {"seconds": 30}})["id"]
    with service.client() as client:
        follow = client.build_request("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": NDJSON})
        more = [client.build_request("GET", "/v1/me") for _ in range(9)]
    with connected(service, follow, *more[:8]) as few:
        read_until(few, b"heartbeat")
    with connected(service, follow, *more) as crowd, contextlib.suppress(ConnectionError):
        while crowd.recv(65536):
            pass
    assert service.job(job_id)["state"] == "running"
    service.cancel(job_id)


@pytest.mark.parametrize("media", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_a_silent_job_beats_for_every_follower(service: Service, media: Media) -> None:
    """A proxy that cuts what is idle sees bytes after every silence, also from a follower that came late; none is numbered."""
    job_id = service.launch("sleep", {"params": {"seconds": 30}})["id"]
    service.first_line(job_id)
    with service.follow(job_id, media=media) as events:
        beats = []
        for event in events:
            beats += [event] if event.type == "heartbeat" else []
            if len(beats) == 5:
                break
    assert not any(beat.numbered for beat in beats)
    sent = [datetime.fromisoformat(beat.document["ts"]) for beat in beats]
    assert all(later - earlier > timedelta(seconds=0.19) for earlier, later in pairwise(sent))
    service.cancel(job_id)


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "1e3", "", "9" * 16, "0x1", "\u0661", "NaN", "inf", "1 2"])
def test_a_position_that_is_none_is_refused(service: Service, ended: str, value: str) -> None:
    """It is said which field is wrong; no stream begins somewhere else."""
    with service.client() as client:
        headers = {b"Last-Event-ID": value.encode()}
        answer = client.get(f"/v1/jobs/{ended}/events", headers=headers)
        assert answer.status_code == 400, answer.text
        assert "Last-Event-ID" in answer.json()["detail"]
        asked = client.get(f"/v1/jobs/{ended}/events", params={"after": value})
        assert asked.status_code in (400, 422), asked.text


@pytest.mark.parametrize("field", ["after", "Last-Event-ID"])
def test_a_position_beyond_the_end_has_nothing_after_it(service: Service, ended: str, field: str) -> None:
    """The number of an event of a longer job, or any other, is a position; the ended job has nothing there."""
    with service.client() as client:
        value = "9" * 15
        path = f"/v1/jobs/{ended}/events"
        answer = (
            client.get(path, params={field: value}) if field == "after" else client.get(path, headers={field: value})
        )
        assert (answer.status_code, answer.content) == (200, b"")
