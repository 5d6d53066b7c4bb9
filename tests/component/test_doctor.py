"""`cmdhttp doctor` as an admin runs it: on a good machine, on broken ones, and beside a running service."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cmdhttp.auth.tokens import ENTROPY_BYTES, mint
from cmdhttp.cli.doctor import places
from cmdhttp.execution.local.orders import spawn_order
from cmdhttp.execution.local.trial import Verdict, try_guard
from cmdhttp.plan.model import LocalTarget, Step
from tests.support.cli import cmdhttp
from tests.support.ports import free_port
from tests.support.reloading import ReloadingService
from tests.support.service import Service, environment, wait_until

STRANGER = 12345
TOKEN = mint(bytes(ENTROPY_BYTES))
SWITCH = ", as: nobody" if os.geteuid() == 0 else ""
"""A command that would run as root is warned of."""

POLICY = f"""\
version: 1
commands: {{c: {{on: local, run: [/usr/bin/true], effect: read, timeout: 5s{SWITCH}}}}}
principals: {{p: %s}}
roles: {{r: [{{commands: c, hosts: local}}]}}
grants: [{{to: p, roles: r}}]
tests: [{{as: p, run: c, on: local, expect: allow}}]
"""


def policy(expires: str) -> str:
    return POLICY % f"{{tokens: [{{id: {TOKEN.id}, sha256: {TOKEN.sha256!r}, expires: {expires}}}]}}"


GOOD = policy((datetime.now(tz=UTC) + timedelta(days=60)).date().isoformat())


@dataclass(kw_only=True)
class Machine:
    """What the doctor is told to look at; all of it lies in one folder."""

    folder: Path
    listen: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    ops: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    def flags(self, **changed: str) -> list[str]:
        flags = {
            "policies": str(self.policies),
            "data": str(self.data),
            "runs": str(self.folder / "new" / "runs"),
            "listen": self.listen,
            "ops-listen": self.ops,
            **changed,
        }
        return [part for name, value in flags.items() for part in (f"--{name}", value)]

    def put(self, policy: str) -> None:
        self.policies.mkdir(mode=0o755, exist_ok=True)
        (self.policies / "p.yaml").write_text(policy)
        (self.policies / "p.yaml").chmod(0o644)

    def look(self, **changed: str) -> "Looked":
        done = cmdhttp("doctor", *self.flags(**changed), "--json")
        assert done.stderr == ""
        looked = Looked(code=done.returncode, document=json.loads(done.stdout))
        assert looked.document["ok"] is (looked.code == 0) is not bool(looked.failed)
        return looked


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the doctor said."""

    code: int
    document: dict[str, object]

    @property
    def lines(self) -> list[dict[str, str]]:
        lines = self.document["checks"]
        assert isinstance(lines, list)
        return lines

    @property
    def failed(self) -> list[str]:
        return [line["check"] for line in self.lines if line["state"] == "fail"]

    def of(self, check: str) -> tuple[str, str, str]:
        """State, text and hint of a check that says one thing."""
        (line,) = [line for line in self.lines if line["check"] == check]
        return line["state"], line["what"], line["hint"]

    def state(self, check: str) -> str:
        return self.of(check)[0]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(folder=tmp_path)
    made.put(GOOD)
    return made


def everything(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_mode) for path in folder.rglob("*")}


def test_a_good_machine(machine: Machine) -> None:
    """Nothing fails, a run was timed with a real guard, and nothing that was made for it is left."""
    before = everything(machine.folder)
    looked = machine.look()
    assert (looked.code, looked.failed) == (0, [])
    state, what, _ = looked.of("guard")
    assert state == "ok"
    match = re.search(r"([0-9.]+) ms to run /bin/true \(median of 20\)", what)
    assert match
    assert 0 < float(match[1]) < 5000
    assert looked.of("policy")[:2] == ("ok", f"{machine.policies} loads: 1 commands")
    assert looked.of("data")[:2] == ("ok", f"{machine.data} is not there yet, and can be made")
    assert looked.of("listen")[:2] == ("ok", f"{machine.listen} is free")
    assert looked.of("ops_listen")[:2] == ("ok", f"{machine.ops} is free")
    assert looked.of("service")[:2] == ("ok", "none runs with this data folder")
    assert everything(machine.folder) == before
    unified = subprocess.run(["find", "/sys/fs/cgroup", "-name", "cmdhttp-doctor-*"], capture_output=True, check=False)
    assert unified.stdout == b""


