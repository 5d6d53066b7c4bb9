"""A file system that is small, so that it can be filled. Takes root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BLOCK = 4096


@contextmanager
def small_disk(at: Path, *, megabytes: int, files: int = 100_000) -> Iterator[None]:
    """Mount one for the length of the block."""
    at.mkdir(parents=True)
    options = f"size={megabytes}m,nr_inodes={files},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def fill(balloon: Path, *, leave: int = 0) -> None:
    """Let a file grow until the disk is full, or has so many bytes left."""
    with suppress(OSError), balloon.open("ab", buffering=0) as file:
        while (disk := os.statvfs(balloon)).f_bavail * disk.f_frsize > leave or not leave:
            file.write(bytes(_BLOCK))
