"""Who waits for an event of a live job: woken by the next, told of a silence after its own time, and gone without a trace."""

import asyncio
import gc
import weakref

import pytest

from cmdhttp.jobs.feed import Feed
from cmdhttp.jobs.state import Progress
from tests.support.jobs import new_job

pytestmark = pytest.mark.anyio
SILENCE = 0.05


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def feed(*, silence: float | None = SILENCE) -> Feed:
    return Feed(new_job(), silence=silence)


def publish(into: Feed, seq: int) -> None:
    into.publish(into.job, Progress(seq=seq, ts=0.0, done=0, total=1, failed=0, batch=1, batches=1))


async def waited(on: Feed) -> tuple[bool, float]:
    """Whether there was news, and after how many seconds that was told."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    news = await on.news()
    return news, loop.time() - since


async def test_each_silence_is_as_long_as_it_has_to_be() -> None:
    """Those who came at different moments are told one after the other, none before its time, with one timer for them all."""
    one = feed()
    waiting = []
    for _ in range(5):
        waiting.append(asyncio.create_task(waited(one)))
        await asyncio.sleep(SILENCE / 8)
    done = [await each for each in waiting]
    assert [news for news, _ in done] == [False] * 5
    assert all(seconds >= SILENCE for _, seconds in done)


async def test_news_wakes_all_and_ends_the_silence() -> None:
    one = feed()
    waiting = [asyncio.create_task(waited(one)) for _ in range(5)]
    await asyncio.sleep(SILENCE / 2)
    publish(one, 1)
    assert [news for news, _ in await asyncio.gather(*waiting)] == [True] * 5
    news, seconds = await waited(one)
    assert not news
    assert seconds >= SILENCE


async def test_one_who_goes_changes_nothing_for_the_others() -> None:
    """Neither the first, for whom the timer was set, nor the last who waits."""
    one = feed()
    first, second = (asyncio.create_task(waited(one)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert not (await second)[0]
    third = asyncio.create_task(waited(one))
    await asyncio.sleep(0)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    news, seconds = await waited(one)
    assert not news
    assert seconds >= SILENCE


async def test_without_a_silence_nobody_is_told_of_one() -> None:
    one = feed(silence=None)
    waiting = asyncio.create_task(waited(one))
    await asyncio.sleep(SILENCE)
    assert not waiting.done()
    publish(one, 1)
    assert (await waiting)[0]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_no_timer_keeps_a_feed_that_nobody_waits_for(*, cancelled: bool) -> None:
    """A feed may hold a MiB, and a silence is up to a minute."""
    one = feed(silence=60)
    waiting = asyncio.create_task(waited(one))
    await asyncio.sleep(0)
    if cancelled:
        waiting.cancel()
    else:
        publish(one, 1)
    await asyncio.wait([waiting])
    kept = weakref.ref(one)
    del one, waiting
    gc.collect()
    assert kept() is None
