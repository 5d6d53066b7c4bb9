"""Connections that are kept: who shares one, when it ends, and what a host that fails costs those who call."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.model import Exited, Figures, RunErrorCode, Stop, Stopped, StopReason
from cmdhttp.execution.ssh import SshExecutor, link, pool
from cmdhttp.plan.model import SshTarget
from tests.support.leaks import nothing_left
from tests.support.ssh_runs import CONTEXT, Told, closing, run, sh, step_for, target_of
from tests.support.sshd import Sshd, descendants, is_alive, make_key

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd.start(tmp_path / "sshd") as server:
        yield server


def logins(server: Sshd) -> int:
    return server.log.count("Accepted publickey")


def dials(figures: Figures) -> dict[str, int]:
    return {result: count for (what, result), count in figures.counts.items() if what == "dial"}


async def settled(executor: SshExecutor, *, open_: int) -> None:
    with anyio.fail_after(5):
        while executor.figures().open != open_:
            await anyio.sleep(0.01)


async def test_many_runs_on_one_connection(sshd: Sshd) -> None:
    """Thirty runs, at once and one after the other, log in once."""
    executor = SshExecutor()
    step = step_for(target_of(sshd), "/bin/true")
    async with nothing_left(), closing(executor):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one, executor, step)
        for _ in range(10):
            assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=0)
        figures = executor.figures()
        assert (figures.open, figures.in_use, figures.waiting) == (1, 0, 0)
    assert logins(sshd) == 1
    assert dials(executor.figures()) == {"ok": 1}
    assert executor.figures().open == 0


async def one(executor: SshExecutor, step: object) -> None:
    exited, _ = await run(step, executor=executor, keep=True)  # type: ignore[arg-type]
    assert exited == Exited(exit_code=0)


async def test_more_runs_than_one_connection_takes(sshd: Sshd) -> None:
    """Beyond what one connection takes another is opened, never more than four, and the rest waits for its turn."""
    executor = SshExecutor()
    step = sh(target_of(sshd), "sleep 0.3")
    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(one, executor, step)
    assert 2 <= logins(sshd) <= 4


async def test_other_places_get_connections_of_their_own(sshd: Sshd, tmp_path: Path) -> None:
    """Another account or another key is another place."""
    executor = SshExecutor()
    target = target_of(sshd)
    async with nothing_left(), closing(executor):
        assert (await run(sh(target, "exit 3"), executor=executor, keep=True))[0] == Exited(exit_code=3)
        stranger, _ = await run(sh(replace(target, account="nobody-there"), "exit 3"), executor=executor, keep=True)
        assert stranger.error is not None
        assert stranger.error.code is RunErrorCode.LOGIN_FAILED


async def test_a_connection_that_is_kept_for_no_time(sshd: Sshd) -> None:
    """With `idle` 0 a connection serves the run that it was opened for, and is closed after it."""
    executor = SshExecutor(idle=0)
    async with nothing_left(), closing(executor):
        with anyio.fail_after(10):
            for _ in range(3):
                exited, _ = await run(sh(target_of(sshd), "exit 0"), executor=executor, keep=True)
                assert exited == Exited(exit_code=0)
                await settled(executor, open_=0)
    assert logins(sshd) == 3


async def test_idle_connections_close(sshd: Sshd) -> None:
    """What nobody uses is closed after a while; a run that lasts longer than that is left in peace."""
    executor = SshExecutor(idle=0.2)
    async with nothing_left(), closing(executor):
        assert (await run(sh(target_of(sshd), "sleep 0.6"), executor=executor, keep=True))[0] == Exited(exit_code=0)
        assert executor.figures().open == 1
        await settled(executor, open_=0)
        assert executor.figures().counts["close", "idle"] == 1
        assert (await run(sh(target_of(sshd), "exit 0"), executor=executor, keep=True))[0] == Exited(exit_code=0)
    assert logins(sshd) == 2


async def test_a_broken_connection_is_replaced(sshd: Sshd) -> None:
    """A connection that the host has dropped serves nobody, and the next run does not notice."""
    executor = SshExecutor()
    step = step_for(target_of(sshd), "/bin/true")
    async with nothing_left(), closing(executor):
        await one(executor, step)
        for _ in range(5):
            sshd.drop_connections()
            await one(executor, step)
    assert logins(sshd) == 6


async def test_a_killed_guard_is_replaced(sshd: Sshd) -> None:
    """A run that kills its guard is lost; the next one gets another guard."""
    executor = SshExecutor()
    kill = "w=$PPID; g=$(sed 's/.*) . \\([0-9]*\\).*/\\1/' /proc/$w/stat); kill -9 $g; sleep 10"
    async with nothing_left(), closing(executor):
        exited, _ = await run(sh(target_of(sshd), kill), executor=executor, keep=True)
        assert exited.lost
        assert exited.error is not None
        assert exited.error.code is RunErrorCode.CONNECTION_LOST
        await one(executor, step_for(target_of(sshd), "/bin/true"))


async def test_a_killed_warden_loses_its_run_alone(sshd: Sshd) -> None:
    """A run that kills its warden is lost and dead; another run on the same connection goes on."""
    executor = SshExecutor()
    target = target_of(sshd)
    ended: list[Exited] = []

    async def long() -> None:
        ended.append((await run(sh(target, "sleep 1; exit 5"), executor=executor, keep=True))[0])

    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        tasks.start_soon(long)
        await anyio.sleep(0.5)
        exited, told = await run(sh(target, "echo $$; kill -9 $PPID; sleep 10"), executor=executor, keep=True)
        assert exited.lost
        assert exited.error is not None
        assert exited.error.code is RunErrorCode.GUARD_LOST
        assert exited.stopped is not None
        with pytest.raises(ProcessLookupError):
            os.kill(int(told.bytes_of()), 0)
    assert ended == [Exited(exit_code=5)]
    assert logins(sshd) == 1


@pytest.mark.long
async def test_a_standing_warden_costs_its_run_alone(sshd: Sshd) -> None:
    """A command may stop its warden with a signal: its run is still ended, and no other on the connection."""
    executor, stop, told = SshExecutor(kill_grace=0.2), Stop(), Told()
    ended: dict[str, Exited] = {}

    async def follow(name: str, text: str, stop: Stop) -> None:
        step = sh(target_of(sshd), text)
        ended[name] = await executor.run(step, context=CONTEXT, emit=told.emit, stop=stop)

    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        tasks.start_soon(follow, "other", "sleep 18; exit 5", Stop())
        tasks.start_soon(follow, "standing", "sleep 0.5; kill -STOP $PPID; echo $$; exec sleep 300", stop)
        pid = int(await told.first_line())
        stop.request(StopReason.CANCEL)
    assert ended["other"] == Exited(exit_code=5)
    assert (ended["standing"].lost, ended["standing"].stopped) == (True, Stopped.CONFIRMED)
    assert not is_alive(pid)


async def test_a_standing_guard_is_given_up(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that stands still is found out by its silence, and the run is lost."""
    monkeypatch.setattr("cmdhttp.execution.ssh.guard._PING_EVERY", 0.2)
    monkeypatch.setattr("cmdhttp.execution.ssh.guard._HEARD_WITHIN", 1.0)
    executor = SshExecutor()
    stop_it = "w=$PPID; g=$(sed 's/.*) . \\([0-9]*\\).*/\\1/' /proc/$w/stat); echo $g; kill -STOP $g; sleep 10"
    told = Told()
    async with nothing_left(), closing(executor):
        with anyio.fail_after(5):
            exited, told = await run(sh(target_of(sshd), stop_it), executor=executor, keep=True)
    assert exited.lost
    guard = int(told.bytes_of() or b"0")
    if guard:
        os.kill(guard, signal.SIGKILL)


