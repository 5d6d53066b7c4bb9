"""Live follow. Any number of readers; none of them can slow a run.

A reader that has fallen behind what the feed of its job keeps reads the journal until it has caught up, so a slow reader
costs a position and the one event that it is being sent. An event is published only after it is on disk. The output of the
jobs that ended last is at hand if it is short: whoever waited for the end asks for it at once. What is followed is not
removed meanwhile.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol, Self, TypeVar

from cmdhttp.clock import SystemClock
from cmdhttp.execution.model import Stream
from cmdhttp.jobs.feed import Feed, Printed, Told
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.leases import Leases
from cmdhttp.jobs.state import Finished, Job

_PIECE = 256 << 10
_RECENT_JOBS = 128
_FOLLOWED_JOBS = 16
_FOLLOWED_BYTES = 4 << 20

T_co = TypeVar("T_co", covariant=True)


class Pieces(Protocol[T_co]):
    """What comes piece by piece until it ends or is closed, like an asynchronous generator."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    async def __anext__(self) -> T_co: ...

    async def aclose(self) -> None: ...


class Hub:
    """The feeds of all live jobs, and the way to follow any job."""

    def __init__(self, journal: Journal, leases: Leases | None = None, *, silence: float | None = None) -> None:
        """`silence` is the number of seconds without an event after which who follows is told so."""
        self.journal = journal
        self.leases = leases or Leases(monotonic=SystemClock().monotonic)
        self._silence = silence
        self._feeds: dict[str, Feed] = {}
        self._recent: dict[str, Printed] = {}
        self._followed: dict[str, Feed] = {}
        self.draining = False

    def open(self, job: Job) -> Feed:
        feed = self._feeds[job.id] = Feed(job, silence=self._silence)
        return feed

    def close(self, job_id: str) -> None:
        """Forget a job that has ended. Who follows it has its feed for a moment, and then reads on in the journal."""
        feed = self._feeds.pop(job_id, None)
        if feed is not None:
            feed.closed = True
            feed.wake()
            feed.wake_for_end()
            if feed.printed is not None:
                self._recent[job_id] = feed.printed
                if len(self._recent) > _RECENT_JOBS:
                    del self._recent[next(iter(self._recent))]
            if self.leases.held(job_id):
                self._keep_followed(job_id, feed)

    def _keep_followed(self, job_id: str, feed: Feed) -> None:
        self._followed[job_id] = feed
        while (
            len(self._followed) > _FOLLOWED_JOBS or sum(kept.size for kept in self._followed.values()) > _FOLLOWED_BYTES
        ):
            del self._followed[next(iter(self._followed))]

    def drain(self) -> None:
        """Make every reader stop at its next wait."""
        self.draining = True
        for feed in self._feeds.values():
            feed.wake()
            feed.wake_for_end()

    def live(self, job_id: str) -> Job | None:
        feed = self._feeds.get(job_id)
        return feed.job if feed else None

    def printed(self, job_id: str) -> Printed | None:
        """Return all that a job has printed, if it has just ended and that is at hand."""
        feed = self._feeds.get(job_id)
        return feed.printed if feed else self._recent.get(job_id)

    def live_feed(self, job_id: str) -> Feed | None:
        return self._feeds.get(job_id)

    def feed(self, job_id: str) -> Feed | None:
        """Return the feed of a job that is live or has just ended. Who holds it longer than for a step keeps its events."""
        return self._feeds.get(job_id) or self._followed.get(job_id)

    async def finished(self, job_id: str) -> Job | None:
        """Wait until the job has ended or the service drains; return it as it is then."""
        feed = self._feeds.get(job_id)
        while feed is not None and not (feed.over or self.draining):
            await feed.end()
        return feed.job if feed else await self.journal.get(job_id)

    def follow(self, job_id: str, *, after: int) -> "Follower":
        return Follower(self, job_id, after=after)

    async def follow_output(self, job_id: str, run: int, stream: Stream, *, offset: int) -> AsyncGenerator[bytes]:
        """Yield the bytes of one stream from an offset on, until its run has ended or the service drains."""
        with self.leases.hold(job_id):
            while True:
                feed = self.feed(job_id)
                job = feed.job if feed else await self.journal.get(job_id)
                if job is None:
                    return
                state = job.runs[run]
                size = (state.stdout if stream is Stream.STDOUT else state.stderr).size
                if offset < size:
                    data = feed.output_at(run, stream, offset) if feed else None
                    data = data or await self.journal.read_output(
                        job_id, run, stream, offset=offset, size=min(_PIECE, size - offset)
                    )
                    if not data:
                        return
                    del feed, job, state  # who is slow to take it holds the piece alone
                    offset += len(data)
                    yield data
                    del data
                elif feed is None or state.state.terminal or feed.over or self.draining:
                    return
                else:
                    await feed.news()


class Follower:
    """Yields every event of a job with a number over `after`, in order, none twice, until `Finished` or until the hub drains.

    None comes after each silence. It is no generator, and waits in few frames, because whatever it holds is held as often as
    there are readers. From its first step until it has ended or is closed the job stays.
    """

    __slots__ = ("_after", "_counted", "_ended", "_held", "_hub", "_job_id")

    def __init__(self, hub: Hub, job_id: str, *, after: int) -> None:
        self._hub = hub
        self._job_id = job_id
        self._after = after
        self._held = self._counted = self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Told | None:
        if not self._held and not self._ended:
            self._begin()
        while not self._ended:
            feed = self._hub.feed(self._job_id)
            told = feed.next_after(self._after) if feed else None
            if feed is None or (told is None and feed.job.last_seq > self._after):
                told = await self._logged()
                if told is None:
                    break
            if told is not None:
                self._after, self._ended = told.event.seq, isinstance(told.event, Finished)
                return told
            if feed is None or feed.over or self._hub.draining:
                break
            if not await feed.news():
                return None
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._ended = True
        if self._held:
            self._held = False
            self._hub.leases.give_back(self._job_id)
        if self._counted and (feed := self._hub.live_feed(self._job_id)) is not None:
            feed.followers -= 1
        self._counted = False

    def _begin(self) -> None:
        self._held = True
        self._hub.leases.take(self._job_id)
        if (feed := self._hub.live_feed(self._job_id)) is not None:
            self._counted = True
            feed.followers += 1

    async def _logged(self) -> Told | None:
        found = await self._hub.journal.next_event(self._job_id, after=self._after)
        return Told(event=found[0], data=found[1]) if found else None
