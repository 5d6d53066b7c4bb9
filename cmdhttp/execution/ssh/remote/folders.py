"""The private folders of runs: whoever makes one removes it, so none is ever there without a guard that knows of it.

A folder is made new, for the account alone, under a name that nobody can guess, and holds `work` for the command and `in`
for what is sent to it. Its guard holds a lock on it; one without a lock belonged to a guard that was killed, and the next
guard of the account removes it. Source: flock(2), proc(5) for mountinfo.
"""

import binascii
import errno
import fcntl
import os
import stat
import struct
import time

from cmdhttp.execution.ssh.remote.warden import start

PREFIX = b"cmdhttp-run-"
PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-"
YOUNG_SECONDS = 60.0
"""A folder may be without its lock for the moment in which it is made."""
REMOVE = b'PATH=/bin:/usr/bin:$PATH; rm -rf "$1" || { chmod -R u+rwx "$1"; rm -rf "$1"; }'
MOST = 64


class Folders:
    """Those of one guard, by the number of their run. `removers` are the processes that remove some."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[bytes, int]] = {}
        self.removers: set[int] = set()
        self.swept = False

    def of(self, number: int) -> bytes:
        return self.made.get(number, (b"", -1))[0]

    def make(self, number: int) -> tuple[str, int, bytes]:
        """Make the folder of the run that will have this number. The frame that says so, or why not."""
        if number in self.made or len(self.made) >= MOST:
            return "f", number, struct.pack("!I", errno.EBUSY) + b"folder"
        try:
            if not self.swept:
                self.swept = True
                for folder in left_behind():
                    self.remove(folder)
            self.made[number] = make_folder()
        except OSError as error:
            return "f", number, struct.pack("!I", error.errno or errno.EIO) + b"folder"
        return "m", number, self.of(number)

    def forget(self, number: int) -> None:
        folder, lock = self.made.pop(number, (b"", -1))
        if folder:
            self.remove(folder)
            os.close(lock)

    def forget_all(self) -> None:
        for number in list(self.made):
            self.forget(number)

    def remove(self, folder: bytes) -> None:
        """Have a folder removed, however deep and with whatever modes, without waiting for it."""
        if holds_mount(folder):
            return
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self.removers.add(start([b"/bin/sh", b"-c", REMOVE, b"sh", folder], dict(os.environb), [null, null, null]))
        except OSError:
            pass  # the next guard tries again
        finally:
            os.close(null)


def places() -> list[bytes]:
    """The folders in which one can be made safely, best first."""
    found: list[bytes] = []
    for name in (b"/tmp", os.environb.get(b"TMPDIR", b""), os.environb.get(b"HOME", b"")):
        place = os.path.realpath(name) if name.startswith(b"/") else b""
        if place and place not in found and not place.translate(None, PLAIN) and is_safe(place):
            found.append(place)
    return found


def is_safe(place: bytes) -> bool:
    """Whether no other account can replace what this one makes there."""
    try:
        info = os.stat(place)
    except OSError:
        return False
    return info.st_uid in (0, os.getuid()) and (bool(info.st_mode & stat.S_ISVTX) or not info.st_mode & 0o022)


def make_folder() -> tuple[bytes, int]:
    """Return a new folder and the descriptor that locks it. Raises OSError if it can be made nowhere."""
    error = OSError(errno.EACCES, "no place for a folder")
    for place in places():
        path = os.path.join(place, PREFIX + binascii.hexlify(os.urandom(16)))
        try:
            os.mkdir(path, 0o700)
        except OSError as refused:
            error = refused
            continue
        try:
            return path, filled(path)
        except OSError as refused:
            error = refused
            for name in (b"work", b"in", b""):
                try:
                    os.rmdir(os.path.join(path, name))
                except OSError:
                    pass
    raise error


def filled(path: bytes) -> int:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.mkdir(os.path.join(path, b"work"), 0o700)
        os.mkdir(os.path.join(path, b"in"), 0o700)
    except OSError:
        os.close(lock)
        raise
    return lock


def left_behind() -> list[bytes]:
    """The folders of this account whose guard is no more."""
    found = []
    for place in places():
        for name in os.listdir(place) if os.access(place, os.R_OK) else []:
            path = os.path.join(place, name)
            if name.startswith(PREFIX) and is_left(path):
                found.append(path)
    return found


def is_left(path: bytes) -> bool:
    try:
        info = os.lstat(path)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            return False
        if time.time() - info.st_mtime < YOUNG_SECONDS:
            return False
        if info.st_mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def holds_mount(folder: bytes) -> bool:
    """Whether something is mounted in a folder: what lies there is not the run's."""
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            return any((line.split()[4] + b"/").startswith(folder + b"/") for line in mounts)
    except (OSError, IndexError):
        return True
