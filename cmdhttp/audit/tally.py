"""Records of what may come in floods: one record a second for each key at most, and the count of all in the next.

The first is recorded at once. What comes within a second of a record is counted, and the count is recorded when the second is
over (`settle`), or when the service stops (`close`): nothing that was noted stays in no record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog

_RECORD_SECONDS = 1.0
_KEYS = 4096

Fields = Mapping[str, object]


@dataclass(slots=True)
class _Noted:
    """`fields` are those of the first that is counted and not recorded yet."""

    count: int = 0
    fields: Fields = field(default_factory=dict)
    next_record: float = float("-inf")


class Tally:
    """Counts by key, for instance a principal. `counted` names the field of the record that has the count.

    Memory is bounded, whatever is noted: beyond 4096 keys the oldest is recorded before its second is over.
    """

    def __init__(self, audit: AuditLog, code: Code, *, counted: str, monotonic: Callable[[], float]) -> None:
        self._audit = audit
        self._code = code
        self._counted = counted
        self._monotonic = monotonic
        self._by_key: dict[str, _Noted] = {}

    async def note(self, key: str, fields: Callable[[], Fields]) -> None:
        """Count one, and record it if nothing of this key was for a second. A log that fails is told by readiness, not here."""
        noted = self._by_key.setdefault(key, _Noted())
        if noted.count == 0:
            noted.fields = fields()
        noted.count += 1
        if len(self._by_key) > _KEYS:
            await self._record(self._by_key.pop(next(iter(self._by_key))))
        if self._monotonic() >= noted.next_record:
            await self._record(noted)

    async def settle(self) -> None:
        """Record each count whose second is over, and forget the keys of which nothing is new."""
        now = self._monotonic()
        for key, noted in list(self._by_key.items()):
            if now < noted.next_record:
                continue
            if noted.count:
                await self._record(noted)
            elif self._by_key.get(key) is noted:
                del self._by_key[key]

    async def watch(self) -> None:
        """Settle every second, for ever."""
        while True:
            await anyio.sleep(_RECORD_SECONDS)
            await self.settle()

    async def close(self) -> None:
        """Record every count that is left."""
        for noted in list(self._by_key.values()):
            await self._record(noted)

    async def _record(self, noted: _Noted) -> None:
        """Write the record. What cannot be written is counted again in the next."""
        if noted.count == 0:
            return
        count, noted.count = noted.count, 0
        noted.next_record = self._monotonic() + _RECORD_SECONDS
        try:
            await self._audit.write(self._code, {**noted.fields, self._counted: count}, urgent=False)
        except OSError:
            noted.count += count
