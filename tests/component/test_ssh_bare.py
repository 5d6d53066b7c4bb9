"""Hosts without Python, where the guard is the one in sh: stops that reach the command, and memory that stays flat."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import asyncssh
import pytest

from cmdhttp.execution.model import Exited, News, Stop, Stopped, StopReason
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.execution.ssh.session import WINDOW
from cmdhttp.plan.model import SshTarget
from tests.support.leaks import nothing_left
from tests.support.remote import machine
from tests.support.ssh_runs import CONTEXT, Told, closing, run, sh, target_of
from tests.support.sshd import Machine, Sshd, is_alive

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A host without Python that permits one channel a connection, so that none is left to send a signal by."""
    folder = tmp_path_factory.mktemp("bare")
    with Sshd.start(folder / "sshd", machine=machine("sh"), config=["MaxSessions 1"]) as server:
        yield server


@pytest.fixture(params=["shared", "alone"])
def target(request: pytest.FixtureRequest, sshd: Sshd) -> SshTarget:
    return replace(target_of(sshd), shared=request.param == "shared")


async def test_a_deaf_command_is_killed_and_not_its_guard_alone(target: SshTarget) -> None:
    """What ignores TERM is dead after the grace, though the signals come by sshd, which sends them to the guard."""
    executor, told, stop = SshExecutor(kill_grace=0.5), Told(), Stop()
    ended: list[Exited] = []
    step = sh(target, "trap '' TERM; echo $$; while :; do sleep 0.1; done")

    async def follow() -> None:
        ended.append(await executor.run(step, context=CONTEXT, emit=told.emit, stop=stop))

    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        pid = int(await told.first_line())
        stop.request(StopReason.CANCEL)
    assert ended[0].stopped is Stopped.UNCONFIRMED
    with anyio.fail_after(4):
        while is_alive(pid):
            await anyio.sleep(0.05)


async def test_a_slow_taker_costs_no_memory(target: SshTarget) -> None:
    """However much a command writes ahead, no more than a window of it waits in the channel."""
    executor = SshExecutor()
    most = taken = pieces = 0

    async def emit(event: News) -> None:
        nonlocal most, taken, pieces
        data = getattr(event, "data", b"")
        taken, pieces = taken + len(data), pieces + 1
        if pieces % 20 == 0:
            most = max(most, waiting())
        await anyio.sleep(0.01 if data else 0)

    async with nothing_left(), closing(executor):
        step = sh(target, "head -c 60000000 /dev/zero")
        exited = await executor.run(step, context=CONTEXT, emit=emit, stop=Stop())
    assert (exited, taken) == (Exited(exit_code=0), 60_000_000)
    assert most <= 2 * WINDOW


def waiting() -> int:
    """Bytes that any channel holds back."""
    channels = [found for found in gc.get_objects() if isinstance(found, asyncssh.SSHClientChannel)]
    return sum(len(data) for channel in channels for data, _ in channel._recv_buf)


OLD = """
    for python in /usr/bin/python* /bin/python*; do
        if [ -f "$python" ]; then mount --bind /dev/null "$(readlink -f "$python")"; fi
    done
    mount -t tmpfs none /usr/local/bin && chmod 755 /usr/local/bin
    printf '#!/bin/sh\\necho Python 3.5.3\\n[ "$1" = -V ]\\n' >/usr/local/bin/python3 && chmod 755 /usr/local/bin/python3
"""
"""The only Python is one that the guard is too new for."""


async def test_an_old_python_is_none(tmp_path: Path) -> None:
    """The guard in sh serves such a host."""
    there = Machine(setup=OLD)
    with Sshd.start(tmp_path / "sshd", machine=there) as server:
        for shared in (True, False):
            exited, told = await run(sh(replace(target_of(server), shared=shared), "echo out; exit 3"))
            assert (exited, told.bytes_of()) == (Exited(exit_code=3), b"out\n")
