"""What a run leaves behind is hostile: links, pipes, sparse files, endless folders, names of any bytes."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmdhttp.execution.local import collecting
from cmdhttp.execution.local.collecting import MAX_DEPTH, MAX_FILES, MAX_TOLD, Found, Left, Unnamed, collect

MUCH = 1 << 40


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = sorted(Path("/proc/self/fd").iterdir())
    yield
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (folder := tmp_path / "work").mkdir()
    return folder


def collected(
    work: Path, *patterns: str, most: int = MUCH, uid: int | None = None
) -> tuple[dict[bytes, bytes], list[tuple[bytes, str]], int]:
    """What is collected by name, what was left out, and how many more."""
    files: dict[bytes, bytes] = {}
    left: list[tuple[bytes, str]] = []
    more = 0
    for item in collect(str(work), patterns, max_bytes=most, uid=os.geteuid() if uid is None else uid):
        match item:
            case Found(name, descriptor, size):
                files[name] = os.pread(descriptor, min(size, 1 << 20), 0)
                assert os.fstat(descriptor).st_size == size
                assert not os.get_inheritable(descriptor)
                os.close(descriptor)
            case Left(name, why):
                left.append((name, why))
            case Unnamed(how_many):
                more += how_many
    return files, left, more


def fill(work: Path, *names: str) -> None:
    for name in names:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("out.json", ["out.json"]),
        ("*.json", ["out.json"]),
        ("?.csv", ["a.csv"]),
        ("report/*.csv", ["report/a.csv", "report/b.csv"]),
        ("*/?.csv", ["report/a.csv", "report/b.csv"]),
        ("**/a.csv", ["a.csv", "report/2026/11/a.csv", "report/2026/a.csv", "report/a.csv"]),
        ("report/**/a.csv", ["report/2026/11/a.csv", "report/2026/a.csv", "report/a.csv"]),
        ("report/**/11/*", ["report/2026/11/a.csv"]),
        ("report/2026/**", ["report/2026/11/a.csv", "report/2026/a.csv"]),
        ("**/**/b.csv", ["report/b.csv"]),
        (".hidden/*", [".hidden/a.csv"]),
        (".secret", [".secret"]),
        ("report", []),
        ("OUT.json", []),
        ("*.js", []),
        ("a.csv/x", []),
        ("nothing/*", []),
    ],
)
def test_patterns(work: Path, pattern: str, expected: list[str]) -> None:
    """`*` and `?` stay within one name, `**` is any folders, and a leading dot is met only by a dot."""
    fill(work, "out.json", "a.csv", "report/a.csv", "report/b.csv", "report/2026/a.csv", "report/2026/11/a.csv")
    fill(work, ".secret", ".hidden/a.csv", "report/.x.csv")
    files, left, more = collected(work, pattern)
    assert (files, left, more) == ({name.encode(): name.encode() for name in expected}, [], 0)


def test_a_file_that_two_patterns_meet_comes_once(work: Path) -> None:
    """Files come in the order of their names, each once."""
    fill(work, "b", "a", "c/d")
    assert list(collected(work, "*", "a", "**/d", "c/*")[0]) == [b"a", b"b", b"c/d"]


def test_no_link_is_followed(work: Path, tmp_path: Path) -> None:
    """A symbolic link is neither opened nor entered, wherever it leads; the working folder itself included."""
    fill(tmp_path, "outside/secret.csv")
    (work / "shadow").symlink_to("/etc/shadow")
    (work / "folder").symlink_to(tmp_path / "outside")
    (work / "dead").symlink_to("nowhere")
    (work / "loop").symlink_to("loop")
    files, left, _ = collected(work, "*", "folder/*", "**/*.csv")
    assert files == {}
    assert left == [(name, "symlink") for name in (b"dead", b"folder", b"loop", b"shadow")]
    (moved := tmp_path / "moved").symlink_to(tmp_path / "outside")
    assert collected(moved, "*") == ({}, [(b"", "unreadable")], 0)


def test_nothing_but_files_is_opened(work: Path) -> None:
    """A pipe would block whoever opens it, and a device does what it likes; neither is touched."""
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "socket"))
        (work / "folder").mkdir()
        before = time.monotonic()
        assert collected(work, "*") == ({}, [(b"pipe", "not_regular"), (b"socket", "not_regular")], 0)
        assert time.monotonic() - before < 1


def test_a_file_with_another_name_or_owner_is_not_the_runs(work: Path, tmp_path: Path) -> None:
    """A hard link may lead to what the run could not read, and a file of another user is that user's."""
    fill(tmp_path, "other")
    os.link(tmp_path / "other", work / "linked")
    fill(work, "own")
    assert collected(work, "*") == ({b"own": b"own"}, [(b"linked", "linked")], 0)
    assert collected(work, "own", uid=os.geteuid() + 1) == ({}, [(b"own", "not_owned")], 0)


