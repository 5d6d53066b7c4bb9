"""The reloader over a source that does what a test says, and a real audit log."""

import errno
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import SystemClock
from cmdhttp.errors import ConfigError
from cmdhttp.policy.compiled import Policy
from cmdhttp.reload.reloader import PolicyHolder, Reloader
from cmdhttp.telemetry.metrics import Metrics
from tests.unit.policies import compiled

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio."""
    return "asyncio"


class Source:
    """What the reloader reads: `outcome` is the next policy or the reason why there is none."""

    def __init__(self) -> None:
        self.outcome: Policy | Exception = policy("first")
        self.look = "0"
        self.loads = 0
        self.at_once = 0
        self.gate = threading.Event()
        self.gate.set()

    def state(self) -> str:
        return self.look

    def load(self) -> Policy:
        self.at_once += 1
        assert self.at_once == 1, "two loads at once"
        self.gate.wait(5)
        self.at_once -= 1
        self.loads += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Agreeing:
    """Copies of whoever reads the same as the reloader: `answer` is what they say, or None for nobody there."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.answer: Callable[[], set[str] | None] = lambda: None
        self.asked = 0

    async def reread(self) -> None:
        self.asked += 1

    async def copies(self) -> set[str] | None:
        return self.answer()


class MovedClock(SystemClock):
    """Runs as far ahead as a test says."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class House:
    def __init__(self, folder: Path, source: Source, *, poll: float, meanwhile: Callable[[], None]) -> None:
        """`meanwhile` is done between the first load and the beginning of the watch."""
        self.clock = clock = MovedClock()
        self.path = folder / "audit.jsonl"
        self.audit = AuditLog(self.path, now=clock.now)
        self.metrics = Metrics(version="1")
        self.holder = PolicyHolder(source)
        self.copies = Agreeing(source)
        meanwhile()
        self.reloader = Reloader(
            source=source,
            holder=self.holder,
            audit=self.audit,
            metrics=self.metrics,
            clock=clock,
            poll=poll,
            copies=self.copies,
        )

    def loads(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("cmdhttp_policy_loads_total", {"result": result}) or 0.0

    def codes(self) -> list[str]:
        return [json.loads(line)["code"] for line in self.path.read_text().splitlines()]


def policy(word: str) -> Policy:
    return compiled(f"commands: {{c: {{effect: read, run: [/bin/{word}], on: local}}}}")


@asynccontextmanager
async def watching(
    folder: Path, source: Source, *, poll: float = 0.0, meanwhile: Callable[[], None] = lambda: None
) -> AsyncIterator[House]:
    house = House(folder, source, poll=poll, meanwhile=meanwhile)
    async with anyio.create_task_group() as group:
        group.start_soon(house.reloader.watch)
        yield house
        group.cancel_scope.cancel()
    house.audit.close()


async def until(check: Callable[[], object]) -> None:
    with anyio.fail_after(5):
        while not check():
            await anyio.sleep(0.01)


async def test_asking_again_and_again_is_one_more_load(tmp_path: Path) -> None:
    """What is asked for while a load is under way is one load after it; no two loads overlap."""
    source = Source()
    async with watching(tmp_path, source) as house:
        source.gate.clear()
        house.reloader.ask()
        await until(lambda: source.at_once)
        for _ in range(20):
            house.reloader.ask()
        source.gate.set()
        await until(lambda: source.loads == 3)
        await anyio.sleep(0.1)
        assert source.loads == 3
        assert house.loads("unchanged") == 2


async def test_what_changed_between_the_start_and_the_watch_is_loaded(tmp_path: Path) -> None:
    """The watch begins where the first load began: it misses nothing since, and loads nothing that is loaded already."""
    source = Source()

    def change() -> None:
        source.look, source.outcome = "1", policy("second")

    async with watching(tmp_path, source, poll=0.02, meanwhile=change) as house:
        await until(lambda: house.holder.current is source.outcome)
        await anyio.sleep(0.5)
        assert source.loads == 2
    (tmp_path / "other").mkdir()
    source = Source()
    async with watching(tmp_path / "other", source, poll=0.02):
        await anyio.sleep(0.5)
        assert source.loads == 1


async def test_a_load_that_is_asked_for_settles_the_change(tmp_path: Path) -> None:
    """After a load on request, the change that came with it is not loaded a second time."""
    source = Source()
    async with watching(tmp_path, source, poll=0.02) as house:
        source.look, source.outcome = "1", policy("second")
        house.reloader.ask()
        await until(lambda: house.loads("loaded") == 1)
        await anyio.sleep(0.5)
        assert source.loads == 2


async def test_a_failure_is_told_once_and_again_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same failure found by watching is news once; each request gets its answer; another failure is news."""
    source = Source()
    caplog.set_level(logging.INFO, "cmdhttp.policy")
    async with watching(tmp_path, source, poll=0.02) as house:
        first = house.holder.current
        source.look, source.outcome = "1", ConfigError("it is bad")
        await until(lambda: house.loads("failed") == 1)
        source.look = "2"
        await until(lambda: house.loads("failed") == 2)
        assert house.codes() == ["policy.reload_failed"]
        house.reloader.ask()
        await until(lambda: len(house.codes()) == 2)
        source.look, source.outcome = "3", ConfigError("it is worse")
        await until(lambda: len(house.codes()) == 3)
        assert house.reloader.trouble == f"1 error: it is worse; the policy {first.digest} stays in force"
        assert house.holder.current is first
        source.look, source.outcome = "4", policy("first")
        await until(lambda: house.reloader.trouble == "")
        assert len(house.codes()) == 3
    told = [record.getMessage() for record in caplog.records if record.name == "cmdhttp.policy"]
    assert [message.split(";")[0] for message in told[:3]] == [
        "the policy does not load: 1 error: it is bad",
        "the policy does not load: 1 error: it is bad",
        "the policy does not load: 1 error: it is worse",
    ]
    assert told[3].startswith("the policy loads and is the one in force: sha256:")


