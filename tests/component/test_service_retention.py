"""Old jobs and a full disk, through the real program."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.support.kept import files, fill_up, names
from tests.support.service import COMMANDS, NDJSON, Document, Service, run_program, wait_until

pytestmark = pytest.mark.timeout(240)
_MEGABYTE = 1 << 20


class KeepingService(Service):
    """A service with a command that leaves a file, one that waits, and one that prints much."""

    commands: ClassVar[Mapping[str, Document]] = {
        **COMMANDS,
        "leaver": {"script": "echo out; echo file > kept", "files": {"collect": ["*"]}, "on": "local"},
        "waiter": {"script": "echo ready; sleep 4; echo done", "on": "local"},
        "much": {"run": ["/usr/bin/head", "-c", "40000000", "/dev/zero"], "output": {"max": "64MiB"}, "on": "local"},
    }


@contextmanager
def keeping(folder: Path, flags: Mapping[str, str]) -> Iterator[KeepingService]:
    more: dict[str, Any] = {**flags}
    with KeepingService.running(folder / "service", **more) as service:
        yield service


def metric(service: Service, name: str) -> float:
    for line in service.ask_ops("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    raise AssertionError(name)


def problem(answer: httpx.Response) -> tuple[int, str, bool]:
    document = answer.json()
    return answer.status_code, document["code"], document["retryable"]


def ids(service: Service) -> list[str]:
    return [job["id"] for job in service.list_jobs()]


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    """Jobs over the limit go, with their files; what remains, a metric and the audit log say the same."""
    with keeping(tmp_path, {"keep-jobs": "3", "prune-every": "0.2"}) as service:
        made = [service.result("leaver")["id"] for _ in range(7)]
        wait_until(lambda: ids(service) == made[:-4:-1], "three are left")
        with service.client() as client:
            gone = client.get(f"/v1/jobs/{made[0]}")
            assert problem(gone) == (404, "not_found", False)
            left = client.get(f"/v1/jobs/{made[-1]}").json()
            assert client.get(left["artefacts"][0]["link"]).text == "file\n"
        assert service.output(made[-1]).text == "out\n"
        wait_until(lambda: files(service.data) == set(made[-3:]), "the files are gone")
        wait_until(lambda: sum(each["jobs"] for each in service.records("jobs.pruned")) == 4, "it is on record")
        for name, value in {
            "cmdhttp_jobs_kept": 3,
            'cmdhttp_jobs_pruned_total{limit="count"}': 4,
            "cmdhttp_pruned_bytes_total": 4 * 2 * 4096,
            'cmdhttp_kept_bytes{what="files"}': 3 * 2 * 4096,
        }.items():
            wait_until(lambda: metric(service, name) == value, f"{name} is {value}")  # noqa: B023 - called in this round
        record = service.records("jobs.pruned")[0]
        assert {"limits", "emptied", "bytes", "oldest", "newest", "orphans"} <= set(record)


def test_a_replay_outlives_the_output(tmp_path: Path) -> None:
    """The job of a young idempotency key stays and says that its output is gone; whoever wants that is told so."""
    key = {"Idempotency-Key": "story-42"}
    with keeping(tmp_path, {"keep-days": "0.00001", "prune-every": "0.2"}) as service:
        first = service.run("leaver", headers=key).json()
        other = service.result("leaver")["id"]
        wait_until(lambda: files(service.data) == set(), "the output is gone")
        wait_until(lambda: names(service.data, "SELECT id FROM jobs") == {first["id"]}, "the other is gone")
        again = service.run("leaver", headers=key)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
        replayed = again.json()
        assert (replayed["id"], replayed["state"], replayed["exit_code"]) == (first["id"], "succeeded", 0)
        assert (replayed["output_kept"], replayed["stdout"], replayed["stdout_bytes"]) == (False, "", 4)
        assert replayed["truncated"]
        assert "output_kept" not in first
        with service.client() as client:
            for path in ("output/stdout", "output/stdout?follow=1", "output/stderr", "events", "artefacts/0"):
                assert problem(client.get(f"/v1/jobs/{first['id']}/{path}")) == (410, "no_longer_kept", False)
            assert client.get(f"/v1/jobs/{first['id']}", params={"wait": 1}).json()["output_kept"] is False
            assert client.get(f"/v1/jobs/{other}").status_code == 404
        for media in (NDJSON, "text/plain"):
            streamed = service.run("leaver", headers={**key, "Accept": media})
            assert problem(streamed) == (410, "no_longer_kept", False)
        with service.client("bob") as client:
            assert client.get(f"/v1/jobs/{first['id']}/events").status_code == 404, "nobody else learns that it was"


def test_a_download_is_not_cut_off(tmp_path: Path) -> None:
    """What is being sent stays until it is sent, though others go meanwhile."""
    with keeping(tmp_path, {"keep-jobs": "1", "prune-every": "0.2"}) as service:
        big = service.result("much", {"output": {"max_bytes": 0}})["id"]
        with service.client() as client, client.stream("GET", f"/v1/jobs/{big}/output/stdout") as answer:
            chunks = answer.iter_bytes()
            size = len(next(chunks))
            small = [service.result("leaver")["id"] for _ in range(3)]
            wait_until(lambda: not files(service.data) & set(small[:2]), "others are gone")
            assert big in files(service.data)
            size += sum(len(chunk) for chunk in chunks)
        assert size == 40_000_000


@contextmanager
def small_disk(at: Path, *, megabytes: int, options: str = "") -> Iterator[None]:
    """A file system of its own, which takes root."""
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700{options}", "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    """Below the reserve new jobs are refused and readiness fails; what runs ends well, replays work, and room heals it."""
    folder, key = tmp_path / "service", {"Idempotency-Key": "before"}
    with small_disk(folder / "data", megabytes=40), KeepingService.running(folder) as service:
        kept = service.run("leaver", headers=key).json()
        running = service.launch("waiter")
        assert service.first_line(running["id"]) == "ready"
        balloon = service.data / "balloon"
        free = shutil.disk_usage(service.data).free
        balloon.write_bytes(bytes(free - 3 * _MEGABYTE))  # 3 MiB are free, and a tenth of 40 is asked for
        wait_until(lambda: not service.ready(), "readiness says so")
        failing = service.ask_ops("/readyz").json()["failing"]
        assert list(failing) == ["disk"]
        assert failing["disk"].endswith("MiB free; new jobs wait for 4 MiB")
        refused = service.run("leaver")
        assert problem(refused) == (503, "no_space", True)
        assert int(refused.headers["retry-after"]) >= 1
        assert "MiB" not in refused.text, "figures of the machine are not for callers"
        replayed = service.run("leaver", headers=key)
        assert (replayed.status_code, replayed.json()["id"]) == (200, kept["id"])
        wait_until(lambda: metric(service, "cmdhttp_disk_short") == 1, "it is counted")
        assert metric(service, "cmdhttp_disk_free_bytes") < 4 * _MEGABYTE
        ended = service.job(running["id"], wait=20)
        assert (ended["state"], ended["stdout"]) == ("succeeded", "ready\ndone\n")
        assert len(ids(service)) == 2, "what was refused left no job"
        balloon.unlink()
        wait_until(service.ready, "there is room again")
        assert service.result("leaver")["ok"]
        wait_until(lambda: metric(service, "cmdhttp_disk_short") == 0, "it is counted no more")


@pytest.mark.parametrize("what", ["full", "read-only"])
def test_a_data_folder_that_takes_no_write(tmp_path: Path, what: str) -> None:
    """The start is refused in one line that says what is wrong and how to mend it."""
    data, policies = tmp_path / "data", tmp_path / "policies"
    policies.mkdir(mode=0o755)
    token = json.loads(run_program("token", "new", "p", "--json").stdout)
    del token["token"]
    policy = {
        "version": 1,
        "commands": {"c": {"on": "local", "run": ["/bin/true"], "effect": "read"}},
        "principals": {"p": {"tokens": [token]}},
    }
    (policies / "p.yaml").write_text(json.dumps(policy))
    with small_disk(data, megabytes=4):
        if what == "full":
            fill_up(data)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
        done = run_program(
            "serve", "--policies", str(policies), "--data", str(data), "--runs", str(tmp_path / "runs"),
            "--listen", f"unix:{tmp_path}/api", "--ops-listen", f"unix:{tmp_path}/ops",
        )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    full = ("No space left", "is full", "disk I/O error")
    assert any(text in done.stderr for text in full) == (what == "full")
    assert ("Read-only file system" in done.stderr or "readonly" in done.stderr) == (what == "read-only")
    assert "room" in done.stderr.partition("hint:")[2]
