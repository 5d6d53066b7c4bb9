"""`cmdhttp init` and `cmdhttp schema`, as a person begins with them."""

import contextlib
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator

from cmdhttp.auth.tokens import ENTROPY_BYTES, digest, mint
from cmdhttp.cli import starter
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.cases import coverage
from cmdhttp.policy.load import Inputs, load
from cmdhttp.policy.schema import policy_schema
from tests.support.editor import read_as_editor
from tests.support.ports import free_port
from tests.support.service import NO_TLS, environment, wait_until

FILES = {".schema.json", "access.yaml", "commands.yaml", "hosts.yaml"}
TOKEN = re.compile(r"^  (cmdh_\w+)$", re.MULTILINE)
ARGV = [sys.executable, "-W", "error", "-m", "cmdhttp.cli.main"]


def cmdhttp(*arguments: str, cwd: Path, umask: int = -1, limit: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program in a folder. `limit` is a line of shell that runs before it."""
    argv = ["/bin/sh", "-c", f'{limit}\nexec "$@"', "sh", *ARGV, *arguments]
    env = {**environment(), "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, umask=umask, env=env)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a policy that `init` has just made, and what it printed."""
    folder = tmp_path_factory.mktemp("begun")
    done = cmdhttp("init", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_it_makes_the_default_folder(begun: tuple[Path, str]) -> None:
    """Without a name it is `policies`, and nothing else is left beside it."""
    folder, _ = begun
    assert [path.name for path in folder.iterdir()] == ["policies"]
    assert {path.name for path in (folder / "policies").iterdir()} == FILES


def test_help_and_init_name_the_same_steps(begun: tuple[Path, str]) -> None:
    """What `--help` says to do first is what `init` then says to do."""
    folder, printed = begun
    shown = cmdhttp("--help", cwd=folder).stdout
    for step in ("check --strict policies", "test policies", "serve --policies policies"):
        assert f"cmdhttp {step}" in shown
        assert re.search(rf"\S {step}$", printed, re.MULTILINE)
    assert "token new" not in shown.partition("start here:")[2]


def test_the_policy_is_right(begun: tuple[Path, str]) -> None:
    """It passes `check --strict`, and its tests touch every role line and deny."""
    folder, _ = begun
    checked = cmdhttp("check", "--strict", "policies", cwd=folder)
    tested = cmdhttp("test", "policies", cwd=folder)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert (tested.returncode, tested.stderr) == (0, "")
    assert "the tests touch 3 of 3 role lines and denies\n6 passed, 0 failed\n" in tested.stdout


def test_the_token_is_in_no_file(begun: tuple[Path, str]) -> None:
    """The policy holds the digest of the printed token, for 90 days, and not the token."""
    folder, printed = begun
    found = TOKEN.search(printed)
    assert found
    access = (folder / "policies" / "access.yaml").read_text()
    assert digest(found[1]).hex() in access
    secret = found[1].split("_")[2]
    assert [path.name for path in (folder / "policies").iterdir() if secret in path.read_text()] == []
    ends = re.search(r'expires: "([^"]+)"', access)
    assert ends
    left = datetime.fromisoformat(ends[1]) - datetime.now(tz=UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    assert f"until {ends[1][:10]}, shown only now" in printed


def test_an_editor_has_nothing_to_say(begun: tuple[Path, str]) -> None:
    """Each file names the schema beside it, which is the one that `schema` prints, and fits it."""
    folder, _ = begun
    schema = (folder / "policies" / ".schema.json").read_text()
    assert schema == cmdhttp("schema", cwd=folder).stdout
    assert json.loads(schema) == policy_schema()
    for path in (folder / "policies").glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=.schema.json\n")
        document = read_as_editor(path.read_text())
        assert [error.message for error in Draft202012Validator(policy_schema()).iter_errors(document)] == []


def test_the_lines_about_ssh_are_right(begun: tuple[Path, str], tmp_path: Path) -> None:
    """The lines to uncomment are policy once the first '#' of each is gone."""
    folder, _ = begun
    hosts = tmp_path / "policies" / "hosts.yaml"
    hosts.parent.mkdir(mode=0o755)
    text = (folder / "policies" / "hosts.yaml").read_text()
    prose, _, lines = text.partition("\n#ssh_profiles:")
    hosts.write_text(prose + "\nssh_profiles:" + lines.replace("\n#", "\n"))
    hosts.chmod(0o644)
    document = read_as_editor(hosts.read_text())
    assert set(document) == {"version", "ssh_profiles", "hosts", "groups"}
    assert [error.message for error in Draft202012Validator(policy_schema()).iter_errors(document)] == []
    shown = json.loads(cmdhttp("check", "--json", cwd=tmp_path).stdout)
    assert (shown["ok"], shown["hosts"]) == (True, 2)


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_only_the_owner_may_write(umask: int, tmp_path: Path) -> None:
    """Whatever the umask, others may read and not write."""
    assert cmdhttp("init", "made", cwd=tmp_path, umask=umask).returncode == 0
    assert modes(tmp_path / "made") == {"made": 0o755, **dict.fromkeys(FILES, 0o644)}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """An empty folder may be there, and a symbolic link to one stays a link."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    assert cmdhttp("init", "link", cwd=tmp_path).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert modes(tmp_path / "real") == {"real": 0o755, **dict.fromkeys(FILES, 0o644)}


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the message of a command that could not be carried out."""
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder with anything in it, even hidden, or a file of that name, stays as it is."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".kept").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for name in ("full", "file"):
        said = refused(cmdhttp("init", name, cwd=tmp_path))
        assert said == (
            f"cmdhttp: {name} is there already, and it is not an empty folder\n"
            "    hint: name a folder that is not there yet; nothing is ever overwritten\n"
        )
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "file",
        "full",
        "full/.kept",
    ]
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / ".kept").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "cmdhttp: . is the folder that you are in\n    hint: name a folder in it, like 'policies'\n"),
        ("a/b", "cmdhttp: a/b cannot be made: No such file or directory\n    hint: make the folder a first\n"),
        ("/proc/self/policies", "cmdhttp: /proc/self/policies cannot be made: "),
    ],
)
def test_a_folder_that_cannot_be_made(name: str, said: str, tmp_path: Path) -> None:
    """The message says why, and what to do."""
    assert refused(cmdhttp("init", name, cwd=tmp_path)).startswith(said)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """If a file cannot be written in full, there is no folder, and none under another name."""
    said = refused(cmdhttp("init", cwd=tmp_path, limit="ulimit -f 8"))
    assert said == "cmdhttp: policies cannot be made: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_blank(tmp_path: Path) -> None:
    """The commands to paste quote the name of the folder."""
    printed = cmdhttp("init", "my policies", cwd=tmp_path).stdout
    assert "  cmdhttp check --strict 'my policies'\n" in printed


