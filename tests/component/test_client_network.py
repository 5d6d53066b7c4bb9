"""A client behind a bad network: cuts at any byte, restarts, refusals for now, TLS, sockets, tunnels with their own login."""

import random
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.answering import answering, reply
from tests.support.calling import CalledService, Cutter, call, calling, eventually
from tests.support.service import Service

pytestmark = pytest.mark.timeout(240)  # each call is a process, and a start of the program takes long on a busy machine


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalledService]:
    with CalledService.running(tmp_path_factory.mktemp("client") / "service", heartbeat="0.3") as running:
        yield running


TICKS = b"".join(b"tick %d\n" % number for number in range(40))
TOCKS = "tock é\n".encode() * 40


@pytest.mark.parametrize("seed", range(4))
def test_cuts_at_any_byte(service: CalledService, seed: int) -> None:
    """However often the answer is cut, before its first byte or within a line, each byte arrives once, and it runs once."""
    rng = random.Random(seed)
    before = len(service.list_jobs(command="tick", limit=200))
    sizes = ((0, 1), (1, 400), (2500, 9000), (2500, 9000), (2500, 9000), (2500, 9000))
    with Cutter.before(service, lambda: rng.randrange(*rng.choice(sizes))) as network:
        done = call(service, "run", "tick", "count=40", "pause=0.02", url=network.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, TICKS, TOCKS)
    assert network.cuts >= 2
    assert len(service.list_jobs(command="tick", limit=200)) == before + 1


def test_cuts_of_kept_output(service: CalledService) -> None:
    """A download goes on at the next byte, also of bytes that are no text."""
    job = service.result("count", {"params": {"to": 60000}, "wait": 15})
    for more in ([], ["--follow"]):
        budgets = iter([0, 300, 40_000, 70_000, 200_000, 1, 100_000])
        with Cutter.before(service, lambda budgets=budgets: next(budgets, None)) as network:  # type: ignore[misc]  # bound by its default
            done = call(service, "jobs", "output", job["id"], *more, url=network.url)
        assert done.returncode == 0
        assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 60001))
        assert network.cuts >= 3


def test_a_network_that_never_comes_back(service: CalledService) -> None:
    """After a bounded time it gives up, says that it is not known whether the job runs, and how to find out."""
    with Cutter.before(service, lambda: 1) as network:  # the request arrives, its answer does not
        done = call(service, "run", "stamp", "--retry-for", "1", url=network.url)
    assert (done.returncode, done.stdout) == (246, b"")
    assert b"not known whether the job was accepted" in done.stderr
    key = done.stderr.decode().partition("--idempotency-key ")[2].split()[0]
    assert len(service.list_jobs(command="stamp", limit=200)) == 1
    found = call(service, "run", "stamp", "--idempotency-key", key)
    assert found.returncode == 0
    assert len(service.list_jobs(command="stamp", limit=200)) == 1


def test_a_restart_in_the_middle(tmp_path: Path) -> None:
    """The service is killed and comes back: the client goes on by itself, tells the truth, and doubles nothing."""
    with CalledService.running(tmp_path / "service", heartbeat="0.3") as service:
        with calling(service, "run", "tick", "count=400", "pause=0.05") as process:
            assert process.stdout
            assert process.stderr
            assert process.stdout.readline() == b"tick 0\n"
            service.kill()
            service.end_orphans()
            time.sleep(0.5)
            service.start()
            rest, said = process.stdout.read(), process.stderr.read()
            assert process.wait(40) == 245
        lines = (b"tick 0\n" + rest).splitlines()
        assert lines == [b"tick %d" % number for number in range(len(lines))]
        assert b"service_restarted" in said
        (job,) = service.list_jobs(command="tick")
        assert job["stdout_bytes"] == sum(len(line) + 1 for line in lines)


@pytest.mark.long
def test_a_drain_in_the_middle(tmp_path: Path) -> None:
    """`interrupted` is no end: the client asks again until the service is back, and gets the rest."""
    with (
        CalledService.running(tmp_path / "service", heartbeat="0.3") as service,
        calling(service, "run", "sleep") as process,
    ):
        assert process.stdout
        process.stdout.readline()
        service.restart()
        assert process.wait(40) in (243, 245)


def test_an_interrupt_before_the_job_is_known(service: CalledService) -> None:
    """The call may have been accepted, and nobody knows: once it is known, the job is canceled."""
    reachable = threading.Event()
    with (
        Cutter.before(service, lambda: None if reachable.is_set() else 0) as network,
        calling(service, "run", "sleep", url=network.url) as process,
    ):
        assert process.stderr
        eventually(lambda: network.cuts)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert b"not known yet" in process.stderr.readline()
        reachable.set()
        assert process.wait(40) == 243


