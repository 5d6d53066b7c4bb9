"""Hosts that are down, or not who they should be: each run says in time why there was no connection, and holds up no other."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.netns import linked
from tests.support.ports import free_port
from tests.support.service import Remote, Service, wait_until
from tests.support.sshd import Machine, Sshd
from tests.support.strange_hosts import check_good, run_on, verdict

pytestmark = pytest.mark.timeout(240)

NOT_REACHED = {
    "nameless": "connect_failed",
    "closed": "connect_failed",
    "no_route": "connect_failed",
    "no_machine": "connect_failed",
    "revoked": "host_key_mismatch",
    "unrecorded": "host_key_mismatch",
    "other_name": "host_key_mismatch",
    "changed": "host_key_mismatch",
    "stranger": "login_failed",
}

RUNS = 20
"""On a dead host; each of them by itself would take the 5 s that a connection may take."""

DONE_WITHIN = 50.0
"""Seconds for all of them: 5 for those that share one time-out, and the rest for a busy machine."""


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("unreachable")
    with linked() as link, Sshd.start(folder / "sshd") as sshd:
        good = Remote.of(sshd)
        remotes = {
            "nameless": replace(good, address="nowhere.invalid"),
            "closed": replace(good, port=free_port()),
            "no_route": replace(good, address="203.0.113.1"),
            "no_machine": replace(good, address="198.18.2.77"),
            "revoked": replace(good, recorded=good.recorded + sshd.recorded(marker="@revoked")),
            "unrecorded": replace(good, recorded=""),
            "other_name": replace(good, recorded=good.recorded.replace("127.0.0.1", "127.0.0.2")),
        }
        assert link.far
        with Service.running(folder / "service", remotes=remotes) as service:
            yield service


def test_not_reached(unreachable: Service) -> None:
    """Each run says why there was no connection, and that takes no longer than a connection may take."""
    with ThreadPoolExecutor(len(NOT_REACHED)) as pool:
        runs = {name: pool.submit(run_on, unreachable, name, "args", params={"one": "x"}) for name in NOT_REACHED}
        check_good(unreachable)
        seen = {name: verdict(run.result()) for name, run in runs.items()}
    assert seen == {name: ("failed", code) for name, code in NOT_REACHED.items()}


def test_refused_for_its_load(tmp_path: Path) -> None:
    """A server that takes no further connections now is no reason to give up on it: a later run works."""
    with (
        Sshd.start(tmp_path / "full", config=["MaxStartups 1"]) as sshd,
        Service.running(tmp_path / "service", remotes={"full": Remote.of(sshd)}) as service,
    ):
        with closing(socket.create_connection((sshd.address, sshd.port))) as holder:
            assert holder.recv(4) == b"SSH-"
            assert verdict(run_on(service, "full")) == ("failed", "connect_failed")
        wait_until(lambda: run_on(service, "full")["state"] == "succeeded", "the host is used again", seconds=30)


# -- back-off


def test_dead_hosts(tmp_path: Path) -> None:
    """Two of them, so that their time-outs pass at the same time."""
    with ThreadPoolExecutor(2) as pool:
        checks = [pool.submit(check_a_dead_host_fails_fast, tmp_path / "one_by_one")]
        checks.append(pool.submit(check_many_runs_on_a_dead_host, tmp_path / "at_once"))
    for check in checks:
        check.result()


def check_a_dead_host_fails_fast(tmp_path: Path) -> None:
    """After the first time-out the next runs fail at once with the last reason; when it is back, the host is used soon."""
    with linked() as link:
        there = Machine(prefix=link.far_prefix, address=link.far_address)
        with (
            Sshd.start(tmp_path / "away", machine=there) as sshd,
            Service.running(tmp_path / "service", remotes={"away": Remote.of(sshd)}) as service,
        ):
            link.cut()
            since = time.monotonic()
            seen = [verdict(run_on(service, "away")) for _ in range(RUNS)]
            taken = time.monotonic() - since
            assert seen == [("failed", "connect_failed")] * RUNS
            assert taken < DONE_WITHIN
            check_good(service)
            link.mend()
            wait_until(lambda: run_on(service, "away")["state"] == "succeeded", "the host is used again", seconds=30)


def check_many_runs_on_a_dead_host(tmp_path: Path) -> None:
    """Runs at the same time share one attempt; none waits behind the time-outs of the others."""
    with linked() as link:
        there = Machine(prefix=link.far_prefix, address=link.far_address)
        with (
            Sshd.start(tmp_path / "away", machine=there) as sshd,
            Service.running(tmp_path / "service", remotes={"away": Remote.of(sshd)}) as service,
        ):
            assert run_on(service, "away")["state"] == "succeeded"
            sshd.down()
            link.cut()
            since = time.monotonic()
            with ThreadPoolExecutor(RUNS) as pool:
                ended = list(pool.map(lambda _: run_on(service, "away"), range(RUNS)))
            assert {verdict(job)[0] for job in ended} <= {"failed", "lost"}
            assert time.monotonic() - since < DONE_WITHIN
