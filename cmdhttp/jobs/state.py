"""What a job is, what can happen to it, and what it is then. Pure.

    job and run:   queued -> running -> succeeded | failed | timed_out | canceled | lost
                   queued -> failed | canceled | lost

`apply(job, event)` is the whole state machine; a transition that it does not know is an error. Events carry `seq` 1, 2, 3
and so on within the job. `Progress` changes nothing: it tells followers how far the job is. `Dispatched`
alone has no number and is told to nobody: it is the mark, on disk before anything
is started, that a run may have started.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256

from cmdhttp.execution.model import RunError, RunErrorCode, Stopped, Stream
from cmdhttp.jobs.ticket import Waits


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    LOST = "lost"

    @property
    def terminal(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


class OnDisconnect(StrEnum):
    """What becomes of a job when the caller that started it goes away."""

    CONTINUE = "continue"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One output stream of a run: bytes in the log, and their sha256 once the run has ended.

    `written` is what the run wrote, where a part in the middle was left out of the log; else None.
    """

    size: int = 0
    sha256: str | None = None
    written: int | None = None


EMPTY = Tally(sha256=sha256().hexdigest())
"""A stream of a run that has ended and printed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A file that a run left and the job keeps. `name` is text to show, made of the path that the run chose."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """A file that a run left and the job does not keep, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a run left to the job. `omitted` names the first of `omitted_count`."""

    artefacts: tuple[Artefact, ...] = ()
    omitted: tuple[Omission, ...] = ()
    omitted_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The execution on one host. Times are Unix seconds; `duration` in seconds is from a monotonic clock.

    Over SSH, `host_key` is the fingerprint of the host's key and `certificate` the serial of the one that logged in.
    """

    host: str
    state: State = State.QUEUED
    started_at: float | None = None
    finished_at: float | None = None
    duration: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    stopped: Stopped | None = None
    error: RunError | None = None
    stdout: Tally = Tally()
    stderr: Tally = Tally()
    truncated: bool = False
    kept: Kept | None = None
    host_key: str | None = None
    certificate: str | None = None

    @property
    def ok(self) -> bool:
        return self.state is State.SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether it has ended, without success, and not because somebody ended it."""
        return self.state in (State.FAILED, State.TIMED_OUT, State.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Where the audit log holds the job: the record's number and the hash of its line."""

    seq: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One accepted call. `last_seq` is the number of its newest event; `parser` reads the stdout of its runs as data.

    `collects` says that its runs may leave files; `output_kept` is False once its output, artefacts and events are removed.
    """

    id: str
    command: str
    principal: str
    credential: str
    created_at: float
    policy: str
    params: Mapping[str, object]
    labels: tuple[str, ...]
    reason: str
    on_disconnect: OnDisconnect
    max_parallel: int
    runs: tuple[Run, ...]
    state: State = State.QUEUED
    started_at: float | None = None
    finished_at: float | None = None
    duration: float | None = None
    last_seq: int = 0
    receipt: Receipt | None = None
    parser: str | None = None
    collects: bool = False
    output_kept: bool = True

    @property
    def ok(self) -> bool:
        return self.state is State.SUCCEEDED

    @property
    def damaged(self) -> bool:
        """Whether it was ended because its record cannot be read."""
        return any(run.error is not None and run.error.code is RunErrorCode.RECORD_DAMAGED for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The job exists and is on disk."""

    seq: int
    ts: float
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """The run is handed to its executor; from here on it may have started."""

    ts: float
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    seq: int
    ts: float
    run: int
    host: str
    argv: tuple[str, ...] = field(repr=False)
    pid: int | None = None
    remote_id: str | None = None
    host_key: str | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Bytes `offset` to `offset + size` of one stream's log; the bytes themselves are in the log."""

    seq: int
    ts: float
    run: int
    host: str
    stream: Stream
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """One run's verdict."""

    seq: int
    ts: float
    run: int
    host: str
    state: State
    duration: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    stopped: Stopped | None = None
    error: RunError | None = None
    stdout: Tally = Tally()
    stderr: Tally = Tally()
    truncated: bool = False
    kept: Kept | None = None

    def with_sums(self, stdout: Tally, stderr: Tally) -> "RunEnded":
        """Return the end with the sizes and sums of what is kept of the output."""
        return replace(
            self,
            stdout=replace(stdout, written=self.stdout.written),
            stderr=replace(stderr, written=self.stderr.written),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many of a job's runs have ended, how many of those have failed, and which batch of how many it is at, from 1.

    Of a job that has started nothing: its position in the queue, and what it waits for.
    """

    seq: int
    ts: float
    done: int
    total: int
    failed: int
    batch: int
    batches: int
    position: int | None = None
    waits: Waits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event: no run is left, and the job's state is final."""

    seq: int
    ts: float
    duration: float | None = None


Event = Accepted | Dispatched | Started | Output | RunEnded | Progress | Finished
Numbered = Accepted | Started | Output | RunEnded | Progress | Finished


class UnknownTransition(RuntimeError):
    """An event that cannot happen to a job in its state: a defect, never to be carried on from."""


def apply(job: Job | None, event: Event) -> Job:
    """Return the job after the event. Raises UnknownTransition."""
    if isinstance(event, Accepted):
        _require(job is None and event.seq == 1, event)
        return replace(event.job, last_seq=1)
    if job is None or job.state.terminal:
        raise UnknownTransition(f"{type(event).__name__} cannot happen to {job.state if job else 'no job'}")
    if isinstance(event, Dispatched):
        return _dispatched(job, event)
    _require(event.seq == job.last_seq + 1, event)
    match event:
        case Started():
            return _started(job, event)
        case Output():
            return _output(job, event)
        case RunEnded():
            return _run_ended(job, event)
        case Progress():
            return replace(job, last_seq=event.seq)
        case Finished():
            _require(all(run.state.terminal for run in job.runs), event)
            return replace(
                job, last_seq=event.seq, state=verdict(job.runs), finished_at=event.ts, duration=event.duration
            )


def verdict(runs: tuple[Run, ...]) -> State:
    """One run: its state. Several: succeeded only if every run succeeded, otherwise failed."""
    if len(runs) == 1:
        return runs[0].state
    return State.SUCCEEDED if all(run.ok for run in runs) else State.FAILED


def _dispatched(job: Job, event: Dispatched) -> Job:
    run = job.runs[event.run]
    _require(run.state is State.QUEUED, event)
    return replace(job, state=State.RUNNING, runs=_with(job, event.run, replace(run, state=State.RUNNING)))


def _started(job: Job, event: Started) -> Job:
    run = job.runs[event.run]
    _require(run.state is State.RUNNING and run.started_at is None, event)
    run = replace(run, started_at=event.ts, host_key=event.host_key, certificate=event.certificate)
    runs = _with(job, event.run, run)
    return replace(job, last_seq=event.seq, started_at=job.started_at or event.ts, runs=runs)


def _output(job: Job, event: Output) -> Job:
    run = job.runs[event.run]
    tally = run.stdout if event.stream is Stream.STDOUT else run.stderr
    _require(run.state is State.RUNNING and event.offset == tally.size and event.size > 0, event)
    grown = Tally(size=event.offset + event.size)
    run = replace(run, stdout=grown) if event.stream is Stream.STDOUT else replace(run, stderr=grown)
    return replace(job, last_seq=event.seq, runs=_with(job, event.run, run))


def _run_ended(job: Job, event: RunEnded) -> Job:
    run = job.runs[event.run]
    _require(not run.state.terminal and event.state.terminal, event)
    _require(run.state is State.RUNNING or event.state in (State.FAILED, State.CANCELED, State.LOST), event)
    ended = replace(
        run,
        state=event.state,
        finished_at=event.ts,
        duration=event.duration,
        exit_code=event.exit_code,
        signal=event.signal,
        stopped=event.stopped,
        error=event.error,
        stdout=event.stdout,
        stderr=event.stderr,
        truncated=event.truncated,
        kept=event.kept,
    )
    return replace(job, last_seq=event.seq, runs=_with(job, event.run, ended))


def _with(job: Job, index: int, run: Run) -> tuple[Run, ...]:
    return (*job.runs[:index], run, *job.runs[index + 1 :])


def _require(condition: bool, event: Event) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise UnknownTransition(f"{type(event).__name__} does not fit the job's state")