def test_what_a_person_reads(machine: Machine) -> None:
    """One line a check with its state first, hints below it, and a sum at the end; the same as in JSON."""
    machine.put("version: 1\n")
    looked = machine.look()
    done = cmdhttp("doctor", *machine.flags())
    *lines, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    states = [line.split()[:2] for line in lines if not line.startswith(" ")]
    assert states == [[line["state"], line["check"]] for line in looked.lines]
    hints = [line.split("hint: ")[1] for line in lines if line.startswith(" ")]
    assert hints == [line["hint"] for line in looked.lines if line["hint"]]
    assert re.fullmatch(r"\d+ ok, \d+ to look at, 1 failed", last)


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        (GOOD.replace("effect", "efect"), "fail", "does not load: 1 errors, 0 warnings"),
        (policy("2020-01-31"), "fail", "has expired"),
        (POLICY % "{}", "fail", "no principal with a token"),
        (GOOD.replace("timeout: 5s", "timeout: 5s, batch: 1"), "warn", "loads, with 1 warnings"),
    ],
    ids=["error", "expired", "no-token", "warning"],
)
def test_a_policy_to_mend(machine: Machine, text: str, state: str, said: str) -> None:
    """A policy that cannot be served fails, one with a warning warns; where to read more is said."""
    machine.put(text)
    looked = machine.look()
    assert (looked.state("policy"), looked.failed) == (state, ["policy"] if state == "fail" else [])
    assert said in looked.of("policy")[1]
    assert state == "warn" or "efect" not in text or "P203 unknown key" in looked.of("policy")[2]
    assert "cmdhttp check" in looked.of("policy")[2] or "cmdhttp token new" in looked.of("policy")[2]


def test_no_policy_folder(machine: Machine) -> None:
    """A folder that is not there fails and is not made."""
    shutil.rmtree(machine.policies)
    looked = machine.look()
    assert looked.failed == ["policy", "writers"]
    assert not machine.policies.exists()


def test_a_policy_that_another_account_may_write(machine: Machine) -> None:
    """A policy file that somebody else than root may write is named with its owner."""
    if os.geteuid() == 0:
        assert machine.look().state("writers") == "ok"
        os.chown(machine.policies / "p.yaml", STRANGER, 0)
    state, what, _ = machine.look().of("writers")
    assert state == "warn"
    assert f"uid {STRANGER if os.geteuid() == 0 else os.geteuid()}" in what


@pytest.mark.parametrize(("mode", "state"), [(0o777, "fail"), (0o720, "fail"), (0o755, "warn"), (0o700, "ok")])
def test_modes(machine: Machine, mode: int, state: str) -> None:
    """What others may write fails, what they may look into warns, and the mode stays as it is."""
    folders = [machine.data, machine.folder / "secrets"]
    for folder in folders:
        folder.mkdir()
        folder.chmod(mode)
    looked = machine.look(secrets=str(folders[1]))
    assert [looked.state(name) for name in ("data", "secrets")] == [state, state]
    assert looked.failed == (["data", "secrets"] if state == "fail" else [])
    assert [folder.stat().st_mode & 0o7777 for folder in folders] == [mode, mode]
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_a_data_folder_that_is_a_file(machine: Machine) -> None:
    """What lies in the way of the data folder is said, and nothing that needs the folder is passed over in silence."""
    machine.data.write_text("")
    looked = machine.look()
    assert {"data", "service", "sync"} <= set(looked.failed)
    assert machine.data.read_text() == ""


def test_the_data_of_another_account(machine: Machine) -> None:
    """A data folder that is not the service's is told of."""
    if os.geteuid() != 0:
        assert machine.look(data="/").state("data") == "fail"
        return
    machine.data.mkdir(mode=0o700)
    os.chown(machine.data, STRANGER, STRANGER)
    assert machine.look().state("data") == "warn"
    assert machine.look(user="daemon").state("data") == "fail"


