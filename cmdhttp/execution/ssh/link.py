"""One open connection, with the guard on its far side if the host can have one.

Before a connection serves its first run, the host has handed nasty words back untouched, by the same way that every
argument goes. A login shell that cannot do that gets nothing to run.
"""

import asyncio
import secrets
import select
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import asyncssh

from cmdhttp.execution.model import RunErrorCode, Stream
from cmdhttp.execution.ssh.failures import ConnectFailed, channel_refused
from cmdhttp.execution.ssh.greeting import Hello
from cmdhttp.execution.ssh.guard import WINDOW, Guard
from cmdhttp.execution.ssh.login.dial import Dialed
from cmdhttp.execution.ssh.remote import lines
from cmdhttp.execution.ssh.session import RunSession
from cmdhttp.plan.model import Shell, SshTarget
from cmdhttp.plan.remote import PROBES, posix_line, probe_echo, probe_line

GUARDED_RUNS = 32
"""Runs at once on a connection with a guard, where they all share one channel."""
CHANNELS = 8
"""Runs at once on a connection without one, where each needs a channel: a server permits 10 unless it is told otherwise."""
TUNNELS = 64
_LONGEST_ECHO = 64 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class Link:
    """A connection that is lent. `capacity` is how many may use it at once; `jump` is the one that it leads through."""

    dialed: Dialed
    capacity: int
    guard: Guard | None = None
    version: object = None
    jump: "Link | None" = None
    users: int = 0
    idle: asyncio.TimerHandle | None = None

    @property
    def connection(self) -> asyncssh.SSHClientConnection:
        return self.dialed.connection

    def usable(self, now: float) -> bool:
        """Whether it may be lent once more at this time of the loop's clock."""
        broken = self.connection.is_closed() or (self.guard is not None and self.guard.closed)
        return not broken and now < self.dialed.until and not (self.users == 0 and self._hung_up())

    def _hung_up(self) -> bool:
        """Whether the host has closed the connection and the loop has not come round to see it."""
        peer = self.connection.get_extra_info("socket")
        if peer is None or peer.fileno() < 0:
            return False  # it comes through a jump host
        look = select.poll()
        look.register(peer.fileno(), select.POLLRDHUP)
        return bool(look.poll(0))

    @property
    def free(self) -> bool:
        return self.users < self.capacity


async def prepare(dialed: Dialed, target: SshTarget, *, seconds: float, on_end: Callable[[], None]) -> Link:
    """Return the connection as a link that can serve runs. Raises ConnectFailed."""
    if target.shell is not Shell.POSIX:
        await _probe(dialed, target.shell, seconds)
        return Link(dialed=dialed, capacity=CHANNELS)
    token = new_token()
    guard = Guard(token, on_end=on_end)
    line = posix_line(lines.resident(token, PROBES))
    with anyio.move_on_after(seconds):
        try:
            await dialed.connection.create_session(lambda: guard, line, encoding=None, window=WINDOW)
        except (asyncssh.Error, OSError):
            if dialed.connection.is_closed():
                raise shell_failed("The host closed the connection instead of starting a command.") from None
            error = channel_refused()
            raise ConnectFailed(error.code, error.detail, hint=error.hint) from None
        await guard.greeted.wait()
    return _judged(dialed, guard)


async def _probe(dialed: Dialed, shell: Shell, seconds: float) -> None:
    """Have the words handed back by a host without a guard. Raises ConnectFailed."""
    line = probe_line(shell)
    if line is None:
        return
    session = RunSession(may_start=lambda: True)
    said = bytearray()
    with anyio.move_on_after(seconds):
        try:
            await dialed.connection.create_session(lambda: session, line, encoding=None)
        except (asyncssh.Error, OSError):
            error = channel_refused()
            raise ConnectFailed(error.code, error.detail, hint=error.hint) from None
        while not session.closed and len(said) < _LONGEST_ECHO:
            await session.news()
            while (output := session.take()) is not None:
                said += output.data if output.stream is Stream.STDOUT else b""
    session.close()
    if bytes(said) != probe_echo(shell):
        raise shell_failed(f"The account's login shell does not hand arguments over as '{shell}' does.")


def check_echo(guard: Guard) -> None:
    """Raises ConnectFailed unless the probe came back as it went."""
    if guard.echo != [word.encode() for word in PROBES]:
        raise shell_failed("The account's login shell does not hand arguments over as they were sent.")


def shell_failed(detail: str) -> ConnectFailed:
    return ConnectFailed(
        RunErrorCode.LOGIN_SHELL_FAILED,
        detail,
        hint="Check the account's login shell and its start-up files on the host: it must be a Unix shell that runs what "
        "it is given, and /bin/sh must be there.",
    )


def new_token() -> str:
    return secrets.token_hex(16)


def _judged(dialed: Dialed, guard: Guard) -> Link:
    if guard.hello is None:
        guard.close()
        if guard.closed:
            raise shell_failed(
                "The account's login shell ended or printed without end, and did not start what it was given."
            )
        raise shell_failed("The account's login shell did not start in time what it was given.")
    check_echo(guard)
    if guard.hello is Hello.PYTHON:
        if guard.closed:
            raise shell_failed("The guard on the host ended as soon as it had started.")
        return Link(dialed=dialed, capacity=GUARDED_RUNS, guard=guard)
    return Link(dialed=dialed, capacity=CHANNELS)
