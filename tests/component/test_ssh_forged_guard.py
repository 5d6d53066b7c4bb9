"""Hosts that answer with the frames of no honest guard: they lose their own runs at once, and the service nothing."""

import asyncio
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.model import Exited, News, RunErrorCode, Stop
from cmdhttp.execution.ssh import SshExecutor, guard
from tests.support.forging import Forged, forged_host, frame, over
from tests.support.ssh_runs import CONTEXT, Told, closing, step_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _errno(number: int, on: bytes) -> Callable[[int], bytes]:
    return lambda run: frame("f", run, struct.pack("!I", number) + on)


LIES: dict[str, Callable[[int], bytes]] = {
    "an errno that no C library knows": _errno(2**32 - 1, b"program"),
    "an errno beyond an int": _errno(2**31, b"folder"),
    "a failure without an errno": lambda run: frame("f", run, b"x"),
    "a failure that is no text": _errno(2, b"\xff"),
    "an end by nobody known": lambda run: over(run, by=9),
    "an end without a body": lambda run: frame("z", run),
    "a status below all signals": lambda run: over(run, status=-(2**31)),
    "a status beyond a byte": lambda run: over(run, status=256),
    "a start without a process": lambda run: frame("s", run),
    "two starts": lambda run: frame("s", run, b"\0\0\0\1") * 2,
    "stdin that was never sent": lambda run: frame("c", run, b"\0\0\0\1"),
    "no stdin at all": lambda run: frame("c", run, b"\0\0\0\0"),
    "output without a byte": lambda run: frame("o", run),
    "output of another run": lambda run: frame("o", run + 1, b"x"),
    "ends of other runs": lambda run: over(run + 1) * 2,
    "too many pongs": lambda _run: frame("p", 0) * 10,
    "hello once more": lambda _run: frame("H", 0) * 3,
    "news that is too long": lambda run: frame("s", run, length=2**31),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_no_guard_says(tmp_path: Path, lie: str) -> None:
    """Nothing of it is an end or a start of a run, none leaves a run hanging, and none is an error of the service."""

    async def act(host: Forged, run: int) -> None:
        host.say(LIES[lie](run))

    told = Told()
    async with forged_host(tmp_path, act) as target, closing(SshExecutor()) as executor:
        with anyio.fail_after(5):
            exited = await executor.run(step_for(target, "/bin/true"), context=CONTEXT, emit=told.emit, stop=Stop())
    assert exited.lost
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.CONNECTION_LOST
    assert exited.stopped is None


async def _flooded(tmp_path: Path, flood: Callable[[int], bytes]) -> tuple[Exited, int]:
    """Run while the host floods and nobody takes; returns the end and the most memory meanwhile, in bytes."""

    async def act(host: Forged, run: int) -> None:
        while host.channel is not None and not host.channel.is_closing():
            host.say(flood(run))
            await asyncio.sleep(0)
            await host.writable.wait()

    over_now = anyio.Event()

    async def emit(_news: News) -> None:
        await over_now.wait()

    async with forged_host(tmp_path, act) as target, closing(SshExecutor()) as executor:
        tracemalloc.start()
        try:
            with anyio.fail_after(100):
                asyncio.get_running_loop().call_later(4, over_now.set)
                exited = await executor.run(step_for(target, "/bin/true"), context=CONTEXT, emit=emit, stop=Stop())
            return exited, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [2, 300])
async def test_a_flood_of_small_pieces_fills_no_memory(tmp_path: Path, size: int) -> None:
    """Whatever the pieces of output are, a run whose taker stands still costs about its credit."""

    def flood(run: int) -> bytes:
        return frame("o", run, b"x" * size) * 500

    exited, most = await _flooded(tmp_path, flood)
    assert exited.lost
    assert most < 60 << 20


async def test_a_host_that_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not read does not pile up here without an end, though it says that all is well."""
    monkeypatch.setattr(guard, "_MOST_UNSENT", 1 << 20)

    async def act(host: Forged, run: int) -> None:
        if host.channel is not None:
            host.channel.pause_reading()
        host.say(frame("s", run, b"\0\0\0\1") + over(run))

    async with forged_host(tmp_path, act) as target, closing(SshExecutor()) as executor:
        step = step_for(target, "/bin/cat", stdin=b"x" * guard.STDIN_AHEAD)
        lost = 0

        async def one() -> None:
            nonlocal lost
            lost += (await executor.run(step, context=CONTEXT, emit=Told().emit, stop=Stop())).lost

        await one()
        assert lost == 0
        with anyio.fail_after(5):
            async with anyio.create_task_group() as runs:
                for _ in range(24):
                    runs.start_soon(one)
        assert lost > 0
