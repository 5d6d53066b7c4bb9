"""Which limit ended a run, by its status, and how that is said."""

import dataclasses
import math
import signal

import pytest

from cmdhttp.execution.local.limit_errors import limit_error
from cmdhttp.execution.local.limits import Meter, named
from cmdhttp.execution.model import LIMITS, RunErrorCode
from cmdhttp.policy.compiled import Limits

CPU = {"cpu": 1.5}
FILE = {"file_size": 10}
XCPU, XFSZ, KILL = signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL


@pytest.mark.parametrize(
    ("status", "limits", "used", "name"),
    [
        (-XCPU, CPU, 0.0, "cpu"),
        (-XCPU, {}, 9.0, None),
        (-XCPU, FILE, 9.0, None),
        (-KILL, CPU, 1.5, "cpu"),
        (-KILL, CPU, 1.4, None),
        (-KILL, FILE, 9.0, None),
        (128 + XCPU, CPU, 0.75, "cpu"),
        (128 + XCPU, CPU, 0.7, None),
        (128 + KILL, CPU, 1.5, "cpu"),
        (128 + KILL, CPU, 0.1, None),
        (-XFSZ, FILE, 0.0, "file_size"),
        (128 + XFSZ, FILE, 0.0, "file_size"),
        (-XFSZ, CPU, 9.0, None),
        (-XFSZ, {"file_size": None}, 0.0, None),
        (0, CPU | FILE, 9.0, None),
        (1, CPU | FILE, 9.0, None),
        (XCPU, CPU, 9.0, None),
        (-signal.SIGTERM, CPU | FILE, 9.0, None),
        (255, CPU | FILE, 9.0, None),
    ],
)
def test_what_a_status_stands_for(status: int, limits: dict[str, float | None], used: float, name: str | None) -> None:
    """A signal of the kernel names its limit if that is set; a KILL, which anyone may send, only after the time is used."""
    assert named(status, limits, used=used) == name


def test_each_limit_that_can_be_seen_has_its_error() -> None:
    """The code, the limit's value, and where to raise it."""
    limits = dataclasses.asdict(Limits(memory=1 << 20, cpu=0.5, processes=7, files=9, file_size=33))
    errors = {name: limit_error(name, limits) for name in ("memory", "cpu", "processes", "file_size")}
    assert {error.code for error in errors.values()} == LIMITS
    assert errors["memory"].detail == "The run held more memory than its limit of 1048576 bytes."
    assert errors["cpu"].detail == "The run used more CPU than its limit of 0.5 s."
    assert errors["processes"].detail == "The run had more processes than its limit of 7."
    assert errors["file_size"].detail == "The run wrote a file that is larger than its limit of 33 bytes."
    for name, error in errors.items():
        assert error.hint == f"Ask for less work, or raise 'limits: {name}' of the command."
    assert errors["cpu"].code is RunErrorCode.CPU_LIMIT


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        (Limits(), False),
        (Limits(files=5, file_size=5), False),
        (Limits(memory=5), True),
        (Limits(cpu=0.5), True),
        (Limits(processes=5), True),
    ],
)
def test_what_needs_no_measuring(limits: Limits, needed: bool) -> None:
    """A run without limits over all its processes costs no looks."""
    assert Meter(dataclasses.asdict(limits)).needed is needed


def test_processes_that_are_gone_are_nothing() -> None:
    """A pid that nobody has is not an error: processes end between two looks."""
    nobody = (1 << 22) + 1
    assert Meter({"memory": 1, "cpu": 0.001}).exceeded([nobody]) is None
    assert Meter({"cpu": 0.5}).exceeded([nobody], reaped=0.5) is None
    assert Meter({"cpu": 0.5}).exceeded([], reaped=math.nextafter(0.5, 1)) == "cpu"
