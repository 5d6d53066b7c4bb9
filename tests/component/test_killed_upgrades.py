"""Kills at random moments while an old job database is brought up: it is whole, and the next start has every old job."""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cmdhttp.ids import job_id
from cmdhttp.jobs.schema import STEPS
from tests.support.service import Document, Service

DATA = Path(__file__).parents[1] / "data"
NAME = "jobs.sqlite3"
_JOBS = 200

_ROUNDS = """
import json, os, random, shutil, sqlite3, sys, time
from pathlib import Path
from cmdhttp.jobs.database import open_database
from cmdhttp.jobs.schema import STEPS

old, path, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
chance = random.Random(sys.argv[4])


def clear():
    for part in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    shutil.copy(old, path)


def begin():
    child = os.fork()
    if not child:
        open_database(path).close()
        os._exit(0)
    return child


clear()
began = time.monotonic()
os.waitpid(begin(), 0)
whole = time.monotonic() - began
seen = {"killed": 0, "old": 0, "new": 0}
first = None
while seen["killed"] < rounds:
    if chance.random() < 0.6:  # the other rounds go on with what the one before has left
        clear()
    child = begin()
    time.sleep(chance.uniform(0, whole))
    os.kill(child, 9)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen["killed"] += killed
    whole *= 1.05 if killed else 0.95  # it takes as long as others let it
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    assert version in (1, len(STEPS)), version
    seen["old" if version == 1 else "new"] += 1
    kept = db.execute("SELECT count(*), sum(length(body)) FROM jobs").fetchone()
    events = db.execute("SELECT count(*), sum(length(body)) FROM events").fetchone()
    db.close()
    first = first or (kept, events)
    assert (kept, events) == first
print(json.dumps(seen))
"""


def multiply(path: Path, times: int) -> None:
    """Let an old database have as many copies of each job that has ended."""
    with closing(sqlite3.connect(path)) as db, db:
        ended = db.execute("SELECT id, principal, command, state, created_at, body FROM jobs WHERE state = 'succeeded'")
        for old, *rest, at, body in ended.fetchall():
            for number in range(times):
                new = job_id(unix_ms=int(at * 1000), entropy=(number + 1).to_bytes(10, "big"))
                made: dict[str, Any] = {**json.loads(body), "id": new}
                row = (new, *rest, at, json.dumps(made).encode())
                db.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?)", row)
                db.execute("INSERT INTO job_hosts SELECT host, ? FROM job_hosts WHERE job = ?", (new, old))
                db.execute("INSERT INTO events SELECT ?, seq, kind, body FROM events WHERE job = ?", (new, old))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.long)])
def test_kills_at_random_moments(tmp_path: Path, rounds: int) -> None:
    """Each leaves the old version or the new one, whole; then the program starts with it, and shows every old job."""
    folder = tmp_path / "service"
    (folder / "data").mkdir(parents=True)
    old, path = tmp_path / "old", folder / "data" / NAME
    in_memory = Path(tempfile.mkdtemp(dir="/dev/shm"))  # a kill is no power cut: what a sync would cost proves nothing
    shutil.copy(DATA / "journal-v1.sqlite", old)
    multiply(old, _JOBS)
    try:
        command = [sys.executable, "-c", _ROUNDS, str(old), str(in_memory / NAME), str(rounds), "seed"]
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=280)
        shutil.copytree(in_memory, folder / "data", dirs_exist_ok=True)
    finally:
        shutil.rmtree(in_memory)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["killed"] == rounds
    assert min(seen["old"], seen["new"]) > 0, "before the commit, and after it"
    with Service.running(folder, remotes=None, **{"keep-days": "0"}) as service:
        jobs: list[Document] = []
        cursor = None
        with service.client() as client:
            while cursor is not None or not jobs:
                page = client.get("/v1/jobs", params={"limit": 200, **({"cursor": cursor} if cursor else {})}).json()
                jobs, cursor = jobs + page["jobs"], page["next_cursor"]
        states = [job["state"] for job in jobs]
        assert len({job["id"] for job in jobs}) == len(jobs) == 2 * _JOBS + 4
        assert (states.count("succeeded"), states.count("lost"), states.count("failed")) == (2 * _JOBS + 2, 1, 1)
        assert service.result("exit", {"params": {"code": 0}})["ok"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
