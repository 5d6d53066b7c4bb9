"""Programs, scripts and keys that others could change, or that are not there."""

import os
from pathlib import Path

import pytest

from cmdhttp.policy.compile import compile_all
from cmdhttp.policy.merge import collect
from cmdhttp.policy.modes import Trusted, our_own, way
from cmdhttp.policy.permissions import check_targets
from tests.unit.policies import folders, sources

HOSTS = """\
ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: keys/known}}}
hosts: {web1: {address: 10.0.0.1, ssh: linux}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with `policies`, `secrets` and `bin`, each with what the policy of a test names, as it should be."""
    for name in ("policies/keys", "secrets", "bin"):
        (tmp_path / name).mkdir(parents=True, mode=0o755)
    put(tmp_path / "bin/tool", mode=0o755)
    put(tmp_path / "policies/keys/known", text="10.0.0.1 ssh-ed25519 AAAA")
    put(tmp_path / "policies/run.sh")
    put(tmp_path / "secrets/k", mode=0o600)
    return tmp_path


def put(path: Path, *, mode: int = 0o644, text: str = "text") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def said(root: Path, *texts: str, known: bool = True, trusted: Trusted | None = None) -> list[str]:
    """What is said of the files that a policy names; `ROOT` in a text is the folder."""
    merged = collect(sources(*(text.replace("ROOT", str(root)) for text in texts)))
    made = compile_all(merged, folders=folders(root / "policies"), digest="")
    secrets = root / "secrets" if known else None
    found = check_targets(made.policy, merged, policies=root / "policies", secrets=secrets, trusted=trusted)
    return [str(finding).partition("\n")[0].replace(str(root), "ROOT") for finding in found]


TOOL = "commands: {c: {run: [ROOT/bin/tool], on: local}}"


def test_files_as_they_should_be(root: Path) -> None:
    """A program, a script, a key and a file of host keys that only root and we may write are no finding."""
    script = "commands: {d: {script_file: run.sh, interpreter: sh, on: local}}"
    assert said(root, TOOL, HOSTS, script) == []


@pytest.mark.parametrize("name", ["bin/tool", "bin"])
def test_a_program_that_everybody_may_write(root: Path, name: str) -> None:
    """The file, or a folder on the way to it."""
    path = root / name
    path.chmod(0o777)
    what = "the folder ROOT/bin, on the way to ROOT/bin/tool" if path.is_dir() else "ROOT/bin/tool"
    assert said(root, TOOL) == [
        f"a.yaml:2:22: P308 everybody may write {what}, and so change this program",
    ]


def test_a_folder_with_a_sticky_bit(root: Path) -> None:
    """In a folder like /tmp everybody may add files, and nobody may replace those of others."""
    (root / "bin").chmod(0o1777)
    assert said(root, TOOL) == []


def test_each_place_is_told_once(root: Path) -> None:
    """Also if it is on the way of many."""
    (root / "bin").chmod(0o777)
    put(root / "bin/other", mode=0o755)
    assert len(said(root, TOOL, "commands: {d: {run: [ROOT/bin/other], on: local}}")) == 1


def test_a_group_or_account_that_is_not_trusted(root: Path) -> None:
    """A warning: perhaps it is meant, but then it is as good as the service's own account."""
    (root / "bin").chmod(0o775)
    status = (root / "bin").stat()
    tool = "ROOT/bin/tool, and so change this program"
    by_group = (
        f"a.yaml:2:22: P309 warning: the group {status.st_gid} may write the folder ROOT/bin, on the way to {tool}"
    )
    assert said(root, TOOL, trusted=Trusted(groups=())) == [by_group]
    assert said(root, TOOL, trusted=our_own()) == said(root, TOOL) == []
    (root / "bin").chmod(0o755)
    ours = said(root, TOOL, trusted=Trusted(accounts={status.st_uid + 1, 0} - {status.st_uid}))
    assert f"a.yaml:2:22: P309 warning: the account {status.st_uid} may write {tool}" in ours