def test_a_slow_disk_and_a_full_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound for a sync, and below that for free space, there is a warning."""
    assert machine.look().state("disk") == "ok"
    monkeypatch.setattr(places, "_SLOWEST_SYNC", 0.0)
    monkeypatch.setattr(places, "_LEAST_FREE", 1 << 60)
    looked = machine.look()
    assert (looked.state("sync"), looked.state("disk"), looked.code) == ("warn", "warn", 0)


def test_a_clock_that_went_back(machine: Machine) -> None:
    """A newest audit record that lies in the future fails."""
    audit = machine.data / "audit" / "audit.jsonl"
    audit.parent.mkdir(parents=True)
    machine.data.chmod(0o700)
    audit.touch()
    assert "clock" not in machine.look().failed
    os.utime(audit, (4e9, 4e9))
    assert machine.look().failed == ["clock"]


@pytest.mark.parametrize("flag", ["listen", "ops-listen"])
def test_an_address_that_is_taken(machine: Machine, flag: str) -> None:
    """An address where a stranger listens fails."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        looked = machine.look(**{flag: address})
    assert looked.failed == [flag.replace("-", "_")]
    assert looked.of(flag.replace("-", "_"))[1] == f"{address} is taken"


@pytest.mark.parametrize(
    ("listen", "ops"), [("nowhere", ":80"), ("127.0.0.1:", "127.0.0.1:99999999"), ("192.0.2.1:80", "[::x]:80")]
)
def test_no_address(machine: Machine, listen: str, ops: str) -> None:
    """What is no address of this machine fails, in either place, without a traceback."""
    assert machine.look(listen=listen, **{"ops-listen": ops}).failed == ["listen", "ops_listen"]


def test_one_address_for_both(machine: Machine) -> None:
    """Callers and health checks cannot share an address."""
    assert machine.look(**{"ops-listen": machine.listen}).failed == ["ops_listen"]


def test_operations_for_everybody(machine: Machine) -> None:
    """Health checks on all addresses are warned of."""
    state, what, hint = machine.look(**{"ops-listen": f"0.0.0.0:{free_port()}"}).of("ops_listen")
    assert (state, "every address" in what, "127.0.0.1" in hint) == ("warn", True, True)


def test_unix_sockets(tmp_path_factory: pytest.TempPathFactory, machine: Machine) -> None:
    """A path is free if nothing listens there; the doctor leaves what is there as it is."""
    folder = tmp_path_factory.mktemp("s")
    path = folder / "api"
    assert machine.look(listen=f"unix:{path}").state("listen") == "ok"
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert machine.look(listen=f"unix:{path}").failed == ["listen"]
    assert machine.look(listen=f"unix:{path}").state("listen") == "ok"
    assert path.is_socket()
    (folder / "file").touch()
    for wrong in (folder / "file", folder / "gone" / "api", folder / ("x" * 108)):
        assert machine.look(listen=f"unix:{wrong}").failed == ["listen"]


@pytest.mark.parametrize("user", ["no-such-account", "root"])
def test_an_account_that_cannot_be_taken(machine: Machine, user: str) -> None:
    """An account that is not there, or is root, is no account for the service."""
    assert "account" in machine.look(user=user).failed


def test_commands_for_an_account_that_is_not_there(machine: Machine) -> None:
    """Where no run could start for want of its account, the guard's check says so."""
    looked = machine.look(**{"local-user": "no-such-account"})
    assert "there is no account 'no-such-account'" in looked.of("guard")[1]
    assert "guard" in looked.failed