@pytest.mark.parametrize(
    ("now", "year"),
    [("2026-03-01", 2026), ("2026-12-19", 2026), ("2026-12-20", 2027), ("2026-12-31", 2027), ("2027-01-02", 2027)],
)
def test_the_freeze_lies_ahead(now: str, year: int, tmp_path: Path) -> None:
    """Whenever a policy is begun, its deny is yet to come, and its tests pass then and a year later."""
    begun_at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    folder = tmp_path / "policies"
    starter._make(folder, starter.starter_files(mint(os.urandom(ENTROPY_BYTES)), now=begun_at))
    assert f"from: {year}-12-20, until: {year + 1}-01-03" in (folder / "access.yaml").read_text()
    for at in (begun_at, begun_at + timedelta(days=365)):
        loaded = load(folder, Inputs(resolve=resolve_argv, now=at))
        assert loaded.errors == ()
        assert coverage(loaded.usable(), loaded.outcomes).untouched == ()


def test_programs_are_named_where_they_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a system that keeps a program elsewhere its own place is named; every program of the starter is looked for."""
    (tmp_path / "df").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert starter._lies_at("/nowhere/df") == f"{tmp_path}/df"
    assert starter._lies_at("/nowhere/cat") == "/nowhere/cat"
    assert starter._lies_at(sys.executable) == sys.executable
    commands = starter.starter_files(mint(os.urandom(ENTROPY_BYTES)), now=datetime.now(tz=UTC))["commands.yaml"]
    assert set(re.findall(r"run: \[([^,]+),", commands)) == set(starter.PROGRAMS)


@contextlib.contextmanager
def serving(folder: Path, listen: str) -> Iterator[None]:
    """Run `serve` on the policy that `init` made."""
    ops = f"127.0.0.1:{free_port()}"
    flags = ("--policies", "policies", "--listen", listen, "--ops-listen", ops, "--drain", "1")
    env = {**environment(), "PYTHONPATH": str(Path.cwd())}
    with (folder / "log").open("wb") as log, subprocess.Popen(
        [*ARGV, "serve", *flags], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: answers(f"http://{ops}/readyz"), "the service is ready")
            yield
        finally:
            process.terminate()
            process.wait(10)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False


def test_the_printed_call_works(begun: tuple[Path, str]) -> None:
    """The service takes the policy as it is, and the line to paste runs the command with the printed token."""
    folder, printed = begun
    listen = f"127.0.0.1:{free_port()}"
    (line,) = (line.strip() for line in printed.splitlines() if line.startswith("  curl "))
    program, *arguments = shlex.split(line.replace("127.0.0.1:8080", listen))
    assert program == "curl"
    with serving(folder, listen):
        done = subprocess.run(
            ["curl", *arguments], capture_output=True, text=True, timeout=60, check=True, env=environment()
        )
        job = json.loads(done.stdout)
    assert (job["state"], job["command"], job["ok"]) == ("succeeded", "disk.usage", True)
    assert "Filesystem" in job["stdout"]
