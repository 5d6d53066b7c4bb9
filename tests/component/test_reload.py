"""The policy of the running program changes: as editors, git, a kubelet and mounts change files, and under load."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.reloading import MountedService, ReloadingService, note
from tests.support.service import wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReloadingService]:
    with ReloadingService.running(tmp_path_factory.mktemp("reload") / "service") as running:
        yield running


@pytest.fixture
def service(shared: ReloadingService) -> Iterator[ReloadingService]:
    """The shared service with version A in force, and again afterwards."""
    yield shared
    shared.put("A")
    shared.hang_up()
    shared.wait_until_well()
    shared.wait_for("A")
    shared.wait_for_note("first")


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    """Write beside the file, then move it over, as most editors and configuration tools do."""
    fresh = path.with_name(f".{path.name}.swp")
    fresh.write_text(text)
    fresh.replace(path)


def with_a_backup(path: Path, text: str) -> None:
    """Move the file away, then write a new one, as editors that keep backups do."""
    path.rename(path.with_name(f"{path.name}~"))
    path.write_text(text)


@pytest.mark.parametrize("edit", [in_place, by_rename, with_a_backup])
def test_an_edit_takes_effect(service: ReloadingService, edit: Callable[[Path, str], None]) -> None:
    """However an editor writes a file, its new text is in force soon, on record, and in every answer."""
    before = service.result("note")["policy"]
    edit(service.policies / "note.yaml", note(f"by {edit.__name__}"))
    service.wait_for_note(f"by {edit.__name__}")
    after = service.result("note")["policy"]

    def change() -> tuple[str, str]:
        loaded = service.records("policy.loaded", count=1)[-1]
        return loaded["before"], loaded["policy"]

    wait_until(lambda: change() == (before, after), "the change is on record")
    wait_until(lambda: service.metrics().get(f'cmdhttp_policy_info{{digest="{after}"}}') == 1, "it is counted")
    assert f'cmdhttp_policy_info{{digest="{before}"}}' not in service.metrics()


def test_a_broken_file_changes_nothing_and_is_told_everywhere(service: ReloadingService) -> None:
    """The policy in force goes on; readiness, metrics, log and audit tell what `check` tells; a repair ends it."""
    digest = service.result("note")["policy"]
    failed, told = service.loads("failed"), len(service.records("policy.reload_failed"))
    (service.policies / "note.yaml").write_text('{"version": 1, "commands": {"note": {"rum": []}}}')
    trouble = service.wait_for_trouble("note.yaml")
    checked = service.cli("check", str(service.policies))
    first = checked.stderr.splitlines()[0]
    count = int(checked.stderr.splitlines()[-1].split(" error")[0])
    assert (checked.returncode, count > 1) == (1, True)
    assert trouble == f"{count} errors, the first: {first}; the policy {digest} stays in force"
    assert service.result("note")["policy"] == digest
    metrics = service.metrics()
    assert (metrics["cmdhttp_policy_ok"], metrics["cmdhttp_policy_findings"]) == (0, count)
    wait_until(lambda: service.loads("failed") > failed, "it is counted")
    wait_until(lambda: f"the policy does not load: {count} errors" in service.log, "the log says so")
    assert first in service.log
    record = service.records("policy.reload_failed", count=told + 1)[-1]
    assert (record["policy"], record["findings"]) == (digest, count)
    assert "P203" in record["codes"]
    (service.policies / "note.yaml").write_text(note("first"))
    service.wait_until_well()
    metrics = service.metrics()
    assert (metrics["cmdhttp_policy_ok"], metrics["cmdhttp_policy_findings"]) == (1, 0)
    assert metrics[f'cmdhttp_policy_info{{digest="{digest}"}}'] == 1


def test_a_policy_that_fails_its_own_test_does_not_come_into_force(service: ReloadingService) -> None:
    """The tests in the policy files are asked at every reload."""
    wrong = {"as": "ann", "run": "note", "on": "local", "expect": "deny"}
    (service.policies / "more.yaml").write_text(json.dumps({"version": 1, "tests": [wrong]}))
    (service.policies / "note.yaml").write_text(note("untested"))
    assert "more.yaml:1" in service.wait_for_trouble("P501")
    assert service.result("note")["stdout"] == "first"
    (service.policies / "more.yaml").unlink()
    service.wait_for_note("untested")


def test_a_token_that_is_gone_opens_nothing(service: ReloadingService) -> None:
    """With its token's line removed, a principal is refused from the next request on, on an open connection too."""
    with service.client("bob") as bob:
        assert bob.get("/v1/me").status_code == 200
        (service.policies / "access.yaml").write_text(service.texts("A", principals=("ann",))["access.yaml"])
        wait_until(lambda: bob.get("/v1/me").status_code == 401, "the token is refused")
    assert service.which() == "A A"


def test_a_policy_that_nobody_could_use_does_not_come_into_force(service: ReloadingService) -> None:
    """What would not be served at a start is not taken later: a policy without a token locks everybody out."""
    (service.policies / "access.yaml").write_text(service.texts("A", principals=())["access.yaml"])
    service.wait_for_trouble("no principal with a token")
    assert service.which() == "A A"


def test_a_folder_that_goes_and_comes_back(service: ReloadingService) -> None:
    """Without its folder the service goes on and says so; with it all is well again."""
    aside = service.policies.with_name("aside")
    service.policies.rename(aside)
    service.wait_for_trouble("P101 the policy folder does not exist")
    assert service.which() == "A A"
    aside.rename(service.policies)
    service.wait_until_well()


