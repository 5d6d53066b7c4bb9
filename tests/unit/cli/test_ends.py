"""Exit codes, and what a person is told of the end of a job."""

import signal

import pytest

from cmdhttp.cli.calls.ends import Exit, exit_of, exit_of_failure, said_of, signal_number
from cmdhttp.client.failures import Problem, Refused, Unreachable


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"state": "succeeded", "ok": True, "exit_code": 0}, 0),
        ({"state": "succeeded", "ok": True, "exit_code": 3}, 3),
        ({"state": "failed", "ok": False, "exit_code": 1}, 1),
        ({"state": "failed", "ok": False, "exit_code": 255}, 255),
        ({"state": "failed", "ok": False, "exit_code": 0}, Exit.NO_EXIT_CODE),
        ({"state": "failed", "ok": False, "exit_code": 256}, 255),
        ({"state": "failed", "ok": False, "exit_code": 0xC0000005}, 5),
        ({"state": "failed", "ok": False, "exit_code": 1 << 40}, 255),
        ({"state": "failed", "ok": False, "exit_code": -1}, 255),
        ({"state": "succeeded", "ok": True, "exit_code": 256}, 0),
        ({"state": "failed", "ok": False, "exit_code": None, "signal": "RTMIN+94"}, Exit.NO_EXIT_CODE),
        ({"state": "failed", "ok": False, "exit_code": None}, Exit.NO_EXIT_CODE),
        ({"state": "failed", "ok": False, "exit_code": None, "signal": "KILL"}, 137),
        ({"state": "failed", "ok": False, "exit_code": None, "signal": "NOPE"}, Exit.NO_EXIT_CODE),
        ({"state": "canceled", "ok": False, "exit_code": None, "signal": "TERM"}, Exit.CANCELED),
        ({"state": "timed_out", "ok": False, "exit_code": 1}, Exit.TIMED_OUT),
        ({"state": "lost", "ok": False}, Exit.LOST),
        ({"state": "succeeded", "ok": True, "runs": []}, 0),
        ({"state": "failed", "ok": False, "runs": [{}]}, Exit.SEVERAL_FAILED),
        ({"state": "canceled", "ok": False, "runs": [{}]}, Exit.CANCELED),
        ({}, Exit.NO_EXIT_CODE),
    ],
    ids=repr,
)
def test_exit_codes(job: dict[str, object], code: int) -> None:
    """One host: the program's own code; where there is none, and for several hosts, one of ours."""
    assert exit_of(job) == code


@pytest.mark.parametrize(
    ("status", "ours", "code"),
    [
        (401, True, Exit.UNAUTHENTICATED),
        (401, False, Exit.UNAUTHENTICATED),
        (403, True, Exit.REFUSED),
        (404, True, Exit.REFUSED),
        (409, True, Exit.REFUSED),
        (422, True, Exit.REFUSED),
        (429, True, Exit.UNREACHABLE),
        (503, True, Exit.UNREACHABLE),
        (500, True, Exit.UNREACHABLE),
        (403, False, Exit.UNREACHABLE),
        (302, False, Exit.UNREACHABLE),
    ],
)
def test_exit_codes_of_refusals(status: int, *, ours: bool, code: int) -> None:
    """What the service refuses for good is told apart from what may pass, and from what only stands before it."""
    assert exit_of_failure(Refused(Problem(status=status, ours=ours))) == code


def test_exit_code_of_no_answer() -> None:
    """No answer has a code of its own."""
    assert exit_of_failure(Unreachable("gone")) == Exit.UNREACHABLE


def test_our_codes_are_apart() -> None:
    """No two ends share a code, none is one of a signal but the two that a shell gives, and none is 0, 1 or 2."""
    codes = [code.value for code in Exit]
    assert len(set(codes)) == len(codes)
    assert {code for code in codes if code < 240} == {128 + signal.SIGINT, 128 + signal.SIGPIPE}


def test_numbers_of_signals() -> None:
    """Real-time signals count from RTMIN, as the service names them."""
    assert (signal_number("TERM"), signal_number("RTMIN"), signal_number("RTMIN+2")) == (15, 34, 36)
    assert (signal_number("RTMIN+x"), signal_number("nonsense"), signal_number("")) == (None, None, None)


def test_an_exit_code_speaks_for_itself() -> None:
    """Of a program that ended by itself nothing is said beside its output."""
    for code in (0, 4):
        job = {"state": "failed" if code else "succeeded", "ok": not code, "exit_code": code, "error": None}
        assert said_of(job) == []


@pytest.mark.parametrize("code", [0, 256, 0xC0000005])
def test_an_exit_code_that_is_not_ours_is_told(code: int) -> None:
    """Where our exit code cannot be that of the program, a person learns it."""
    job = {"id": "job_1", "host": "web1", "state": "failed", "ok": False, "exit_code": code, "error": None}
    assert said_of(job) == [f"web1: failed, exit code {code} (job_1)"]


def test_other_ends_are_told() -> None:
    """A stop, an error and missing output are told, each with its host."""
    error = {"code": "timed_out", "detail": "The time limit was reached.", "hint": "Ask for more."}
    job = {"id": "job_1", "host": "web1", "state": "timed_out", "ok": False, "exit_code": None, "signal": "KILL"}
    assert said_of(job | {"stopped": "unconfirmed", "error": error, "truncated": True}) == [
        "web1: timed out, signal KILL, stop unconfirmed (job_1)",
        "web1: timed_out: The time limit was reached.",
        "    hint: Ask for more.",
        "web1: not all of the output is kept",
    ]


def test_the_table_of_several_hosts() -> None:
    """Up to fifty hosts all have a row; of more, only those that did not succeed."""
    good = {"host": "good", "state": "succeeded", "ok": True, "exit_code": 0}
    bad = {"host": "bad", "state": "failed", "ok": False, "exit_code": 7, "error": None}
    down = {"host": "down", "state": "failed", "ok": False, "error": {"code": "connect_failed", "detail": "No."}}
    lines = said_of({"id": "job_1", "runs": [good, bad, down]})
    assert lines[1:] == [
        "good  succeeded",
        "bad   failed, exit code 7",
        "down  failed               connect_failed: No.",
        "job_1: 2 failed, 1 succeeded of 3 hosts",
    ]
    assert len(said_of({"id": "job_1", "runs": [good] * 60 + [bad]})) == 3
