"""`cmdhttp jobs` against the real service: lists, one job, its end, its output, its files."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.calling import CalledService, call, calling, ids

LEFT = {"a/one.txt": b"one\n", "a/b/big.bin": bytes(300000), "od d": b"x\n"}

pytestmark = pytest.mark.timeout(240)  # each call is a process, and a start of the program takes long on a busy machine


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CalledService]:
    with CalledService.running(tmp_path_factory.mktemp("client") / "service", heartbeat="0.3") as running:
        yield running


@pytest.fixture(scope="module")
def left(service: CalledService) -> str:
    """A job that has left files."""
    return str(service.result("leaves")["id"])


def test_lists(service: CalledService) -> None:
    """Newest first, filtered as the API filters, one line a job; with --all every page; as JSON the same documents."""
    made = [service.result("exit", {"params": {"code": code}})["id"] for code in (0, 1, 0, 1, 1)]
    done = call(service, "jobs", "list", "--command", "exit", "--limit", "2")
    assert ids(done.stdout.decode().splitlines()) == made[:-3:-1]
    done = call(service, "jobs", "list", "--command", "exit", "--limit", "2", "--all")
    assert ids(done.stdout.decode().splitlines()) == made[::-1]
    done = call(service, "jobs", "list", "--command", "exit", "--state", "failed", "--state", "lost")
    assert ids(done.stdout.decode().splitlines()) == [made[4], made[3], made[1]]
    assert b"failed, exit code 1" in done.stdout
    page = json.loads(call(service, "jobs", "list", "--command", "exit", "--limit", "3", "--json").stdout)
    assert [job["id"] for job in page["jobs"]] == made[:-4:-1]
    assert page["next_cursor"]
    lines = call(service, "jobs", "list", "--command", "exit", "--limit", "2", "--all", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == made[::-1]
    assert call(service, "jobs", "list", "--until", "2001-01-01T00:00:00Z").stdout == b""
    since = call(service, "jobs", "list", "--since", "2001-01-01T00:00:00+01:00", "--host", "local", "--limit", "1")
    assert since.stdout.count(b"\n") == 1


def test_filters_that_cannot_be_used(service: CalledService) -> None:
    """All that is wrong comes at once, by its flag's name."""
    done = call(service, "jobs", "list", "--state", "gone", "--since", "yesterday", "--limit", "0")
    assert done.returncode == 241
    for name in (b"?state", b"?since", b"?limit"):
        assert name in done.stderr


def test_one_job(service: CalledService, left: str) -> None:
    """What is known of a job, and its files; as JSON the whole document. Another's job is none."""
    shown = call(service, "jobs", "show", left).stdout.decode()
    assert shown.startswith(f"{left}: succeeded\n  command: leaves\n  principal: ann\n")
    assert f"file a/one.txt: 4 bytes, sha256 {hashlib.sha256(b'one' + bytes([10])).hexdigest()}" in shown
    assert json.loads(call(service, "jobs", "show", left, "--json").stdout)["id"] == left
    assert call(service, "jobs", "show", left, principal="bob").returncode == 241
    assert call(service, "jobs", "show", "job_" + "0" * 26).returncode == 241
    assert call(service, "jobs", "show", "job_1").returncode == 2


@pytest.mark.parametrize("verb", [["show"], ["output"], ["follow"], ["cancel"], ["fetch"]])
def test_ids_that_are_none(service: CalledService, verb: list[str], tmp_path: Path) -> None:
    """No word leads to another route."""
    for identity in ("../me", "job_x/cancel", "", "job_01M8D1ZWGFYC3ER37YZK6WKZA\n"):
        assert call(service, "jobs", *verb, identity).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_following_from_the_middle(service: CalledService) -> None:
    """`--after` goes on behind an event, and the exit code is still that of the job."""
    job = service.result("tick", {"params": {"count": 5, "pause": 0.1}})
    events = service.events(job["id"])
    third = [event for event in events if event.type == "output" and event.document["stream"] == "stdout"][2]
    done = call(service, "jobs", "follow", job["id"], "--after", str(third.seq))
    rest = [event for event in events if event.seq > third.seq and event.type == "output"]
    expected = "".join(event.document["text"] for event in rest if event.document["stream"] == "stdout")
    assert (done.returncode, done.stdout.decode()) == (0, expected)
    lines = call(service, "jobs", "follow", job["id"], "--json").stdout.decode().splitlines()
    assert lines == [event.raw for event in events]