def test_bytes_have_a_bound(work: Path) -> None:
    """A file over the bound is left out by its size alone, a sparse one too; what no longer fits is, and a smaller one comes."""
    with (work / "a-sparse").open("wb") as file:
        file.truncate(1 << 30)
    for name, size in {"b": 6, "c": 5, "d": 4}.items():
        (work / name).write_bytes(b"x" * size)
    files, left, _ = collected(work, "*", most=10)
    assert files == {b"b": b"x" * 6, b"d": b"x" * 4}
    assert left == [(b"a-sparse", "too_large"), (b"c", "no_room")]


def test_ten_thousand_files(work: Path) -> None:
    """So many come and no more; the others are counted, in little time and with few descriptors."""
    (work / "many").mkdir()
    for number in range(10_000):
        (work / "many" / f"{number:05}").touch()
    before = time.monotonic()
    files, left, more = collected(work, "many/*")
    assert time.monotonic() - before < 3
    assert list(files) == [f"many/{number:05}".encode() for number in range(MAX_FILES)]
    assert left == [(f"many/{MAX_FILES + number:05}".encode(), "too_many") for number in range(MAX_TOLD)]
    assert MAX_FILES + len(left) + more == 10_000


def test_only_so_many_names_are_looked_at(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without end is left where the bound is, and that is said of it."""
    monkeypatch.setattr(collecting, "MAX_NAMES", 10)
    fill(work, *(f"a/{number}" for number in range(8)), *(f"b/{number}" for number in range(8)), "c")
    files, left, more = collected(work, "*/*")
    assert len(files) == 7
    assert all(name.startswith(b"a/") for name in files)
    assert left == [(b"a", "too_many"), (b"b", "too_many")]
    assert more == 0


def test_depth_has_a_bound(work: Path) -> None:
    """A folder too deep is left out, and that is said of it."""
    deepest = "/".join("d" * (MAX_DEPTH - 1))
    fill(work, f"{deepest}/in", f"{deepest}/e/out")
    assert collected(work, "**/in", "**/out") == (
        {f"{deepest}/in".encode(): f"{deepest}/in".encode()},
        [(f"{deepest}/e".encode(), "too_deep")],
        0,
    )


def test_names_of_any_bytes(work: Path) -> None:
    """A name is whatever bytes the run chose; only the length of the path has a bound."""
    names = [b"new\nline", b"\xff\xfe.csv", "\u202egnp.é".encode(), b"-rf", b"$(id)", b"a b;c", b"\x1b[31m"]
    for name in names:
        (work / os.fsdecode(name)).write_bytes(name)
    files, left, _ = collected(work, "*")
    assert (files, left) == ({name: name for name in files}, [])
    assert sorted(files) == sorted(names)
    long = "/".join("n" * 250 for _ in range(5))
    fill(work, f"{long}/x")
    files, left, _ = collected(work, "**/x")
    assert files == {}
    assert left == [(f"{long}/x".encode()[: collecting.MAX_PATH], "name_too_long")]


def test_what_cannot_be_read_is_said(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder that does not open is left out; the others come. No folder means no files."""
    fill(work, "a/x", "b/x", "c")
    real = os.open

    def refuse(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path in ("a", "c"):
            raise PermissionError(13, "no")
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    files, left, _ = collected(work, "*", "*/x")
    assert files == {b"b/x": b"b/x"}
    assert left == [(b"a", "unreadable"), (b"c", "unreadable")]
    assert collected(work / "gone", "*") == ({}, [], 0)


def test_a_run_out_of_descriptors(work: Path) -> None:
    """Without a free descriptor nothing comes, and that is said."""
    fill(work, "a", "b")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        os.close(held.pop())
        assert collected(work, "*")[1] == [(b"", "unreadable")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)


def test_whoever_stops_early_leaves_nothing_open(work: Path) -> None:
    """Closing the iterator closes the folders that it was in."""
    fill(work, "a/b/c", "a/b/d")
    found = collect(str(work), ["**/*"], max_bytes=MUCH, uid=os.geteuid())
    first = next(found)
    assert isinstance(first, Found)
    os.close(first.descriptor)
    found.close()
