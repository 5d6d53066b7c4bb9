"""Where the service keeps its data, its secrets and the folders of runs: modes, space, and how fast the disk is."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmdhttp.cli.doctor.case import Case, Seen, fail, name_of, ok, warn
from cmdhttp.jobs.room import Room

_LEAST_FREE = 1 << 30
_SLOWEST_SYNC = 0.020
_SYNCS = 10
_BLOCK = 4096
_OTHERS_WRITE, _OTHERS = 0o022, 0o077


def check_data(case: Case) -> Iterator[Seen]:
    folder = case.settings.data
    if not folder.exists():
        with borrowed(folder):
            yield ok(f"{folder} is not there yet, and can be made")
        return
    status = folder.stat()
    if not folder.is_dir():
        yield fail(f"{folder} is no folder", "Name another with --data.")
    elif status.st_uid != case.uid:
        what = f"{folder} belongs to {name_of(status.st_uid)}, and the service would be {name_of(case.uid)}"
        hint = "Run the doctor as the account that serves, or give the folder to it."
        yield warn(what, hint) if case.uid == 0 else fail(what, hint)
    elif status.st_mode & _OTHERS_WRITE:
        yield fail(f"others may write {folder} ({_mode(status)})", "Look at who has been in it, then chmod 0700.")
    elif status.st_mode & _OTHERS:
        yield warn(f"others may look into {folder} ({_mode(status)})", "chmod 0700; 'serve' does so at its start.")
    else:
        yield ok(f"only its account may look into {folder} ({_mode(status)})")


def check_disk(case: Case) -> Iterator[Seen]:
    folder = _nearest(case.settings.data)
    free = (status := os.statvfs(folder)).f_bavail * status.f_frsize
    room = Room(folder, reserve=case.settings.disk_reserve)
    what = f"{free / (1 << 30):.1f} GiB free for {case.settings.data}"
    if status.f_flag & os.ST_RDONLY:
        yield fail(f"{folder} is on a read-only file system", "Name another folder with --data.")
    elif room.trouble:
        yield fail(
            f"{what}: {room.trouble}", "Make room, or set --disk-reserve lower: until then there are no new jobs."
        )
    elif free < _LEAST_FREE:
        yield warn(what, "Make room: without it there are no new jobs.")
    else:
        yield ok(what)


def check_sync(case: Case) -> Iterator[Seen]:
    """Each call waits for records to be on disk before anything starts."""
    with borrowed(case.settings.data) as folder, tempfile.TemporaryFile(prefix="doctor-", dir=folder) as file:
        spans = []
        for _ in range(_SYNCS):
            begin = time.perf_counter()
            os.write(file.fileno(), bytes(_BLOCK))
            os.fdatasync(file.fileno())
            spans.append(time.perf_counter() - begin)
    median = statistics.median(spans)
    what = f"{median * 1000:.1f} ms until 4 KiB are on disk (median of {_SYNCS})"
    if median > _SLOWEST_SYNC:
        yield warn(what, "Every call waits for that, so a faster disk under --data makes calls faster.")
    else:
        yield ok(what)


def check_runs(case: Case) -> Iterator[Seen]:
    with borrowed(case.settings.runs_folder) as runs:
        tempfile.TemporaryDirectory(prefix="doctor-", dir=runs).cleanup()
        flags = os.statvfs(runs).f_flag
    if flags & os.ST_NOEXEC:
        hint = "Commands that write a program into their folder and run it fail there; name another folder with --runs."
        yield warn(f"{runs} is mounted noexec", hint)
    else:
        yield ok(f"{runs} can be used")


def check_secrets(case: Case) -> Iterator[Seen]:
    folder = case.settings.secrets_folder
    if not folder.exists():
        yield ok(f"{folder} is not there; only 'file:NAME' in a policy needs it")
        return
    status = folder.stat()
    if status.st_uid not in (0, case.uid):
        yield fail(f"{folder} belongs to {name_of(status.st_uid)}", "Give it to root or to the service's account.")
    elif status.st_mode & _OTHERS_WRITE:
        yield fail(f"others may write {folder} ({_mode(status)})", "chmod 0700, and look at what is in it.")
    elif status.st_mode & _OTHERS:
        yield warn(f"others may look into {folder} ({_mode(status)})", "chmod 0700.")
    else:
        yield ok(f"only its account may look into {folder} ({_mode(status)})")


def _mode(status: os.stat_result) -> str:
    return f"mode {status.st_mode & 0o7777:04o}"


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


@contextmanager
def borrowed(folder: Path) -> Iterator[Path]:
    """The folder, made for the length of the block if it is not there. Raises OSError."""
    missing = [place for place in (folder.absolute(), *folder.absolute().parents) if not place.exists()]
    made: list[Path] = []
    try:
        for place in reversed(missing):
            place.mkdir(mode=0o700)
            made.append(place)
        yield folder
    finally:
        for place in reversed(made):
            with suppress(OSError):  # somebody else has begun to use it
                place.rmdir()