# Hosts that fail


def dead(server: Sshd) -> SshTarget:
    """A place where nobody listens."""
    return replace(target_of(server), port=1)


async def test_a_failing_host_is_left_alone(sshd: Sshd) -> None:
    """After a failure others are told the last reason at once, with the time of the next attempt."""
    executor = SshExecutor()
    step = sh(dead(sshd), "true")
    async with nothing_left(), closing(executor):
        first, _ = await run(step, executor=executor, keep=True)
        others = [(await run(step, executor=executor, keep=True))[0] for _ in range(20)]
        assert first.error is not None
        assert "next one" not in first.error.detail
        for other in others:
            assert other.error is not None
            assert other.error.code is RunErrorCode.CONNECT_FAILED
            assert other.error.detail.startswith(first.error.detail)
            assert "the next one is due in 1 s" in other.error.detail
        figures = executor.figures()
        assert dials(figures) == {"connect_failed": 1}
        assert figures.backing_off == 1
        assert figures.counts["lease", "backed_off"] == 20


async def test_a_host_that_is_back_is_used_again(sshd: Sshd) -> None:
    """Once the pause is over the host is tried again, and what then works is not slowed down by the past."""
    executor = SshExecutor()
    step = sh(target_of(sshd), "exit 0")
    async with nothing_left(), closing(executor):
        sshd.down()
        assert (await run(step, executor=executor, keep=True))[0].error is not None
        sshd.up()
        await anyio.sleep(1.1)
        assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=0)
        assert executor.figures().backing_off == 0


