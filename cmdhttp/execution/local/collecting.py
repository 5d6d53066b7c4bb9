"""Files that a run leaves: those beneath its working folder that match a pattern, opened for whoever keeps them.

What the run left is hostile: every step goes by descriptor, one name at a time; no symbolic link is followed, nothing but a
regular file is opened, and only one that has no other name and belongs to the run's own user. Number, depth, names looked
at and bytes have bounds, and what they leave out is told. Standard library only, because this runs where processes are started.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

MAX_FILES = 100
MAX_DEPTH = 16
MAX_NAMES = 20_000
"""Names that are looked at in all folders together."""
MAX_TOLD = 100
"""Files left out that are told by name; the rest is counted."""
MAX_PATH = 1024

SYMLINK = "symlink"
NOT_REGULAR = "not_regular"
LINKED = "linked"
NOT_OWNED = "not_owned"
TOO_LARGE = "too_large"
NO_ROOM = "no_room"
TOO_MANY = "too_many"
TOO_DEEP = "too_deep"
NAME_TOO_LONG = "name_too_long"
UNREADABLE = "unreadable"
REASONS = (
    SYMLINK, NOT_REGULAR, LINKED, NOT_OWNED, TOO_LARGE, NO_ROOM, TOO_MANY, TOO_DEEP, NAME_TOO_LONG, UNREADABLE,
)  # fmt: skip
"""Why a file or folder is left out."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Found(NamedTuple):
    """A file to keep: its path from the working folder, and a descriptor that the receiver closes. `size` in bytes."""

    name: bytes
    descriptor: int
    size: int


class Left(NamedTuple):
    """A file or folder that was left out, and why; an empty name is the working folder itself."""

    name: bytes
    why: str


class Unnamed(NamedTuple):
    """How many more were left out; always the last."""

    how_many: int


Item: TypeAlias = Found | Left | Unnamed
_Matches: TypeAlias = Callable[[str], object]
Rest: TypeAlias = tuple[_Matches | None, ...]
"""What of a pattern is still to be met, a test of one name each; None stands for `**`, any folders."""


def collect(folder: str, patterns: Iterable[str], *, max_bytes: int, uid: int) -> Generator[Item]:
    """Yield the files beneath `folder` that match, in the order of their names, and what was left out. Raises nothing."""
    walk = _Walk(max_bytes=max_bytes, uid=uid)
    try:
        root = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return
    except OSError:
        yield Left(b"", UNREADABLE)
        return
    try:
        yield from walk.folder(root, "", [compiled(pattern) for pattern in patterns], depth=1)
    finally:
        os.close(root)
    if walk.unnamed:
        yield Unnamed(walk.unnamed)


def told(order: Mapping[str, Any], *, uid: int) -> Iterator[tuple[dict[str, object], list[int]]]:
    """Yield what the run of an order left as messages, each with its descriptors.

    Names are spelled in Latin-1, which has a character for every byte.
    """
    wanted = order["collect"]
    for item in collect(order["folder"], wanted["patterns"], max_bytes=wanted["max_bytes"], uid=uid):
        match item:
            case Found(name, descriptor, size):
                yield {"file": name.decode("latin-1"), "size": size}, [descriptor]
            case Left(name, why):
                yield {"omitted": name.decode("latin-1"), "why": why}, []
            case Unnamed(how_many):
                yield {"omitted_more": how_many}, []


