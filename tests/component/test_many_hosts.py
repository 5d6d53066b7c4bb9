"""One job on hundreds of hosts: the real service, a real sshd, and a distinct loopback address for each host."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.many import HOSTS, SILENT, ManyHosts, address, names
from tests.support.service import Document, Event

MIB = 1 << 20
SILENT_HOSTS = [f"silent{number}" for number in range(SILENT)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyHosts]:
    with ManyHosts.serving(tmp_path_factory.mktemp("many") / "service", **{"max-running": "700"}) as running:
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Iterator[ManyHosts]:
    with ManyHosts.serving(tmp_path / "service", **{"max-running": "8"}) as running:
        yield running


@pytest.fixture
def small_too(tmp_path: Path) -> Iterator[ManyHosts]:
    """One more, which shares no connection and no place with the other."""
    with ManyHosts.serving(tmp_path / "other", **{"max-running": "8"}) as running:
        yield running


def finished(service: ManyHosts, command: str, hosts: list[str], **more: Any) -> Document:
    """Run a command and return its job when it has ended, however long that takes."""
    job: Document = service.run(command, {"hosts": hosts, "wait": 10}, **more).json()
    while job["state"] in ("queued", "running"):
        job = service.job(job["id"], wait=10)
    return job


def numbered(events: list[Event]) -> list[Event]:
    """The events, which must be numbered without a gap."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


def under_way(events: list[Event]) -> list[int]:
    """How many runs were under way after each start and end."""
    steps = ({"started": 1, "exited": -1}[event.type] for event in events if event.type in ("started", "exited"))
    return list(itertools.accumulate(steps))