async def test_pauses_double(sshd: Sshd) -> None:
    """The second failure costs twice the pause of the first."""
    executor = SshExecutor()
    step = sh(dead(sshd), "true")
    async with nothing_left(), closing(executor):
        await run(step, executor=executor, keep=True)
        await anyio.sleep(1.1)
        await run(step, executor=executor, keep=True)
        exited, _ = await run(step, executor=executor, keep=True)
        assert exited.error is not None
        assert "due in 2 s" in exited.error.detail


async def test_nobody_queues_behind_a_retry(sshd: Sshd) -> None:
    """While somebody tries a failing host again, which may take its time, others get the last reason at once."""
    with silent_port() as port:
        executor = SshExecutor(login_timeout=1.0)
        step = sh(replace(target_of(sshd), port=port), "true")
        async with closing(executor), anyio.create_task_group() as tasks:
            await run(step, executor=executor, keep=True)
            await anyio.sleep(1.1)
            tasks.start_soon(quiet, executor, step)
            await anyio.sleep(0.1)
            since = time.monotonic()
            exited, _ = await run(step, executor=executor, keep=True)
            assert time.monotonic() - since < 0.5
            assert exited.error is not None


async def quiet(executor: SshExecutor, step: object) -> None:
    await run(step, executor=executor, keep=True)  # type: ignore[arg-type]


async def test_failures_at_once_count_as_one(sshd: Sshd) -> None:
    """Connections that are not shared are dialed at once; when all of them fail, the pause is that of one failure."""
    executor = SshExecutor()
    step = sh(replace(dead(sshd), shared=False), "true")
    async with nothing_left(), closing(executor):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(quiet, executor, step)
        exited, _ = await run(step, executor=executor, keep=True)
        assert exited.error is not None
        assert "due in 1 s" in exited.error.detail
        assert dials(executor.figures())["connect_failed"] > 1


