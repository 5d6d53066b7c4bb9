"""One live job between a journal on a real disk and a hub, for tests that record it by hand."""

import threading
from pathlib import Path

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.hub import Hub
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.state import Accepted, Output, RunEnded, Started, State
from tests.support.jobs import new_job

OUT, ERR = Stream.STDOUT, Stream.STDERR


class Live:
    """One accepted job with its first run dispatched, and all that is around it."""

    def __init__(self, folder: Path, *, hosts: int = 1) -> None:
        self.journal = Journal(folder)
        self.hub = Hub(self.journal)
        self.failures = 0
        names = [f"h{number}" for number in range(hosts)]
        self.job = new_job("job_01AAAAAAAAAAAAAAAAAAAAAAAA", hosts=names)
        self.feed = self.hub.open(self.job)
        self.recorder = Recorder(
            job=self.job,
            journal=self.journal,
            feed=self.feed,
            now=lambda: 2.0,
            elapsed=lambda: 0.5,
            on_failure=self.fail,
        )

    def fail(self) -> None:
        self.failures += 1

    async def accept(self) -> None:
        runs = range(len(self.job.runs))
        await self.recorder.accept(Accepted(seq=1, ts=1.0, job=self.job), None, dispatched=runs)

    async def start(self, run: int = 0) -> None:
        await self.recorder.started(lambda seq, ts: Started(seq=seq, ts=ts, run=run, host=f"h{run}", argv=("x",)))

    async def end(self, run: int = 0) -> None:
        stdout, stderr = await self.recorder.tallies(run)
        ended = RunEnded(seq=0, ts=0.0, run=run, host=f"h{run}", state=State.SUCCEEDED, stdout=stdout, stderr=stderr)
        await self.recorder.runs_ended([ended])

    async def printed(self, data: bytes) -> None:
        """Let the first run print this, and wait until it is told of."""
        size = self.feed.job.runs[0].stdout.size + len(data)
        await self.recorder.output(0, OUT, data)
        while self.feed.job.runs[0].stdout.size < size:
            await self.feed.news()

    async def outputs(self) -> list[tuple[Stream, int, int]]:
        events = await self.journal.events(self.job.id, after=0, limit=-1)
        return [(event.stream, event.offset, event.size) for event in events if isinstance(event, Output)]

    async def stored(self, stream: Stream = OUT) -> bytes:
        return await self.journal.read_output(self.job.id, 0, stream, offset=0, size=1 << 30)

    def block(self) -> threading.Event:
        """Keep the writer busy until the event is set."""
        gate = threading.Event()
        self.journal._database.write(lambda _db: gate.wait(5), durable=False)
        return gate
