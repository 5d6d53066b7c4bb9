"""Files of runs on SSH hosts against a real OpenSSH server: what is sent, what is collected, and that nothing stays."""

import contextlib
import hashlib
import logging
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.model import (
    Collected,
    Exited,
    LeftOut,
    LeftOutMore,
    News,
    Order,
    Output,
    RunContext,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.plan.model import HERE, Certificate, KeyFile, SshTarget, Staged, Step
from cmdhttp.policy.compiled import Collect, Script
from tests.support.leaks import nothing_left
from tests.support.sshd import Sshd, descendants, is_alive, make_key

pytestmark = pytest.mark.anyio

CONTEXT = RunContext(job_id="job_01TEST", order=Order(principal="ann", command="c", policy="sha256:0"))
SFTP = "Subsystem sftp internal-sftp"
PRINCIPAL = "cmdhttp-tests"
SECRET = "canary-9f3c'\"$(id)\n"
UPLOAD = Staged(param="f", name="a <s>;$(id).txt", data=b"upload \0\xff" * 40_000, mode=0o600)
PW = Staged(param="pw", name="pw", data=SECRET.encode(), mode=0o400)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd.start(tmp_path_factory.mktemp("sshd"), config=[SFTP]) as server:
        yield server


@pytest.fixture(autouse=True)
def no_folder_left() -> Iterator[None]:
    """Whatever a test does, the folders of its runs are gone a moment later."""
    before = folders()
    yield
    give_up = time.monotonic() + 10
    while folders() - before and time.monotonic() < give_up:
        time.sleep(0.05)
    assert folders() - before == set()


def folders() -> set[Path]:
    return set(Path("/tmp").glob("cmdhttp-run-*"))


@dataclass
class Told:
    """What an executor emitted, with the content of each file at that moment."""

    events: list[News] = field(default_factory=list)
    files: dict[bytes, bytes] = field(default_factory=dict)
    printed: anyio.Event = field(default_factory=anyio.Event)

    async def emit(self, event: News) -> None:
        self.events.append(event)
        if isinstance(event, Collected):
            self.files[event.name] = os.pread(event.descriptor, event.size + 1, 0)
            assert len(self.files[event.name]) == event.size
            assert os.fstat(event.descriptor).st_nlink == 0
        if b"\n" in self.output:
            self.printed.set()

    @property
    def output(self) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Output) and e.stream is Stream.STDOUT)

    @property
    def left(self) -> list[tuple[bytes, str]]:
        return [(e.name, e.why) for e in self.events if isinstance(e, LeftOut)]


def target_of(server: Sshd, login: KeyFile | Certificate | None = None, *, shared: bool = True) -> SshTarget:
    return SshTarget(
        address=server.address,
        port=server.port,
        account=server.account,
        login=login or KeyFile(path=str(server.key)),
        known_hosts=str(server.known_hosts),
        shared=shared,
    )


def step_for(
    target: SshTarget, text: str, *staged: Staged, collect: tuple[str, ...] = (), most: int = 1 << 20, timeout: float = 60
) -> Step:
    """A shell that runs `text`; its arguments are the paths of what is staged."""
    start = ("/bin/sh", "-c", text, "sh")
    return Step(
        run=0,
        host="h",
        target=target,
        argv=(*start, *(f"<{file.param}>" for file in staged)),
        env={},
        timeout=timeout,
        output_limit=1 << 40,
        staged=staged,
        unplaced=(*start, *(f"{HERE}/{file.place}" for file in staged)) if staged else None,
        collect=Collect(patterns=collect, max_bytes=most) if collect else None,
    )


async def run(step: Step, *, stop: Stop | None = None, executor: SshExecutor | None = None) -> tuple[Exited, Told]:
    told = Told()
    async with nothing_left(), closing(executor or SshExecutor()) as used:
        exited = await used.run(step, context=CONTEXT, emit=told.emit, stop=stop or Stop())
    return exited, told


@contextlib.asynccontextmanager
async def closing(executor: SshExecutor) -> AsyncIterator[SshExecutor]:
    try:
        yield executor
    finally:
        with anyio.CancelScope(shield=True):
            await executor.aclose()


LOOK = """
pwd; echo "$TMPDIR"; umask; stat -c '%a %F' . .. "$1" "$2" "${1%/*}" "${1%/*/*}"; sha256sum < "$1"; sha256sum < "$2"; echo "$1"
"""


def looked(printed: bytes) -> None:
    """See that a run found its files where and how they must be."""
    lines = printed.decode().splitlines()
    work, tmp, _umask, *kinds, first, second, path = lines
    assert work == tmp
    assert work.startswith("/tmp/cmdhttp-run-")
    assert work.endswith("/work")
    assert path == f"{work.removesuffix('/work')}/in/files/f/{UPLOAD.name}"
    assert kinds == [
        "700 directory",
        "700 directory",
        "600 regular file",
        "400 regular file",
        "700 directory",
        "700 directory",
    ]
    assert first.split()[0] == hashlib.sha256(UPLOAD.data).hexdigest()
    assert second.split()[0] == hashlib.sha256(PW.data).hexdigest()


async def test_what_is_sent(sshd: Sshd) -> None:
    """Uploads and secrets are files in a private folder beside the one the command runs in, which is its TMPDIR too."""
    exited, told = await run(step_for(target_of(sshd), LOOK, UPLOAD, PW))
    assert exited == Exited(exit_code=0)
    looked(told.output)


async def test_what_is_left(sshd: Sshd) -> None:
    """Files that match come in the order of their names, byte for byte, whatever the run's end was."""
    text = "mkdir -p r/deep; echo x > r/b.csv; head -c 300000 /dev/zero > r/deep/z.csv; : > r/a.csv; echo no > .h; exit 3"
    exited, told = await run(step_for(target_of(sshd), text, collect=("r/*.csv", "r/deep/**", "*")))
    assert exited == Exited(exit_code=3)
    assert list(told.files.items()) == [(b"r/a.csv", b""), (b"r/b.csv", b"x\n"), (b"r/deep/z.csv", bytes(300_000))]
    assert told.left == []
    assert isinstance(told.events[0], Started)
