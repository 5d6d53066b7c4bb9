"""The state machine: what can happen to a job, and nothing else."""

from dataclasses import replace

import pytest

from cmdhttp.execution.model import RunError, RunErrorCode, Stopped, Stream
from cmdhttp.jobs.state import (
    Accepted,
    Dispatched,
    Event,
    Finished,
    Job,
    Output,
    Progress,
    Run,
    RunEnded,
    Started,
    State,
    Tally,
    UnknownTransition,
    apply,
    verdict,
)
from tests.support.jobs import new_job

ENDS = [state for state in State if state.terminal]


def accepted(*hosts: str) -> Job:
    return apply(None, Accepted(seq=1, ts=1.0, job=new_job(hosts=hosts or ("h",))))


def started(job: Job, run: int = 0) -> Started:
    return Started(seq=job.last_seq + 1, ts=3.0, run=run, host="h", argv=("/bin/c",))


def output(job: Job, run: int = 0, *, offset: int = 0, size: int = 5, stream: Stream = Stream.STDOUT) -> Output:
    return Output(seq=job.last_seq + 1, ts=4.0, run=run, host="h", stream=stream, offset=offset, size=size)


def ended(job: Job, state: State = State.SUCCEEDED, run: int = 0) -> RunEnded:
    return RunEnded(seq=job.last_seq + 1, ts=5.0, run=run, host="h", state=state)


def finished(job: Job) -> Finished:
    return Finished(seq=job.last_seq + 1, ts=6.0, duration=2.0)


def dispatched(job: Job, run: int = 0) -> Job:
    return apply(job, Dispatched(ts=2.0, run=run))


def at(stage: str) -> Job:
    """A job of one run at a stage of its life."""
    job = accepted()
    if stage == "queued":
        return job
    if stage == "canceled early":
        return apply(job, ended(job, State.CANCELED))
    job = dispatched(job)
    if stage in ("started", "ended", "finished"):
        job = apply(job, started(job))
    if stage in ("ended", "finished"):
        job = apply(job, ended(job))
    return apply(job, finished(job)) if stage == "finished" else job


STAGES = ("queued", "dispatched", "started", "ended", "finished", "canceled early")
LEGAL = {
    "dispatch": {"queued"},
    "start": {"dispatched"},
    "output": {"dispatched", "started"},
    "succeed": {"dispatched", "started"},
    "time out": {"dispatched", "started"},
    "fail": {"queued", "dispatched", "started"},
    "cancel": {"queued", "dispatched", "started"},
    "lose": {"queued", "dispatched", "started"},
    "end in queued": set[str](),
    "end in running": set[str](),
    "progress": {"queued", "dispatched", "started", "ended", "canceled early"},
    "finish": {"ended", "canceled early"},
    "accept": set[str](),
}
_ENDINGS = {
    "succeed": State.SUCCEEDED,
    "time out": State.TIMED_OUT,
    "fail": State.FAILED,
    "cancel": State.CANCELED,
    "lose": State.LOST,
    "end in queued": State.QUEUED,
    "end in running": State.RUNNING,
}


def make(name: str, job: Job) -> Event:
    events: dict[str, Event] = {
        "dispatch": Dispatched(ts=2.0, run=0),
        "start": started(job),
        "output": output(job),
        "progress": Progress(seq=job.last_seq + 1, ts=5.5, done=1, total=2, failed=0, batch=1, batches=1),
        "finish": finished(job),
        "accept": Accepted(seq=1, ts=1.0, job=new_job()),
    }
    return events[name] if name in events else ended(job, _ENDINGS[name])


@pytest.mark.parametrize("name", LEGAL)
@pytest.mark.parametrize("stage", STAGES)
def test_every_pair_of_stage_and_event(stage: str, name: str) -> None:
    """Each event happens in exactly the stages where it may, and raises in every other."""
    job = at(stage)
    event = make(name, job)
    if stage in LEGAL[name]:
        after = apply(job, event)
        assert after.last_seq == job.last_seq + (0 if isinstance(event, Dispatched) else 1)
    else:
        with pytest.raises(UnknownTransition):
            apply(job, event)


