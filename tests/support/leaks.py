"""That a block leaves nothing open: no task of the event loop and no socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail if the block leaves a task or a socket."""
    tasks, sockets = asyncio.all_tasks(), _sockets()
    yield
    for _ in range(50):  # a transport closes its socket a turn of the loop or two after it is closed
        await asyncio.sleep(0.01)
        if not _sockets() - sockets:
            break
    assert asyncio.all_tasks() - tasks == set()
    assert _sockets() - sockets == set()


def _sockets() -> set[str]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith("socket:")}
