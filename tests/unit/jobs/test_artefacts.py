"""Files that a run left become the job's: their bytes and sums, their names as text, and what the disk does not take."""

import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmdhttp.execution.model import Collected, LeftOut, LeftOutMore
from cmdhttp.jobs.artefacts import ArtefactStore, Keeper, shown_name
from cmdhttp.jobs.state import Artefact, Kept, Omission

JOB = "job_01M8CKSKF7WS0SDV3NQ7SARZY3"
Opened = Callable[[bytes], int]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Return descriptors of files with given bytes."""
    held: list[int] = []

    def opened(content: bytes) -> int:
        path = tmp_path / f"source{len(held)}"
        path.write_bytes(content)
        held.append(os.open(path, os.O_RDONLY))
        return held[-1]

    yield opened
    for descriptor in held:
        os.close(descriptor)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_bytes_are_kept_and_summed(tmp_path: Path, opened: Opened, size: int) -> None:
    """A file of any size is copied whole, and read back from any place."""
    content = os.urandom(size)
    store = ArtefactStore(tmp_path / "kept")
    assert store.keep(JOB, 0, 7, descriptor=opened(content), size=size) == (size, sha256(content))
    assert store.read(JOB, 0, 7, offset=0, size=size + 1) == content
    assert store.read(JOB, 0, 7, offset=size // 2, size=9) == content[size // 2 :][:9]
    assert store.read(JOB, 0, 8, offset=0, size=9) == b""
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == ["007"]


def test_no_more_than_was_said_and_no_less_than_is_there(tmp_path: Path, opened: Opened) -> None:
    """A file that grew is cut at the size for which there was room; of one that shrank the record has what there was."""
    store = ArtefactStore(tmp_path / "kept")
    assert store.keep(JOB, 0, 0, descriptor=opened(b"0123456789"), size=4) == (4, sha256(b"0123"))
    assert store.keep(JOB, 0, 1, descriptor=opened(b"01"), size=4) == (2, sha256(b"01"))


def test_what_a_run_left_can_be_dropped(tmp_path: Path, opened: Opened) -> None:
    """All of one run goes, and nothing of another; dropping what is not there is fine."""
    store = ArtefactStore(tmp_path / "kept")
    for run in (0, 1):
        store.keep(JOB, run, 0, descriptor=opened(b"x"), size=1)
    store.drop(JOB, 0)
    store.drop(JOB, 5)
    assert [store.read(JOB, run, 0, offset=0, size=9) for run in (0, 1)] == [b"", b"x"]


@pytest.mark.anyio
async def test_a_keeper_remembers_in_order(tmp_path: Path, opened: Opened) -> None:
    """Files are numbered as they come; what was left out is named, and what was only counted is counted."""
    keeper = Keeper(store=ArtefactStore(tmp_path / "kept"), job_id=JOB, run=0)
    assert keeper.kept == Kept()
    await keeper.take(Collected(name=b"a", descriptor=opened(b"A"), size=1))
    await keeper.take(LeftOut(name=b"l\n", why="symlink"))
    await keeper.take(Collected(name=b"b", descriptor=opened(b"BB"), size=2))
    await keeper.take(LeftOutMore(count=5))
    assert keeper.kept == Kept(
        artefacts=(Artefact(name="a", size=1, sha256=sha256(b"A")), Artefact(name="b", size=2, sha256=sha256(b"BB"))),
        omitted=(Omission(name="l\\n", why="symlink"),),
        omitted_count=6,
    )
    assert keeper.store.read(JOB, 0, 1, offset=0, size=9) == b"BB"


@pytest.mark.anyio
async def test_what_the_disk_does_not_take(tmp_path: Path, opened: Opened) -> None:
    """A file that does not fit leaves nothing half behind, is said to be left out, and the next one takes its number."""
    keeper = Keeper(store=ArtefactStore(tmp_path / "kept"), job_id=JOB, run=0)
    large, small = opened(b"x" * 5000), opened(b"y")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        await keeper.take(Collected(name=b"large", descriptor=large, size=5000))
        await keeper.take(Collected(name=b"small", descriptor=small, size=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert keeper.kept.omitted == (Omission(name="large", why="not_kept"),)
    assert [file.name for file in keeper.kept.artefacts] == ["small"]
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert [(path.name, path.read_bytes()) for path in files] == [("000", b"y")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"report/a.csv", "report/a.csv"),
        ("é ü".encode(), "é ü"),
        (b"a\nb", "a\\nb"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"\xff\xfe", "\\xff\\xfe"),
        ("\u202egnp".encode(), "\\u202egnp"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"n" * 1024, "n" * 1024),
        (b"n" * 1025, "n" * 1021 + "..."),
        (b"\xff" * 1024, ("\\xff" * 1024)[:1021] + "..."),
        (b"", ""),
    ],
)
def test_a_name_becomes_text(name: bytes, shown: str) -> None:
    """Whatever bytes a run chose, what is shown is visible text of bounded length."""
    assert shown_name(name) == shown
