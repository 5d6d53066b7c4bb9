"""SSH that is loaded when it is needed: ahead of the first call or by it, once, and what happens if it cannot be."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution import ssh_first_use
from cmdhttp.execution.model import CertificateIssued, Exited, Figures, RunErrorCode, Stop, Stopped, StopReason
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.execution.ssh_first_use import SshOnFirstUse
from tests.support.leaks import nothing_left
from tests.support.ssh_runs import CONTEXT, Told, closing, sh, target_of
from tests.support.sshd import Sshd

pytestmark = pytest.mark.anyio

_PACKAGE = "cmdhttp.execution.ssh"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd.start(tmp_path_factory.mktemp("sshd")) as server:
        yield server


async def nobody_is_told(_: CertificateIssued) -> None:
    raise AssertionError("no certificate is issued here")


def made(tmp_path: Path) -> SshOnFirstUse:
    return SshOnFirstUse(on_issue=nobody_is_told, idle=60, scratch=lambda: (tmp_path / "scratch").open("w+b"))


async def test_calls_that_come_first_load_it_once(sshd: Sshd, tmp_path: Path) -> None:
    """Ten first calls at once all run, over the one pool that they share, and its figures are zero before."""
    executor, ended = made(tmp_path), list[Exited]()
    assert executor.figures() == Figures()

    async def one(number: int) -> None:
        step = sh(target_of(sshd), f"exit {number}")
        ended.append(await executor.run(step, context=CONTEXT, emit=Told().emit, stop=Stop()))

    async with nothing_left(), closing(executor):
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(one, number)
        counts = executor.figures().counts
        assert (counts["dial", "ok"], counts["lease", "new"] + counts["lease", "reused"]) == (1, 10)
    assert sorted(exited.exit_code or 0 for exited in ended) == list(range(10))


async def test_it_is_loaded_ahead_of_calls_once_hosts_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is loaded while no host wants it, and soon after one does, it is there without a call."""
    executor, hosts, looks, loads = made(tmp_path), list[str](), list[int](), list[int]()
    load = ssh_first_use._import_executor

    def counted() -> type[SshExecutor]:
        loads.append(len(hosts))
        return load()

    def wanted() -> bool:
        looks.append(len(hosts))
        return bool(hosts)

    monkeypatch.setattr(ssh_first_use, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(ssh_first_use, "_import_executor", counted)
    async with nothing_left(), closing(executor), executor.going_on(wanted=wanted):
        with anyio.fail_after(30):
            while len(looks) < 3:
                await anyio.sleep(0.01)
            hosts.append("far")
            while not loads:
                await anyio.sleep(0.01)
    assert loads == [1]
    assert looks[-1] == 1
    assert set(looks[:-1]) == {0}


async def test_what_cannot_be_loaded_runs_nothing(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run says so and the log says why; the next run tries again."""
    executor, told = made(tmp_path), Told()
    step = sh(target_of(sshd), "echo here")
    async with nothing_left(), closing(executor):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, _PACKAGE, None)
            exited = await executor.run(step, context=CONTEXT, emit=told.emit, stop=Stop())
        assert exited.error is not None
        assert exited.error.code is RunErrorCode.SPAWN_FAILED
        assert "nothing has run" in exited.error.detail
        assert not told.events
        assert "ModuleNotFoundError" in caplog.text
        assert await executor.run(step, context=CONTEXT, emit=told.emit, stop=Stop()) == Exited(exit_code=0)
    assert told.bytes_of() == b"here\n"


async def test_a_stop_during_the_load_starts_nothing(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is told to stop before SSH is there ends without a connection, and the loop goes on meanwhile."""
    executor, stop, told, ended = made(tmp_path), Stop(), Told(), list[Exited]()
    load, loading, go_on = ssh_first_use._import_executor, threading.Event(), threading.Event()

    def slow() -> type[SshExecutor]:
        loading.set()
        assert go_on.wait(60)
        return load()

    async def call() -> None:
        ended.append(await executor.run(sh(target_of(sshd), "exit 0"), context=CONTEXT, emit=told.emit, stop=stop))

    monkeypatch.setattr(ssh_first_use, "_import_executor", slow)
    async with nothing_left(), closing(executor):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            while not loading.is_set():
                await anyio.sleep(0.01)
            stop.request(StopReason.CANCEL)
            go_on.set()
        assert executor.figures() == Figures()
    assert ended == [Exited(stopped=Stopped.CONFIRMED)]
    assert not told.events
