"""What a follower leaves behind, from where it may start, and that one who does not read delays nobody and misses nothing."""

import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator
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


def peak(service: Service) -> int:
    """The most memory that the front has ever had, in bytes."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def raw_follower(service: Service, job_id: str, *, media: Media = NDJSON) -> socket.socket:
    """Ask for the events on a socket with a small buffer, and read nothing."""
    with service.client() as client:
        sent = client.build_request("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": media})
    follower = socket.socket()
    follower.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    follower.settimeout(60)
    follower.connect((sent.url.host, sent.url.port or 80))
    lines = [
        f"GET {sent.url.raw_path.decode()} HTTP/1.1",
        *(f"{name}: {value}" for name, value in sent.headers.items()),
    ]
    follower.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    return follower


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


def test_who_does_not_read_misses_nothing(service: Service) -> None:
    """16 MiB go past two readers that stand still: memory stays bounded, and then they get every byte, once."""
    job_id = service.launch("count", {"params": {"to": _PRINTED}})["id"]
    before = peak(service)
    with ExitStack() as stack:
        stopped = [stack.enter_context(raw_follower(service, job_id)) for _ in range(2)]
        whole = service.events(job_id)
        assert whole[-1].type == "finished"
        assert peak(service) - before < _FLAT_BYTES
        sums = []
        for follower in stopped:
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
            seen = b""
            while b"accepted" not in seen:
                seen += follower.recv(65536)
        assert connections(service) == 40
    wait_until(lambda: connections(service) == 0, "the descriptors are given back", seconds=30)
    service.cancel(job_id)
    service.check_log()


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