def test_wrong_settings() -> None:
    """Settings that cannot be read are exit code 2, as for `serve`."""
    done = cmdhttp("doctor", "--wait", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cmdhttp: --wait must be a number")
    assert cmdhttp("doctor", CMDHTTP_WIAT="5").returncode == 2


# -- the trial


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "doctor"
    assert not (tmp_path / "doctor").exists()


def trial(job: Path, first: list[str], orphan: list[str]) -> Verdict:
    def order(run: int, argv: list[str]) -> dict[str, object]:
        step = Step(run=run, host="local", target=LocalTarget(), argv=tuple(argv), env={}, timeout=10, output_limit=1)
        return spawn_order(step, folder=f"{job}.{run}", job_id="doctor")

    return try_guard(order(0, first), order(1, orphan), times=2)


def test_a_trial_that_finds_a_missing_program(job: Path) -> None:
    """What could not be started is said with its reason, and no time is made up."""
    found = trial(job, ["/nonexistent/true"], ["/bin/true"])
    assert (found.guard, found.median) == ("No such file or directory", 0.0)


def test_a_trial_that_sees_no_orphan(job: Path) -> None:
    """A program that leaves nothing behind proves nothing, and is not taken for proof."""
    found = trial(job, ["/bin/true"], ["/bin/true"])
    assert (found.guard, found.subreaper, found.children) == ("", "", "")
    assert found.orphan == "what its parent has left did not become a child of the guard"


def test_a_trial_ends_its_orphan(job: Path) -> None:
    """What was left behind is gone when the trial is over."""
    marked = f"77{os.getpid()}"
    left = f"/usr/bin/setsid /bin/sleep {marked} </dev/null >/dev/null 2>&1 &"
    found = trial(job, ["/bin/true"], ["/bin/sh", "-c", left])
    assert (found.orphan, found.guard) == ("", "")
    assert found.median > 0
    assert subprocess.run(["pgrep", "-f", f"sleep {marked}"], capture_output=True, check=False).returncode == 1


def test_a_trial_of_a_program_that_fails(job: Path) -> None:
    """An exit status other than 0, or a signal, is not taken for success, by either trial."""
    assert trial(job, ["/bin/false"], ["/bin/true"]).guard == "it ended with 1"
    assert trial(job, ["/bin/sh", "-c", "kill -9 $$"], ["/bin/true"]).guard == "it ended with -9"


def test_a_namespace_is_possible_where_unshare_can_make_one(machine: Machine) -> None:
    """The doctor and util-linux come to the same end."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *rights, "--pid", "--fork", "--mount-proc", "true"]
    possible = subprocess.run(argv, capture_output=True, check=False).returncode == 0
    assert (machine.look().state("namespace") == "ok") is possible


def test_the_first_process_of_a_namespace(machine: Machine) -> None:
    """As process 1 it would serve on the rung 'container'; where no namespace can be made, the doctor says so."""
    looked = machine.look()
    assert "would have 'container'" not in looked.of("containment")[1]
    if looked.state("namespace") != "ok":
        assert looked.of("namespace")[1].startswith("no program can run in a PID namespace of its own: ")
        return
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    program = [sys.executable, "-m", "cmdhttp.cli.main", "doctor", *machine.flags(), "--json"]
    done = subprocess.run(
        ["unshare", *rights, "--pid", "--fork", "--mount-proc", *program],
        capture_output=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    inside = Looked(code=done.returncode, document=json.loads(done.stdout))
    assert inside.of("containment")[:2] == ("ok", "a service started from here would have 'container'")
    assert inside.state("guard") == "ok"


# -- beside a running service


def beside(service: Service, **changed: str) -> Looked:
    done = cmdhttp("doctor", *service.serve_arguments(**changed)[1:], "--json")
    return Looked(code=done.returncode, document=json.loads(done.stdout))


def test_a_running_service(tmp_path: Path) -> None:
    """The service answers for itself, before and after the same, and is not disturbed."""
    with Service.running(tmp_path / "service") as service:
        looked = beside(service)
        assert (looked.code, looked.failed) == (0, [])
        assert looked.of("service")[1] == "one runs with this data folder, and is ready"
        assert looked.of("listen")[1] == f"{service.listen} is in use by the running service"
        assert looked.of("ops_listen")[1] == f"{service.ops} is in use by the running service"
        rung = service.ask_ops("/readyz").json()["containment"]
        assert looked.of("containment")[1].startswith(f"the running service says '{rung}'")
        assert service.result("args", {"params": {"one": "still"}})["ok"] is True

        elsewhere = beside(service, **{"ops-listen": f"127.0.0.1:{free_port()}"})
        assert elsewhere.state("service") == "warn"
        assert "does not answer" in elsewhere.of("service")[1]

        stranger = Machine(folder=tmp_path, listen=service.listen, ops=service.ops)
        stranger.put(GOOD)
        assert stranger.look().failed == ["listen", "ops_listen"]

        service.stop()
        after = beside(service)
        assert after.of("service")[1] == "none runs with this data folder"
        assert after.of("containment")[1].startswith(f"a service started from here would have '{rung}'")


def test_a_service_that_is_not_ready(tmp_path: Path) -> None:
    """What `/readyz` complains of is a failed check with its words."""
    with ReloadingService.running(tmp_path / "service") as service:
        assert "service" not in beside(service).failed
        (service.policies / "more.yaml").write_text("version: 1\nnonsense: 1\n")
        wait_until(lambda: not service.ready(), "the service complains")
        looked = beside(service)
        assert {"service", "policy"} <= set(looked.failed)
        said = [line["what"] for line in looked.lines if line["check"] == "service"]
        assert any(line.startswith("one runs and is not ready: policy: ") for line in said)
