"""The benchmark of SSH runs, with a real sshd and real programs."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.local import family
from benchmarks.local.load import told, told_document
from benchmarks.local.programs import WORD
from benchmarks.ssh import fanout
from benchmarks.ssh.contenders import BARE, Script, bare, clean_environment, control_master
from benchmarks.ssh.fleet import Fleet, fleet
from tests.support.sshd import is_alive, make_key

HOSTS = 5


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet") / "sshd", hosts=HOSTS) as found:
        yield found


def everywhere(tool: Script, hosts: Fleet, folder: Path) -> fanout.Limited:
    return fanout.limited(tool.argv(hosts, hosts.addresses, folder), clean_environment(), seconds=15)


def test_every_host_of_a_fleet_answers(hosts: Fleet, tmp_path: Path) -> None:
    """One sshd is all of them, and each says the word once."""
    found = everywhere(BARE, hosts, tmp_path)
    assert found.output.count(WORD.encode()) == HOSTS, found.output
    assert all(address.encode() in found.output for address in hosts.addresses)
    assert 0 < found.cpu < found.seconds * 4
    assert found.memory > 1 << 20


def test_a_fleet_with_another_host_key_is_refused(hosts: Fleet, tmp_path: Path) -> None:
    """The known_hosts line for all addresses is one that decides."""
    make_key(tmp_path / "other")
    kind, body, *_ = (tmp_path / "other.pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"[127.*]:{hosts.port} {kind} {body}\n")
    argv = BARE.argv(hosts, hosts.addresses, tmp_path)
    told_fleet = json.loads((tmp_path / "fleet.json").read_text())
    told_fleet["known_hosts"] = str(tmp_path / "known_hosts")
    (tmp_path / "fleet.json").write_text(json.dumps(told_fleet))
    found = fanout.limited(argv, clean_environment(), seconds=15)
    assert WORD.encode() not in found.output
    assert b"HostKeyNotVerifiable" in found.output


def test_a_fleet_listens_on_the_loopback_interface_alone(hosts: Fleet) -> None:
    """Its port is open at every loopback address and bound to `lo`."""
    for address in (hosts.addresses[0], "127.99.0.1"):
        with socket.create_connection((address, hosts.port), timeout=5) as found:
            assert found.recv(4) == b"SSH-"
    listed = fanout.limited(["ss", "-Hltn", f"sport = :{hosts.port}"], clean_environment(), seconds=10)
    assert b"0.0.0.0%lo:" in listed.output


def test_a_run_over_a_master_connection(hosts: Fleet, tmp_path: Path) -> None:
    """The command runs, and the master ends with the block."""
    with control_master(hosts, tmp_path) as (argv, master):
        found = fanout.limited([*argv, "/bin/echo", WORD], clean_environment(), seconds=10)
        assert found.output == f"{WORD}\n".encode()
        assert is_alive(master)
    assert not is_alive(master)


@pytest.mark.parametrize("what", ["warm", "cold"])
def test_bare_runs_are_counted(hosts: Fleet, tmp_path: Path, what: str) -> None:
    """The floor tells each run's time, and its processor time."""
    found, cpu = told(bare(hosts, tmp_path, what, "2", "0.3"))
    assert found.calls >= 2
    assert 0 < found.p50 <= found.p99 < 10
    assert cpu > 0


def test_a_bare_stream_is_whole(hosts: Fleet, tmp_path: Path) -> None:
    """Every byte is counted, or the run fails."""
    found = told_document(bare(hosts, tmp_path, "stream", str(5_000_000), str(1 << 20)))
    assert found["seconds"] > 0
    assert found["peak"] > 1 << 20


def test_the_time_of_a_connection_that_the_client_ends_is_not_lost(hosts: Fleet, tmp_path: Path) -> None:
    """Encrypting so much takes sshd's process some time, and that process is gone when we look."""
    before = hosts.cpu()
    told_document(bare(hosts, tmp_path, "stream", str(200_000_000), str(1 << 20)))
    give_up = time.monotonic() + 5
    while len(family.below([hosts.pid])) > 1 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert family.below([hosts.pid]) == {hosts.pid}
    assert hosts.cpu() - before > 0.06


def test_who_takes_too_long_is_stopped_with_all_it_started() -> None:
    """It counts as the limit, and nothing of it is left."""
    since = time.monotonic()
    script = "sleep 61 & sleep 61 & echo $! && wait"
    found = fanout.limited(["/bin/sh", "-c", script], clean_environment(), seconds=0.3)
    assert found.stopped
    assert found.seconds == 0.3
    assert time.monotonic() - since < 10
    assert not family.is_alive(int(found.output))


def test_who_is_in_time_is_not_stopped() -> None:
    """Its own output and time count."""
    found = fanout.limited(["/bin/echo", WORD], clean_environment(), seconds=10)
    assert (found.output, found.stopped) == (f"{WORD}\n".encode(), False)
    assert found.seconds < 10