@contextmanager
def most_memory(pid: int) -> Iterator[list[int]]:
    """Collect the largest resident set of a process within the block, in bytes, as the only item."""
    most, over = [resident(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], resident(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


pytestmark = pytest.mark.timeout(240)

MANY = [120, pytest.param(HOSTS, marks=pytest.mark.long)]


@pytest.mark.parametrize("count", MANY)
def test_many_hosts_each_with_its_own_result(service: ManyHosts, count: int) -> None:
    """Each is reached at its own address, each verdict is its own, and what succeeded stays when others fail."""
    job = finished(service, "some", ["group:all"] if count == HOSTS else names(count))
    expected = dict(enumerate(names(count)))
    assert [(run["host"], run["stdout"]) for run in job["runs"]] == [
        (name, f"{address(number)}\n") for number, name in expected.items()
    ]
    for number, run in enumerate(job["runs"]):
        last = address(number).rpartition(".")[2]
        verdict = {"7": ("failed", 3, None), "9": ("failed", None, "KILL")}.get(last, ("succeeded", 0, None))
        assert (run["state"], run["exit_code"], run["signal"]) == verdict, run
    assert (job["state"], job["ok"], job["error"]["code"]) == ("failed", False, "runs_failed")
    failed = sum(run["state"] == "failed" for run in job["runs"])
    assert failed >= 2
    assert job["counts"] == {"succeeded": count - failed, "failed": failed}


@pytest.mark.parametrize("count", MANY)
def test_a_megabyte_of_each_in_flat_memory(service: ManyHosts, count: int) -> None:
    """A megabyte from each host, 20 at a time, and a follower that does not read: memory is for the 20 alone."""
    finished(service, "echo", names(1))
    with (
        most_memory(service.pid) as most,
        service.stream("big", {"hosts": names(count), "output": {"max_bytes": 0}}) as events,
    ):
        before = resident(service.pid)
        job_id = next(events).document["job_id"]
        wait_for(lambda: service.list_jobs(limit=1)[0]["state"] == "succeeded", within=90)
    assert most[0] - before < count * MIB / 3
    with most_memory(service.pid) as most:
        before = resident(service.pid)
        job = service.job(job_id)
    assert most[0] - before < 64 * MIB
    assert {run["stdout_bytes"] for run in job["runs"]} == {1_000_000}
    shown = {len(run["stdout"]) for run in job["runs"]}
    assert shown == {8 * MIB // count}, "the answer is bounded, and says that it is cut"
    assert all(run["truncated"] for run in job["runs"])
    with service.client() as client:
        whole = client.get(f"/v1/jobs/{job_id}/output/stdout", params={"host": names(count)[-1]})
    assert len(whole.content) == 1_000_000


def test_a_batch_starts_when_the_one_before_has_ended(service: ManyHosts) -> None:
    """Runs start in the order of the hosts, a quarter of them at a time, and never more at once than the policy says."""
    job = finished(service, "batches", names(21))
    events = numbered(service.events(job["id"]))
    assert [event.document["run"] for event in events if event.type == "started"] != []
    ended: set[int] = set()
    for event in events:
        if event.type == "started":
            batch = event.document["run"] // 5
            assert ended >= set(range(batch * 5)), f"run {event.document['run']} came too early"
        elif event.type == "exited":
            ended.add(event.document["run"])
    assert max(under_way(events)) == 4
    assert job["counts"] == {"succeeded": 21}


def test_progress(service: ManyHosts) -> None:
    """Followers are told how far it is: with the first and the last end and not often, and a batch is named."""
    job = finished(service, "pairs", names(7))
    events = numbered(service.events(job["id"]))
    told = [event.document for event in events if event.type == "progress"]
    assert 3 <= len(told) <= 7
    assert [one["hosts_done"] for one in told] == sorted({one["hosts_done"] for one in told})
    assert {(one["hosts_total"], one["hosts_failed"], one["batches"]) for one in told} == {(7, 0, 4)}
    assert all(one["batch"] == min(one["hosts_done"] // 2 + 1, 4) for one in told)
    assert (told[0]["hosts_done"], told[-1]["hosts_done"], told[-1]["batch"]) == (1, 7, 4)
    assert [event.type for event in events[-3:]] == ["exited", "progress", "finished"]
    middle = events[len(events) // 2].seq
    assert [event.raw for event in service.events(job["id"], after=middle)] == [event.raw for event in events[middle:]]


def test_one_host_has_no_progress(service: ManyHosts) -> None:
    """A job on one host has the events that it always had."""
    job = finished(service, "echo", names(1))
    assert [event.type for event in service.events(job["id"])] == [
        "accepted",
        "started",
        "output",
        "exited",
        "finished",
    ]


def test_the_first_failure_stops_the_rest(service: ManyHosts) -> None:
    """With no failure allowed nothing more starts after the first; what never started says why, and nothing ran there."""
    job = finished(service, "careful", names(200))
    states = [run["state"] for run in job["runs"]]
    last = max(index for index, state in enumerate(states) if state != "canceled")
    assert (states[2], set(states[:last]) - {"failed"}, states.count("failed")) == ("failed", {"succeeded"}, 1)
    assert set(states[last + 1 :]) == {"canceled"}
    assert last < 199
    error = job["runs"][-1]["error"]
    assert error["code"] == "max_failures"
    assert error["detail"] == "1 of 200 runs had failed, and the policy allows 0; nothing has run here."
    assert "stopped" not in job["runs"][-1]
    events = numbered(service.events(job["id"]))
    failed = next(event.seq for event in events if event.type == "exited" and event.document["run"] == 2)
    assert len([event for event in events if event.type == "started" and event.seq > failed]) <= 1
    assert [event.type for event in events].count("exited") == 200
    assert [event.document["hosts_done"] for event in events if event.type == "progress"][-1] == 200


def test_a_share_of_failures(service: ManyHosts) -> None:
    """A tenth of 30 may fail; the fourth failure stops the job, and those under way go on to their end."""
    job = finished(service, "tenth", names(30))
    assert job["counts"]["failed"] in (4, 5, 6)
    assert job["counts"] == {"failed": job["counts"]["failed"], "canceled": 30 - job["counts"]["failed"]}
    assert {run["error"]["code"] for run in job["runs"] if run["state"] == "canceled"} == {"max_failures"}


def test_hosts_that_are_down_count_as_failures(service: ManyHosts) -> None:
    """A run that never reached its host has failed."""
    job = finished(service, "careful", ["down", *names(9)])
    assert job["runs"][0]["error"]["code"] == "connect_failed"
    assert job["counts"]["canceled"] > 0


def test_a_cancel_in_the_middle(service: ManyHosts) -> None:
    """What runs is stopped, what waits never starts, and all of it says so."""
    job = service.launch("sleep", {"hosts": names(40)})
    wait_for(lambda: outputs(service, job) == {"up\n": 3, "": 37})
    ended = service.cancel(job["id"])
    assert ended["counts"] == {"canceled": 40}
    assert {run["error"]["code"] for run in ended["runs"]} == {"canceled"}
    started = [event.document["run"] for event in service.events(job["id"]) if event.type == "started"]
    assert sorted(started) == [0, 1, 2]


def test_the_same_key_gives_the_same_job(service: ManyHosts) -> None:
    """A replay of a call for many hosts runs nothing and returns the job with all its runs."""
    headers = {"Idempotency-Key": "many"}
    first = finished(service, "echo", names(20), headers=headers)
    again = finished(service, "echo", names(20), headers=headers)
    assert (again["id"], again["counts"]) == (first["id"], {"succeeded": 20})


def test_a_caller_cannot_pace(service: ManyHosts) -> None:
    """Pacing is the policy's: a call that names it is refused, and nothing has run."""
    for field in ("max_parallel", "batch", "max_failures"):
        answer = service.run("echo", {"hosts": names(2), field: 1})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")


def test_a_caller_is_told_the_pace(service: ManyHosts) -> None:
    """The document of a command has what paces it, as the policy says it."""
    with service.client() as client:
        limits = {name: client.get(f"/v1/commands/{name}").json()["limits"] for name in ("batches", "careful")}
    assert (limits["batches"]["batch"], limits["batches"]["max_failures"]) == ("25%", None)
    assert (limits["careful"]["batch"], limits["careful"]["max_failures"], limits["careful"]["max_parallel"]) == (
        None,
        "0",
        2,
    )


def test_silent_hosts(small: ManyHosts, small_too: ManyHosts) -> None:
    """Hosts that say nothing keep their own places alone. Two services, so that their time-outs pass at the same time."""
    with ThreadPoolExecutor(2) as pool:
        kept = pool.submit(check_nobody_is_kept_from_running, small)
        held = pool.submit(check_no_other_host_is_held_up, small_too)
    kept.result()
    held.result()


def check_nobody_is_kept_from_running(small: ManyHosts) -> None:
    """While hosts that say nothing hold all the places that one job may have, another job runs at once."""
    finished(small, "echo", names(6))  # with connections that are kept, what follows is quick on a busy machine too
    slow = small.launch("echo", {"hosts": SILENT_HOSTS})
    wait_for(lambda: Counter(run["state"] for run in small.job(slow["id"])["runs"])["running"] == 6)
    assert small.result("echo", {"hosts": ["h000"]})["ok"]
    assert finished(small, "echo", names(6))["counts"] == {"succeeded": 6}
    assert small.job(slow["id"])["state"] == "running"
    job = small.job(slow["id"], wait=20)
    assert {run["error"]["code"] for run in job["runs"]} == {"connect_failed"}


def check_no_other_host_is_held_up(small: ManyHosts) -> None:
    """Among good hosts they take a place each for as long as a connection may take; all others are done long before."""
    finished(small, "echo", names(30))  # as above
    mixed = [*SILENT_HOSTS[:2], *names(30)]
    job = finished(small, "echo", mixed)
    events = end_numbers(small.events(job["id"]))
    assert job["counts"] == {"succeeded": 30, "failed": 2}
    good, silent = ([events[run] for run in runs] for runs in (range(2, 32), range(2)))
    assert max(good) < min(silent)


def test_a_kill_in_the_second_batch(small: ManyHosts) -> None:
    """After a kill what had ended stays, what ran is lost, and of what never started it is said that nothing has run."""
    job = small.launch("late", {"hosts": names(6)})
    wait_for(lambda: outputs(small, job)[""] == 2)
    small.kill()
    small.start()
    ended = small.job(job["id"])
    assert [run["state"] for run in ended["runs"]] == ["succeeded"] * 2 + ["lost"] * 2 + ["failed"] * 2
    assert {run["error"]["code"] for run in ended["runs"][2:]} == {"service_restarted"}
    assert [("nothing has run" in run["error"]["detail"]) for run in ended["runs"][2:]] == [False, False, True, True]
    assert [run["stdout"] for run in ended["runs"]] == [f"{address(number)}\n" for number in range(4)] + ["", ""]
    assert (ended["state"], ended["counts"]) == ("failed", {"succeeded": 2, "failed": 2, "lost": 2})
    numbered(small.events(job["id"]))
    assert small.list_jobs()[0]["counts"] == ended["counts"]


def end_numbers(events: list[Event]) -> dict[int, int]:
    """By run: the number of the event that told of its end."""
    return {event.document["run"]: event.seq for event in events if event.type == "exited"}


def outputs(service: ManyHosts, job: Document) -> Counter[str]:
    """How many runs have printed what so far."""
    return Counter(run["stdout"] for run in service.job(job["id"])["runs"])


def wait_for(reached: Callable[[], bool], *, within: float = 30) -> None:
    give_up = time.monotonic() + within
    while not reached():
        assert time.monotonic() < give_up, "it did not come to that"
        time.sleep(0.05)
