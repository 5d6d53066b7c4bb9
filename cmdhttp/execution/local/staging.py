"""Files that are there before a process starts: uploads and secrets, in the run's private folder.

Each is made new, with exactly its mode and owner, in folders that only the owner can enter; nothing that is there already is
opened, replaced or followed. Standard library only, because this runs where processes are started.
"""

import os
from collections.abc import Iterable

_FOLDER_MODE = 0o700
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def stage(folder: str, entries: Iterable[tuple[str, bytes, int]], *, uid: int, gid: int) -> None:
    """Write each entry, a (path beneath `folder`, content, mode), for the owner. Raises OSError; what was written stays."""
    root = os.open(folder, _FOLDER)
    try:
        for place, data, mode in entries:
            _write(root, place, data, mode=mode, owner=(uid, gid))
    finally:
        os.close(root)


def _write(root: int, place: str, data: bytes, *, mode: int, owner: tuple[int, int]) -> None:
    *folders, name = place.split("/")
    parent = _enter(root, folders, owner=owner)
    try:
        file = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fchown(file, *owner)
            os.fchmod(file, mode)
        finally:
            os.close(file)
    finally:
        os.close(parent)


def _enter(root: int, folders: list[str], *, owner: tuple[int, int]) -> int:
    """Return a descriptor of the innermost folder; what is not there yet is made."""
    here = os.dup(root)
    for name in folders:
        try:
            here = _step_down(here, name, owner=owner)
        except BaseException:
            os.close(here)
            raise
    return here


def _step_down(parent: int, name: str, *, owner: tuple[int, int]) -> int:
    """Return a descriptor of the folder `name`, and close that of its parent."""
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
        made = True
    except FileExistsError:
        made = False
    below = os.open(name, _FOLDER, dir_fd=parent)
    if made:
        try:
            os.fchown(below, *owner)
            os.fchmod(below, _FOLDER_MODE)
        except BaseException:
            os.close(below)
            raise
    os.close(parent)
    return below