def test_what_a_link_leads_to(root: Path) -> None:
    """Every folder through which a link leads counts: whoever may write one can exchange the program."""
    for name in ("one", "two", "three"):
        (root / name).mkdir()
    put(root / "three/tool", mode=0o755)
    (root / "bin/link").symlink_to("../one/link")
    (root / "one/link").symlink_to(root / "two" / "." / "link")
    (root / "two/link").symlink_to("../three/tool")
    (root / "two").chmod(0o777)
    (root / "three/tool").chmod(0o777)
    assert said(root, "commands: {c: {run: [ROOT/bin/link], on: local}}") == [
        "a.yaml:2:22: P308 everybody may write ROOT/three/tool, and so change this program",
        "a.yaml:2:22: P308 everybody may write the folder ROOT/two, on the way to ROOT/bin/link, and so change this program",
    ]


def test_what_a_launcher_starts_and_an_interpreter_runs(root: Path) -> None:
    """What would really run counts, not only what stands first; a program from a choice is looked at in each case."""
    (root / "bin/tool").chmod(0o777)
    put(root / "bin/x.py", mode=0o666)
    text = """\
        commands:
          c: {run: [/bin/sh, "ROOT/bin/x.py"], on: local}
          m: {run: [/bin/sh, x.py], on: local}
          d:
            run: [/bin/nice, <e>]
            params: {e: {type: enum, values: ["ROOT/bin/tool", relative]}}
            on: local
        """
    lines = [line for line in said(root, text) if "P308" in line]
    assert lines == [
        "a.yaml:3:22: P308 everybody may write ROOT/bin/x.py, and so change this script",
        "a.yaml:6:22: P308 everybody may write ROOT/bin/tool, and so change this program",
    ]


def test_programs_that_cannot_run(root: Path) -> None:
    """One that is not there, one without its mode, a folder, something below a file."""
    put(root / "bin/data")
    text = """\
        commands:
          a: {run: [ROOT/bin/none], on: local}
          b: {run: [ROOT/bin/data], on: local}
          c: {run: [ROOT/bin], on: local}
          d: {run: [ROOT/bin/tool/x], on: local}
        """
    assert said(root, text) == [
        "a.yaml:3:13: P310 warning: the program ROOT/bin/none is not there",
        "a.yaml:4:13: P310 warning: ROOT/bin/data is not a program that can be run",
        "a.yaml:5:13: P310 warning: ROOT/bin is not a program that can be run",
        "a.yaml:6:13: P310 warning: the program ROOT/bin/tool/x is not there",
    ]


def test_programs_of_other_machines(root: Path) -> None:
    """Nothing is said of a program that runs over SSH only; on local and elsewhere, this machine counts."""
    text = """\
        commands:
          a: {run: [ROOT/bin/none], on: web1}
          b: {run: [ROOT/bin/none], on: [web1, local]}
          c: {script: x, interpreter: sh, on: local}
        """
    assert said(root, HOSTS, text) == ["b.yaml:4:13: P310 warning: the program ROOT/bin/none is not there"]


def test_what_cannot_be_seen(root: Path) -> None:
    """A link to itself, or a path that is none: nothing can be said, and nothing is raised."""
    (root / "bin/loop").symlink_to("loop")
    assert said(root, "commands: {c: {run: [ROOT/bin/loop], on: local}}") == []
    assert said(root, f"commands: {{c: {{run: [ROOT/bin/{'x' * 300}], on: local}}}}") == []
    with pytest.raises(OSError, match="levels of symbolic links"):
        list(way(str(root / "bin/loop")))


