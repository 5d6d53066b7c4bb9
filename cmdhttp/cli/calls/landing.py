"""Where fetched files land: below one folder, whatever their names say, and never over anything that is there.

A name is walked part by part from an open folder, and no link is followed on the way. The bytes go into a file of our own
beside the place, which takes its name only when the sum is right, and only if that name is free.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from cmdhttp.errors import ConfigError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PART_BYTES = 255
_MOST_PARTS = 64


class NotPut(Exception):
    """A file that could not be put where its name says."""


class Landing:
    """An open folder."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder = folder
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def at(cls, folder: Path) -> Iterator[Self]:
        """Open a folder, which is made if it is not there. Raises ConfigError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, _FOLDER)
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror or error}") from None
        try:
            yield cls(folder, descriptor)
        finally:
            os.close(descriptor)

    def put(self, parts: Sequence[str], pieces: Iterable[bytes], *, sha256: str) -> str:
        """Write a file; returns its path. Raises NotPut, and whatever the pieces raise."""
        if not 0 < len(parts) <= _MOST_PARTS or not all(map(_is_plain, parts)):
            raise NotPut("its name cannot be used for a file here")
        *folders, name = parts
        path = str(self._folder.joinpath(*parts))
        try:
            with self._below(folders) as folder:
                if _sum(folder, name) != sha256:
                    _write_new(folder, name, pieces, sha256=sha256)
        except OSError as error:
            raise NotPut(f"{path}: {error.strerror or error}") from None
        return path

    @contextmanager
    def _below(self, folders: Sequence[str]) -> Iterator[int]:
        """Walk down, making what is not there. A link on the way is an OSError."""
        opened = [os.dup(self._descriptor)]
        try:
            for name in folders:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=opened[-1])
                opened.append(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=opened[-1]))
            yield opened[-1]
        finally:
            for descriptor in opened:
                os.close(descriptor)


def _is_plain(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    return part not in ("", ".", "..") and "/" not in part and part.isprintable() and size <= _PART_BYTES


def _sum(folder: int, name: str) -> str | None:
    """Return the sum of what is there, None if nothing is. Raises OSError for what is no plain file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - by descriptor
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_new(folder: int, name: str, pieces: Iterable[bytes], *, sha256: str) -> None:
    partial = f".cmdhttp-{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(partial, flags, 0o666, dir_fd=folder)
    try:
        found = hashlib.sha256()
        with open(descriptor, "wb") as file:  # noqa: PTH123 - by descriptor
            for piece in pieces:
                file.write(piece)
                found.update(piece)
        if found.hexdigest() != sha256:
            raise NotPut("what was received has another sha256 than the job says")
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        with suppress(OSError):
            os.unlink(partial, dir_fd=folder)
