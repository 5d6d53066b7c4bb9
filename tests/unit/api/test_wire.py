"""Documents that callers see."""

from dataclasses import replace
from typing import Any

import pytest

from cmdhttp.api.wire import (
    Inline,
    download_name,
    event_document,
    heartbeat_document,
    interrupted_document,
    job_document,
)
from cmdhttp.execution.model import RunError, RunErrorCode, Stopped, Stream
from cmdhttp.jobs.state import (
    Accepted,
    Artefact,
    Finished,
    Job,
    Kept,
    Omission,
    OnDisconnect,
    Output,
    Progress,
    Receipt,
    Run,
    RunEnded,
    Started,
    State,
    Tally,
)
from cmdhttp.jobs.ticket import Place, Waits
from cmdhttp.results.model import DataError, DataErrorCode, Parsed

GOOD = Run(
    host="web1", state=State.SUCCEEDED, started_at=1.5, finished_at=2.0, exit_code=0, stdout=Tally(size=3, sha256="ab")
)
BAD = Run(
    host="web2",
    state=State.FAILED,
    stopped=Stopped.CONFIRMED,
    error=RunError(code=RunErrorCode.OUTPUT_LIMIT, detail="d", hint="h"),
)


def job(*runs: Run, state: State = State.SUCCEEDED) -> Job:
    return Job(
        id="job_1",
        command="c",
        principal="p",
        credential="CANARY",
        created_at=0.0,
        policy="sha256:0",
        params={"x": 1},
        labels=("l",),
        reason="",
        on_disconnect=OnDisconnect.CONTINUE,
        max_parallel=1,
        runs=runs or (GOOD,),
        state=state,
        started_at=1.5,
        finished_at=2.0,
        duration=0.5,
        receipt=Receipt(seq=4, head="ff"),
    )


def document(made: Job, *inline: Inline) -> Any:
    return job_document(made, inline=inline or None)


def test_one_host_is_flat() -> None:
    """The result of one host stands at the top, with everything about its job beside it."""
    assert document(job(), Inline(stdout=b"hi\n", stderr=b"")) == {
        "id": "job_1",
        "command": "c",
        "state": "succeeded",
        "ok": True,
        "host": "web1",
        "exit_code": 0,
        "signal": None,
        "stdout": "hi\n",
        "stderr": "",
        "encoding": "utf-8",
        "truncated": False,
        "stdout_bytes": 3,
        "stderr_bytes": 0,
        "error": None,
        "created_at": "1970-01-01T00:00:00.000000Z",
        "started_at": "1970-01-01T00:00:01.500000Z",
        "finished_at": "1970-01-01T00:00:02.000000Z",
        "duration_ms": 500.0,
        "principal": "p",
        "policy": "sha256:0",
        "params": {"x": 1},
        "labels": ["l"],
        "reason": None,
        "audit": {"seq": 4, "head": "ff"},
        "links": {
            "self": "/v1/jobs/job_1",
            "events": "/v1/jobs/job_1/events",
            "stdout": "/v1/jobs/job_1/output/stdout",
            "stderr": "/v1/jobs/job_1/output/stderr",
            "cancel": "/v1/jobs/job_1/cancel",
        },
    }


@pytest.mark.parametrize(
    ("parsed", "fields"),
    [
        (Parsed(data=[{"a": 1}]), {"data": [{"a": 1}]}),
        (Parsed(), {"data": None}),
        (
            Parsed(error=DataError(code=DataErrorCode.MALFORMED, detail="d")),
            {"data": None, "data_error": {"code": "malformed", "detail": "d"}},
        ),
    ],
    ids=["data", "nothing", "error"],
)
def test_data_stands_beside_the_rest(parsed: Parsed, fields: dict[str, object]) -> None:
    """What the parser made is added, at the top or in each run, and nothing else changes."""
    one: Any = job_document(job(), inline=None, data=[parsed])
    assert one == job_document(job(), inline=None) | fields
    two: Any = job_document(job(GOOD, BAD), inline=None, data=[Parsed(data=1), parsed])
    plain: Any = job_document(job(GOOD, BAD), inline=None)
    assert two == plain | {"runs": [plain["runs"][0] | {"data": 1}, plain["runs"][1] | fields]}


