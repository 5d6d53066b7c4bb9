"""What is kept of calls that a limit refuses: one audit record a second for each principal, with the count of the rest.

A call that repeats one which is just being kept is no call of its own. It must not be refused because of the first, so
whoever is refused asks here whether there is a first to wait for.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import anyio

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.jobs.journal import IdempotencyKey

_RECORD_SECONDS = 1.0
_PRINCIPALS = 4096


@dataclass(slots=True)
class _Refused:
    count: int = 0
    next_record: float = float("-inf")


class Refusals:
    """Counts by principal. Memory is bounded, whatever is asked."""

    def __init__(self, audit: AuditLog, *, monotonic: Callable[[], float]) -> None:
        self._audit = audit
        self._monotonic = monotonic
        self._by_principal: dict[str, _Refused] = {}

    async def note(self, principal: str, fields: Callable[[], Mapping[str, object]]) -> None:
        """Count a refusal, and record it if the principal has had no record for a second."""
        refused = self._by_principal.setdefault(principal, _Refused())
        if len(self._by_principal) > _PRINCIPALS:
            del self._by_principal[next(iter(self._by_principal))]
        refused.count += 1
        now = self._monotonic()
        if now < refused.next_record:
            return
        record = {**fields(), "refusals": refused.count}
        refused.count, refused.next_record = 0, now + _RECORD_SECONDS
        # The answer is a refusal in any case, and readiness reports the log.
        with suppress(OSError):
            await self._audit.write(Code.CALL_LIMITED, record, urgent=False)


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
