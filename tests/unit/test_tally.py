"""Counted records: the first at once, the rest when their second is over or at the close, none lost and none twice."""

from collections.abc import Mapping

import pytest

from cmdhttp.audit import tally as tallies
from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.audit.tally import Tally


class Log(AuditLog):
    """Keeps what is written; `full` makes it fail."""

    def __init__(self) -> None:
        self.written: list[tuple[object, object]] = []
        self.full = False

    async def write(self, code: Code, fields: Mapping[str, object], *, urgent: bool = True) -> None:  # type: ignore[override]  # no head is looked at
        assert code is Code.CALL_LIMITED
        assert not urgent
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append((fields["who"], fields["refusals"]))


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.log = Log()
        self.tally = Tally(self.log, Code.CALL_LIMITED, counted="refusals", monotonic=lambda: self.now)

    async def note(self, *keys: str) -> None:
        for key in keys:
            await self.tally.note(key, lambda key=key: {"who": key})  # type: ignore[misc]  # bound now


@pytest.fixture
def world() -> World:
    return World()


pytestmark = pytest.mark.anyio


async def test_the_rest_of_a_second_is_recorded_when_it_is_over(world: World) -> None:
    await world.note("ann", "ann", "ben", "ann")
    assert world.log.written == [("ann", 1), ("ben", 1)]
    world.now += 0.9
    await world.tally.settle()
    assert len(world.log.written) == 2
    world.now += 0.2
    await world.tally.settle()
    assert world.log.written[2:] == [("ann", 2)]
    world.now += 5
    await world.tally.settle()
    await world.tally.settle()
    assert len(world.log.written) == 3
    await world.note("ann")
    assert world.log.written[3:] == [("ann", 1)]


async def test_a_close_records_what_is_left(world: World) -> None:
    await world.note("ann", "ann", "ann", "ben")
    await world.tally.close()
    await world.tally.close()
    assert world.log.written == [("ann", 1), ("ben", 1), ("ann", 2)]


async def test_what_cannot_be_written_is_counted_again(world: World) -> None:
    world.log.full = True
    await world.note("ann", "ann")
    world.now += 2
    await world.tally.settle()
    world.log.full = False
    world.now += 2
    await world.tally.settle()
    assert world.log.written == [("ann", 2)]


async def test_many_keys_lose_no_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "_KEYS", 3)
    await world.note("a", "a", "b", "c", "d", "e")
    await world.tally.close()
    totals: dict[object, int] = {}
    for who, count in world.log.written:
        totals[who] = totals.get(who, 0) + int(str(count))
    assert totals == {"a": 2, "b": 1, "c": 1, "d": 1, "e": 1}
