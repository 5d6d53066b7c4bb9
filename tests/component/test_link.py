"""The front's line to the broker, and the broker's to its guards, when the other side is slow, full, or has just died."""

import errno
import os
import resource
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from cmdhttp.execution.local import guards as local_guards
from cmdhttp.execution.local import tree
from cmdhttp.execution.local.guards import Guards
from cmdhttp.execution.local.link import BrokerLink
from cmdhttp.execution.local.wire import pair, receive, send
from tests.support.service import wait_until

HELLO = {"hello": os.getpid(), "rung": "subreaper", "swept": 0, "left": [], "policy": "", "held": ["a"]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class OddBrokers:
    """Brokers of which the first `mute` die without a word; each after the first takes `seconds` to start."""

    mute: int = 0
    seconds: float = 0.0
    theirs: list[socket.socket] = field(default_factory=list)
    buried: int = 0

    def start(self) -> socket.socket:
        if self.theirs:
            time.sleep(self.seconds)
        ours, theirs = pair()
        ours.settimeout(0)
        self.theirs.append(theirs)
        if len(self.theirs) <= self.mute:
            theirs.close()
        else:
            send(theirs, HELLO)
        return ours

    def bury(self) -> str:
        self.buried = len(self.theirs)
        return "status 1"

    def close(self) -> None:
        for one in self.theirs:
            one.close()


@pytest.mark.anyio
async def test_whoever_waits_for_a_broker_hears_of_the_second() -> None:
    """A broker that dies before its hello takes nobody's patience with it."""
    brokers = OddBrokers(mute=1)
    link = BrokerLink(brokers)
    link.start()
    async with anyio.create_task_group() as group:
        with anyio.fail_after(3):
            group.start_soon(link.serve)
            await link.ready()
        group.cancel_scope.cancel()
    link.close()
    brokers.close()


@pytest.mark.anyio
async def test_orders_wait_side_by_side_for_a_broker_that_is_busy() -> None:
    """More orders than the socket holds are all taken once the broker reads again."""
    brokers = OddBrokers()
    link = BrokerLink(brokers)
    link.start()
    async with anyio.create_task_group() as group:
        group.start_soon(link.serve)
        await link.ready()
        with anyio.fail_after(4):
            async with anyio.create_task_group() as senders:
                for _ in range(100):
                    senders.start_soon(link.send, {"text": "x" * 10_000})
                await anyio.sleep(0.1)
                reader = threading.Thread(target=lambda: [receive(brokers.theirs[0]) for _ in range(100)])
                reader.start()
            await anyio.to_thread.run_sync(reader.join)
        group.cancel_scope.cancel()
    link.close()
    brokers.close()


@pytest.mark.anyio
async def test_a_slow_start_of_a_broker_holds_nobody_up() -> None:
    """While the next broker is waited for, the loop goes on."""
    brokers = OddBrokers(seconds=1.0)
    link = BrokerLink(brokers)
    link.start()
    longest = 0.0
    async with anyio.create_task_group() as group:
        group.start_soon(link.serve)
        await link.ready()
        brokers.theirs[0].close()
        with anyio.fail_after(5):
            while len(brokers.theirs) < 2:
                since = time.monotonic()
                await anyio.sleep(0.01)
                longest = max(longest, time.monotonic() - since)
        group.cancel_scope.cancel()
    link.close()
    brokers.close()
    assert longest < 0.5


@pytest.mark.anyio
@pytest.mark.parametrize("turns", range(12))
async def test_a_broker_that_dies_while_the_front_stops_is_buried(turns: int) -> None:
    """At whichever turn of the event loop the front stops, the status of the last broker is taken."""
    brokers = OddBrokers()
    link = BrokerLink(brokers)
    link.start()
    async with anyio.create_task_group() as group:
        group.start_soon(link.serve)
        await link.ready()
        brokers.theirs[0].close()
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    link.close()
    assert brokers.buried == len(brokers.theirs)
    brokers.close()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Guards, selectors.BaseSelector]]:
    """Guards, one of them free. They are children of the test here, which has others that shall not be ended with them."""
    monkeypatch.setattr(tree, "end_all", lambda **_: True)
    with selectors.DefaultSelector() as selector:
        guards = Guards(selector=selector, ready=1, files=resource.getrlimit(resource.RLIMIT_NOFILE))
        try:
            for key, _ in selector.select(5):
                guards.heard(key.data)
            yield guards, selector
        finally:
            guards.close()


def test_a_guard_that_was_buried_may_have_said_something(kept: tuple[Guards, selectors.BaseSelector]) -> None:
    """The word of a guard that was stopped after it comes in the same round as its burial, and is nothing to anyone."""
    guards, selector = kept
    guard = next(iter(selector.get_map().values())).data
    os.kill(guard.process.pid, signal.SIGSTOP)
    wait_until(lambda: tree.is_stopped(guard.process.pid), "the guard stands still")
    guards.bury_stopped()
    guards.heard(guard)
    assert guards.lost == 1


def test_an_order_that_cannot_be_sent_now_costs_no_guard(
    kept: tuple[Guards, selectors.BaseSelector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short of descriptors for a moment, the broker keeps the order and the guard, and brings them together later."""
    guards, selector = kept
    sent: list[object] = []

    def short(_to: socket.socket, message: Any, _descriptors: Any) -> None:
        if not sent:
            sent.append(message)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        sent.append(message)

    monkeypatch.setattr(local_guards, "send", short)
    guards.run({"folder": "/nonexistent/x"}, [])
    assert (len(sent), guards.in_hand) == (1, 1)
    guards.thin_out()
    assert (len(sent), guards.in_hand) == (2, 1)
    assert len(selector.get_map()) == 1  # none was started for an order that has one


@pytest.mark.timeout(60)
def test_an_idle_guard_that_hangs_is_let_go(
    kept: tuple[Guards, selectors.BaseSelector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker does not wait for the goodbye of a guard that has nothing to do."""
    guards, selector = kept
    guard = next(iter(selector.get_map().values())).data
    os.kill(guard.process.pid, signal.SIGSTOP)
    monkeypatch.setattr(local_guards, "_IDLE_SECONDS", -1.0)
    monkeypatch.setattr(guards, "_ready", 0)
    guards.thin_out()
    assert guard.process.returncode == -signal.SIGKILL
    assert len(selector.get_map()) == 0
