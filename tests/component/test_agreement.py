"""The front and the broker each read the policy files; what the front decides by is what the broker holds too.

The reloader, its line and the broker are the real ones; the broker's reading can be held up.
"""

import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import SystemClock
from cmdhttp.execution.local.link import BrokerConfig, BrokerLink, OwnBrokers
from cmdhttp.policy.compiled import Policy
from cmdhttp.reload.reloader import PolicyHolder, Reloader
from cmdhttp.reload.source import PolicyFolder
from cmdhttp.settings import Settings
from cmdhttp.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio
_TOKEN = {"id": "abcdefgh", "sha256": "0" * 64, "expires": "2999-01-31"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Counted(PolicyFolder):
    """Counts how often it has been read."""

    loads = 0

    def load(self) -> Policy:
        policy = super().load()
        self.loads += 1
        return policy


@dataclass
class Both:
    """A front's policy and a broker's, both from one folder."""

    folder: Path
    source: Counted
    holder: PolicyHolder
    reloader: Reloader
    link: BrokerLink
    taken: list[str] = field(default_factory=list)
    """The digests that came into force, in their order."""

    def write(self, word: str) -> None:
        write(self.folder, word)

    def hold(self) -> None:
        """The broker reads nothing until it is let."""
        (self.folder / "hold").touch()

    def let(self) -> None:
        (self.folder / "hold").unlink()

    @property
    def word(self) -> str:
        """The word of the policy in force."""
        return self.holder.current.commands["say"].description

    async def until(self, word: str) -> None:
        with anyio.fail_after(20):
            while self.word != word:
                await anyio.sleep(0.01)


def write(folder: Path, word: str) -> None:
    document = {
        "version": 1,
        "principals": {"ann": {"tokens": [_TOKEN]}},
        "roles": {"all": [{"commands": "say", "hosts": "local"}]},
        "grants": [{"to": "ann", "roles": "all"}],
        "commands": {
            "say": {"effect": "read", "run": ["/bin/echo"], "on": "local", "timeout": "5s", "description": word}
        },
    }
    fresh = folder / "fresh"
    fresh.write_text(json.dumps(document))
    fresh.replace(folder / "policies" / "policy.yaml")


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Both]:
    (folder / "policies").mkdir()
    (folder / "secrets").mkdir(mode=0o700)
    write(folder, "first")
    settings = Settings(policies=folder / "policies", secrets=folder / "secrets")
    config = BrokerConfig(
        policies=settings.policies,
        secrets=folder / "secrets",
        runs=folder / "runs",
        cgroup=f"cmdhttp-test-{time.monotonic_ns():x}",
        by_itself=False,
    )
    link = BrokerLink(OwnBrokers(config.text(), arguments=("-m", "tests.support.held_broker")))
    clock = SystemClock()
    audit = AuditLog(folder / "audit.jsonl", now=clock.now)
    source = Counted(settings, now=clock.now)
    holder = PolicyHolder(source)
    taken: list[str] = []

    async def on_taken() -> None:
        taken.append(holder.current.commands["say"].description)

    reloader = Reloader(
        source=source,
        holder=holder,
        audit=audit,
        metrics=Metrics(version="1"),
        clock=clock,
        poll=0.0,
        copies=link,
        on_taken=on_taken,
    )
    link.in_force, link.on_other = lambda: holder.current.digest, reloader.ask
    link.start()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(link.serve)
            group.start_soon(reloader.watch)
            with anyio.fail_after(20):
                await link.ready()
            yield Both(folder, source, holder, reloader, link, taken)
            group.cancel_scope.cancel()
    finally:
        (folder / "hold").unlink(missing_ok=True)
        link.close()
        audit.close()


async def test_what_the_broker_does_not_hold_does_not_come_into_force(tmp_path: Path) -> None:
    """Files that change between the two reads are read once more; no policy decides in between whose runs would be refused."""
    async with both(tmp_path) as two:
        two.hold()
        two.write("second")
        two.reloader.ask()
        with anyio.fail_after(10):
            while two.source.loads < 2:
                await anyio.sleep(0.01)
        two.write("third")
        await anyio.sleep(0.1)
        assert (two.word, two.link.trouble) == ("first", ""), "and the first one still runs"
        two.let()
        await two.until("third")
        assert (two.taken, two.link.trouble) == (["third"], "")


async def test_a_broker_that_does_not_answer_keeps_no_policy_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The new policy may be the one that takes a right away: after a few seconds it decides, and readiness tells the rest."""
    async with both(tmp_path) as two:
        two.hold()
        two.write("second")
        two.reloader.ask()
        await two.until("second")
        assert "give another policy than the one in force" in two.link.trouble
        two.let()
        with anyio.fail_after(10):
            while two.link.trouble:
                await anyio.sleep(0.01)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_broker_that_begins_with_other_files(tmp_path: Path) -> None:
    """After the death of a broker the front reads again what the new one has read, though nobody has asked for it."""
    async with both(tmp_path) as two:
        two.write("second")
        assert two.link.pid is not None
        os.kill(two.link.pid, signal.SIGKILL)
        await two.until("second")
        assert (two.taken, two.link.trouble) == (["second"], "")


async def test_files_that_the_broker_cannot_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A policy that does not load leaves both with the one before; that is no trouble of the broker's."""
    async with both(tmp_path) as two:
        (tmp_path / "policies" / "policy.yaml").write_text("version: [")
        two.reloader.ask()
        with anyio.fail_after(10):
            while not two.reloader.trouble:
                await anyio.sleep(0.01)
        assert await two.link.copies() == frozenset([two.holder.current.digest])
        assert (two.word, two.link.trouble) == ("first", "")
    assert not [
        record for record in caplog.records if record.name == "cmdhttp.broker" and record.levelno >= logging.ERROR
    ]
