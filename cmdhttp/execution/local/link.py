"""The front's end of the line to the broker: starts it, hands it orders, and starts another one when it has died.

Every broker is asked nothing until it has said hello: by then it has ended what an earlier life left and has a policy, or has
said why not. What a dead broker ran is ended by the guards; nothing of it is started again.
"""

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from cmdhttp.execution.local.orphans import end_orphans
from cmdhttp.execution.local.tree import become_subreaper, is_stopped, kill
from cmdhttp.execution.local.wire import Message, close_all, pair, receive, send

if TYPE_CHECKING:
    import socket

_log = logging.getLogger("cmdhttp.broker")
_PATIENCE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_FULL_PAUSE = 0.01
_STEADY_SECONDS = 30.0
_END_SECONDS = 12.0
_GUARD_SECONDS = 2.0
_WATCH_SECONDS = 1.0
_ARGUMENTS = ("-P", "-m", "cmdhttp.broker")


class BrokerGone(Exception):
    """There is no broker to hand an order to; nothing has been handed over."""


class Link(Protocol):
    """Takes orders for the broker."""

    async def send(self, message: Mapping[str, object], descriptors: Sequence[int]) -> None:
        """Hand over a message; the descriptors stay the caller's. Raises BrokerGone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """What a broker is told at its start. `cgroup` is a name of its own for each data folder.

    `ready` guards are kept, and `most` runs go on at once; the broker refuses more.

    `by_itself`: whether it looks for changes of the policy files, or waits until it is told to read them.

    `account` is that of commands whose policy names none; None for the broker's own. `front` is the account that the front has
    taken, which no command gets; None if it has taken none.
    """

    policies: Path
    secrets: Path
    runs: Path
    cgroup: str
    interpreters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ready: int = 4
    most: int = 64
    account: str | None = None
    front: str | None = None
    by_itself: bool = True

    def text(self) -> str:
        told: dict[str, Any] = {
            "policies": str(self.policies.absolute()),
            "secrets": str(self.secrets.absolute()),
            "runs": str(self.runs.absolute()),
            "cgroup": self.cgroup,
            "interpreters": {name: list(argv) for name, argv in self.interpreters.items()},
            "ready": self.ready,
            "most": self.most,
            "account": self.account,
            "front": self.front,
            "by_itself": self.by_itself,
        }
        return json.dumps(told)


class Brokers(Protocol):
    """Starts brokers, one at a time."""

    def start(self) -> "socket.socket":
        """Start a broker; returns the socket to it, which does not block. Raises OSError."""

    def bury(self) -> str:
        """See to it that the last one is gone, and say how it ended."""


class OwnBrokers:
    """Brokers that are children of this process."""

    def __init__(self, config: str, *, arguments: Sequence[str] = _ARGUMENTS, adopt: bool = False) -> None:
        """`adopt`: make this process the parent of what a killed broker leaves, and end that.

        It takes each child of another session for one of them, so this process must not start any.
        """
        self._adopt = adopt
        self._command = [sys.executable, *arguments, config]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "socket.socket":
        if self._process is not None:
            self.bury()
        if self._adopt:
            become_subreaper()
        ours, theirs = pair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                self._command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
            )
        ours.settimeout(0)
        return ours

    def bury(self) -> str:
        if self._process is None:
            return "it never started"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()
        status = self._process.wait()
        if self._adopt and (left := end_orphans(grace=_GUARD_SECONDS, within=_END_SECONDS)):
            return f"status {status}; processes that cannot be ended: {left}"
        return f"status {status}"


class BrokerLink:
    """One broker at a time. `start` may be called before there is an event loop, so that it loads while the front does."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._socket: socket.socket | None = None
        self._up = anyio.Event()
        self.pid: int | None = None
        self.rung = ""
        self.restarts = 0
        self.on_restart: Callable[[], Awaitable[None]] | None = None
        self.in_force: Callable[[], str] | None = None
        """The digest of the policy by which the front decides."""
        self.on_other: Callable[[], None] | None = None
        """Called when a broker begins whose policy files give another policy than that."""
        self._gone = "the broker has not started yet"
        self._wrong = ""
        self._held: frozenset[str] = frozenset()
        self._asked = 0
        self._answered = anyio.Event()

    @property
    def trouble(self) -> str:
        """Why it would start nothing of what the front decides now, or nothing."""
        if not self._up.is_set():
            return self._gone
        if self.in_force is None or self.in_force() in self._held:
            return ""
        if self._wrong:
            return f"its copy of the policy does not load: {self._wrong}"
        return "the policy files as it has read them give another policy than the one in force"

    def start(self) -> None:
        """Start a broker; it says hello later. May have to wait for the end of the one before. Raises OSError."""
        self._socket = self._brokers.start()

    async def serve(self) -> None:
        """Keep a broker there until this is cancelled."""
        pause = _FIRST_PAUSE
        while True:
            since = anyio.current_time()
            await self._watch_and_listen()
            await self._bury()
            pause = _FIRST_PAUSE if anyio.current_time() - since > _STEADY_SECONDS else min(2 * pause, _LONGEST_PAUSE)
            await anyio.sleep(pause)
            self.restarts += 1
            if self.on_restart is not None:
                await self.on_restart()
            try:
                await anyio.to_thread.run_sync(self.start)
            except OSError as error:
                _log.error("no broker can be started: %s", error.strerror)

    async def ready(self) -> None:
        """Wait until a broker has said hello."""
        await self._up.wait()

    async def send(self, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        """Hand over a message. Raises BrokerGone if no broker takes it within 5 s."""
        with anyio.move_on_after(_PATIENCE):
            while True:
                await self._up.wait()
                if self._socket is None:
                    continue
                try:
                    send(self._socket, message, descriptors)
                except BlockingIOError:  # many may wait at once, and of one socket only one task could be told
                    await anyio.sleep(_FULL_PAUSE)
                except OSError:
                    await anyio.sleep(_FIRST_PAUSE)  # it has just died, and `serve` is about to see that
                else:
                    return
        raise BrokerGone

    async def reread(self) -> None:
        """Make the broker read the policy files too, without waiting for what comes of it."""
        self._asked, self._answered = self._asked + 1, anyio.Event()
        if not self._up.is_set():
            self._answered.set()
            return
        with suppress(BrokerGone):
            await self.send({"do": "policy", "asked": self._asked})

    async def copies(self) -> frozenset[str] | None:
        """Wait for what came of the last `reread`: the digests of the policies that the broker holds.

        None if there is no broker, or none that answers within 5 s.
        """
        with anyio.move_on_after(_PATIENCE):
            await self._answered.wait()
            return self._held if self._up.is_set() else None
        return None

    def close(self) -> None:
        """Let the broker go, and wait for it: it ends what it runs first."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._brokers.bury()  # also one that has just died, whose end nobody has taken up yet

    async def _watch_and_listen(self) -> None:
        """Return when the broker has gone. One that was stopped by a signal is of no use, and is killed."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch)
            await self._listen()
            group.cancel_scope.cancel()

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(_WATCH_SECONDS)
            if self.pid is not None and is_stopped(self.pid):
                _log.error("the broker was stopped by a signal and is killed")
                kill(self.pid, signal.SIGKILL)

    async def _listen(self) -> None:
        """Take in what the broker says until it has gone."""
        while self._socket is not None:
            await anyio.wait_readable(self._socket)
            try:
                received = receive(self._socket)
            except BlockingIOError:
                continue
            except (OSError, ValueError):
                return
            if received is None:
                return
            close_all(received[1])
            self._heard(received[0])

    def _heard(self, message: Message) -> None:
        if "hello" in message:
            self.rung, self.pid = message["rung"], message["hello"]
            if message["swept"]:
                _log.warning("%d processes of an earlier life were still there and have been ended", message["swept"])
            if message["left"]:
                _log.error("processes of an earlier life cannot be ended: %s", message["left"])
            _log.info("broker %d is ready (containment: %s)", message["hello"], self.rung)
            self._up.set()
        if "log" in message:
            _log.error("%s", message["log"])
        if "policy" in message:
            self._wrong, self._held = message["policy"], frozenset(message["held"])
            if self._wrong and self.trouble:
                _log.error("the broker starts nothing: %s", self.trouble)
        if message.get("asked") == self._asked:
            self._answered.set()
        if "hello" in message and self.trouble and self.on_other is not None:
            self.on_other()

    async def _bury(self) -> None:
        if self._up.is_set():  # else it is still what others wait for
            self._up = anyio.Event()
        self._gone = "the broker has died; another one is being started"
        self._held = frozenset()
        self._answered.set()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.pid = None
        ended = await anyio.to_thread.run_sync(self._brokers.bury)
        _log.error("the broker has ended (%s); what it ran has been ended, and another one is started", ended)
