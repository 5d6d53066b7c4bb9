"""Where fetched files land, whatever their names say."""

import hashlib
import os
from pathlib import Path

import pytest

from cmdhttp.cli.calls.landing import Landing, NotPut

SUM = hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ("",),
        (".",),
        ("..",),
        ("..", "x"),
        ("a", "..", "..", "x"),
        ("", "etc", "passwd"),
        ("a/../../x",),
        ("a\0",),
        ("a\n",),
        ("\u202ex",),
        ("\udcff",),
        ("x" * 256,),
        ("a",) * 65,
    ],
    ids=ascii,
)
def test_names_that_are_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """No name leads out of the folder, up, or to what cannot be seen; nothing is written."""
    with Landing.at(tmp_path / "in") as landing, pytest.raises(NotPut):
        landing.put(parts, [b"abc"], sha256=SUM)
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]


def test_a_wrong_sum_leaves_nothing(tmp_path: Path) -> None:
    """What was damaged, or ends too early, is not there afterwards."""

    def cut() -> "list[bytes]":
        raise RuntimeError

    with Landing.at(tmp_path) as landing:
        with pytest.raises(NotPut, match="sha256"):
            landing.put(["x"], [b"abd"], sha256=SUM)
        with pytest.raises(RuntimeError):
            landing.put(["x"], (piece for _ in range(2) for piece in cut()), sha256=SUM)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    """Files, folders, pipes and links in the place are left alone; a file with the right sum counts as put."""
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "same").write_bytes(b"abc")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with Landing.at(tmp_path) as landing:
        for name in ("mine", "folder", "link", "pipe"):
            with pytest.raises(NotPut):
                landing.put([name], [b"abc"], sha256=SUM)
        with pytest.raises(NotPut):
            landing.put(["mine", "below"], [b"abc"], sha256=SUM)
        assert landing.put(["same"], [], sha256=SUM) == str(tmp_path / "same")
        assert landing.put(["a", "b"], [b"a", b"bc"], sha256=SUM) == str(tmp_path / "a" / "b")
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert (tmp_path / "a" / "b").read_bytes() == b"abc"
    assert not (tmp_path / "nowhere").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "same", "folder", "link", "pipe", "a"}