async def test_nobody_waits_for_a_connection_that_is_gone(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait for room on the last connection hear of its end, all of them, also where none can be opened."""
    monkeypatch.setattr(link, "GUARDED_RUNS", 1)
    executor = SshExecutor()
    ended: list[RunErrorCode | None] = []

    async def follow(text: str) -> None:
        exited, _ = await run(sh(target_of(sshd), text), executor=executor, keep=True)
        ended.append(exited.error.code if exited.error else None)

    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        tasks.start_soon(follow, "sleep 30")
        await in_use(executor)
        family = descendants(sshd.pid)
        os.kill(sshd.pid, signal.SIGKILL)  # nobody new gets in
        for _ in range(4):
            tasks.start_soon(follow, "true")
        with anyio.fail_after(5):
            while executor.figures().waiting != 4:
                await anyio.sleep(0.01)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):  # a process of a login may have ended since
                os.kill(pid, signal.SIGKILL)
        with anyio.fail_after(3):
            while len(ended) < 5:
                await anyio.sleep(0.01)
        assert sorted(map(str, ended)) == ["connect_failed"] * 4 + ["connection_lost"]


async def in_use(executor: SshExecutor) -> None:
    with anyio.fail_after(5):
        while executor.figures().in_use != 1:
            await anyio.sleep(0.01)


async def test_local_faults_are_tried_again_at_once(sshd: Sshd) -> None:
    """A key file of ours that cannot be read is no fault of the host: once it is there, the next run works."""
    executor = SshExecutor()
    step = sh(target_of(sshd), "exit 0")
    key = sshd.key.read_bytes()
    async with nothing_left(), closing(executor):
        sshd.key.unlink()
        exited, _ = await run(step, executor=executor, keep=True)
        assert exited.error is not None
        assert exited.error.code is RunErrorCode.LOGIN_FAILED
        sshd.key.write_bytes(key)
        assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=0)


async def test_a_stop_while_waiting_for_a_connection(sshd: Sshd) -> None:
    """Whoever stops waiting is gone at once and confirmed, and the others go on waiting."""
    with silent_port() as port:
        executor = SshExecutor(login_timeout=1.5)
        step = sh(replace(target_of(sshd), port=port), "true")
        stop = Stop()
        async with closing(executor), anyio.create_task_group() as tasks:
            tasks.start_soon(quiet, executor, step)
            await anyio.sleep(0.1)
            tasks.start_soon(later, stop)
            since = time.monotonic()
            exited = await executor.run(step, context=CONTEXT, emit=Told().emit, stop=stop)
            assert exited.error is None
            assert exited.stopped is not None
            assert time.monotonic() - since < 1


async def later(stop: Stop) -> None:
    await anyio.sleep(0.2)
    stop.request(StopReason.CANCEL)


# Jump hosts


async def test_one_connection_to_the_jump_host(sshd: Sshd, tmp_path: Path) -> None:
    """Hosts behind one jump host share the connection to it, which stays as long as any of them is open."""
    with Sshd.start(tmp_path / "behind") as first, Sshd.start(tmp_path / "beyond") as second:
        executor = SshExecutor(idle=1.5)
        jump = target_of(sshd)
        async with nothing_left(), closing(executor):
            for server in (first, second, first):
                step = sh(replace(target_of(server), jump=jump), "exit 6")
                assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=6)
            assert executor.figures().open == 3
            assert logins(sshd) == 1
            await settled(executor, open_=0)
        assert (logins(first), logins(second)) == (1, 1)


async def test_a_dead_jump_host_is_no_fault_of_those_behind(sshd: Sshd) -> None:
    """It alone is left alone for a while, and what others are told names one next attempt."""
    executor = SshExecutor()
    step = sh(replace(target_of(sshd), jump=dead(sshd)), "true")
    async with nothing_left(), closing(executor):
        await run(step, executor=executor, keep=True)
        await run(step, executor=executor, keep=True)
        exited, _ = await run(step, executor=executor, keep=True)
        assert exited.error is not None
        assert exited.error.detail.startswith("The jump host ")
        assert exited.error.detail.count("the next one is due") == 1
        assert executor.figures().backing_off == 1


@pytest.mark.parametrize("hold", ["0", "0.5"])
async def test_hosts_behind_a_full_jump_host_make_room(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: str
) -> None:
    """What leads through a jump host and is idle, or becomes it, closes when another host behind needs the way."""
    monkeypatch.setattr(pool, "TUNNELS", 1)
    monkeypatch.setattr(pool, "_MOST_LINKS", 1)
    with Sshd.start(tmp_path / "behind") as first, Sshd.start(tmp_path / "beyond") as second:
        executor = SshExecutor()
        steps = [sh(replace(target_of(server), jump=target_of(sshd)), f"sleep {hold}") for server in (first, second)]
        async with nothing_left(), closing(executor):
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tasks:
                    for _ in range(2):
                        for step in steps:
                            tasks.start_soon(one, executor, step)
                            await anyio.sleep(0.3)
        assert logins(sshd) == 1


async def test_a_jump_host_that_breaks(sshd: Sshd, tmp_path: Path) -> None:
    """When the jump host drops everything, the next run opens the whole way again."""
    with Sshd.start(tmp_path / "behind") as server:
        executor = SshExecutor()
        step = sh(replace(target_of(server), jump=target_of(sshd)), "exit 6")
        async with nothing_left(), closing(executor):
            assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=6)
            sshd.drop_connections()
            await anyio.sleep(0.3)
            assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=6)
        assert logins(sshd) == 2


async def test_rotated_keys_are_used_at_once(sshd: Sshd) -> None:
    """A connection that was made with another key serves nobody; a run that is under way on it goes on."""
    executor = SshExecutor()
    target = target_of(sshd)
    ended: list[Exited] = []

    async def long() -> None:
        ended.append((await run(sh(target, "sleep 1; exit 5"), executor=executor, keep=True))[0])

    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        tasks.start_soon(long)
        await in_use(executor)
        make_key(sshd.key)
        exited, _ = await run(sh(target, "exit 0"), executor=executor, keep=True)
        assert exited.error is not None
        assert exited.error.code is RunErrorCode.LOGIN_FAILED
    assert ended == [Exited(exit_code=5)]


class silent_port:  # noqa: N801 - used like a function
    """A port that accepts and says nothing."""

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        return port

    def _accept(self) -> None:
        try:
            while True:
                self._held.append(self._socket.accept()[0])
        except OSError:
            return

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for held in self._held:
            held.close()
        self._thread.join(5)