def test_output_of_each_stream_and_host(service: CalledService) -> None:
    """One stream of one run, byte for byte; on several hosts the host must be named."""
    job = service.result("exit", {"params": {"code": 0}, "hosts": ["local", "far"]})["id"]
    for follow in ([], ["--follow"]):
        one = call(service, "jobs", "output", job, "--host", "far", "--stream", "stderr", *follow)
        assert (one.returncode, one.stdout) == (0, b"err\n")
        assert call(service, "jobs", "output", job, *follow).returncode in (2, 241)
        assert call(service, "jobs", "output", job, "--host", "nowhere", *follow).returncode in (2, 241)
    binary = service.result("binary")["id"]
    assert call(service, "jobs", "output", binary, "--follow").stdout == b"\xff\xfe\x00\x01"


def test_output_as_it_comes(service: CalledService) -> None:
    """`--follow` shows what comes while the job runs, and ends with it."""
    job = service.launch("sleep")["id"]
    with calling(service, "jobs", "output", job, "--follow") as process:
        assert process.stdout
        assert process.stdout.readline().strip().isdigit()
        assert service.job(job)["state"] == "running"
        service.cancel(job)
        assert process.stdout.read() == b""
        assert process.wait(40) == 0


def test_cancel_tells_the_truth(service: CalledService) -> None:
    """A running job is stopped and its stop confirmed; one that has ended says so; several hosts have a line each."""
    job = service.launch("sleep")["id"]
    done = call(service, "jobs", "cancel", job)
    assert (done.returncode, done.stdout) == (0, f"{job}: canceled, signal TERM, stop confirmed\n".encode())
    done = call(service, "jobs", "cancel", job)
    assert (done.returncode, b"had ended before" in done.stdout) == (1, True)
    several = service.launch("sleep", {"hosts": ["local", "far"]})["id"]
    done = call(service, "jobs", "cancel", several)
    assert done.returncode == 0
    assert b"  far: canceled, signal TERM, stop confirmed\n" in done.stdout
    assert b"2 canceled" in call(service, "jobs", "list", "--limit", "1").stdout
    as_json = json.loads(call(service, "jobs", "cancel", several, "--json").stdout)
    assert (as_json["id"], as_json["state"]) == (several, "failed")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_fetched(service: CalledService, left: str, tmp_path: Path) -> None:
    """Every file with its folders and bytes, into a folder that is made; again, nothing changes."""
    folder = tmp_path / "new" / "place"
    done = call(service, "jobs", "fetch", left, str(folder))
    assert (done.returncode, done.stderr) == (0, b"")
    assert files_of(folder) == LEFT
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = json.loads(call(service, "jobs", "fetch", left, str(folder), "--json").stdout)
    assert [entry["error"] for entry in again["files"]] == [None] * 3
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_nothing_is_overwritten(service: CalledService, left: str, tmp_path: Path) -> None:
    """A file that is there stays as it is; the others are fetched, and the exit code says that not all were."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_bytes(b"mine")
    done = call(service, "jobs", "fetch", left, str(tmp_path))
    assert done.returncode == 1
    assert b"a/one.txt" in done.stderr
    assert files_of(tmp_path) == {**LEFT, "a/one.txt": b"mine"}


def test_links_lead_nowhere(service: CalledService, left: str, tmp_path: Path) -> None:
    """A link, to a folder or a file, in the place where something should go is not followed."""
    outside, folder = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    folder.mkdir()
    (folder / "a").symlink_to(outside)
    (folder / "od d").symlink_to(outside / "gone")
    done = call(service, "jobs", "fetch", left, str(folder))
    assert done.returncode == 1
    assert list(outside.iterdir()) == []
    assert not any(path.name.endswith(".part") for path in folder.rglob("*"))


def test_no_files(service: CalledService, tmp_path: Path) -> None:
    """A job without files is no error; a folder that cannot be made is one."""
    job = service.result("exit", {"params": {"code": 0}})["id"]
    assert call(service, "jobs", "fetch", job, str(tmp_path)).returncode == 0
    assert call(service, "jobs", "fetch", job, "/proc/no/folder").returncode == 2
    assert call(service, "jobs", "fetch", job, os.devnull).returncode == 2
