"""Hosts whose SFTP server lies: what it says is judged, in bounded time and memory. Each is a real sshd with such a subsystem."""

import resource
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import pytest

from cmdhttp.execution.model import Exited, RunError, RunErrorCode
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.execution.ssh.guard import Guard
from cmdhttp.execution.ssh.orders import Folder
from cmdhttp.execution.ssh.transfer import collecting
from tests.component.test_ssh_files import PW, UPLOAD, Told, run, step_for, target_of
from tests.support import hostile_sftp
from tests.support.sshd import Sshd

if TYPE_CHECKING:
    import asyncssh

pytestmark = pytest.mark.anyio

LEAVE = "echo a > a.csv; echo bb > b.csv"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def lying(folder: Path, lie: str) -> Iterator[Sshd]:
    config = [f"Subsystem sftp /usr/bin/python3 -I {{open}}/hostile.py {lie.replace(' ', '-')}"]
    with Sshd.start(folder / "sshd", config=config) as server:
        server.put("hostile.py", Path(hostile_sftp.__file__).read_text())
        yield server


async def left_by(folder: Path, lie: str, *, most: int = 1 << 20) -> Told:
    """Run a command that leaves two files, where the run itself ends well."""
    with lying(folder, lie) as server:
        step = step_for(target_of(server), LEAVE, collect=("*.csv", "**/passwd"), most=most)
        exited, told = await run(step, executor=SshExecutor(login_timeout=3))
    assert exited == Exited(exit_code=0)
    return told


async def not_run(folder: Path, lie: str) -> RunError:
    """Send files, so that nothing runs."""
    with lying(folder, lie) as server:
        step = step_for(target_of(server), "echo ran", UPLOAD, PW)
        exited, told = await run(step, executor=SshExecutor(login_timeout=2))
    assert exited.error is not None
    assert (told.events, exited) == ([], Exited(error=exited.error))
    return exited.error


async def test_a_server_that_does_not_lie(tmp_path: Path) -> None:
    """It is the lie that makes the difference in the other tests."""
    told = await left_by(tmp_path, "nothing")
    assert told.files == {b"a.csv": b"a\n", b"b.csv": b"bb\n"}
    with lying(tmp_path / "again", "nothing") as server:
        _, told = await run(step_for(target_of(server), 'cat "$2"', UPLOAD, PW))
    assert told.output == PW.data


@pytest.mark.parametrize("lie", ["silence", "silence later", "a huge greeting", "noise", "answers to nothing"])
async def test_what_does_not_speak(tmp_path: Path, lie: str) -> None:
    """Nothing runs; it is told in time, and as a fault of SFTP."""
    since = time.monotonic()
    error = await not_run(tmp_path, lie)
    assert (error.code, "Subsystem sftp" in error.hint) == (RunErrorCode.CHANNEL_REFUSED, True)
    assert time.monotonic() - since < 12


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("other content", "not what was sent"),
        ("no content", "not what was sent"),
        ("endless content", "not what was sent"),
        ("other rights", "other rights"),
        ("a full disk", "status 4"),
        ("no rights told", "not private"),
    ],
)
async def test_files_that_are_not_what_was_sent(tmp_path: Path, lie: str, said: str) -> None:
    """A file counts as written when it can be read back, with exactly its rights; else nothing runs."""
    error = await not_run(tmp_path, lie)
    assert error.code is RunErrorCode.SPAWN_FAILED
    assert said in error.detail
    assert UPLOAD.name not in error.detail + error.hint


@pytest.mark.parametrize(
    "lie",
    [
        "a path for a name",
        "an absolute path",
        "a long name",
        "no names",
        "many names at once",
        "a packet of 4 MiB",
        "one name without end",
    ],
)
async def test_listings_that_are_none(tmp_path: Path, lie: str) -> None:
    """A name is never a path, and a listing never without end: nothing is collected, and that is told."""
    told = await left_by(tmp_path, lie)
    assert (told.files, told.left) == ({}, [(b"", "too_many" if lie == "one name without end" else "unreadable")])


async def test_names_without_end(tmp_path: Path) -> None:
    """So many are looked at and no more; memory is that of so many."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with anyio.fail_after(18):
        told = await left_by(tmp_path, "endless names")
    assert (told.files, told.left) == ({}, [(b"", "too_many")])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024


async def test_folders_without_end(tmp_path: Path) -> None:
    """No deeper than any run's folders."""
    told = await left_by(tmp_path, "folders without end")
    assert told.left == [("/".join(16 * ["deep"]).encode(), "too_deep")]


