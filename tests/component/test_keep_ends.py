"""A run that may print more than is kept: from a real journal, with an executor that says what a test wants it to."""

import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest

from cmdhttp.execution.model import (
    Emit,
    Exited,
    Order,
    Output,
    RunContext,
    RunErrorCode,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.jobs.artefacts import Keeper
from cmdhttp.jobs.ends import mark
from cmdhttp.jobs.feed import Feed
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.recorder import Recorder
from cmdhttp.jobs.run import StepRun
from cmdhttp.jobs.state import Accepted, Run, State
from cmdhttp.plan.model import LocalTarget, Step
from tests.support.jobs import new_job

pytestmark = pytest.mark.anyio
OUT, ERR = Stream.STDOUT, Stream.STDERR
Writes = Sequence[tuple[Stream, bytes]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """Prints, then ends: by itself, or as it was told to before."""

    writes: Writes
    stopped_by: StopReason | None = None

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        for stream, data in self.writes:
            await emit(Output(stream=stream, data=data))
        if self.stopped_by is not None:
            stop.request(self.stopped_by)
        return Exited(exit_code=0, stopped=Stopped.CONFIRMED if stop.requested else None)

    async def aclose(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    run: Run
    stdout: bytes
    stderr: bytes


async def kept(
    journal: Journal,
    writes: Writes,
    *,
    limit: int,
    keep_ends: bool = True,
    stopped_by: StopReason | None = None,
    number: int = 1,
    masks: tuple[bytes, ...] = (),
    redact: tuple[str, ...] = (),
) -> Kept:
    """What the journal has of a run with these writes."""
    job = new_job(f"job_{number:026}", hosts=["local"])
    recorder = Recorder(job=job, journal=journal, feed=Feed(job), now=lambda: 2.0)
    await recorder.accept(Accepted(seq=1, ts=1.0, job=job), None, dispatched=[])
    step = Step(
        run=0,
        host="local",
        target=LocalTarget(),
        argv=("/bin/c",),
        env={},
        timeout=10,
        output_limit=limit,
        keep_ends=keep_ends,
        masks=masks,
        redact=redact,
    )
    run = StepRun(
        step=step,
        stop=Stop(),
        recorder=recorder,
        executor=Says(writes=writes, stopped_by=stopped_by),
        context=RunContext(job_id=job.id, order=Order(principal="p", command="c", policy="")),
        success_codes=(0,),
        monotonic=lambda: 0.0,
        keeper=Keeper(store=journal.artefacts, job_id=job.id, run=0),
        renew=lambda order, step: (order, step),
    )
    await run.to_end(dispatched=False)
    found = await journal.get(job.id)
    assert found == recorder.job
    read = [await journal.read_output(job.id, 0, stream, offset=0, size=1 << 24) for stream in Stream]
    ended = found.runs[0]
    assert (ended.stdout.size, ended.stderr.size) == (len(read[0]), len(read[1]))
    return Kept(run=ended, stdout=read[0], stderr=read[1])


def written(writes: Writes, stream: Stream) -> bytes:
    return b"".join(data for to, data in writes if to is stream)


async def test_head_mark_and_tail(journal: Journal) -> None:
    """The first half as it came, a line that counts what is missing, the last half; and what was written is told."""
    data = b"".join(b"line %d\n" % number for number in range(1000))
    got = await kept(journal, [(OUT, data[:777]), (OUT, data[777:])], limit=100)
    assert got.stdout == data[:50] + mark(len(data) - 100) + data[-50:]
    assert (got.run.state, got.run.truncated, got.run.error) == (State.SUCCEEDED, True, None)
    assert (got.run.stdout.written, got.run.stderr.written) == (len(data), 0)


@pytest.mark.parametrize("length", [0, 1, 49, 50, 51, 99, 100])
async def test_what_fits_is_kept_whole(journal: Journal, length: int) -> None:
    """Nothing is marked and nothing is missing up to the limit itself."""
    data = bytes(65 + number % 26 for number in range(length))
    got = await kept(journal, [(OUT, data)] if data else [], limit=100)
    assert (got.stdout, got.run.truncated, got.run.stdout.written) == (data, False, None)


async def test_one_byte_is_a_limit_too(journal: Journal) -> None:
    """The smallest limit has no beginning, and an end of one byte."""
    got = await kept(journal, [(OUT, b"abc")], limit=1)
    assert got.stdout == mark(2) + b"c"


async def test_last_words_on_the_other_stream(journal: Journal) -> None:
    """A flood on one stream does not push out what the other said before it."""
    got = await kept(journal, [(OUT, b"x" * 500), (ERR, b"it broke here\n"), (OUT, b"y" * 500)], limit=100)
    assert got.stderr == b"it broke here\n"
    assert got.stdout == b"x" * 50 + mark(1000 - 50 - 36) + b"y" * 36
    assert (got.run.stdout.written, got.run.stderr.written) == (1000, 14)


async def test_no_character_is_cut(journal: Journal) -> None:
    """Text stays text on both sides of the mark, whatever the limit."""
    data = "añ€😀".encode() * 40
    for limit in range(20, 60):
        got = await kept(
            journal, [(OUT, data[at : at + 7]) for at in range(0, len(data), 7)], limit=limit, number=limit
        )
        head, _, tail = got.stdout.decode().partition("\n[cmdhttp: ")
        assert data.decode().startswith(head)
        assert data.decode().endswith(tail.partition("]\n")[2])


async def test_any_writes(journal: Journal) -> None:
    """For writes of any size and order: the kept text is a beginning, a mark that counts, and an end."""
    chance = random.Random(4)
    for number in range(1, 60):
        writes = [
            (chance.choice((OUT, ERR)), bytes(chance.choices(range(128), k=chance.randint(1, 60))))
            for _ in range(chance.randint(0, 30))
        ]
        limit = chance.randint(1, 400)
        got = await kept(journal, writes, limit=limit, number=number)
        missing = 0
        for stream, text in ((OUT, got.stdout), (ERR, got.stderr)):
            all_of_it = written(writes, stream)
            head, sign, rest = text.partition(b"\n[cmdhttp: ")
            if not sign:
                assert text == all_of_it
                continue
            count, _, tail = rest.partition(b" bytes left out here]\n")
            missing += int(count)
            assert all_of_it == head + all_of_it[len(head) : len(all_of_it) - len(tail)] + tail
            assert len(all_of_it) == len(head) + int(count) + len(tail)
        total = sum(len(data) for _, data in writes)
        assert total - missing == min(total, limit)
        assert got.run.truncated is (total > limit)


async def test_a_run_that_is_stopped_keeps_its_end(journal: Journal) -> None:
    """What came last before a stop is what one wants to see of it."""
    writes = [(OUT, b"x" * 500), (OUT, b"the end")]
    got = await kept(journal, writes, limit=100, stopped_by=StopReason.TIMEOUT)
    assert (got.run.state, got.run.truncated) == (State.TIMED_OUT, True)
    assert got.stdout.endswith(b"the end")


async def test_without_it_the_run_is_stopped(journal: Journal) -> None:
    """Keeping both ends is for those that ask for it."""
    got = await kept(journal, [(OUT, b"x" * 500)], limit=100, keep_ends=False)
    assert (got.stdout, got.run.truncated, got.run.stdout.written) == (b"x" * 100, True, None)
    assert got.run.error is not None
    assert got.run.error.code is RunErrorCode.OUTPUT_LIMIT
    assert "when_full: keep_ends" in got.run.error.hint


async def test_a_disk_without_room_for_the_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error of the records, as it is for the beginning; the job never ends as if all were kept."""

    def full(self: object) -> BinaryIO:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cmdhttp.jobs.output_log.OutputLog.scratch", full)
    with anyio.fail_after(5), pytest.raises((OSError, sqlite3.Error, ExceptionGroup)):
        await kept(journal, [(OUT, b"x" * 500)], limit=100)


async def test_the_file_has_no_name(journal: Journal, tmp_path: Path) -> None:
    """Nothing is left in the data folder but the output itself."""
    await kept(journal, [(OUT, b"x" * 500)], limit=100)
    assert [path.name for path in (tmp_path / "output").rglob("*") if path.is_file()] == [f"job_{1:026}.0.stdout"]


@pytest.mark.parametrize("keep_ends", [True, False])
async def test_a_secret_is_masked_before_an_output_is_cut(journal: Journal, *, keep_ends: bool) -> None:
    """Wherever a limit falls, no part of a secret is left on one side of it, and the counts are true."""
    secret = b"correct-horse-battery"
    for number, before in enumerate(range(20, 120, 3), start=1):
        data = b"." * before + secret + b"," * 90
        writes = [(OUT, data[start : start + 7]) for start in range(0, len(data), 7)] + [(ERR, secret)]
        got = await kept(journal, writes, limit=100, keep_ends=keep_ends, number=number, masks=(secret,))
        parts = [secret[start : start + 4] for start in range(len(secret) - 3)]
        assert not [part for part in parts if part in got.stdout + got.stderr], before
        assert got.run.truncated
        if keep_ends:
            assert got.stderr == b"***"
            assert got.run.stdout.written == len(data)


async def test_what_a_mask_holds_comes_at_the_end(journal: Journal) -> None:
    """A last line without an end is told when the run is over, behind what was kept before, of both streams."""
    writes = [(OUT, b"a token=1 b\nlast token=2"), (ERR, b"token=3")]
    for number, keep_ends in enumerate((True, False), start=1):
        got = await kept(journal, writes, limit=1000, keep_ends=keep_ends, number=number, redact=("token=[0-9]",))
        assert (got.stdout, got.stderr) == (b"a *** b\nlast ***", b"***")
        assert not got.run.truncated