async def test_a_defect_of_the_loader_takes_nothing_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that no loader should raise is a failed load like any other, with its traceback in the log."""
    source = Source()
    async with watching(tmp_path, source) as house:
        source.outcome = RecursionError()
        house.reloader.ask()
        await until(lambda: "RecursionError" in house.reloader.trouble)
        source.outcome = policy("second")
        house.reloader.ask()
        await until(lambda: house.holder.current is source.outcome)
        assert house.reloader.trouble == ""

    assert [bool(record.exc_info) for record in caplog.records if record.name == "cmdhttp.policy"][:1] == [True]


async def test_a_policy_takes_effect_though_the_audit_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy may be the one that takes a right away: it does not wait for room on a disk. The log tells."""
    source = Source()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with watching(tmp_path, source) as house:
        with monkeypatch.context() as patched:
            patched.setattr("cmdhttp.audit.log.os.write", full)
            source.outcome = policy("second")
            house.reloader.ask()
            await until(lambda: house.holder.current is source.outcome)

    assert any("policy.loaded is not in the audit log" in record.getMessage() for record in caplog.records)


async def test_a_folder_that_hangs_is_told(tmp_path: Path) -> None:
    """When reading does not come to an end in half a minute, that is trouble, until it does."""
    source = Source()
    async with watching(tmp_path, source) as house:
        source.gate.clear()
        house.reloader.ask()
        await until(lambda: source.at_once)
        assert house.reloader.trouble == ""
        house.clock.ahead = 30.0
        assert house.reloader.trouble.startswith("reading the policy files has not come to an end; the policy sha256:")
        source.gate.set()
        await until(lambda: house.reloader.trouble == "")
        assert house.loads("unchanged") == 1


async def test_a_stop_does_not_wait_for_a_folder_that_hangs(tmp_path: Path) -> None:
    """A load that hangs, as on a dead network file system, does not hold up the stop."""
    source = Source()

    with anyio.fail_after(3):
        async with watching(tmp_path, source) as house:
            source.gate.clear()
            house.reloader.ask()
            await until(lambda: source.at_once)
    assert source.at_once == 1
    source.gate.set()


async def test_two_that_never_read_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files that change at each look are taken as the front reads them, after 5 s and not before; the log tells."""
    source = Source()
    async with watching(tmp_path, source) as house:
        before, source.outcome = house.holder.current, policy("second")
        house.copies.answer = lambda: {before.digest}
        house.reloader.ask()
        await until(lambda: house.copies.asked > 3)
        assert house.holder.current is before
        house.clock.ahead = 5.0
        await until(lambda: house.holder.current is source.outcome)
    assert any("does not hold the policy sha256:" in record.getMessage() for record in caplog.records)
