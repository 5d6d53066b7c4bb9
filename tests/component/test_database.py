"""The database file: older and newer versions, a crash in the middle, its size and that of its log."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from cmdhttp import __version__
from cmdhttp.errors import ConfigError
from cmdhttp.jobs import database
from cmdhttp.jobs.database import PAGE, Database, open_database
from cmdhttp.jobs.journal import IdempotencyKey, Journal, Replay
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.pruning import stored
from cmdhttp.jobs.schema import STEPS
from cmdhttp.jobs.state import Job, State
from tests.support.kept import SIZE, finished

pytestmark = pytest.mark.anyio
DATA = Path(__file__).parents[1] / "data"
NAME = "jobs.sqlite3"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def setting(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"PRAGMA {name}").fetchone()[0])


@pytest.mark.parametrize("version", [1, 2])
async def test_an_older_database_is_taken_over(tmp_path: Path, version: int) -> None:
    """Everything that a program of that version has written is there afterwards, in lists, by id, in counts and as keys."""
    shutil.copy(DATA / f"journal-v{version}.sqlite", tmp_path / NAME)
    journal = Journal(tmp_path)
    try:
        page = await journal.page(Filter(principal="ann", limit=9))
        assert [(job.state, len(job.runs)) for job in page] == [
            (State.QUEUED, 1),
            (State.RUNNING, 1),
            (State.SUCCEEDED, 2),
            (State.SUCCEEDED, 1),
        ]
        queued, running, several, done = page
        assert await journal.page(Filter(principal="ann", limit=9, host="web-1")) == [queued, several]
        assert await journal.page(Filter(principal="ann", limit=9, host="web-2", states=(State.SUCCEEDED,))) == [
            several
        ]
        assert await journal.page(
            Filter(principal="ann", limit=9, since=done.created_at, until=several.created_at)
        ) == [done]
        cut_off = await journal.get(running.id)
        assert [job.id for job in (await journal.unfinished())[0]] == [running.id, queued.id]
        assert cut_off is not None
        assert cut_off.runs[0].started_at is not None, "the events after the row complete it"
        assert await journal.get(done.id) == done
        assert (done.output_kept, done.params) == (True, {"unit": "nginx é"})
        assert [event.seq for event in await journal.events(several.id, after=0, limit=99)] == list(
            range(1, several.last_seq + 1)
        )
        key = IdempotencyKey(principal="ann", key="k", digest="d")
        assert await journal.replay(key) == Replay(job_id=done.id, same=True)
        there = await journal.database.read(stored)
        assert (there.jobs, there.files) == (2, 3 * SIZE // 2)
        await finished(journal, 9, at=1_790_000_100.0)
    finally:
        journal.close()
    assert (setting(tmp_path / NAME, "user_version"), setting(tmp_path / NAME, "page_size")) == (len(STEPS), PAGE)
    assert setting(tmp_path / NAME, "auto_vacuum") == 2


@pytest.mark.parametrize("version", [1, 2])
async def test_an_old_database_is_like_a_new_one(tmp_path: Path, version: int) -> None:
    """The tables, indexes and triggers that the steps lead to are those of a database that is made now."""

    def shape(path: Path) -> set[tuple[str, str]]:
        open_database(path).close()
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
            return {(name, " ".join(sql.split())) for name, sql in rows}

    shutil.copy(DATA / f"journal-v{version}.sqlite", tmp_path / "old")
    assert shape(tmp_path / "old") == shape(tmp_path / "new")


_CHILD = """
import os, signal, sys
from pathlib import Path
from cmdhttp.jobs import database
from cmdhttp.jobs.schema import STEPS

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

path, at = Path(sys.argv[1]), sys.argv[2]
if at == "before the commit":
    database.open_database(path, steps=(*STEPS, die))
else:
    database._reshape = die
    database.open_database(path)
