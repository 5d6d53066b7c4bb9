"""What a run's end means."""

import pytest

from cmdhttp.execution.model import Exited, RunError, RunErrorCode, Stopped, StopReason
from cmdhttp.jobs.run import judge
from cmdhttp.jobs.state import State

OWN = RunError(code=RunErrorCode.CONNECT_FAILED, detail="d")
LIMIT = RunError(code=RunErrorCode.MEMORY_LIMIT, detail="d")
LOST = RunError(code=RunErrorCode.CONNECTION_LOST, detail="d")


@pytest.mark.parametrize(
    ("exited", "reason", "codes", "state", "error"),
    [
        (Exited(exit_code=0), None, {0}, State.SUCCEEDED, None),
        (Exited(exit_code=1), None, {0}, State.FAILED, None),
        (Exited(exit_code=1), None, {0, 1}, State.SUCCEEDED, None),
        (Exited(exit_code=0), None, {1}, State.FAILED, None),
        (Exited(signal="KILL"), None, {0}, State.FAILED, None),
        (Exited(error=OWN), None, {0}, State.FAILED, RunErrorCode.CONNECT_FAILED),
        (Exited(error=OWN), StopReason.CANCEL, {0}, State.FAILED, RunErrorCode.CONNECT_FAILED),
        (Exited(lost=True, error=LOST), None, {0}, State.LOST, RunErrorCode.CONNECTION_LOST),
        (
            Exited(lost=True, error=LOST, stopped=Stopped.UNCONFIRMED),
            StopReason.TIMEOUT,
            {0},
            State.LOST,
            RunErrorCode.CONNECTION_LOST,
        ),
        (Exited(signal="KILL", error=LIMIT), None, {0}, State.FAILED, RunErrorCode.MEMORY_LIMIT),
        (Exited(exit_code=0, error=LIMIT), None, {0}, State.FAILED, RunErrorCode.MEMORY_LIMIT),
        (
            Exited(signal="KILL", error=LIMIT, stopped=Stopped.CONFIRMED),
            StopReason.TIMEOUT,
            {0},
            State.FAILED,
            RunErrorCode.MEMORY_LIMIT,
        ),
        (Exited(exit_code=0), StopReason.CANCEL, {0}, State.SUCCEEDED, None),
        (Exited(exit_code=0), StopReason.TIMEOUT, {0}, State.SUCCEEDED, None),
        (
            Exited(exit_code=0, stopped=Stopped.CONFIRMED),
            StopReason.CANCEL,
            {0},
            State.CANCELED,
            RunErrorCode.CANCELED,
        ),
    ],
)
def test_the_table(
    exited: Exited, reason: StopReason | None, codes: set[int], state: State, error: RunErrorCode | None
) -> None:
    """What the process did decides; a stop counts only if it reached a process that had not ended before."""
    verdict, why = judge(exited, reason, codes)
    assert (verdict, why.code if why else None) == (state, error)


@pytest.mark.parametrize(
    ("reason", "state", "code"),
    [
        (StopReason.TIMEOUT, State.TIMED_OUT, RunErrorCode.TIMED_OUT),
        (StopReason.OUTPUT_LIMIT, State.FAILED, RunErrorCode.OUTPUT_LIMIT),
        (StopReason.CANCEL, State.CANCELED, RunErrorCode.CANCELED),
        (StopReason.DISCONNECT, State.CANCELED, RunErrorCode.CANCELED),
        (StopReason.SHUTDOWN, State.CANCELED, RunErrorCode.SERVICE_STOPPED),
    ],
)
@pytest.mark.parametrize("stopped", Stopped)
def test_every_reason_to_stop(reason: StopReason, state: State, code: RunErrorCode, stopped: Stopped) -> None:
    """Each reason has its state and its code, and the hint says when nobody saw the process die."""
    verdict, error = judge(Exited(signal="TERM", stopped=stopped), reason, {0})
    assert error is not None
    assert (verdict, error.code) == (state, code)
    unseen = "It is not known whether the process has ended."
    assert (error.hint == unseen) is (stopped is Stopped.UNCONFIRMED)
    assert ("keep_ends" in error.hint) is (reason is StopReason.OUTPUT_LIMIT and stopped is Stopped.CONFIRMED)