@pytest.mark.parametrize(
    ("lie", "files", "left"),
    [
        ("a link in its place", {}, ["symlink", "symlink"]),
        ("a pipe in its place", {}, ["not_regular", "not_regular"]),
        ("no links told", {}, ["linked", "linked"]),
        ("an endless size", {}, ["too_large", "too_large"]),
        ("a larger size", {b"a.csv": b"a\n", b"b.csv": b"bb\n"}, []),
        ("a smaller size", {b"a.csv": b"a\n", b"b.csv": b"bb"}, []),
        ("endless content", {b"a.csv": b"xx", b"b.csv": b"xxx"}, []),
        ("more than was asked for", {}, ["unreadable"]),
        ("empty content", {}, ["unreadable"]),
        ("all is well", {}, ["unreadable"]),
    ],
)
async def test_files_that_are_not_what_they_seem(
    tmp_path: Path, lie: str, files: dict[bytes, bytes], left: list[str]
) -> None:
    """A file is judged when it is open, and no more of it is taken than it was said to have, or than there is."""
    told = await left_by(tmp_path, lie)
    assert (told.files, [why for _, why in told.left]) == (files, left)


async def test_a_trickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that sends its files too slowly is not waited for."""
    monkeypatch.setattr(collecting, "_SECONDS", 3.0)
    since = time.monotonic()
    told = await left_by(tmp_path, "a trickle", most=1000)
    assert (told.files, told.left) == ({}, [(b"", "unreadable")])
    assert time.monotonic() - since < 15


# A guard that lies about the folder.


class Channel:
    """The far end of a guard's channel: what was written to it, and whether it was cut."""

    def __init__(self) -> None:
        self.written = b""
        self.cut = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.cut = True

    def is_closing(self) -> bool:
        return self.cut

    def get_write_buffer_size(self) -> int:
        return 0

    def get_connection(self) -> "Channel":
        return self

    @property
    def _transport(self) -> None:
        """Nothing waits for TCP."""


def frame(kind: str, number: int, body: bytes) -> bytes:
    return struct.pack("!IIB", len(body), number, ord(kind)) + body


async def answered(*frames: bytes) -> tuple[Channel, Folder]:
    """Have a folder made by a guard that answers so."""
    guard, channel = Guard("t"), Channel()
    guard.connection_made(cast("asyncssh.SSHClientChannel[bytes]", channel))
    guard.data_received(b"tP\n" + frame("H", 0, bytes(5)), None)
    try:
        async with anyio.create_task_group() as tasks:

            async def answer() -> None:
                await anyio.lowlevel.checkpoint()
                for data in frames:
                    guard.data_received(data, None)
                if channel.cut or not frames:
                    guard.connection_lost(None)

            tasks.start_soon(answer)
            folder = await guard.make_folder()
        return channel, folder
    finally:
        guard.connection_lost(None)


async def test_a_folder_that_a_guard_names() -> None:
    """It is an absolute path of plain characters; an answer about a run that is not there counts for nothing."""
    path = b"/tmp/cmdhttp-run-0"
    channel, folder = await answered(frame("m", 7, b"/etc"), frame("m", 1, path), frame("m", 1, b"x"))
    assert (folder.path, folder.work, channel.cut) == (path.decode(), "/tmp/cmdhttp-run-0/work", False)


@pytest.mark.parametrize(
    "data",
    [
        *(
            frame("m", 1, path)
            for path in (b"", b"tmp", b"/", b"/tmp/../etc", b"/tmp/a b", b"/tmp/$(id)", b"/t\n", b"/t\0")
        ),
        frame("m", 1, b"/" + 70_000 * b"x"),
        frame("m", 1, 30 * b"/x"),
        frame("o", 1, b"/tmp"),
        frame("z", 1, bytes(10)),
        frame("f", 1, b""),
        frame("f", 1, b"\xff\xff\xff\xfffolder"),
    ],
)
async def test_a_folder_that_is_none(data: bytes) -> None:
    """Whatever else a guard answers ends its connection, and there is no run."""
    with pytest.raises(ExceptionGroup) as failed:
        with anyio.fail_after(5):
            await answered(data, frame("q", 1, b"") if data[8:9] == b"o" else b"")
    assert failed.group_contains(ConnectionError)


async def test_a_folder_that_cannot_be_had() -> None:
    """The reason of the host is told by its number; a lost connection is one, too."""
    with pytest.raises(ExceptionGroup) as failed:
        await answered(frame("f", 1, struct.pack("!I", 28) + b"folder"))
    assert failed.group_contains(OSError, match="No space left")
    with pytest.raises(ExceptionGroup) as failed:
        await answered()
    assert failed.group_contains(ConnectionError)


async def test_a_folder_that_nobody_waits_for() -> None:
    """When the wait is cut off the guard is told to let go of it, and a late answer changes nothing."""
    guard, channel = Guard("t"), Channel()
    guard.connection_made(cast("asyncssh.SSHClientChannel[bytes]", channel))
    guard.data_received(b"tP\n" + frame("H", 0, bytes(5)), None)
    with anyio.move_on_after(0.05):
        await guard.make_folder()
    assert channel.written.endswith(frame("M", 1, b"") + frame("F", 1, b""))
    guard.data_received(frame("m", 1, b"/tmp/x"), None)
    guard.connection_lost(None)
    assert not channel.cut
