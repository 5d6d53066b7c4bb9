"""What a disk has, and whether it is enough."""

import os
from pathlib import Path

import pytest

from cmdhttp.errors import NoSpace
from cmdhttp.jobs.room import Room

GIB = 1 << 30


def disk(*, free: int, total: int) -> os.statvfs_result:
    block = 4096
    return os.statvfs_result((block, block, total // block, free // block + 99, free // block, 0, 0, 0, 0, 255))


@pytest.mark.parametrize(
    ("free", "total", "reserve", "enough"),
    [
        (2 * GIB, 100 * GIB, GIB, True),
        (GIB, 100 * GIB, GIB, True),
        (GIB - 4096, 100 * GIB, GIB, False),
        (GIB // 2, 4 * GIB, GIB, True),  # a tenth of a small disk is enough
        (GIB // 4, 4 * GIB, GIB, False),
        (0, 100 * GIB, 0, True),
    ],
)
def test_the_reserve(free: int, total: int, reserve: int, enough: bool) -> None:
    """What root alone may use does not count as free."""
    room = Room(Path("/"), reserve=reserve, look=lambda _path: disk(free=free, total=total))
    assert (room.trouble == "", room.free, room.total) == (enough, free, total)
    if enough:
        room.check()
        return
    with pytest.raises(NoSpace) as caught:
        room.check()
    assert caught.value.retry_after


def test_it_heals() -> None:
    """The next look is what counts."""
    found = [disk(free=0, total=GIB)]
    room = Room(Path("/"), reserve=GIB, look=lambda _path: found[0])
    assert room.trouble.startswith("0 MiB free")
    found[0] = disk(free=GIB, total=GIB)
    room.look()
    room.check()


def test_a_disk_that_cannot_be_looked_at() -> None:
    """It counts as one without room, and is tried again."""

    def fail(_path: Path) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    room = Room(Path("/"), reserve=0, look=fail)
    assert room.trouble == "the disk of the data folder cannot be looked at: Input/output error"
    with pytest.raises(NoSpace):
        room.check()
