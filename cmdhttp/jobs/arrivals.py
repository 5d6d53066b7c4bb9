"""Calls that are just being kept.

One that repeats such a call is no call of its own, and must not be refused because of the first. So whoever is refused asks
here whether there is a first to wait for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from cmdhttp.jobs.journal import IdempotencyKey


class Arrivals:
    """The idempotency keys of calls that are just being kept."""

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, str], anyio.Event] = {}

    @contextmanager
    def of(self, key: IdempotencyKey | None) -> Iterator[None]:
        """Hold the key, if no other call holds it."""
        name = (key.principal, key.key) if key else None
        if name is None or name in self._under_way:
            yield
            return
        event = self._under_way[name] = anyio.Event()
        try:
            yield
        finally:
            del self._under_way[name]
            event.set()

    async def settled(self, key: IdempotencyKey) -> None:
        """Wait until no call that holds the key is being kept."""
        while (event := self._under_way.get((key.principal, key.key))) is not None:
            await event.wait()