KEPT = Kept(
    artefacts=(Artefact(name="a/b", size=3, sha256="ab"),),
    omitted=(Omission(name="c", why="symlink"),),
    omitted_count=7,
)
SHOWN = {
    "artefacts": [{"name": "a/b", "bytes": 3, "sha256": "ab", "link": "/v1/jobs/job_1/artefacts/0?host=web1"}],
    "artefacts_left_out": [{"name": "c", "why": "symlink"}],
    "artefacts_left_out_count": 7,
}


def test_what_a_run_left() -> None:
    """A command that collects has its files in each run, none before the end; another has no such field."""
    kept = replace(job(replace(GOOD, kept=KEPT)), collects=True)
    assert {key: value for key, value in document(kept).items() if key.startswith("artefacts")} == SHOWN
    none: dict[str, object] = {"artefacts": [], "artefacts_left_out": [], "artefacts_left_out_count": 0}
    open_ = document(replace(job(), collects=True))
    assert {key: value for key, value in open_.items() if key.startswith("artefacts")} == none
    assert not [key for key in document(job()) if key.startswith("artefacts")]
    several = document(replace(job(replace(GOOD, kept=KEPT), BAD), collects=True))
    assert [run["artefacts"] for run in several["runs"]] == [SHOWN["artefacts"], []]
    ended = RunEnded(seq=4, ts=0.0, run=0, host="web1", state=State.SUCCEEDED, kept=KEPT)
    assert SHOWN.items() <= event_document(ended, job=None, job_id="job_1").items()


def test_a_link_holds_a_host_of_any_name() -> None:
    """A host's name is escaped whole, so the link leads to its run and to nothing else."""
    kept = replace(job(replace(GOOD, host="a/b&c#d", kept=KEPT)), collects=True)
    assert document(kept)["artefacts"][0]["link"] == "/v1/jobs/job_1/artefacts/0?host=a%2Fb%26c%23d"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("report/a.csv", "a.csv"),
        ('a b"; x=y.html', "a_b_x_y.html"),
        ("\r\nSet-Cookie: a", "Set-Cookie_a"),
        (".bashrc", "bashrc"),
        ("..", "artefact"),
        ("a/", "artefact"),
        ("", "artefact"),
        ("é.txt", "txt"),
        ("é", "artefact"),
        ("x" * 200 + ".csv", "x" * 96 + ".csv"),
        ("a" + "." * 200, "artefact"),
    ],
)
def test_what_a_download_is_called(name: str, plain: str) -> None:
    """The last part of the name, in characters that no header, shell or file system takes for more."""
    assert download_name(name) == plain


def test_several_hosts_are_a_list() -> None:
    """Several hosts have `runs` and `counts`, and no field of one of them at the top."""
    shown = document(job(GOOD, BAD, state=State.FAILED))
    assert [run["host"] for run in shown["runs"]] == ["web1", "web2"]
    assert shown["counts"] == {"succeeded": 1, "failed": 1}
    assert shown["error"]["code"] == "runs_failed"
    assert shown["error"]["detail"] == "1 of 2 runs did not succeed."
    assert "exit_code" not in shown
    assert shown["runs"][1]["error"] == {"code": "output_limit", "detail": "d", "hint": "h"}
    assert shown["runs"][1]["stopped"] == "confirmed"


def test_a_waiting_job_says_where_it_waits() -> None:
    """A queued job shows its place, and nothing that has not happened yet."""
    shown: Any = job_document(
        replace(job(replace(GOOD, state=State.QUEUED)), state=State.QUEUED),
        inline=None,
        place=Place(position=3, reason=Waits.HOST_BUSY),
    )
    assert shown["queue"] == {"position": 3, "reason": "host_busy"}
    assert shown["ok"] is False


@pytest.mark.parametrize(
    ("encoding", "data", "shown", "named"),
    [
        ("auto", "é".encode(), "é", "utf-8"),
        ("auto", b"\xff", "/w==", "base64"),
        ("utf-8", b"a\xff", "a\ufffd", "utf-8"),
        ("base64", b"a", "YQ==", "base64"),
    ],
)
def test_how_output_is_spelled(encoding: str, data: bytes, shown: str, named: str) -> None:
    """Output is text where it is text, base64 where it is not, or as the caller asked."""
    made = document(job(), Inline(stdout=data, stderr=b"", encoding=encoding))
    assert (made["stdout"], made["encoding"]) == (shown, named)


