"""Files around one local process: nothing of them is left open or on disk, whatever fails."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.model import Collected, Exited, LeftOut, News, RunErrorCode, Stop, StopReason
from cmdhttp.plan.model import HERE, LocalTarget, Staged, Step, staged_path
from cmdhttp.policy.compiled import Collect, Script
from tests.support.broker import Place, trusting_place

pytestmark = pytest.mark.anyio
SECRET = Staged(param="pw", name="pw", data=b"local-canary", mode=0o400)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with trusting_place(tmp_path_factory.mktemp("runs")) as place:
        yield place


@dataclass
class Receiver:
    """Takes what an executor tells, and raises at the file `refused`."""

    refused: bytes = b""
    files: dict[bytes, bytes] = field(default_factory=dict)
    left: list[LeftOut] = field(default_factory=list)

    async def emit(self, news: News) -> None:
        if isinstance(news, LeftOut):
            self.left.append(news)
        if isinstance(news, Collected):
            if news.name == self.refused:
                raise OSError("no room")
            self.files[news.name] = os.pread(news.descriptor, news.size, 0)


def open_files(folder: Path) -> list[str]:
    """What this process has open beneath a folder."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


def step(*argv: str, text: str | None = None, unplaced: tuple[str, ...] | None = None, isolated: bool = False) -> Step:
    return Step(
        run=0,
        host="local",
        target=LocalTarget(isolated=isolated),
        argv=argv,
        env={},
        script=Script(interpreter=("/bin/sh",), text=text, sha256="") if text is not None else None,
        timeout=10,
        output_limit=1 << 20,
        staged=(SECRET,),
        unplaced=unplaced,
        collect=Collect(patterns=("*",), max_bytes=1 << 20),
    )


async def test_a_program_gets_the_path(place: Place) -> None:
    """The argument is the path of a file that is there, and what the program makes of it is collected."""
    receiver = Receiver()
    copy = step("/bin/cp", "<pw>", "copy", unplaced=("/bin/cp", staged_path(HERE, SECRET), "copy"))
    exited = await place.go(copy, emit=receiver.emit)
    assert exited == Exited(exit_code=0)
    assert receiver.files == {b"copy": b"local-canary"}
    assert not place.folder.exists()


async def test_an_isolated_run(place: Place) -> None:
    """A run in a namespace of its own has its files and leaves some, like any other."""
    receiver = Receiver()
    exited = await place.go(step(text='cat "$P_PW_FILE" > copy', isolated=True), emit=receiver.emit)
    assert exited == Exited(exit_code=0)
    assert receiver.files == {b"copy": b"local-canary"}


async def test_a_late_stop(place: Place) -> None:
    """A stop that comes while files are handed over ends nothing: the run had ended by itself, and that is its verdict."""
    stop = Stop()
    receiver = Receiver()

    async def emit(news: News) -> None:
        if isinstance(news, Collected):
            stop.request(StopReason.TIMEOUT)
            await anyio.sleep(0.5)
        await receiver.emit(news)

    exited = await place.go(step(text="echo a > a; echo b > b; exit 3"), emit=emit, stop=stop)
    assert exited == Exited(exit_code=3)
    assert set(receiver.files) == {b"a", b"b"}


async def test_a_cancellation_while_files_are_handed_over(place: Place) -> None:
    """Whoever gives up in between leaves no descriptor and no folder."""

    async def emit(news: News) -> None:
        if isinstance(news, Collected):
            scope.cancel()
            await anyio.sleep(5)

    with anyio.CancelScope() as scope:
        await place.go(step(text="for f in a b c d; do echo x > $f; done"), emit=emit)
    assert scope.cancelled_caught
    assert not place.folder.exists()
    assert open_files(place.folder) == []


async def test_a_start_that_fails(place: Place) -> None:
    """A secret that was written before a start that failed is gone with its folder, and nothing is collected."""
    receiver = Receiver()
    missing = step("/nonexistent/program")
    exited = await place.go(missing, emit=receiver.emit)
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.SPAWN_FAILED
    assert (receiver.files, receiver.left) == ({}, [])
    assert not place.folder.exists()


async def test_a_receiver_that_fails(place: Place) -> None:
    """When a file cannot be taken, the failure is the receiver's, and neither a descriptor nor the folder stays."""
    receiver = Receiver(refused=b"b")
    write = step(text='for f in a b c; do echo "$f" > "$f"; done')
    with pytest.raises(OSError, match="no room"):
        await place.go(write, emit=receiver.emit)
    assert receiver.files == {b"a": b"a\n"}
    assert not place.folder.exists()
    assert open_files(place.folder) == []


async def test_the_run_cannot_lead_the_service_to_the_secret(place: Place) -> None:
    """A link to the secret's own file is as little collected as any other link."""
    receiver = Receiver()
    link = step(text='ln -s "$P_PW_FILE" soft; ln "$P_PW_FILE" hard')
    exited = await place.go(link, emit=receiver.emit)
    assert exited == Exited(exit_code=0)
    assert receiver.files == {}
    assert receiver.left == [LeftOut(name=b"hard", why="linked"), LeftOut(name=b"soft", why="symlink")]


async def test_folders_are_private(place: Place) -> None:
    """The folder above the files is for the run's user alone."""
    receiver = Receiver()
    await place.go(step(text='in=${0%/*}; stat -c %a . "$in" "$in/files" "$in/files/pw" > modes'), emit=receiver.emit)
    assert receiver.files == {b"modes": b"700\n700\n700\n700\n"}
