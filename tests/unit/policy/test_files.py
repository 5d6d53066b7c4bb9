import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmdhttp.policy import files
from cmdhttp.policy.files import SourceFile, check_permissions, folder_digest, folder_state, read_folder
from cmdhttp.policy.findings import PolicyError, Severity
from cmdhttp.policy.source import MAX_BYTES


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder `policies`, named relative to the working directory as an admin would."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    folder = Path("policies")
    folder.mkdir(mode=0o755)
    return folder


def put(path: Path, data: bytes = b"version: 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)
    return path


def refused(root: Path) -> list[str]:
    """The findings that reading the folder ends with, hints cut off."""
    with pytest.raises(PolicyError) as caught:
        read_folder(root)
    return [str(finding).partition("\n")[0] for finding in caught.value.findings]


def read_paths(root: Path) -> list[str]:
    return [file.path for file in read_folder(root)]


@contextmanager
def unprivileged() -> Iterator[None]:
    """File modes hold for root too while this lasts."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_any_depth_sorted(root: Path) -> None:
    """Every .yaml file at any depth is read whole, in the order of the paths, and other files are not."""
    for name in ("z.yaml", "a.yaml", "b/c/d.yaml", "b/a.yaml", "x.yaml/inner.yaml"):
        put(root / name, name.encode())
    for name in ("README.md", "b/notes.txt", "scripts/run.sh", "a.yaml.bak", "yaml"):
        put(root / name)
    names = ["a.yaml", "b/a.yaml", "b/c/d.yaml", "x.yaml/inner.yaml", "z.yaml"]
    assert read_folder(root) == tuple(SourceFile(path=f"policies/{name}", data=name.encode()) for name in names)


def test_display_path_is_the_folder_as_given(root: Path) -> None:
    """Positions show the folder as the admin wrote it, relative or absolute."""
    put(root / "a.yaml")
    assert read_paths(root.absolute()) == [f"{root.absolute()}/a.yaml"]
    assert read_paths(Path("policies/../policies")) == ["policies/../policies/a.yaml"]
    os.chdir(root)
    assert read_paths(Path()) == ["a.yaml"]


def test_hidden_names_are_skipped(root: Path) -> None:
    """Names with a leading dot are no policy: editor files, .git, and what a mount keeps beside its links."""
    put(root / "a.yaml")
    put(root / ".hidden.yaml")
    put(root / ".git/b.yaml")
    (root / ".#a.yaml").symlink_to("user@host.1234:567")
    assert read_paths(root) == ["policies/a.yaml"]


def kubernetes_mount(root: Path, version: str) -> None:
    """What the kubelet does: a new hidden folder, and `..data` moved onto it in one step."""
    for name in ("a.yaml", "b.yaml", "sub/c.yaml"):
        put(root / f"..{version}" / name, version.encode())
    (root / "..data_tmp").symlink_to(f"..{version}")
    (root / "..data_tmp").replace(root / "..data")


def link_to_data(root: Path) -> None:
    for name in ("a.yaml", "b.yaml", "sub"):
        (root / name).symlink_to(f"..data/{name}")


def test_kubernetes_mount(root: Path) -> None:
    """A ConfigMap mount gives each file once, under the name at the top."""
    kubernetes_mount(root, "2026_01")
    link_to_data(root)
    expected = ["policies/a.yaml", "policies/b.yaml", "policies/sub/c.yaml"]
    assert read_paths(root) == expected
    assert not check_permissions(root, read_folder(root))
    kubernetes_mount(root, "2026_02")
    assert read_paths(root) == expected
    assert {file.data for file in read_folder(root)} == {b"2026_02"}


def test_a_swap_while_reading_never_mixes(root: Path) -> None:
    """While the mount is swapped all the time, what is read is one version of it or an error, never a mix."""
    for version in ("1", "2"):
        kubernetes_mount(root, version)
    link_to_data(root)
    done = threading.Event()

    def swap() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            (root / "..data_tmp").symlink_to(f"..{1 + turn % 2}")
            (root / "..data_tmp").replace(root / "..data")
            time.sleep(0.0004)

    swapper = threading.Thread(target=swap)
    swapper.start()
    versions = set()
    try:
        for _ in range(300):
            try:
                versions.add(frozenset(file.data for file in read_folder(root)))
            except PolicyError as error:
                assert {finding.code for finding in error.findings} <= {"P109", "P102"}  # noqa: PT017
    finally:
        done.set()
        swapper.join()
    versions.add(frozenset(file.data for file in read_folder(root)))
    assert versions <= {frozenset({b"1"}), frozenset({b"2"})}


def test_links_are_followed(root: Path) -> None:
    """A link to a file outside, and a link to a folder outside, are read under their names in the folder."""
    put(Path("elsewhere/a.yaml"))
    put(Path("shared/b.yaml"))
    (root / "a.yaml").symlink_to("../elsewhere/a.yaml")
    (root / "shared").symlink_to("../shared")
    assert read_paths(root) == ["policies/a.yaml", "policies/shared/b.yaml"]


def test_the_folder_itself_may_be_a_link(root: Path) -> None:
    """`current -> policies` is read like the folder itself."""
    put(root / "a.yaml")
    Path("current").symlink_to("policies")
    assert read_paths(Path("current")) == ["current/a.yaml"]


def test_folder_loops(root: Path) -> None:
    """A link back to a folder that was read already is an error and does not hang."""
    put(root / "sub/a.yaml")
    (root / "sub/loop").symlink_to("..")
    (root / "twin").symlink_to("sub")
    assert refused(root) == [
        "policies/sub/loop: P106 this is the same folder as policies",
        "policies/twin: P106 this is the same folder as policies/sub",
    ]


def test_everything_wrong_at_once(root: Path) -> None:
    """Links that loop or lead nowhere, other suffixes, fifos and large files are all told in one go."""
    put(root / "ok.yaml")
    put(root / "big.yaml", b"#" * (MAX_BYTES + 1))
    put(root / "old.yml")
    put(root / "Loud.YAML")
    put(root / "bad\n\u202ename.yaml")
    (root / "gone").symlink_to("nowhere")
    (root / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(root / "fifo.yaml")
    (root / "null.yaml").symlink_to("/dev/null")
    assert refused(root) == [
        "policies/Loud.YAML: P104 '.YAML' files are not read",
        "policies/bad\\n\\u202ename.yaml: P107 the file name holds characters that cannot be shown",
        "policies/big.yaml: P120 the file is larger than 1 MiB",
        "policies/fifo.yaml: P105 this is not a regular file",
        "policies/gone: P102 this cannot be read: No such file or directory",
        "policies/loop.yaml: P102 this cannot be read: Too many levels of symbolic links",
        "policies/null.yaml: P105 this is not a regular file",
        "policies/old.yml: P104 '.yml' files are not read",
    ]


def test_exactly_one_mebibyte_is_read(root: Path) -> None:
    """The cap on a file is inclusive."""
    put(root / "a.yaml", b"#" * MAX_BYTES)
    assert len(read_folder(root)[0].data) == MAX_BYTES


def test_without_permission(root: Path) -> None:
    """A file and a folder that may not be read are both told, and nothing of the rest is loaded."""
    put(root / "ok.yaml")
    put(root / "secret.yaml").chmod(0)
    put(root / "closed/a.yaml")
    (root / "closed").chmod(0)
    with unprivileged():
        assert refused(root) == [
            "policies/closed: P102 the folder cannot be read: Permission denied",
            "policies/secret.yaml: P102 the file cannot be read: Permission denied",
        ]
    (root / "closed").chmod(0o755)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none: P101 the policy folder does not exist"),
        ("file", "file: P101 the policy folder is not a folder"),
        ("loop", "loop: P102 the policy folder cannot be read: Too many levels of symbolic links"),
        ("a\0b", "a\\x00b: P102 the policy folder cannot be read: not a usable path"),
        ("n" * 300, f"{'n' * 300}: P102 the policy folder cannot be read: File name too long"),
        ("policies", "policies: P103 the folder holds no policy file (*.yaml)"),
    ],
    ids=["missing", "file", "loop", "nul", "long", "empty"],
)
def test_folders_that_are_none(root: Path, name: str, message: str) -> None:
    """A folder that is missing, empty, not a folder or not a usable path is one plain finding."""
    put(Path("file"))
    Path("loop").symlink_to("loop")
    put(root / "README.md")
    assert refused(Path(name)) == [message]


def test_too_many_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files, names or bytes than any policy needs end the reading."""
    for number in range(5):
        put(root / f"{number}.yaml", b"#" * 10)
    monkeypatch.setattr(files, "MAX_TOTAL_BYTES", 30)
    assert refused(root) == ["policies/3.yaml: P108 the policy files together are larger than 0 MiB"]
    monkeypatch.setattr(files, "MAX_FILES", 4)
    assert refused(root) == ["policies: P108 the folder holds more than 4 policy files or 50,000 names"]
    monkeypatch.setattr(files, "MAX_FILES", 5)
    monkeypatch.setattr(files, "MAX_ENTRIES", 4)
    assert refused(root) == ["policies: P108 the folder holds more than 5 policy files or 4 names"]


def test_a_file_that_became_a_fifo_does_not_hang(root: Path) -> None:
    """Between the look and the read a file may turn into anything: it is opened without waiting and refused."""
    path = put(root / "a.yaml")
    entry = files._walk(root).entries[0]
    path.unlink()
    os.mkfifo(path)
    found = files._read(entry)
    assert not isinstance(found, bytes)
    assert found.code == "P109"


def test_a_file_that_changed_is_not_read(root: Path) -> None:
    """What is read is what was looked at: the same file in the same state."""
    path = put(root / "a.yaml")
    entry = files._walk(root).entries[0]
    put(path, b"version: 1\ndeny: []\n")
    found = files._read(entry)
    assert not isinstance(found, bytes)
    assert str(found).startswith("policies/a.yaml: P109 the file kept changing while it was read")


def test_a_folder_that_disappears_is_a_finding(root: Path) -> None:
    """A folder that is gone when its turn comes is told, not raised."""
    walk = files._Walk()
    assert files._list(root / "gone", walk) == []
    assert [str(finding.at) for finding in walk.findings] == ["policies/gone"]


def test_a_folder_that_never_rests(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that changes each time it is looked at is given up after a few attempts."""
    path = put(root / "a.yaml")
    look = files._walk
    looks = []

    def change_and_look(folder: Path) -> files._Walk:
        looks.append(folder)
        put(path, b"#" * len(looks))
        return look(folder)

    monkeypatch.setattr(files, "_walk", change_and_look)
    assert refused(root) == ["policies: P109 the folder kept changing while it was read"]
    assert len(looks) == 4


def test_a_folder_that_comes_to_rest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change in the middle of the reading is read again, whole."""
    look = files._walk
    looks = []

    def change_once_and_look(folder: Path) -> files._Walk:
        looks.append(folder)
        if len(looks) == 2:
            put(root / "a.yaml", b"new")
        return look(folder)

    put(root / "a.yaml", b"old")
    monkeypatch.setattr(files, "_walk", change_once_and_look)
    assert read_folder(root) == (SourceFile(path="policies/a.yaml", data=b"new"),)


def test_digest() -> None:
    """Names and order do not matter to the digest; contents, and how often each comes, do."""
    a, b = SourceFile(path="p/a.yaml", data=b"a"), SourceFile(path="p/b.yaml", data=b"b")
    digest = folder_digest([a, b])
    assert digest == "sha256:18d79cb747ea174c59f3a3b41768672526d56fecc58360a99d283d0f9b0a3cc0"
    assert digest == folder_digest([b, a]) == folder_digest([SourceFile(path="p/c.yaml", data=b"a"), b])
    others = [
        [a],
        [b],
        [a, a, b],
        [a, SourceFile(path="p/b.yaml", data=b"b\n")],
        [SourceFile(path="p", data=b"ab")],
        [],
    ]
    assert len({digest, *map(folder_digest, others)}) == len(others) + 1


def permissions(root: Path, *, trusted_groups: tuple[int, ...] = (0,)) -> list[str]:
    found = check_permissions(root, read_folder(root), trusted_groups=trusted_groups)
    return [str(finding).partition("\n")[0] for finding in found]


def test_files_that_only_the_owner_may_write_pass(root: Path) -> None:
    """The usual modes, 0644 and 0755, are no finding."""
    put(root / "sub/a.yaml")
    assert permissions(root) == []


def test_what_everybody_may_write(root: Path) -> None:
    """A policy file, or any folder on the way to one, that everybody may write is an error."""
    put(root / "sub/deep/a.yaml").chmod(0o666)
    (root / "sub").chmod(0o777)
    root.chmod(0o1777)
    put(root / "other/b.yaml")
    assert permissions(root) == [
        "policies: P110 everybody may write this folder",
        "policies/sub: P110 everybody may write this folder",
        "policies/sub/deep/a.yaml: P110 everybody may write this file",
    ]
    found = check_permissions(root, read_folder(root))
    assert {finding.severity for finding in found} == {Severity.ERROR}


def test_what_a_group_may_write(root: Path) -> None:
    """A group that is not trusted is a warning; root's and our own are trusted unless told otherwise."""
    path = put(root / "a.yaml")
    path.chmod(0o664)
    group = path.stat().st_gid
    found = check_permissions(root, read_folder(root), trusted_groups=())
    assert [str(finding).partition("\n")[0] for finding in found] == [
        f"policies/a.yaml: P111 warning: the group {group} may write this file"
    ]
    assert permissions(root, trusted_groups=(group,)) == []
    assert check_permissions(root, read_folder(root)) == ()


def test_what_a_link_leads_to(root: Path) -> None:
    """A link is judged by the file it leads to, and by the folder where that file could be exchanged."""
    put(Path("open/a.yaml"))
    put(root / "..data/b.yaml")
    (root / "a.yaml").symlink_to("../open/a.yaml")
    (root / "b.yaml").symlink_to("..data/b.yaml")
    Path("open").chmod(0o777)
    (root / "..data").chmod(0o777)
    real = Path.cwd()
    assert permissions(root) == [
        f"{real}/open: P110 everybody may write this folder",
        f"{real}/policies/..data: P110 everybody may write this folder",
    ]


def test_a_read_only_file_system_passes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can write, the mode does not matter: a Kubernetes mount is 0777 and read-only."""
    put(root / "a.yaml").chmod(0o666)
    root.chmod(0o777)
    assert len(permissions(root)) == 2
    read_only = list(os.statvfs(root))
    read_only[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(read_only))
    assert permissions(root) == []


def test_files_that_are_gone_are_told(root: Path) -> None:
    """A file that cannot be looked at any more is a finding, not an exception."""
    found = check_permissions(root, [SourceFile(path="policies/gone.yaml", data=b"")])
    assert [finding.code for finding in found] == ["P102"]


CHANGES: dict[str, Callable[[Path], object]] = {
    "text": lambda root: (root / "deep/x.yaml").write_bytes(b"longer than before"),
    "file mode": lambda root: (root / "deep/x.yaml").chmod(0o600),
    "folder mode": lambda root: (root / "deep").chmod(0o775),
    "new": lambda root: (root / "deep/new.yaml").touch(),
    "name": lambda root: (root / "deep/x.yaml").rename(root / "deep/y.yaml"),
    "script": lambda root: (root / "run.sh").write_text("exit 1\n"),
    "no script": lambda root: (root / "run.sh").unlink(),
    "swap": lambda root: kubernetes_mount(root, "2"),
    "no link": lambda root: (root / "a.yaml").unlink(),
    "dead link": lambda root: (root / "dead").symlink_to("nowhere"),
    "behind a link": lambda root: put(root.with_name("outside.yaml"), b"version: 1 # changed\n"),
    "gone": lambda root: root.rename(root.with_name("gone")),
    "fifo": lambda root: os.mkfifo(root / "fifo.yaml"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_gives_another_state(root: Path, change: Callable[[Path], object]) -> None:
    """Whatever could make another policy makes another state: scripts, modes and what is behind links included."""
    put(root / "deep/x.yaml")
    put(root / "run.sh")
    put(root.with_name("outside.yaml"))
    (root / "linked.yaml").symlink_to("../outside.yaml")
    kubernetes_mount(root, "1")
    link_to_data(root)
    before = folder_state(root)
    assert before == folder_state(root)
    change(root)
    assert before != folder_state(root)


def test_what_is_no_change(root: Path) -> None:
    """Reading, hidden files, what is neither a file nor named like a policy, and files beside the folder."""
    put(root / "a.yaml")
    put(root / "run.sh")
    before = folder_state(root)
    read_folder(root)
    put(root / ".a.yaml.swp")
    put(root / ".git/index")
    os.mkfifo(root / "pipe")
    put(root.with_name("beside.yaml"))
    assert before == folder_state(root)


def test_every_folder_has_a_state(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is missing, not a folder, not readable, not a path or too large has a state of its own, and none raises."""
    put(root / "a.yaml")
    put(root / "closed/b.yaml")
    put(Path("file"))
    Path("loop").symlink_to("loop")
    states = [folder_state(Path(name)) for name in ("policies", "none", "file", "loop", "a\0b", "n" * 300)]
    (root / "closed").chmod(0)
    states.append(folder_state(root))
    with unprivileged():
        states.append(folder_state(root))
    (root / "closed").chmod(0o755)
    monkeypatch.setattr(files, "MAX_ENTRIES", 1)
    states.append(folder_state(root))
    assert len(set(states)) == len(states)
