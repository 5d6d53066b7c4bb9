"""A service that is started as root: it takes another account, and commands run as the account that the policy names."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.service import NO_TLS, Service, environment, wait_until
from tests.support.sshd import Sshd, descendants, is_alive

FRONT, OTHER = "daemon", "games"
_ROOT = Path(__file__).parents[2]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass(kw_only=True)
class House:
    """A running service with `--user`, in a folder that every account can reach."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int
    ops: int
    token: str

    def run(self, command: str, params: dict[str, object] | None = None) -> dict[str, Any]:
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/v1/run/{command}",
            json={"params": params or {}},
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            verify=NO_TLS,
            timeout=15,
        )
        found: dict[str, Any] = answer.json()
        return found

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.ops}/readyz", trust_env=False, verify=NO_TLS).status_code == 200
        except httpx.TransportError:
            return False

    def uid_of(self, pid: int) -> int:
        return Path(f"/proc/{pid}").stat().st_uid

    def front(self) -> int:
        """The pid of the process that has the front's account."""
        uid = pwd.getpwnam(FRONT).pw_uid
        return next(pid for pid in descendants(self.process.pid) if self.uid_of(pid) == uid)

    def brokers(self) -> list[int]:
        return [pid for pid in descendants(self.process.pid) if b"cmdhttp.broker" in command_line(pid)]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """Fails where it is not root: a service that cannot switch has nothing to be tested here."""
    assert os.geteuid() == 0, "this test starts a service as root; run `make test` as root"
    folder = Path(tempfile.mkdtemp(prefix="cmdhttp-accounts-"))
    folder.chmod(0o755)
    try:
        with _serving(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


class _serving:  # noqa: N801 - used as a function
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> House:
        token = json.loads(_program("token", "new", "ann", "--json"))
        secret = token.pop("token")
        _write_policy(self.folder / "policies", token)
        port, ops = free_port(), free_port()
        flags = {
            "policies": self.folder / "policies",
            "data": self.folder / "data",
            "runs": self.folder / "runs",
            "listen": f"127.0.0.1:{port}",
            "ops-listen": f"127.0.0.1:{ops}",
            "drain": "0.3",
            "user": FRONT,
        }
        arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        self.log = (self.folder / "log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "cmdhttp.cli.main", "serve", *arguments],
            cwd=_ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        self.house = House(folder=self.folder, process=process, port=port, ops=ops, token=secret)
        try:
            wait_until(self.house.ready, "the service is ready")
        except BaseException:
            sys.stderr.write((self.folder / "log").read_text()[-4000:])
            self.end()
            raise
        return self.house

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        family = descendants(self.house.process.pid)
        self.house.process.terminate()
        self.house.process.wait(60)
        self.log.close()
        wait_until(lambda: not any(map(is_alive, family)), "nothing is left")


def _program(*arguments: str) -> str:
    command = [sys.executable, "-m", "cmdhttp.cli.main", *arguments]
    return subprocess.run(command, cwd=_ROOT, env=environment(), capture_output=True, text=True, check=True).stdout


def _write_policy(folder: Path, token: dict[str, object]) -> None:
    folder.mkdir()
    who = {
        "script": 'id -u; id -g; id -G; echo "$HOME $USER"; stat -c "%u %a" . "${0%/*}" "$0"; grep NoNewPrivs /proc/self/status'
    }
    commands: dict[str, dict[str, Any]] = {
        "who": {**who},
        "who.other": {**who, "as": OTHER},
        "files": {
            "script": 'id -u; stat -c "%u %a" "$P_NOTE_FILE" "$P_PW_FILE" . "${0%/*}"; cat "$P_NOTE_FILE" "$P_PW_FILE";'
            " echo mine > out; chmod 0 out; ln -s /etc/shadow shadow",
            "params": {"note": {"type": "file"}, "pw": {"type": "secret"}},
            "files": {"collect": ["*"]},
            "as": OTHER,
        },
        "sleep": {"script": "echo $$; sleep 60", "as": OTHER},
        "front": {"script": "id -u", "as": FRONT},
        "read.data": {"script": "cat ../../data/journal.db ../../data/* | head -c 10"},
    }
    for spec in commands.values():
        spec.update(interpreter="sh", on="local", effect="read")
    document = {
        "version": 1,
        "commands": commands,
        "principals": {"ann": {"tokens": [token]}},
        "roles": {"all": [{"commands": list(commands), "hosts": "local"}]},
        "grants": [{"to": ["ann"], "roles": ["all"]}],
    }
    path = folder / "policy.yaml"
    path.write_text(json.dumps(document))
    path.chmod(0o644)


def test_the_front_has_no_rights_of_roots(house: House) -> None:
    """It has the account's user, group and groups, and no capability; the broker stays root, and the data is the account's."""
    entry = pwd.getpwnam(FRONT)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{house.front()}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(entry.pw_uid)] * 4
    assert status["Gid"].split() == [str(entry.pw_gid)] * 4
    assert set(map(int, status["Groups"].split())) == set(os.getgrouplist(FRONT, entry.pw_gid))
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert [house.uid_of(pid) for pid in house.brokers()] == [0]
    assert {path.stat().st_uid for path in (house.folder / "data").rglob("*")} == {entry.pw_uid}


@pytest.mark.parametrize(("command", "account"), [("who", "nobody"), ("who.other", OTHER)])
def test_a_command_has_the_whole_account_that_it_is_given(house: House, command: str, account: str) -> None:
    """User, groups, home and name are those of the account, and so are its folder and script."""
    job = house.run(command)
    assert job["state"] == "succeeded", (job["error"], job["stderr"])
    uid, gid, groups, home, *files, privileges = str(job["stdout"]).splitlines()
    entry = pwd.getpwnam(account)
    assert (int(uid), int(gid)) == (entry.pw_uid, entry.pw_gid)
    assert set(map(int, groups.split())) == set(os.getgrouplist(account, entry.pw_gid))
    assert home == f"{entry.pw_dir} {account}"
    assert files == [f"{entry.pw_uid} 700", f"{entry.pw_uid} 700", f"{entry.pw_uid} 400"]
    assert privileges.split() == ["NoNewPrivs:", "1"]


def test_files_belong_to_the_account(house: House) -> None:
    """Uploads and secrets are the account's own and nobody else's; what it leaves comes to the front, whatever its mode."""
    job = house.run("files", {"note": {"name": "a.txt", "base64": "bm90ZQo="}, "pw": "account-canary"})
    uid = str(pwd.getpwnam(OTHER).pw_uid)
    lines = job["stdout"].split("\n")
    assert lines == [uid, f"{uid} 600", f"{uid} 400", f"{uid} 700", f"{uid} 700", "note", "***"], job
    assert [(file["name"], file["bytes"]) for file in job["artefacts"]] == [("out", 5)]
    assert job["artefacts_left_out"] == [{"name": "shadow", "why": "symlink"}]
    answer = httpx.get(
        f"http://127.0.0.1:{house.port}{job['artefacts'][0]['link']}",
        headers={"Authorization": f"Bearer {house.token}"},
        trust_env=False,
        verify=NO_TLS,
    )
    assert answer.content == b"mine\n"


def test_no_command_gets_the_account_of_the_front(house: House) -> None:
    """It would have the service's keys and journal, whatever the policy says."""
    job = house.run("front")
    assert (job["state"], job["error"]["code"], job["stdout"]) == ("failed", "broker_refused", "")
    assert f"no command runs as '{FRONT}'" in job["error"]["detail"]


def test_a_command_cannot_read_what_the_service_keeps(house: House) -> None:
    """Journal, audit log and tokens of the service are out of reach for a command's account."""
    job = house.run("read.data")
    assert job["stdout"] == ""
    assert "denied" in str(job["stderr"])


def test_a_dead_broker_is_replaced_by_one_of_the_same_rights(house: House) -> None:
    """The front cannot start one by itself; the keeper does, and the next call runs."""
    [before] = house.brokers()
    os.kill(before, 9)
    wait_until(lambda: house.brokers() not in ([], [before]) and house.ready(), "there is another one")
    assert house.run("who.other")["state"] == "succeeded"
    assert [house.uid_of(pid) for pid in house.brokers()] == [0]


def test_a_killed_front_takes_everything_with_it() -> None:
    """Commands of other accounts are ended, the broker and the keeper go, and the keeper's status tells of it."""
    folder = Path(tempfile.mkdtemp(prefix="cmdhttp-accounts-"))
    folder.chmod(0o755)
    serving = _serving(folder)
    try:
        house = serving.__enter__()
        with httpx.Client(trust_env=False, verify=NO_TLS, timeout=60) as client:
            client.post(
                f"http://127.0.0.1:{house.port}/v1/run/sleep",
                json={"wait": 0},
                headers={"Authorization": f"Bearer {house.token}"},
            )
        games = pwd.getpwnam(OTHER).pw_uid
        wait_until(lambda: any(house.uid_of(pid) == games for pid in descendants(house.process.pid)), "it runs")
        family = descendants(house.process.pid)
        os.kill(house.front(), 9)
        assert house.process.wait(30) == 128 + 9
        wait_until(lambda: not any(map(is_alive, family)), "nothing is left", seconds=10)
        assert not (folder / "runs").exists()
    finally:
        serving.log.close()
        shutil.rmtree(folder)


def test_a_killed_keeper_takes_everything_with_it() -> None:
    """A front without it could start no broker any more, and would keep the next service from starting."""
    folder = Path(tempfile.mkdtemp(prefix="cmdhttp-accounts-"))
    folder.chmod(0o755)
    serving = _serving(folder)
    try:
        house = serving.__enter__()
        family = descendants(house.process.pid)
        house.process.kill()
        house.process.wait(30)
        try:
            wait_until(lambda: not any(map(is_alive, family)), "nothing is left", seconds=10)
        finally:
            for pid in filter(is_alive, family):
                os.kill(pid, signal.SIGKILL)
    finally:
        serving.log.close()
        shutil.rmtree(folder)


def test_a_front_that_cannot_begin_says_why() -> None:
    """It is the child of a process that knows nothing of it but its status."""
    program = """
from cmdhttp.execution.local.keeper import keep
from cmdhttp.execution.local.link import OwnBrokers
def front(keeper): raise RuntimeError("the reason")
raise SystemExit(keep(front, account=None, brokers=OwnBrokers("")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "RuntimeError: the reason" in done.stderr) == (1, True)


def test_a_front_that_ends_before_it_is_watched() -> None:
    """Its end is not missed, however early it comes: the keeper is held back until the front has gone."""
    program = """
import os, signal
from cmdhttp.execution.local.keeper import keep
from cmdhttp.execution.local.link import OwnBrokers
set_wakeup = signal.set_wakeup_fd
def late(*given, **named):
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return set_wakeup(*given, **named)
signal.set_wakeup_fd = late
raise SystemExit(keep(lambda keeper: 7, account=None, brokers=OwnBrokers("")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr


def test_the_first_process_of_a_container(tmp_path: Path) -> None:
    """What loses its parent there leaves no zombie, a dead broker is replaced, and its first process takes all with it."""
    with Sshd.start(tmp_path / "sshd") as sshd:
        service = Service(tmp_path, sshd, flags={})
        service.prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        service.write_policy()
        service.start()
        try:
            assert service.ask_ops("/readyz").json()["containment"] == "container"
            [broker] = [pid for pid in descendants(service.pid) if b"cmdhttp.broker" in command_line(pid)]
            job = service.launch("sleep")
            service.first_line(job["id"])
            family = descendants(service.pid)
            os.kill(broker, signal.SIGKILL)
            assert service.job(job["id"], wait=10)["error"]["code"] == "broker_lost"
            wait_until(lambda: service.ready() and service.result("exit", {"params": {"code": 0}})["ok"], "it goes on")
            assert [pid for pid in descendants(service.pid) if state_of(pid) == "Z"] == []
            family = descendants(service.pid)
            [first] = children_of(service.pid)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, family)), "nothing is left", seconds=10)
        finally:
            service.kill()
            service.end_orphans()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize("how", ["owned", "writable", "below", "linked"])
