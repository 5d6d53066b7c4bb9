"""TCP to hosts: a name that gets no answer holds up nobody else."""

import socket
import threading
from collections.abc import Callable, Iterator

import anyio
import pytest

from cmdhttp.execution.ssh.login.reach import connect_tcp

pytestmark = pytest.mark.anyio
MANY = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """A resolver that never answers for `mute.invalid`; the semaphore counts who waits for it."""
    asked, over = threading.Semaphore(0), threading.Event()
    look_up: Callable[..., object] = socket.getaddrinfo

    def hang(name: str, *args: object, **more: object) -> object:
        if name != "mute.invalid":
            return look_up(name, *args, **more)
        asked.release()
        over.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        yield asked
    finally:
        over.set()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_mute_names_hold_up_nobody(port: int, mute: threading.Semaphore, name: str) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(MANY):
            tasks.start_soon(connect_tcp, "mute.invalid", port)
        with anyio.fail_after(5):
            while not mute.acquire(blocking=False):
                await anyio.sleep(0.01)
        await anyio.sleep(0.1)
        with anyio.fail_after(5):
            (await connect_tcp(name, port)).close()
        tasks.cancel_scope.cancel()


async def test_addresses_of_both_families(port: int) -> None:
    """A scope and brackets are not taken for a name's; a name that can be none is an error that says so."""
    (await connect_tcp("127.0.0.1", port)).close()
    with pytest.raises(OSError, match=r".+"):
        await connect_tcp("::1%no-such-interface", port)
    with pytest.raises(UnicodeError):
        await connect_tcp("x" * 64 + ".invalid", port)