def test_a_git_checkout(service: ReloadingService) -> None:
    """A checkout of another branch, with files that come, go and change, brings that branch's policy into force."""

    def git(*arguments: str) -> None:
        command = [
            "git",
            "-C",
            str(service.policies),
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            *arguments,
        ]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"})

    git("init", "--quiet", "--initial-branch=a")
    git("add", ".")
    git("commit", "--quiet", "--message=a")
    git("checkout", "--quiet", "-b", "b")
    service.put("B")
    for number in range(20):
        (service.policies / f"{number}.yaml").write_text("version: 1\n")
    git("add", ".")
    git("commit", "--quiet", "--message=b")
    git("checkout", "--quiet", "a")
    service.wait_for("A")
    git("checkout", "--quiet", "b")
    service.wait_for("B")
    git("checkout", "--quiet", "a")
    service.wait_for("A")
    shutil.rmtree(service.policies / ".git")


def test_requests_while_the_policy_flips(tmp_path: Path) -> None:
    """Under a storm of swaps and hangups every call is decided and planned by one policy: no error, no mixture."""
    with MountedService.running(tmp_path / "service") as service:
        versions: dict[str, set[str]] = {}
        done = threading.Event()

        def call() -> int:
            calls = 0
            with service.client() as client:
                while not done.is_set():
                    answer = client.post("/v1/run/which", json={})
                    assert answer.status_code == 200, answer.text
                    versions.setdefault(answer.json()["policy"], set()).add(answer.json()["stdout"])
                    calls += 1
            return calls

        with ThreadPoolExecutor(3) as pool:
            callers = [pool.submit(call) for _ in range(3)]
            try:
                for turn in range(30):
                    service.swap("B" if turn % 2 == 0 else "A")
                    service.hang_up()
                    done.wait(0.05)
            finally:
                done.set()
            assert all(caller.result(10) > 5 for caller in callers)
        assert sorted(versions.values()) == [{"A A"}, {"B B"}]
        service.swap("B")
        service.wait_for("B")
        service.wait_until_well()


def test_a_bind_mount(tmp_path: Path) -> None:
    """Changes behind a bind mount take effect, and so does another folder that is mounted over it."""

    class BoundService(ReloadingService):
        """The policy is a bind mount, in a mount namespace that only the service has."""

        def lay(self) -> None:
            source, other = self.folder / "source", self.folder / "other"
            for folder in (self.policies, source, other):
                folder.mkdir(mode=0o700)
            self.put("A", source)
            self.put("A", other)
            (other / "note.yaml").write_text(note("mounted over"))
            mount = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
            self.prefix = [*unshare, "sh", "-c", mount, "sh", str(source), str(self.policies)]

    as_root = os.geteuid() == 0
    unshare = ["unshare", "--mount"] if as_root else ["unshare", "--mount", "--user", "--map-root-user"]
    enter = ["nsenter", "--mount"] if as_root else ["nsenter", "--mount", "--user", "--preserve-credentials"]
    with BoundService.running(tmp_path / "service") as service:
        assert list(service.policies.iterdir()) == []
        by_rename(service.folder / "source" / "note.yaml", note("changed behind it"))
        service.wait_for_note("changed behind it")
        over = ["mount", "--bind", str(service.folder / "other"), str(service.policies)]
        subprocess.run([*enter, f"--target={service.pid}", *over], check=True)
        service.wait_for_note("mounted over")


def test_hangups(tmp_path: Path) -> None:
    """With `policy_poll` 0 only SIGHUP makes it read the policy, changed or not; no SIGHUP ends the program, ever."""
    flags: dict[str, Any] = {"policy-poll": "0", "drain": "5"}
    with ReloadingService.running(tmp_path / "service", **flags) as service:
        service.hang_up()
        wait_until(lambda: service.loads("unchanged") == 1, "the policy was read again")
        service.put("B")
        threading.Event().wait(0.6)
        assert service.which() == "A A"
        assert service.loads("loaded") == 1
        service.hang_up()
        service.wait_for("B")
        (service.policies / "note.yaml").write_text("version: 2\n")
        service.hang_up()
        service.wait_for_trouble("P2")
        service.hang_up()
        wait_until(lambda: service.log.count("the policy does not load") == 2, "each hangup is answered in the log")
        job = service.launch("nap")
        wait_until(lambda: service.job(job["id"])["state"] == "running", "the job runs")
        os.kill(service.pid, signal.SIGTERM)
        for _ in range(20):
            if service._process and service._process.poll() is None:
                service.hang_up()
            threading.Event().wait(0.05)
        assert service._process
        assert service._process.wait(10) == 0


def test_the_demo_token_outlives_a_reload(tmp_path: Path) -> None:
    """`serve --demo` gives its token to every policy that it loads, and keeps the last one that can take it."""

    class DemoService(ReloadingService):
        def serve_arguments(self, **changed: str) -> list[str]:
            return [*super().serve_arguments(**changed), "--demo"]

    with DemoService.running(tmp_path / "service") as service:
        service.tokens["demo"] = (service.data / "demo-token").read_text().strip()
        (service.policies / "note.yaml").write_text(note("for demo"))
        wait_until(lambda: service.result("note", principal="demo")["stdout"] == "for demo", "the reload")
        texts = service.texts("A", principals=())
        (service.policies / "access.yaml").write_text(texts["access.yaml"].replace("demo", "other"))
        service.wait_for_trouble("--demo needs a principal 'demo'")
        assert service.result("note", principal="demo")["ok"]