def test_no_proxy_from_the_environment(service: CalledService) -> None:
    """What `http_proxy` names sees nothing."""
    with answering(lambda handler, _: reply(handler, 500, b"")) as (thief, seen):
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")
        thieves: dict[str, Any] = dict.fromkeys(names, thief)
        assert call(service, "run", "exit", "code=0", **thieves).returncode == 0
    assert seen == []


def test_headers_for_a_tunnel(service: CalledService, tmp_path: Path) -> None:
    """Headers of a file go along with each request, and their values stand in no command line."""
    path = tmp_path / "headers"
    path.touch(mode=0o600)
    path.write_text("CF-Access-Client-Id: an.access\nCF-Access-Client-Secret: hunter2\n")
    with answering(lambda handler, _: reply(handler, 403, b"")) as (url, seen):
        assert call(service, "run", "stamp", "--header-file", str(path), url=url).returncode == 246
        call(service, "jobs", "list", url=url, CMDHTTP_HEADERS="X-Other: y")
    assert [sent.get("cf-access-client-secret") for sent in seen] == ["hunter2", None]
    assert seen[1]["x-other"] == "y"


def test_a_socket(tmp_path: Path) -> None:
    """A service that listens on a socket is called by its path."""

    class OnSocket(Service):
        pass

    with OnSocket.running(tmp_path / "service") as service:
        service.stop()
        tcp, service.listen = service.listen, f"unix:{tmp_path}/api.sock"
        service.start()
        done = call(service, "run", "exit", "code=7", url=service.listen)
        gone = call(service, "run", "exit", "code=7", "--retry-for", "0", url=f"unix:{tmp_path}/none.sock")
        service.listen = tcp
    assert (done.returncode, done.stdout, gone.returncode) == (7, b"out\n", 246)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl",
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@contextmanager
def tls_in_front(service: Service, authority: Path) -> Iterator[int]:
    """End TLS in front of the service, as a tunnel does; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    host, _, port = service.listen.rpartition(":")

    def carry(near: socket.socket) -> None:
        with (
            near,
            suppress(OSError),
            context.wrap_socket(near, server_side=True) as tls,
            socket.create_connection((host, int(port))) as far,
        ):
            tls.settimeout(10)
            request = b""
            while b"\r\n\r\n" not in request:
                request += tls.recv(4096)
            head, _, body = request.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            while len(body) < size:
                body += tls.recv(4096)
            far.sendall(head + b"\r\n\r\n" + body)
            while data := far.recv(4096):
                tls.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    carry(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_tls_is_verified(service: CalledService, authority: Path) -> None:
    """With the right authority and name it works; with another of either, nothing is sent, and it is not tried again."""
    ca_file = str(authority / "cert.pem")
    with tls_in_front(service, authority) as port:
        good = call(service, "run", "exit", "code=3", "--ca-file", ca_file, url=f"https://localhost:{port}")
        name = call(service, "run", "exit", "code=3", "--ca-file", ca_file, url=f"https://127.0.0.1:{port}")
        unknown = call(service, "run", "exit", "code=3", url=f"https://localhost:{port}")
    assert (good.returncode, good.stdout) == (3, b"out\n")
    for done in (name, unknown):
        assert (done.returncode, done.stdout) == (246, b"")
        assert b"certificate" in done.stderr


def test_a_proxy_that_is_asked_for(service: CalledService, authority: Path) -> None:
    """A proxy carries bytes to the service, and sees neither the token nor the call."""
    seen: list[bytes] = []
    with tls_in_front(service, authority) as port, socket.create_server(("127.0.0.1", 0)) as listener:

        def carry() -> None:
            near = listener.accept()[0]
            with near, socket.create_connection(("127.0.0.1", port)) as far, suppress(OSError):
                seen.append(near.recv(4096))
                near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                ends = [threading.Thread(target=pump, args=pair) for pair in ((near, far), (far, near))]
                for end in ends:
                    end.start()
                for end in ends:
                    end.join()

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(4096):
                    seen.append(data)
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=carry)
        thread.start()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        flags = ("--ca-file", str(authority / "cert.pem"), "--proxy", proxy)
        done = call(service, "run", "exit", "code=3", *flags, url=f"https://localhost:{port}")
        thread.join()
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert seen[0].startswith(b"CONNECT localhost:")
    assert service.tokens["ann"].encode() not in b"".join(seen)
