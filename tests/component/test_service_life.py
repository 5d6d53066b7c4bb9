"""Stops, kills and starts of the real program: no job is forgotten, none runs twice, no event is lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.service import NDJSON, SSE, Event, Media, Service, wait_until
from tests.support.sshd import is_alive


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("life") / "service") as running:
        yield running


def raws(events: list[Event]) -> list[str]:
    return [event.raw for event in events if event.numbered]


def check_whole(events: list[Event]) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[0].type, events[-1].type) == ("accepted", "finished")


@pytest.mark.parametrize("media", [NDJSON, SSE], ids=["ndjson", "sse"])
def test_a_stop_interrupts_the_stream_and_ends_the_job(service: Service, media: Media) -> None:
    """On SIGTERM a stream says `interrupted`, the job gets its end, and a resume after the restart misses nothing."""
    with service.stream("tick", {"params": {"count": 1000}}, media=media) as stream:
        read = [next(stream) for _ in range(6)]
        pid = next(event for event in read if event.type == "started").document["pid"]
        service.stop()
        read += list(stream)
    assert read[-1].type == "interrupted"
    assert not read[-1].numbered
    assert not is_alive(pid)
    numbered = [event for event in read if event.numbered]
    assert read[-1].document["last_seq"] == numbered[-1].seq
    service.start()
    job_id = str(read[0].document["job_id"])
    rest = service.events(job_id, after=numbered[-1].seq, media=media)
    whole = service.events(job_id, media=media)
    check_whole(whole)
    assert raws(read) + raws(rest) == raws(whole)
    job = service.job(job_id)
    assert (job["state"], job["error"]["code"], job["stopped"]) == ("canceled", "service_stopped", "confirmed")


def test_a_job_that_ends_in_time_outlives_the_request_to_stop(tmp_path: Path) -> None:
    """Jobs get the drain time to finish; a waiting caller gets an answer, and new jobs are refused or unreachable."""
    with Service.running(tmp_path / "service", drain="5") as service:
        with service.stream("sleep", {"params": {"seconds": 1}}) as stream:
            job_id = next(stream).document["job_id"]
            service.first_line(job_id)
            service.stop()
        service.start()
        job = service.job(job_id)
        assert (job["state"], job["exit_code"]) == ("succeeded", 0)
        check_whole(service.events(job_id))


@pytest.mark.parametrize("host", ["local", "far"])
def test_after_a_kill_the_job_is_lost_and_its_output_kept(service: Service, host: str) -> None:
    """A killed service cannot know how the run ended, so it says so, and keeps each event that a reader has seen."""
    with service.stream("tick", {"params": {"count": 200}, "hosts": [host]}) as stream:
        read = [next(stream) for _ in range(8)]
        service.kill()
    service.start()
    service.end_orphans()
    job_id = str(read[0].document["job_id"])
    job = service.job(job_id)
    assert (job["state"], job["ok"], job["exit_code"]) == ("lost", False, None)
    assert job["error"]["code"] == "service_restarted"
    assert job["error"]["hint"]
    assert job["finished_at"]
    events = service.events(job_id)
    check_whole(events)
    assert raws(events)[: len(read)] == raws(read)
    told = "".join(
        event.document["text"] for event in events if event.type == "output" and event.document["stream"] == "stdout"
    )
    assert told.startswith("tick 0\ntick 1\n")
    assert service.output(job_id).content == told.encode() == job["stdout"].encode()
    with service.follow(job_id, media=SSE) as again:
        assert [event.type for event in again][-1] == "finished"


def test_a_retry_after_a_kill_gets_the_lost_job(service: Service) -> None:
    """The same idempotency key never starts a command twice, not even when its first run was cut off."""
    headers = {"Idempotency-Key": "cut-off"}
    job = service.launch("sleep", headers=headers)
    service.first_line(job["id"])
    service.kill()
    service.start()
    service.end_orphans()
    again = service.run("sleep", headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert (again.json()["id"], again.json()["state"]) == (job["id"], "lost")


def test_kills_at_any_moment_leave_a_usable_record(service: Service) -> None:
    """Killed again and again in the middle of work, the service starts, and every accepted job has a complete end."""
    accepted: list[str] = []
    for _ in range(4):
        accepted += [service.launch("tick", {"params": {"count": 50, "pause": 0.01}})["id"] for _ in range(5)]
        service.kill()
        service.start()
        service.end_orphans()
    for job_id in accepted:
        assert service.job(job_id)["state"] in ("lost", "failed", "succeeded")
        check_whole(service.events(job_id))


def test_a_second_service_on_the_same_data_is_refused(service: Service) -> None:
    """Two services would ruin each other's records; the second one says so and ends with 2, the first goes on."""
    listen, ops = (f"127.0.0.1:{free_port()}" for _ in range(2))
    refused = service.cli(*service.serve_arguments(listen=listen, **{"ops-listen": ops}))
    assert refused.returncode == 2
    assert "another cmdhttp uses the data folder" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert service.result("exit", {"params": {"code": 0}})["ok"]


def test_a_taken_address_is_refused(service: Service, tmp_path: Path) -> None:
    """An address that something listens on already is a clear message, not a stack."""
    refused = service.cli(*service.serve_arguments(data=str(tmp_path / "data")))
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert f"cannot listen on {service.listen}" in refused.stderr


def test_what_the_service_keeps_is_for_its_account_alone(service: Service) -> None:
    """Nobody else on the machine may read records or output."""
    service.result("exit", {"params": {"code": 0}})
    paths = [service.data, *service.data.rglob("*")]
    assert len(paths) > 4
    open_to_others = {path: path.stat().st_mode & 0o077 for path in paths if path.stat().st_mode & 0o077}
    assert open_to_others in ({}, {service.data / "runs": 0o011}), "as root, runs of other accounts pass there"


def test_a_run_leaves_no_folder(service: Service) -> None:
    """The private folder of a run is gone when the job has ended."""
    for command in ("env", "exit"):
        service.result(command, {"params": {"code": 0}} if command == "exit" else {})
    wait_until(lambda: not any((service.data / "runs").iterdir()), "run folders are removed")


def test_a_waiting_caller_gets_an_answer_when_the_service_stops(service: Service) -> None:
    """A call that waits while the service stops is answered with its job, not cut off; a retry finds the end."""
    headers = {"Idempotency-Key": "waiting"}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.run, "sleep", {"wait": 15}, headers=headers)
        wait_until(lambda: service.list_jobs(state="running"), "the job runs")
        service.first_line(service.list_jobs(state="running")[0]["id"])
        service.stop()
        answer = waiting.result(10)
    assert answer.status_code in (200, 202)
    service.start()
    again = service.run("sleep", {"wait": 15}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    assert (again.json()["state"], again.json()["error"]["code"]) == ("canceled", "service_stopped")


def test_a_kill_right_after_the_answer_takes_nothing_back(service: Service) -> None:
    """What a caller was told of an end is on record after a kill, though the end is synced only a moment later."""
    told = []
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda code: service.result("exit", {"params": {"code": code}}), range(4)))
        service.kill()
        service.start()
        told += answers
    for before in told:
        after = service.job(before["id"])
        assert after == before
        check_whole(service.events(before["id"]))
        assert after["state"] == ("succeeded" if after["exit_code"] == 0 else "failed")