class _Walk:
    def __init__(self, *, max_bytes: int, uid: int) -> None:
        self._max_bytes = max_bytes
        self._uid = uid
        self._files = 0
        self._bytes = 0
        self._names = 0
        self._told = 0
        self.unnamed = 0

    def folder(self, here: int, prefix: str, rests: list[Rest], *, depth: int) -> Iterator[Item]:
        names, why = self._listed(here)
        if why:
            yield from self._left(prefix.removesuffix("/"), why)
        for name in names:
            matched, below = advanced(rests, name)
            if matched or below:
                yield from self._entry(here, name, prefix + name, matched=matched, below=below, depth=depth)

    def _listed(self, here: int) -> tuple[list[str], str]:
        """Return the names in order, no more than are left to look at, and why some are missing (empty: none is)."""
        names: list[str] = []
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if self._names == MAX_NAMES:
                        return sorted(names), TOO_MANY
                    self._names += 1
                    names.append(entry.name)
        except OSError:
            return [], UNREADABLE
        return sorted(names), ""

    def _entry(
        self, here: int, name: str, path: str, *, matched: bool, below: list[Rest], depth: int
    ) -> Iterator[Item]:
        try:
            mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
        except OSError:
            yield from self._left(path, UNREADABLE)
            return
        if stat.S_ISLNK(mode):
            yield from self._left(path, SYMLINK)
        elif stat.S_ISDIR(mode) and below:
            yield from self._below(here, name, path, below, depth=depth)
        elif stat.S_ISREG(mode) and matched:
            yield from self._file(here, name, path)
        elif matched and not stat.S_ISDIR(mode):
            yield from self._left(path, NOT_REGULAR)

    def _below(self, here: int, name: str, path: str, below: list[Rest], *, depth: int) -> Iterator[Item]:
        if depth == MAX_DEPTH:
            yield from self._left(path, TOO_DEEP)
            return
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=here)
        except OSError:
            yield from self._left(path, UNREADABLE)
            return
        try:
            yield from self.folder(descriptor, f"{path}/", below, depth=depth + 1)
        finally:
            os.close(descriptor)

    def _file(self, here: int, name: str, path: str) -> Iterator[Item]:
        if self._files == MAX_FILES:
            yield from self._left(path, TOO_MANY)
            return
        try:
            descriptor = os.open(name, _FILE, dir_fd=here)
        except OSError:
            yield from self._left(path, UNREADABLE)
            return
        why, size = self._judge(descriptor, path)
        if why:
            os.close(descriptor)
            yield from self._left(path, why)
            return
        self._files += 1
        self._bytes += size
        yield Found(os.fsencode(path), descriptor, size)

    def _judge(self, descriptor: int, path: str) -> tuple[str, int]:
        """Return why an open file is left out (empty: it is not), and its size."""
        info = os.fstat(descriptor)
        faults = (
            (not stat.S_ISREG(info.st_mode), NOT_REGULAR),
            (info.st_nlink != 1, LINKED),
            (info.st_uid != self._uid, NOT_OWNED),
            (len(os.fsencode(path)) > MAX_PATH, NAME_TOO_LONG),
            (info.st_size > self._max_bytes, TOO_LARGE),
            (info.st_size > self._max_bytes - self._bytes, NO_ROOM),
        )
        return next((why for is_so, why in faults if is_so), ""), info.st_size

    def _left(self, path: str, why: str) -> Iterator[Item]:
        if self._told == MAX_TOLD:
            self.unnamed += 1
            return
        self._told += 1
        yield Left(os.fsencode(path)[:MAX_PATH], why)


def compiled(pattern: str) -> Rest:
    parts = pattern.split("/")
    if parts[-1] == "**":
        parts.append("*")
    return tuple(None if part == "**" else _matcher(part) for part in parts)


def _matcher(part: str) -> _Matches:
    """Return a test of one name. As in a shell, a leading dot is met only by a dot."""
    hidden = "" if part.startswith(".") else r"(?!\.)"
    return re.compile(hidden + fnmatch.translate(part)).match


def advanced(rests: list[Rest], name: str) -> tuple[bool, list[Rest]]:
    """Return whether a file of this name matches, and what must match beneath a folder of this name."""
    matched, below = False, dict[Rest, None]()
    for whole in rests:
        rest = whole
        while (first := rest[0]) is None:
            if not name.startswith("."):
                below[rest] = None
            rest = rest[1:]
        if first(name):
            matched = matched or len(rest) == 1
            if len(rest) > 1:
                below[rest[1:]] = None
    return matched, list(below)