"""


@pytest.mark.parametrize("at", ["before the commit", "before the new shape"])
async def test_a_kill_in_the_middle_of_an_upgrade(tmp_path: Path, at: str) -> None:
    """The file is then of the old version or of the new, whole, and the next start goes on."""
    shutil.copy(DATA / "journal-v1.sqlite", tmp_path / NAME)
    command = [sys.executable, "-c", _CHILD, str(tmp_path / NAME), at]
    assert subprocess.run(command, capture_output=True, check=False, timeout=15).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (4,)
    assert setting(tmp_path / NAME, "user_version") == (1 if at == "before the commit" else len(STEPS))
    journal = Journal(tmp_path)
    assert len(await journal.page(Filter(principal="ann", limit=9))) == 4
    journal.close()


async def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    """An upgrade that cannot be done leaves the old file as it was, and says so."""
    path = tmp_path / NAME
    shutil.copy(DATA / "journal-v1.sqlite", path)

    def broken(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE half (x)")
        db.execute("SELECT * FROM nowhere")

    with pytest.raises(ConfigError, match="no such table: nowhere"):
        open_database(path, steps=(*STEPS, broken))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('half', 'pruned')").fetchone() == (0,)
    assert setting(path, "user_version") == 1


async def test_a_file_that_cannot_get_the_new_shape_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a second file the old one stays as it is, of the new version."""
    shutil.copy(DATA / "journal-v1.sqlite", tmp_path / NAME)
    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.jobs.database._reshape", lambda _db: None)
        journal = Journal(tmp_path)
    await finished(journal, 1, at=1_790_000_100.0)
    journal.close()
    assert (setting(tmp_path / NAME, "page_size"), setting(tmp_path / NAME, "auto_vacuum")) == (4096, 0)


def newer(path: Path, *, signed: bool) -> None:
    open_database(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA user_version=99")
        db.execute("UPDATE written_by SET program = '9.1.0'" if signed else "DROP TABLE written_by")


@pytest.mark.parametrize(("signed", "writer"), [(True, "cmdhttp 9.1.0"), (False, "a newer cmdhttp")])
def test_a_newer_database_is_left_alone(tmp_path: Path, signed: bool, writer: str) -> None:
    """It is refused with the version, the program that wrote it and what to do, and not one byte of it changes."""
    path = tmp_path / NAME
    newer(path, signed=signed)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"version 99, written by {writer}") as caught:
        Database(path)
    assert "--data" in caught.value.hint
    assert path.read_bytes() == before


def test_who_has_written_it(tmp_path: Path) -> None:
    """A database says which program wrote it last."""
    open_database(tmp_path / NAME).close()
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        assert db.execute("SELECT program FROM written_by").fetchall() == [(__version__,)]


def test_what_is_no_database(tmp_path: Path) -> None:
    """A file that is none is refused, with a way out."""
    (tmp_path / NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="cannot be used: file is not a database") as caught:
        Database(tmp_path / NAME)
    assert "backup" in caught.value.hint


def test_a_disk_that_is_full_is_said_to_be(tmp_path: Path) -> None:
    """The way out of a full disk is room, not a backup."""

    def full(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA max_page_count=1")
        db.execute("CREATE TABLE more (x)")
        db.execute("INSERT INTO more VALUES (zeroblob(100000))")

    with pytest.raises(ConfigError, match="disk is full") as caught:
        Database(tmp_path / NAME, steps=(*STEPS, full))
    assert caught.value.hint.startswith("Make room")


async def test_the_log_stays_short_under_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody always reads, as many readers in turn do, the log is begun anew; one that reads for long only delays it."""
    monkeypatch.setattr(database, "_MOST_WAL", 1 << 20)
    monkeypatch.setattr(database, "_LOOK_EVERY", 4)
    monkeypatch.setattr(database, "_TRY_AGAIN", 8)
    monkeypatch.setattr(database, "_WAIT_FOR_READER_MS", 100)
    path = tmp_path / NAME
    log = path.with_name(path.name + "-wal")
    db = Database(path)
    await db.write(lambda each: each.execute("CREATE TABLE filler (x)"), durable=False)

    async def write(count: int) -> int:
        most = 0
        for _ in range(count):
            await db.write(lambda each: each.execute("INSERT INTO filler VALUES (zeroblob(100000))"), durable=False)
            most = max(most, log.stat().st_size)
        return most

    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN")
    foreign.execute("SELECT count(*) FROM jobs").fetchone()
    assert await write(60) > 4 << 20, "a foreign reader that never ends keeps the log"
    foreign.execute("COMMIT")
    await write(30)
    assert log.stat().st_size < 3 << 20
    stop = anyio.Event()

    async def read_always() -> None:
        while not stop.is_set():
            await db.read(lambda each: each.execute("SELECT max(length(x)) FROM filler").fetchone())

    async with anyio.create_task_group() as group:
        group.start_soon(read_always)
        assert await write(400) < 24 << 20, "40 MB were written"
        stop.set()
    foreign.close()
    db.close()


async def test_the_rows_of_a_job_are_small(tmp_path: Path) -> None:
    """A thousand jobs take less than 4 kB each in the database."""
    journal = Journal(tmp_path)
    jobs: list[Job] = [await finished(journal, number, at=1_790_000_000.0 + number) for number in range(200)]
    there = await journal.database.read(stored)
    assert there.database / len(jobs) < 6000
    journal.close()
