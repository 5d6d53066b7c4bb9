"""Values of a call as they are written on the command line."""

from pathlib import Path

import pytest

from cmdhttp.cli.calls.files import Inputs, read_private
from cmdhttp.cli.calls.values import read_values, upload
from cmdhttp.errors import ConfigError


def nothing(path: str) -> bytes:
    raise AssertionError(f"{path} was read")


def content(_: str) -> bytes:
    return b"secret\n\n"


@pytest.mark.parametrize(
    ("pairs", "values"),
    [
        ([], {}),
        (["a=1"], {"a": "1"}),
        (["a="], {"a": ""}),
        (["a=b=c"], {"a": "b=c"}),
        (["a=x@y"], {"a": "x@y"}),
        (["a==@x"], {"a": "=@x"}),
        (["a=:=1"], {"a": ":=1"}),
        (["a=line\nline"], {"a": "line\nline"}),
        (["a=é"], {"a": "é"}),
        (["a=1", "b=x", "a=2"], {"a": ["1", "2"], "b": "x"}),
        (["a:=1"], {"a": 1}),
        (['a:=["x"]'], {"a": ["x"]}),
        (['a:={"b": null}'], {"a": {"b": None}}),
        (['a:="@x"'], {"a": "@x"}),
        (["a=-5"], {"a": "-5"}),
    ],
    ids=repr,
)
def test_values_that_can_be_read(pairs: list[str], values: dict[str, object]) -> None:
    """The first of `:=`, `=@`, `=` and `@` divides the name from the value; a repeated text is a list."""
    assert read_values(pairs, nothing) == values


@pytest.mark.parametrize(
    "pairs",
    [
        ["a"],
        [""],
        ["=1"],
        ["a b=1"],
        ["a:=x"],
        ["a:=NaN"],
        ["a:=[1"],
        ["a:=1", "a:=2"],
        ["a=1", "a:=2"],
        ["a:=1", "a=2"],
        ["a=\udcff"],
        ["a=1", "a@x"],
        ["a@x", "a=1"],
        ["a=@x", "a=@x"],
    ],
    ids=repr,
)
def test_values_that_cannot_be_read(pairs: list[str]) -> None:
    """Whatever could be meant in two ways, and whatever is no value, is an error."""
    with pytest.raises(ConfigError):
        read_values(pairs, content)


def test_a_message_holds_no_value() -> None:
    """What is not understood may be a secret, so no message repeats it."""
    for pairs in (["key:=hunter2"], ["no name=hunter2"], ["key=a", "key:=hunter2"]):
        with pytest.raises(ConfigError) as refused:
            read_values(pairs, nothing)
        assert "hunter2" not in refused.value.detail + refused.value.hint


def test_text_of_a_file() -> None:
    """`name=@FILE` is the text of the file without one line feed at its end; other bytes are refused."""
    assert read_values(["key=@x"], content) == {"key": "secret\n"}
    with pytest.raises(ConfigError):
        read_values(["key=@x"], lambda _: b"\xff")


def test_a_file_goes_along_with_its_sum() -> None:
    """`name@FILE` has the last part of the path as name, the bytes as base64, and their sha256."""
    sent = {
        "name": "rules.txt",
        "base64": "AP8=",
        "sha256": "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8",
    }
    assert read_values(["rules@/tmp/x/rules.txt"], lambda _: b"\x00\xff") == {"rules": sent}
    assert upload("-", b"")["name"] == "stdin"


def test_files_are_read_whole_and_stdin_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there is an error with its name; a second `-` is one too."""
    inputs = Inputs()
    (tmp_path / "f").write_bytes(b"\x00\n")
    assert inputs.read(str(tmp_path / "f")) == b"\x00\n"
    with pytest.raises(ConfigError, match="nowhere"):
        inputs.read(str(tmp_path / "nowhere"))
    with (tmp_path / "f").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert inputs.read("-") == b"\x00\n"
        with pytest.raises(ConfigError, match="once"):
            inputs.read("-")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True), (0o400, False)])
def test_a_token_file_that_others_may_read(tmp_path: Path, mode: int, *, warned: bool) -> None:
    """A file with a secret that the group or others may read is used, with a warning that does not show it."""
    path = tmp_path / "token"
    path.write_text("hunter2\n")
    path.chmod(mode)
    said: list[str] = []
    assert read_private(str(path), what="token file", warn=said.append) == "hunter2\n"
    assert (len(said) == 1) is warned
    assert "hunter2" not in "".join(said)


def test_a_token_file_that_cannot_be_used(tmp_path: Path) -> None:
    """None, too large, not ASCII: each is an error that shows nothing of the content."""
    for data in (b"x" * (1 << 17), b"\xff hunter2"):
        (tmp_path / "token").write_bytes(data)
        with pytest.raises(ConfigError) as refused:
            read_private(str(tmp_path / "token"), what="token file", warn=print)
        assert "hunter2" not in refused.value.detail
    with pytest.raises(ConfigError) as refused:
        read_private(str(tmp_path / "none"), what="token file", warn=print)
    assert "chmod 600" in refused.value.hint
