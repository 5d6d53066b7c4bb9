"""How often followers are told how far a job is."""

from dataclasses import replace

from cmdhttp.jobs.progress import PAUSE, PlaceTeller, Teller
from cmdhttp.jobs.state import Job, Run, State
from cmdhttp.jobs.ticket import Place, Waits
from tests.support.jobs import new_job


def job(*states: State) -> Job:
    made = new_job(hosts=[f"h{number}" for number in range(len(states))])
    return replace(made, last_seq=7, runs=tuple(Run(host="h", state=state) for state in states))


QUEUED, GOOD, BAD, CANCELED = State.QUEUED, State.SUCCEEDED, State.TIMED_OUT, State.CANCELED


def test_what_is_told() -> None:
    """The numbers are those of the job, and a run that was canceled has not failed."""
    told = Teller(batch=2).after_end(job(GOOD, BAD, CANCELED, QUEUED, QUEUED), ts=3.0, elapsed=1.0)
    assert told is not None
    assert (told.seq, told.ts, told.done, told.total, told.failed, told.batch, told.batches) == (8, 3.0, 3, 5, 1, 2, 3)


def test_one_host_has_no_progress() -> None:
    """Of one run its end says all."""
    assert Teller(batch=1).after_end(job(GOOD), ts=3.0, elapsed=1.0) is None


def test_not_often() -> None:
    """The first end is told at once, the next after a pause, and the last one in any case."""
    teller = Teller(batch=9)
    assert teller.after_end(job(GOOD, QUEUED, QUEUED, QUEUED), ts=0.0, elapsed=1.0)
    assert teller.after_end(job(GOOD, GOOD, QUEUED, QUEUED), ts=0.0, elapsed=1.1) is None
    assert teller.wait(1.1) == 1.0 + PAUSE - 1.1
    assert teller.after_end(job(GOOD, GOOD, GOOD, QUEUED), ts=0.0, elapsed=1.0 + PAUSE)
    last = teller.after_end(job(GOOD, GOOD, GOOD, BAD), ts=0.0, elapsed=1.0 + PAUSE)
    assert last is not None
    assert (last.done, last.failed, last.batch, last.batches) == (4, 1, 1, 1)


def test_nothing_is_told_twice() -> None:
    """A pause after which nothing has changed brings nothing."""
    teller = Teller(batch=9)
    now = job(GOOD, QUEUED)
    assert teller.tell(now, ts=0.0, elapsed=0.0)
    assert teller.tell(now, ts=0.0, elapsed=9.0) is None


def at(position: int | None, reason: Waits = Waits.SERVICE_BUSY) -> Place:
    return Place(position=position, reason=reason)


def test_a_place_is_told_when_it_has_changed() -> None:
    """Position and reason, and nothing once the job is about to start."""
    teller, waits = PlaceTeller(batch=9), job(QUEUED)
    told = teller.tell(waits, at(7), ts=3.0, waited=0.5)
    assert told is not None
    assert (told.seq, told.ts, told.position, told.waits, told.done, told.total) == (8, 3.0, 7, "service_busy", 0, 1)
    several = PlaceTeller(batch=2).tell(job(QUEUED, QUEUED, QUEUED), at(1), ts=3.0, waited=0.5)
    assert several is not None
    assert (several.total, several.batch, several.batches) == (3, 1, 2)
    assert teller.due == 1.5
    assert teller.tell(waits, at(7), ts=4.0, waited=1.5) is None
    assert teller.tell(waits, at(7, Waits.HOST_BUSY), ts=5.0, waited=2.5) is not None
    assert teller.tell(waits, at(None, Waits.STARTING), ts=6.0, waited=3.5) is None
    assert teller.tell(waits, None, ts=6.0, waited=3.5) is None


def test_a_long_wait_has_few_events() -> None:
    """Even of a job that moves all the time; and what is told is never older than a minute."""
    teller, waited, told = PlaceTeller(batch=9), 0.0, 0
    while waited < 3600:
        told += teller.tell(job(QUEUED), at(int(1e6 - waited)), ts=0.0, waited=waited) is not None
        assert 0.99 <= teller.due - waited <= 60.01
        waited = teller.due
    assert told < 120