@pytest.mark.parametrize("user", [[], ["--user", FRONT]])
def test_a_folder_for_runs_that_others_could_replace(tmp_path: Path, how: str, user: list[str]) -> None:
    """Root removes all that lies in it, at each start of a broker; so a front could have it remove anything."""
    ground, runs = tmp_path / "ground", tmp_path / "ground" / "runs"
    runs.mkdir(parents=True)
    (runs / "precious").touch()
    if how == "writable":
        runs.chmod(0o1777)
    else:
        os.chown(runs if how == "owned" else ground, pwd.getpwnam(FRONT).pw_uid, -1)
    given = tmp_path / "link" if how == "linked" else runs
    if how == "linked":
        given.symlink_to(runs)
    flags = ["--policies", str(tmp_path), "--data", str(tmp_path / "data"), "--runs", str(given), *user]
    done = subprocess.run(
        [sys.executable, "-m", "cmdhttp.cli.main", "serve", *flags],
        cwd=_ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "could be replaced by others than root" in done.stderr) == (2, True), done.stderr
    assert (runs / "precious").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--user", "no-such-account"], "there is no account 'no-such-account' (--user)"),
        (["--local-user", "no-such-account"], "there is no account 'no-such-account' (--local-user)"),
        (["--user", "root"], "--user must name an account that is not root"),
    ],
)
def test_an_account_that_cannot_be_taken(tmp_path: Path, flags: list[str], message: str) -> None:
    """It is said before anything is made or started."""
    command = [sys.executable, "-m", "cmdhttp.cli.main", "serve", "--data", str(tmp_path / "data"), *flags]
    done = subprocess.run(
        command, cwd=_ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, message in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


def test_a_front_that_fails_says_why(tmp_path: Path) -> None:
    """It is a process of its own, ended by `os._exit`: without this nobody would learn what went wrong."""
    program = (
        "import sys\n"
        "from cmdhttp.cli import serve\n"
        "def broken(*_, **__): raise PermissionError('a file of Python itself')\n"
        "serve._serve = broken\n"
        f"given = {{'user': 'nobody', 'data': {str(tmp_path / 'data')!r}}}\n"
        "sys.exit(serve.run_serve({}, given, demo=False))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )
    said = done.stdout + done.stderr
    assert (done.returncode, "a file of Python itself" in said, "cannot read the program" in said) == (1, True, True)
