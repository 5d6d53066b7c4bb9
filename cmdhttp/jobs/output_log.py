"""The bytes that runs write, one file a stream: `output/<day>/<job>.<run>.<stream>`.

Bytes are appended before the event that names them is committed, so every event's bytes are there. All calls block; they
belong on the journal's threads.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.state import Tally

_CHUNK = 1 << 20
_SHARD = slice(4, 9)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


@dataclass(slots=True)
class _Open:
    descriptor: int
    size: int
    digest: "hashlib._Hash"


class OutputLog:
    """The output files of one data folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[Path, _Open] = {}

    def path(self, job: str, run: int, stream: Stream) -> Path:
        return self._root / job[_SHARD] / f"{job}.{run}.{stream}"

    def append(self, job: str, run: int, stream: Stream, *, offset: int, data: bytes) -> None:
        """Write `data` at `offset`, the present end. Raises OSError; the file is then as it was."""
        path = self.path(job, run, stream)
        file = self._open.get(path) or self._create(path)
        if file.size != offset:
            raise OSError(f"the log ends at {file.size}, not at {offset}")
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file.descriptor, view) :]
        except OSError:
            os.ftruncate(file.descriptor, offset)
            raise
        file.size += len(data)
        file.digest.update(data)

    def close(self, job: str, run: int) -> tuple[Tally, Tally]:
        """Close both streams of a run and return what they hold."""
        return self._close(self.path(job, run, Stream.STDOUT)), self._close(self.path(job, run, Stream.STDERR))

    def read(self, job: str, run: int, stream: Stream, *, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; nothing if the stream has no file."""
        try:
            descriptor = os.open(self.path(job, run, stream), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def scratch(self) -> BinaryIO:
        """Return an empty file without a name: it goes when it is closed. Raises OSError. May be called on any thread."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self._root, buffering=0)

    def measure(self, job: str, run: int, stream: Stream) -> Tally:
        """Return what the file of a run that nobody writes any more holds."""
        digest, size = hashlib.sha256(), 0
        while data := self.read(job, run, stream, offset=size, size=_CHUNK):
            digest.update(data)
            size += len(data)
        return Tally(size=size, sha256=digest.hexdigest())

    def drop(self, job: str, runs: int) -> None:
        """Remove all that a job's runs have printed; what is gone already is no error. Raises OSError. On any thread."""
        for run in range(runs):
            for stream in Stream:
                self.path(job, run, stream).unlink(missing_ok=True)
        remove_if_empty(self._root / job[_SHARD])

    def batches(self, size: int) -> Iterator[list[Path]]:
        """Yield the paths of all files, in lists of up to about `size`, as the disk gives them. On any thread."""
        return batches(self._root, size)

    def _create(self, path: Path) -> _Open:
        try:
            descriptor = os.open(path, _NEW, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, _NEW, 0o600)
            except FileNotFoundError:  # an empty folder was removed just now, with the last old job in it
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(path, _NEW, 0o600)
        file = _Open(descriptor, 0, hashlib.sha256())
        self._open[path] = file
        return file

    def _close(self, path: Path) -> Tally:
        file = self._open.pop(path, None)
        if file is None:
            return Tally(sha256=hashlib.sha256().hexdigest())
        os.close(file.descriptor)
        return Tally(size=file.size, sha256=file.digest.hexdigest())


def remove_if_empty(folder: Path) -> None:
    """Remove a folder with nothing in it, if it is one."""
    with suppress(OSError):
        folder.rmdir()


def batches(root: Path, size: int) -> Iterator[list[Path]]:
    """Yield what lies two levels below a folder, in lists of up to about `size`."""
    try:
        shards = sorted(entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    batch: list[Path] = []
    for shard in shards:
        with suppress(FileNotFoundError), os.scandir(shard) as entries:
            for entry in entries:
                batch.append(Path(entry.path))
                if len(batch) >= size:
                    yield batch
                    batch = []
    if batch:
        yield batch