def test_a_read_only_file_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can write, the mode does not matter."""
    (root / "bin/tool").chmod(0o777)
    read_only = list(os.statvfs(root))
    read_only[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(read_only))
    assert said(root, TOOL) == []


def test_a_script_file(root: Path) -> None:
    """Wherever the script runs, its file is here."""
    (root / "policies/run.sh").chmod(0o666)
    text = "commands: {c: {script_file: run.sh, interpreter: sh, on: web1}}"
    assert said(root, HOSTS, text) == [
        "b.yaml:2:29: P308 everybody may write ROOT/policies/run.sh, and so change this script"
    ]


KEYS = """\
ssh_profiles:
  a: {user: u, auth: {key: file:none}, host_keys: {known_hosts: keys/none}}
  b: {user: u, auth: {password: file:open}, host_keys: {cert_authority: keys/ca, known_hosts: keys/empty}}
  c: {user: u, auth: {key: env:KEY}, host_keys: {cert_authority: keys/known}}
  d: {inherit: c, port: 2222}
  e: {user: u, auth: {certificate: {ca: far}}, host_keys: {cert_authority: keys/empty}}
ssh_authorities:
  near: {key: file:open}
  far: {agent: /run/agent, public_key: keys/gone.pub}
callbacks: {done: {url: file:none, sign: env:SIGN}}
"""


def test_keys(root: Path) -> None:
    """Keys that are not there or that everybody may read, and host keys that pin nothing."""
    put(root / "secrets/open")
    put(root / "policies/keys/empty", text="")
    trust = [
        "a.yaml:3:65: P313 warning: the known_hosts file ROOT/policies/keys/none is not there",
        "a.yaml:4:73: P311 warning: the file of a host key authority ROOT/policies/keys/ca is not there",
        "a.yaml:4:95: P313 warning: ROOT/policies/keys/empty is empty",
        "a.yaml:5:66: P313 warning: line 1 of ROOT/policies/keys/known is no public key",
        "a.yaml:7:76: P313 warning: ROOT/policies/keys/empty is empty",
        "a.yaml:10:40: P311 warning: the public key of an authority ROOT/policies/keys/gone.pub is not there",
    ]
    secrets = [
        "a.yaml:3:28: P311 warning: the key file ROOT/secrets/none is not there",
        "a.yaml:4:33: P312 warning: everybody may read ROOT/secrets/open",
        "a.yaml:9:15: P312 warning: everybody may read ROOT/secrets/open",
        "a.yaml:11:25: P311 warning: the key file ROOT/secrets/none is not there",
    ]
    assert sorted(said(root, KEYS)) == sorted(trust + secrets)
    assert said(root, KEYS, known=False) == trust


def test_lines_that_are_no_host_keys(root: Path) -> None:
    """The first is told by its number, the others are counted; what cannot be read is no news."""
    known = put(root / "policies/keys/known", text="# ours\n\n10.0.0.1 ssh-ed25519 AAAA\nssh-ed25519 AAAA\n")
    line = "a.yaml:2:79: P313 warning: line 4 of ROOT/policies/keys/known is no host key"
    assert said(root, HOSTS) == [line]
    put(known, text=known.read_text() + "<html>\n")
    assert said(root, HOSTS) == [f"{line}, and 1 more"]


def test_host_keys_in_no_file(root: Path) -> None:
    """Only a regular file is opened: a fifo would wait for somebody who writes."""
    (root / "policies/keys/known").unlink()
    os.mkfifo(root / "policies/keys/known")
    assert said(root, HOSTS) == ["a.yaml:2:79: P313 warning: ROOT/policies/keys/known is empty"]


def test_a_key_that_everybody_may_write(root: Path) -> None:
    """Whoever writes the key, or the list of host keys, decides who is trusted."""
    (root / "secrets/k").chmod(0o602)
    (root / "policies/keys/known").chmod(0o646)
    assert said(root, HOSTS) == [
        "a.yaml:2:45: P308 everybody may write ROOT/secrets/k, and so change this key file",
        "a.yaml:2:79: P308 everybody may write ROOT/policies/keys/known, and so change this known_hosts file",
    ]


def test_one_place_tells_a_thing_once(root: Path) -> None:
    """Two launchers of one choice lead to the same program."""
    text = "commands: {c: {run: [/bin/nice, <e>, ROOT/x], params: {e: {type: enum, values: [/bin/env, /bin/nice]}}, on: local}}"
    assert said(root, text) == ["a.yaml:2:38: P310 warning: the program ROOT/x is not there"]
