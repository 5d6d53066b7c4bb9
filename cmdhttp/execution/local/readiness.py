"""Which of a few descriptors can be read: one task waits for all of them, where a task for each would cost more than the run."""

import asyncio
from collections.abc import Collection


class Readiness:
    """Belongs to one task of an asyncio loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None
        self._found: set[int] = set()

    async def wait(self, descriptors: Collection[int], *, until: float | None = None) -> set[int]:
        """Return those that can be read, as soon as one can; none at `until`, by the loop's clock, or if it is woken."""
        loop = self._loop
        self._found = set()
        self._future = loop.create_future()
        timer = loop.call_at(until, self.wake) if until is not None else None
        for descriptor in descriptors:
            loop.add_reader(descriptor, self._ready, descriptor)
        try:
            await self._future
        finally:
            self._future = None
            for descriptor in descriptors:
                loop.remove_reader(descriptor)
            if timer is not None:
                timer.cancel()
        return self._found

    def now(self) -> float:
        """The loop's clock, in seconds."""
        return self._loop.time()

    def _ready(self, descriptor: int) -> None:
        self._found.add(descriptor)
        self.wake()

    def wake(self) -> None:
        """Let `wait` return what it has found, if it waits."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
