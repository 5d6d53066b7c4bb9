"""The files that runs leave, one file each: `artefacts/<day>/<job>/<run>/<number>`, of mode 0600.

Names on disk are ours; the run's own name for a file is text in the job's record, and nothing more. A file counts from the
moment when the record of its run's end names it: then all of its bytes are written. Like output they survive a kill of the
service; what a power cut took shows in the sum. (A hundred files that are each forced to a busy disk took 15 s.)
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread

from cmdhttp.execution.model import Collected, LeftOut, LeftOutMore
from cmdhttp.jobs.output_log import batches, remove_if_empty
from cmdhttp.jobs.state import Artefact, Kept, Omission

NOT_KEPT = "not_kept"
"""Why a file is left out that the data folder could not take."""

_CHUNK = 1 << 20
_SHARD = slice(4, 9)
_LONGEST_NAME = 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class ArtefactStore:
    """The artefacts of one data folder. All calls block."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, job: str, run: int, number: int, *, descriptor: int, size: int) -> tuple[int, str]:
        """Copy up to `size` bytes; returns how many there were, and their sha256. Raises OSError; then nothing is kept."""
        path = self._path(job, run, number)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, _NEW, 0o600)
        try:
            copied = _copy(descriptor, file, size=size)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(file)
        return copied

    def read(self, job: str, run: int, number: int, *, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; nothing if the file is gone."""
        try:
            descriptor = os.open(self._path(job, run, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def drop(self, job: str, run: int) -> None:
        """Remove what a run left, as far as it can be removed."""
        shutil.rmtree(self._path(job, run, 0).parent, ignore_errors=True)

    def drop_all(self, job: str) -> None:
        """Remove all that a job's runs left; what is gone already is no error. Raises OSError. On any thread.

        What is no folder of ours, like a link, goes too, and nothing behind it: else it would keep all old jobs for ever.
        """
        folder = self._path(job, 0, 0).parent.parent
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except FileNotFoundError:
            return
        remove_if_empty(folder.parent)

    def batches(self, size: int) -> Iterator[list[Path]]:
        """Yield the folders of all jobs, in lists of up to about `size`, as the disk gives them. On any thread."""
        return batches(self._root, size)

    def _path(self, job: str, run: int, number: int) -> Path:
        return self._root / job[_SHARD] / job / str(run) / f"{number:03}"


def _copy(source: int, target: int, *, size: int) -> tuple[int, str]:
    digest, copied = hashlib.sha256(), 0
    while copied < size and (data := os.pread(source, min(_CHUNK, size - copied), copied)):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        digest.update(data)
        copied += len(data)
    return copied, digest.hexdigest()


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Takes what one run leaves, as its executor tells of it."""

    store: ArtefactStore
    job_id: str
    run: int
    _artefacts: list[Artefact] = field(default_factory=list)
    _omitted: list[Omission] = field(default_factory=list)
    _unnamed: int = 0

    async def take(self, news: Collected | LeftOut | LeftOutMore) -> None:
        """Keep a file, or remember that one was left out. A file that the disk cannot take is one left out."""
        match news:
            case Collected():
                await self._keep(news)
            case LeftOut():
                self._omit(news.name, news.why)
            case LeftOutMore():
                self._unnamed += news.count

    @property
    def kept(self) -> Kept:
        return Kept(
            artefacts=tuple(self._artefacts),
            omitted=tuple(self._omitted),
            omitted_count=len(self._omitted) + self._unnamed,
        )

    async def _keep(self, file: Collected) -> None:
        def keep() -> tuple[int, str]:
            number = len(self._artefacts)
            return self.store.keep(self.job_id, self.run, number, descriptor=file.descriptor, size=file.size)

        try:
            size, sha256 = await to_thread.run_sync(keep)
        except OSError:
            self._omit(file.name, NOT_KEPT)
            return
        self._artefacts.append(Artefact(name=shown_name(file.name), size=size, sha256=sha256))

    def _omit(self, name: bytes, why: str) -> None:
        self._omitted.append(Omission(name=shown_name(name), why=why))


def shown_name(name: bytes) -> str:
    r"""Return a file's name as text that can stand anywhere: `\x..` or `\u....` for what is no visible character."""
    text = name.decode("utf-8", "backslashreplace")
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 3] + "..."