def test_cut_output_says_so() -> None:
    """An answer that carries less than the log holds is marked as truncated."""
    assert document(job(), Inline(stdout=b"hi", stderr=b""))["truncated"] is True


def test_what_was_left_out_in_the_middle_is_told() -> None:
    """A run that wrote more than is kept of it says how much; others have no such fields."""
    ended = RunEnded(seq=1, ts=0.0, run=0, host="h", state=State.SUCCEEDED, truncated=True)
    ended = replace(ended, stdout=Tally(size=7, written=99), stderr=Tally(size=3, written=3))
    fields = event_document(ended, job=None, job_id="job_1", data=b"").items()
    told = {"stdout_bytes": 7, "stdout_written_bytes": 99, "stderr_bytes": 3, "stderr_written_bytes": 3}
    assert fields >= {**told, "truncated": True}.items()
    run = replace(job().runs[0], stdout=ended.stdout, stderr=ended.stderr, truncated=True)
    assert document(replace(job(), runs=(run,))).items() >= told.items()
    assert not [name for name in document(job()) if "written" in name]


def test_the_credential_is_not_shown() -> None:
    """No document says by which token a job was started."""
    assert "CANARY" not in repr(document(job()))


@pytest.mark.parametrize(
    ("event", "kind", "more"),
    [
        (Accepted(seq=1, ts=0.0, job=job()), "accepted", {}),
        (
            Started(seq=2, ts=0.0, run=0, host="h", argv=("/bin/c", "-x"), pid=7),
            "started",
            {"run": 0, "host": "h", "argv": ["/bin/c", "-x"], "pid": 7, "remote_id": None},
        ),
        (
            Output(seq=3, ts=0.0, run=0, host="h", stream=Stream.STDERR, offset=4, size=2),
            "output",
            {"stream": "stderr", "offset": 4, "text": "ab"},
        ),
        (
            RunEnded(seq=4, ts=0.0, run=0, host="h", state=State.FAILED, exit_code=2, duration=0.25),
            "exited",
            {"state": "failed", "ok": False, "exit_code": 2, "duration_ms": 250.0, "error": None},
        ),
        (Finished(seq=5, ts=0.0), "finished", {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_event(event: Any, kind: str, more: dict[str, object]) -> None:
    """Every event has its type, job, number and time, and what happened."""
    made = event_document(event, job=job(), job_id="job_1", data=b"ab")
    head = {"type": kind, "job_id": "job_1", "seq": event.seq, "ts": "1970-01-01T00:00:00.000000Z"}
    assert made.items() >= {**head, **more}.items()


def test_bytes_that_are_no_text() -> None:
    """Output that is no UTF-8 goes as base64 in a field of its own name."""
    event = Output(seq=3, ts=0.0, run=0, host="h", stream=Stream.STDOUT, offset=0, size=1)
    made = event_document(event, job=None, job_id="job_1", data=b"\xff")
    assert made["base64"] == "/w=="
    assert "text" not in made


def test_the_last_event_has_the_hashes() -> None:
    """A finished job comes with the sha256 of its output."""
    made: Any = event_document(Finished(seq=5, ts=0.0), job=job(), job_id="job_1")
    assert made["job"]["sha256"] == {"stdout": "ab", "stderr": None}


def test_what_is_no_event_has_no_number() -> None:
    """A heartbeat and an interruption carry no `seq`."""
    assert "seq" not in heartbeat_document("job_1", now=0.0)
    assert interrupted_document("job_1", now=0.0, last_seq=3) == {
        "type": "interrupted",
        "job_id": "job_1",
        "ts": "1970-01-01T00:00:00.000000Z",
        "last_seq": 3,
    }


def test_progress() -> None:
    """How far a job on several hosts is."""
    told = Progress(seq=5, ts=0.0, done=3, total=9, failed=1, batch=2, batches=3)
    assert event_document(told, job=None, job_id="job_1") == {
        "type": "progress",
        "job_id": "job_1",
        "seq": 5,
        "ts": "1970-01-01T00:00:00.000000Z",
        "hosts_done": 3,
        "hosts_total": 9,
        "hosts_failed": 1,
        "batch": 2,
        "batches": 3,
    }