@pytest.mark.parametrize("name", [name for name in LEGAL if name != "accept"])
def test_nothing_happens_to_no_job(name: str) -> None:
    """Only `Accepted` makes a job."""
    with pytest.raises(UnknownTransition, match="no job"):
        apply(None, make(name, at("queued")))


@pytest.mark.parametrize("step", [-1, 0, 2])
@pytest.mark.parametrize("name", ["start", "output", "fail"])
def test_numbers_have_no_gap(name: str, step: int) -> None:
    """An event whose number is not the next one is refused."""
    job = at("dispatched")
    event = make(name, job)
    assert not isinstance(event, Dispatched)
    with pytest.raises(UnknownTransition):
        apply(job, replace(event, seq=job.last_seq + step))


def test_the_first_number_is_one() -> None:
    """A job is accepted as event 1."""
    with pytest.raises(UnknownTransition):
        apply(None, Accepted(seq=2, ts=1.0, job=new_job()))
    assert accepted().last_seq == 1


@pytest.mark.parametrize(("offset", "size"), [(1, 5), (4, 5), (6, 5), (5, 0), (5, -1)])
def test_output_follows_output(offset: int, size: int) -> None:
    """Output that leaves a gap, goes back or is empty is refused."""
    job = at("started")
    job = apply(job, output(job))
    with pytest.raises(UnknownTransition):
        apply(job, output(job, offset=offset, size=size))


def test_streams_are_counted_apart() -> None:
    """Each stream has its own offsets."""
    job = at("started")
    for stream, offset in ((Stream.STDOUT, 0), (Stream.STDERR, 0), (Stream.STDOUT, 5), (Stream.STDERR, 5)):
        job = apply(job, output(job, offset=offset, stream=stream))
    assert (job.runs[0].stdout, job.runs[0].stderr) == (Tally(size=10), Tally(size=10))


def test_an_ended_run_keeps_its_verdict() -> None:
    """All that the last event of a run says stands in the run."""
    job = at("started")
    error = RunError(code=RunErrorCode.TIMED_OUT, detail="d")
    tally = Tally(size=3, sha256="aa")
    event = replace(
        ended(job, State.TIMED_OUT),
        duration=1.5,
        exit_code=None,
        signal="TERM",
        stopped=Stopped.CONFIRMED,
        error=error,
        stdout=tally,
        truncated=True,
    )
    assert apply(job, event).runs[0] == Run(
        host="h",
        state=State.TIMED_OUT,
        started_at=3.0,
        finished_at=5.0,
        duration=1.5,
        signal="TERM",
        stopped=Stopped.CONFIRMED,
        error=error,
        stdout=tally,
        truncated=True,
    )


def test_times_of_a_job() -> None:
    """A job starts with its first started run and carries the end and duration of its last event."""
    job = accepted("a", "b")
    for run in (0, 1):
        job = dispatched(job, run)
        job = apply(job, replace(started(job, run), ts=3.0 + run))
        job = apply(job, ended(job, run=run))
    job = apply(job, finished(job))
    assert (job.started_at, job.finished_at, job.duration, job.state) == (3.0, 6.0, 2.0, State.SUCCEEDED)


def test_a_job_waits_for_its_last_run() -> None:
    """A job cannot finish while one of its runs is open."""
    job = dispatched(accepted("a", "b"))
    job = apply(job, ended(job))
    with pytest.raises(UnknownTransition):
        apply(job, finished(job))


@pytest.mark.parametrize("state", ENDS)
def test_the_verdict_of_one_run_is_the_job_s(state: State) -> None:
    """One run: its state. Several: succeeded only if all did, else failed."""
    good, other = Run(host="a", state=State.SUCCEEDED), Run(host="b", state=state)
    assert verdict((other,)) is state
    assert verdict((good, other)) is (State.SUCCEEDED if state is State.SUCCEEDED else State.FAILED)


def test_a_job_is_never_changed_in_place() -> None:
    """Applying an event leaves the job before it as it was."""
    job = at("started")
    before = repr(job)
    apply(job, output(job))
    assert repr(job) == before
