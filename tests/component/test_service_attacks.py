"""What a hostile caller, or a stranger who reaches the port, tried once and must never achieve again."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cmdhttp.execution.local.guard.folder import clear
from cmdhttp.http_server import bind_tcp
from tests.support.service import Service, wait_until

HEAD = b"POST /v1/run/exit HTTP/1.1\r\nHost: x\r\n"
DEPTH = 3000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("attacks") / "service") as running:
        yield running


@contextlib.contextmanager
def connection(service: Service) -> Iterator[socket.socket]:
    host, port = service.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=15) as plain:
        yield plain


def send_until_refused(plain: socket.socket, piece: bytes, *, most: int) -> int:
    """Send a piece again and again; return how many bytes were taken before the other side closed."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < most:
            plain.sendall(piece)
            sent += len(piece)
    return sent


def resident(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def seconds_until_closed(plain: socket.socket) -> float:
    since = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while plain.recv(65536):
            pass
    return time.monotonic() - since


def deep_folder(root: Path) -> None:
    """Make folders within folders, deeper than a path can be long and than Python recurses."""
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize(
    "head",
    [HEAD, b"GET /v1/me HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"],
    ids=["head", "head of a second request", "trailers"],
)
def test_endless_headers_fill_no_memory(service: Service, head: bytes) -> None:
    """Headers and trailers beyond 32 KiB close the connection, before anyone is authenticated."""
    before = resident(service.pid)
    with connection(service) as plain:
        plain.sendall(head)
        send_until_refused(plain, b"Y: " + b"b" * 8000 + b"\r\n", most=200 << 20)
    assert resident(service.pid) - before < 32 << 10


def test_a_trickled_second_request_is_closed(service: Service) -> None:
    """The head of every request has 5 s, not only that of a connection's first."""
    with connection(service) as plain:
        plain.sendall(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/me HTTP/1.1\r\nX: ")
        assert seconds_until_closed(plain) < 8


def test_text_for_several_hosts_runs_nothing(service: Service) -> None:
    """An answer of 422 means that nothing ran, also when the accepted type is what is wrong."""
    before = len(service.list_jobs())
    with service.client() as client:
        answer = client.post(
            "/v1/run/exit",
            json={"params": {"code": 0}, "hosts": ["local", "far"]},
            headers={"Accept": "text/plain"},
        )
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/hosts"]
    assert len(service.list_jobs()) == before


def test_an_empty_list_of_hosts_is_no_default(service: Service) -> None:
    """A list that came out empty does not quietly mean this machine."""
    answer = service.run("exit", {"params": {"code": 0}, "hosts": []})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/hosts"


def test_a_dropped_replay_cancels_nothing(service: Service) -> None:
    """Only the connection that made a job can cancel it by going away."""
    body = {"params": {"seconds": 3}, "on_disconnect": "cancel", "idempotency_key": "replay-drop"}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(service.result, "sleep", body)
        wait_until(lambda: service.list_jobs(command="sleep", state="running"), "the first call runs")
        with service.client() as client, contextlib.suppress(httpx.ReadTimeout):
            client.post("/v1/run/sleep", json=body, timeout=0.5)
        assert first.result()["state"] == "succeeded"


def test_following_past_the_end_ends_quietly(service: Service) -> None:
    """A reader that comes back after the last event is not told to come back once more."""
    job = service.result("exit", {"params": {"code": 0}})
    last = service.events(job["id"])[-1].seq
    assert service.events(job["id"], after=last) == []
    assert service.events(job["id"], after=last + 99) == []


def test_many_unknown_fields_cost_little(service: Service) -> None:
    """Tens of thousands of unknown names are refused without a suggestion for each."""
    many = {f"host{number:05}": 1 for number in range(40_000)}
    assert service.run("exit", many).status_code == 400
    refused = service.run("exit", {"params": many})
    assert refused.status_code == 422
    assert len(refused.content) < 64 << 10


def test_large_inline_output_is_refused(service: Service) -> None:
    """A caller cannot make the service build an answer of hundreds of megabytes."""
    answer = service.run("exit", {"params": {"code": 0}, "output": {"max_bytes": 64 << 20}})
    assert answer.status_code == 422


def test_failed_logins_do_not_fill_the_audit_log(service: Service) -> None:
    """Failures are counted in one record a second, not written one by one."""
    log = service.data / "audit" / "audit.jsonl"
    before = log.stat().st_size
    with service.client(None) as client:
        for _ in range(200):
            assert client.get("/v1/me").status_code == 401
    wait_until(lambda: b'"auth.failed"' in log.read_bytes()[before:], "it is on record")
    records = [json.loads(line) for line in log.read_bytes()[before:].rpartition(b"\n")[0].splitlines()]
    assert 1 <= sum(record["code"] == "auth.failed" for record in records) < 20


@pytest.mark.parametrize(
    "headers",
    [b"", b"Host: x\r\nTransfer-Encoding: identity\r\n", b"Host: x\r\nHost: y\r\n"],
    ids=["no host", "identity", "two hosts"],
)
def test_ambiguous_requests_are_refused(service: Service, headers: bytes) -> None:
    """A request that two readers could understand in two ways is a 400."""
    with connection(service) as plain:
        plain.sendall(b"GET /v1/me HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n")
        assert plain.recv(65536).split()[1] == b"400"


def test_a_run_leaves_no_folder(service: Service) -> None:
    """Neither a run's folder nor its job's stays behind."""
    service.result("exit", {"params": {"code": 0}})
    wait_until(lambda: not list((service.data / "runs").glob("*")), "the folders are gone")


def test_folders_of_any_depth_are_removed(tmp_path: Path) -> None:
    """A run that made folders deeper than Python recurses cannot keep its folder, or the service from starting."""
    root = tmp_path / "job" / "0"
    root.parent.mkdir()
    deep_folder(root)
    clear(str(root))
    assert not root.exists()


def test_a_folder_that_became_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    """A run as the service's own account may put a link in the place of its folder; what it leads to stays as it is."""
    prey = tmp_path / "prey"
    prey.mkdir()
    (prey / "key").write_text("x")
    (prey / "key").chmod(0o400)
    link = tmp_path / "job.0"
    link.symlink_to(prey)
    clear(str(link))
    assert not os.path.lexists(link)
    assert (prey / "key").stat().st_mode & 0o777 == 0o400


def test_what_is_mounted_in_a_folder_is_not_removed(tmp_path: Path) -> None:
    """A run as root that is ended between its mount and its umount must not cost what was mounted; it may be anything."""
    prey, folder = tmp_path / "prey", tmp_path / "job 1.0"
    prey.mkdir()
    (prey / "precious").touch()
    (folder / "m").mkdir(parents=True)
    subprocess.run(["/bin/mount", "--bind", str(prey), str(folder / "m")], check=True)
    try:
        clear(str(folder))
        assert (prey / "precious").exists()
    finally:
        subprocess.run(["/bin/umount", str(folder / "m")], check=True)
    clear(str(folder))
    assert not folder.exists()


def test_small_answers_leave_at_once() -> None:
    """The listener names its protocol: only then asyncio turns off Nagle's algorithm for what it accepts."""
    with bind_tcp("127.0.0.1:0") as listener:
        assert listener.proto == socket.IPPROTO_TCP
