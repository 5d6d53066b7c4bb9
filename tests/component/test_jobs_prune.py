"""`cmdhttp jobs prune` on a data folder."""

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cmdhttp.audit.chain import first_break
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.state import Job
from tests.support.cli import cmdhttp
from tests.support.kept import SIZE, accept, files, fill_up, finished, names, new_job

DAY = 86_400.0


async def made_in(folder: Path) -> list[Job]:
    journal = Journal(folder)
    now = time.time() - 60
    made = [await finished(journal, number, at=now - number * DAY) for number in range(5, 0, -1)]
    made.append(await finished(journal, 0, at=now, key="k"))
    await accept(journal, new_job(9, at=now - 365 * DAY))
    journal.close()
    return made


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Six finished jobs, a day from each other, the newest of today with a key; and one of last year that never ended."""
    return asyncio.run(made_in(tmp_path))


def ended(folder: Path) -> set[str]:
    return names(folder, "SELECT id FROM jobs WHERE finished_at IS NOT NULL")


def prune(folder: Path, *arguments: str, **environ: str) -> dict[str, object]:
    done = cmdhttp("jobs", "prune", "--data", str(folder), "--json", *arguments, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_a_dry_run_tells_and_removes_nothing(tmp_path: Path, jobs: list[Job]) -> None:
    """It says how many would go, by which limit, how much they take, and of when they are; then the same really go."""
    before = files(tmp_path)
    told = prune(tmp_path, "--older-than", "60h", "--dry-run")
    assert files(tmp_path) == before
    assert len(ended(tmp_path)) == 6
    assert (told["dry_run"], told["jobs"], told["limits"], told["bytes"]) == (True, 3, {"age": 3}, 3 * SIZE)
    assert told["stored"] == {"jobs": 6, "files_bytes": 6 * SIZE, "database_bytes": told["stored"]["database_bytes"]}  # type: ignore[index]
    done = prune(tmp_path, "--older-than", "60h")
    assert (done["dry_run"], done["jobs"], done["oldest"], done["newest"]) == (False, 3, told["oldest"], told["newest"])
    assert ended(tmp_path) == {job.id for job in jobs[3:]} == files(tmp_path)


def test_by_count_and_for_people(tmp_path: Path, jobs: list[Job]) -> None:
    """Text says the same; a job of a young key keeps its row, and one that has not ended stays."""
    done = cmdhttp("jobs", "prune", "--data", str(tmp_path), "--keep-jobs", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == [
        "removed: 2 jobs, 16.0 KiB of output and artefacts",
        "  over the limit of count: 2",
    ]
    assert done.stdout.splitlines()[-1].startswith("left: 4 finished jobs, 32.0 KiB of files, ")
    text = cmdhttp("jobs", "prune", "--data", str(tmp_path), "--keep-bytes", "1").stdout
    assert "because of an idempotency key of the last 24 hours: 1" in text
    assert names(tmp_path, "SELECT id FROM jobs WHERE NOT whole") == {jobs[-1].id}
    assert len(names(tmp_path, "SELECT id FROM jobs")) == 2
    assert files(tmp_path) == set()


def test_a_dry_run_by_bytes_counts_as_it_would_go(tmp_path: Path, jobs: list[Job]) -> None:
    """A limit of bytes finds as many as it takes, not all."""
    there = prune(tmp_path, "--dry-run")["stored"]
    assert isinstance(there, dict)
    most = there["files_bytes"] + there["database_bytes"]
    some = prune(tmp_path, "--dry-run", "--keep-bytes", str(most - SIZE))["jobs"]
    every = prune(tmp_path, "--dry-run", "--keep-bytes", "1B")["jobs"]
    assert (some, every) == (1, 6)
    assert prune(tmp_path, "--dry-run", "--keep-bytes", "1TiB")["jobs"] == 0


def test_without_limits_those_of_the_service_count(tmp_path: Path, jobs: list[Job]) -> None:
    """The variables of the service are read; by default the jobs of a month stay."""
    assert prune(tmp_path, "--dry-run")["jobs"] == 0
    assert prune(tmp_path, "--dry-run", CMDHTTP_KEEP_DAYS="2.5")["jobs"] == 3


def test_it_is_on_record(tmp_path: Path, jobs: list[Job]) -> None:
    """The audit log gets a record, its chain whole; one of a prune that removed nothing it does not."""
    log = tmp_path / "audit" / "audit.jsonl"
    prune(tmp_path, "--keep-jobs", "5")
    prune(tmp_path, "--keep-jobs", "5")
    lines = log.read_bytes().splitlines()
    assert first_break(lines) is None
    (record,) = map(json.loads, lines)
    assert (record["code"], record["by"], record["jobs"], record["limits"]) == ("jobs.pruned", "admin", 1, {"count": 1})


@contextmanager
def held(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_while_a_service_runs(tmp_path: Path, jobs: list[Job]) -> None:
    """Nothing is removed beside a service, which alone knows who reads; a look is fine."""
    with held(tmp_path):
        done = cmdhttp("jobs", "prune", "--data", str(tmp_path), "--older-than", "1d")
        assert (done.returncode, done.stdout) == (2, "")
        assert "a service uses the data folder" in done.stderr
        assert "--dry-run" in done.stderr
        assert prune(tmp_path, "--older-than", "1d", "--dry-run")["jobs"] == 5
    assert len(files(tmp_path)) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--older-than", "7"], "--older-than must be"),
        (["--older-than", "-1d"], "--older-than"),
        (["--older-than", "0s"], "--older-than must be longer than zero"),
        (["--older-than", "9" * 400 + "d"], "--older-than"),
        (["--keep-bytes", "5 GB"], "--keep-bytes must be a size"),
        (["--keep-bytes", "0"], "--keep-bytes must be over 0"),
        (["--keep-bytes", "\u0661"], "--keep-bytes must be a size"),
        (["--keep-jobs", "0"], "--keep-jobs must be 1 or more"),
        (["--keep-jobs", "-5"], "--keep-jobs must be 1 or more"),
        (["--keep-jobs", "many"], "--keep-jobs"),
    ],
)
def test_limits_that_make_no_sense(tmp_path: Path, jobs: list[Job], arguments: list[str], said: str) -> None:
    """They are refused with their name, and nothing is removed."""
    done = cmdhttp("jobs", "prune", "--data", str(tmp_path), *[f"{arguments[0]}={arguments[1]}"])
    assert done.returncode == 2
    assert said in done.stderr
    assert len(ended(tmp_path)) == 6


def test_a_folder_without_a_database(tmp_path: Path) -> None:
    """A typing error in --data makes no folder and no database."""
    done = cmdhttp("jobs", "prune", "--data", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "there is no job database in" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """What the system refuses is told, with whom to run it as. Nobody can follow a link to itself, root neither."""
    (tmp_path / "jobs.sqlite3").symlink_to("jobs.sqlite3")
    done = cmdhttp("jobs", "prune", "--data", str(tmp_path), "--dry-run")
    assert done.returncode == 2
    assert f"the data folder {tmp_path} cannot be read" in done.stderr
    assert "as the account that serves" in done.stderr


def test_databases_of_other_versions(tmp_path: Path, jobs: list[Job]) -> None:
    """A newer one is refused and untouched; an older one is brought up by a prune, and not by a look."""
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(Path(__file__).parents[1] / "data" / "journal-v1.sqlite", old / "jobs.sqlite3")
    looked = cmdhttp("jobs", "prune", "--data", str(old), "--dry-run")
    assert looked.returncode == 2
    assert "older version 1" in looked.stderr
    assert prune(old, "--keep-jobs", "1")["jobs"] == 1
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as db:
        db.execute("PRAGMA user_version=99")
    for more in ([], ["--dry-run"]):
        done = cmdhttp("jobs", "prune", "--data", str(tmp_path), "--older-than", "1d", *more)
        assert done.returncode == 2
        assert "version 99, written by cmdhttp" in done.stderr
    assert len(files(tmp_path)) == 6


async def many_in(folder: Path) -> None:
    journal = Journal(folder)
    try:
        for number in range(20):
            await finished(journal, number, at=time.time() - 9 * DAY + number)
    finally:
        journal.close()


def test_a_disk_without_room_for_a_mark(tmp_path: Path) -> None:
    """On a disk that is full to the last byte nothing is half removed, and the way out is said."""
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(data)], check=True)
    try:
        asyncio.run(many_in(data))
        fill_up(data)
        done = cmdhttp("jobs", "prune", "--data", str(data), "--older-than", "1d")
        assert done.returncode == 2
        assert "room" in done.stderr.partition("hint:")[2]
        assert "Traceback" not in done.stderr
        assert len(files(data)) == 20
        (data / "balloon").unlink()
        assert prune(data, "--older-than", "1d")["jobs"] == 20
        assert files(data) == set()
    finally:
        subprocess.run(["umount", str(data)], check=True)
