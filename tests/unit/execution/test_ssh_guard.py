"""The service's end of a guard, fed with what a host might send."""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest

from cmdhttp.execution.ssh import link
from cmdhttp.execution.ssh.failures import ConnectFailed
from cmdhttp.execution.ssh.greeting import Hello
from cmdhttp.execution.ssh.guard import Guard
from cmdhttp.execution.ssh.login.dial import Dialed
from cmdhttp.execution.ssh.orders import Start
from cmdhttp.plan.model import KeyFile, SshTarget
from cmdhttp.plan.remote import probe_echo

if TYPE_CHECKING:
    import asyncssh

pytestmark = pytest.mark.anyio
HEAD = struct.Struct("!IIB")
ORDER = Start(argv=(b"/bin/true",), env={}, seconds=1, drain=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Channel:
    """What a guard needs of a channel."""

    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_connection(self) -> "Channel":
        return self

    @property
    def _transport(self) -> None:
        """Nothing waits for TCP."""


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
async def guard(channel: Channel) -> Guard:
    made = Guard("token")
    made.connection_made(cast("asyncssh.SSHClientChannel[bytes]", channel))
    made.data_received(b"noise\ntokenP\n" + frame("H", 0, struct.pack("!BI", 1, 7) + b"word\0"), None)
    assert (made.hello, made.echo) == (Hello.PYTHON, [b"word"])
    return made


def frame(kind: str, run: int, body: bytes) -> bytes:
    return HEAD.pack(len(body), run, ord(kind)) + body


@pytest.mark.parametrize(
    "told",
    [
        frame("f", 1, struct.pack("!I", 4096) + b"program"),
        frame("f", 1, struct.pack("!I", (1 << 32) - 1) + b"program"),
        frame("f", 1, b"\0"),
        frame("f", 1, struct.pack("!I", 2) + b"\xff"),
        frame("z", 1, struct.pack("!BiIB", 1, 0, 0, 9)),
        frame("z", 1, b""),
        frame("s", 1, b""),
        frame("?", 1, b""),
        frame("s", 1, b"x" * 65_537),
        frame("H", 0, b""),
    ],
)
async def test_odd_news_end_it(guard: Guard, channel: Channel, told: bytes) -> None:
    """News that no guard sends close the channel, and the run is lost."""
    run = guard.start(ORDER)
    guard.data_received(told, None)
    assert guard.closed
    assert channel.aborted
    assert run.lost


async def test_a_start_that_failed(guard: Guard) -> None:
    run = guard.start(ORDER)
    guard.data_received(frame("f", 1, struct.pack("!I", 2) + b"program"), None)
    assert run.failed == (2, "program")
    assert not guard.closed
    guard.close()


async def test_no_run_waits_for_a_guard_that_is_gone(guard: Guard) -> None:
    """An order to a guard that has ended is lost at once."""
    guard.connection_lost(None)
    assert guard.start(ORDER).lost
    assert guard.running == 0


class Connection:
    """A connection on which a guard says hello and is gone."""

    def is_closed(self) -> bool:
        return False

    async def create_session(self, make: Callable[[], Guard], *_: object, **__: object) -> None:
        guard = make()
        guard.connection_made(cast("asyncssh.SSHClientChannel[bytes]", Channel()))
        guard.data_received(b"tokenP\n" + frame("H", 0, struct.pack("!BI", 1, 7) + probe_echo()), None)
        guard.connection_lost(None)


async def test_a_guard_that_ends_at_once_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its host would be dialed again and again without a pause, for a link that nobody can use."""
    monkeypatch.setattr(link, "new_token", lambda: "token")
    dialed = Dialed(connection=cast("asyncssh.SSHClientConnection", Connection()))
    target = SshTarget(address="h", port=22, account="a", login=KeyFile(path="/k"), known_hosts="/n")
    with pytest.raises(ConnectFailed, match="ended as soon as"):
        await link.prepare(dialed, target, seconds=1, on_end=lambda: None)
