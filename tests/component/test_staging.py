"""Files that are there before a start: exact modes and owners, and nothing that is there already is touched."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmdhttp.execution.local.staging import stage

OWN = {"uid": os.geteuid(), "gid": os.getegid()}


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = sorted(Path("/proc/self/fd").iterdir())
    yield
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): f"{path.stat().st_mode & 0o7777:o}" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_modes_are_exact(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, files have the mode that was said and folders are for the owner alone."""
    before = os.umask(umask)
    try:
        stage(str(tmp_path), [("files/f/a b.txt", b"x" * 3_000_000, 0o600), ("files/s/s", b"", 0o400)], **OWN)
    finally:
        os.umask(before)
    assert modes(tmp_path) == {
        "files": "700",
        "files/f": "700",
        "files/f/a b.txt": "600",
        "files/s": "700",
        "files/s/s": "400",
    }
    assert (tmp_path / "files/f/a b.txt").read_bytes() == b"x" * 3_000_000


def test_files_belong_to_whoever_runs(tmp_path: Path) -> None:
    """Files and their folders have the user and group of the run; only root may give them away."""
    uid, gid = (12345, 54321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    stage(str(tmp_path), [("files/s/s", b"x", 0o400)], uid=uid, gid=gid)
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")}
    assert owners == {(uid, gid)}


def test_nothing_that_is_there_is_opened(tmp_path: Path) -> None:
    """A file or a link in the way is an error; what it leads to stays as it is, and so does a folder behind a link."""
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "there").write_text("safe")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "in" / "dangling").symlink_to(tmp_path / "new")
    (tmp_path / "away").symlink_to(tmp_path / "in")
    for place in ("in/there", "in/link", "in/dangling", "away/new", "in/there/x"):
        with pytest.raises(OSError, match=r".+"):
            stage(str(tmp_path), [(place, b"evil", 0o600)], **OWN)
    with pytest.raises(OSError, match=r".+"):
        stage(str(tmp_path / "away"), [("x", b"evil", 0o600)], **OWN)
    assert (tmp_path / "victim").read_text() == (tmp_path / "in" / "there").read_text() == "safe"
    assert not (tmp_path / "new").exists()
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["dangling", "link", "there"]


def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """A file that cannot be written whole is an OSError, as is a folder that is not there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            stage(str(tmp_path), [("x", b"x" * 1001, 0o600)], **OWN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OSError, match="No such file or directory"):
        stage(str(tmp_path / "gone"), [("x", b"x", 0o600)], **OWN)
