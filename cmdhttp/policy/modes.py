"""Who may write a file or folder, and what a path passes on its way, by `stat` alone.

Who may write a folder may replace what is in it, unless its sticky bit keeps that to the owners; it may still add to it.
What lies on a read-only file system nobody writes, whatever its mode says.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

EVERYBODY = "everybody"
_MOST_LINKS = 40  # as Linux has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Groups and accounts that may write. Without accounts, the owner of a file does not matter."""

    groups: Collection[int] = field(default_factory=lambda: frozenset({0, os.getegid()}))
    accounts: Collection[int] | None = None


def our_own() -> Trusted:
    """Root and the account that this runs as, and their groups."""
    return Trusted(accounts=frozenset({0, os.geteuid()}))


def writer(status: os.stat_result, trusted: Trusted, *, may_add: bool) -> str:
    """Return who may write and is not trusted, in words; empty if nobody. With `may_add`, adding to a folder is no matter."""
    sticky = may_add and stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & stat.S_IWOTH and not sticky:
        return EVERYBODY
    if status.st_mode & stat.S_IWGRP and not sticky and status.st_gid not in trusted.groups:
        return f"the group {status.st_gid}"
    if trusted.accounts is not None and status.st_uid not in trusted.accounts:
        return f"the account {status.st_uid}"
    return ""


def is_read_only(path: str | os.PathLike[str]) -> bool:
    """Whether the path lies on a read-only file system. Raises OSError."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def way(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every folder that an absolute path passes and what it leads to, with their status; links are followed.

    Raises OSError where it ends too soon.
    """
    here, waiting, links = "", _segments(path), 0
    yield "/", os.lstat("/")
    while waiting:
        name = waiting.pop()
        if name == "..":
            here = here.rpartition("/")[0]
            continue
        status = os.lstat(f"{here}/{name}")
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(f"{here}/{name}")  # noqa: PTH115 - Path would tidy what it leads to
            waiting += _segments(target)
            here = "" if target.startswith("/") else here
        else:
            here = f"{here}/{name}"
            yield here, status


def _segments(path: str) -> list[str]:
    """The names in a path, last first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
