"""Single moments: from a line's write to its receipt, from a call to its first output, and from a cancel to the process's end.

Lines carry the monotonic clock of this machine as it was just before their write, so that no clocks are compared. A process
that is canceled is found by its arguments, and is gone when the kernel knows no such pid any more.
"""

import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from benchmarks.figures import Column, Sheet, percentile, race
from benchmarks.local.contenders import Cmdhttp
from benchmarks.local.http import WrongAnswer, ask, connect, receive, request
from benchmarks.local.programs import TICK_MS, TICKS, WORD
from benchmarks.local.servers import Running, Server, Streamed, running

FIRST, P50, P99, CALL = "first", "p50", "p99", "call to line"
GONE, ANSWERED = "gone", "answered"
NDJSON = "cmdhttp, ndjson"
_STREAMS = 5
LINE_TITLE = f"From a line's write to its receipt: {_STREAMS} runs of {TICKS} lines, {TICK_MS} ms apart"
CALL_TITLE = "From the call of /bin/echo to its line"
CANCEL_TITLE = "From the cancel of a `sleep` to its end"
_LINE_COLUMNS = tuple(Column(name=name, unit="ms") for name in (FIRST, P50, P99))
_CANCEL_COLUMNS = (Column(name=GONE, unit="ms"), Column(name=ANSWERED, unit="ms"))
_TICK = re.compile(rb"@(\d+)@")
_READ = 1 << 16
_PATIENCE = 10.0
_ECHOES = 50
_CANCELS = 20
_FIRST_SLEEP = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """A way to stream: our service has two."""

    name: str
    up: Running
    headers: Mapping[str, str]

    def sent(self, program: str, body: bytes = b"{}") -> bytes:
        streamed = self.up.server.streamed(program) or Streamed(target="/")
        headers = {**streamed.headers, **self.headers, "Connection": "close"}
        return request(
            streamed.method, streamed.target, headers=headers, body=body if streamed.method == "POST" else None
        )


def measure(us: Cmdhttp, servers: Sequence[Server], *, rounds: int) -> Iterator[Sheet]:
    """The three sheets. The servers stream; the last of them is the floor."""
    with ExitStack() as stack:
        ours = stack.enter_context(running(us))
        plain = _Stream(name="cmdhttp, text/plain", up=ours, headers={})
        streams = [replace(plain, name=NDJSON, headers={"Accept": "application/x-ndjson"}), plain]
        streams += [
            _Stream(name=server.name, up=stack.enter_context(running(server)), headers={}) for server in servers
        ]
        yield race(LINE_TITLE, _LINE_COLUMNS, {each.name: _lines(each) for each in streams}, rounds=rounds)
        columns = (Column(name=P50, unit="ms"), Column(name=P99, unit="ms"))
        yield race(CALL_TITLE, columns, {each.name: _calls(each) for each in streams}, rounds=rounds)
        work = {us.name: _cancels(ours, us), "floor: kill and wait": _kills}
        yield race(CANCEL_TITLE, _CANCEL_COLUMNS, work, rounds=rounds)


def _lines(stream: _Stream) -> Callable[[], tuple[float, ...]]:
    def once() -> list[float]:
        with connect(stream.up.port) as found:
            found.sendall(stream.sent("ticks"))
            took = delays(lambda: found.recv(_READ))
        if len(took) != TICKS:
            raise WrongAnswer(f"{stream.name}: {len(took)} of {TICKS} lines came")
        return took

    def work() -> tuple[float, ...]:
        streams = [once() for _ in range(_STREAMS)]
        first, every = sorted(took[0] for took in streams), sorted(chain.from_iterable(streams))
        return percentile(first, 0.5), percentile(every, 0.5), percentile(every, 0.99)

    return work


def delays(receive: Callable[[], bytes]) -> list[float]:
    """Milliseconds from each tick's time to the receipt of its last byte."""
    took: list[float] = []
    held = b""
    while data := receive():
        now = time.monotonic_ns()
        held += data
        end = 0
        for tick in _TICK.finditer(held):
            took.append((now - int(tick[1])) / 1e6)
            end = tick.end()
        held = held[end:]
    return took


def _calls(stream: _Stream) -> Callable[[], tuple[float, ...]]:
    body = json.dumps({"params": {"text": WORD}} if stream.up.server.name == Cmdhttp.name else {}).encode()
    sent = stream.sent("echo", body)
    expected = (
        f'"text":"{WORD}\\n"'.encode() if stream.name == NDJSON else WORD.encode()
    )  # the parameter has no newline

    def once() -> float:
        with connect(stream.up.port) as found:
            start = time.perf_counter()
            found.sendall(sent)
            held = b""
            while expected not in held.partition(b"\r\n\r\n")[2]:
                data = found.recv(_READ)
                if not data:
                    raise WrongAnswer(f"{stream.name}: no {expected!r} in {held[:500]!r}")
                held += data
            took = time.perf_counter() - start
            while found.recv(_READ):  # to the end, so that the next call finds the server at rest
                pass
        return took * 1e3

    def work() -> tuple[float, ...]:
        took = sorted(once() for _ in range(_ECHOES))
        return percentile(took, 0.5), percentile(took, 0.99)

    return work


# Cancel.


def _cancels(up: Running, us: Cmdhttp) -> Callable[[], tuple[float, ...]]:
    count = iter(range(_FIRST_SLEEP, 2 * _FIRST_SLEEP))

    def work() -> tuple[float, ...]:
        found = [_cancel(up, us, str(next(count))) for _ in range(_CANCELS)]
        return tuple(percentile(sorted(values), 0.5) for values in zip(*found, strict=True))

    return work


def _cancel(up: Running, us: Cmdhttp, seconds: str) -> tuple[float, float]:
    """Milliseconds from the cancel's sending until the process is gone, and until the answer is there."""
    body = json.dumps({"params": {"seconds": int(seconds)}, "wait": 0}).encode()
    started = ask(up.port, request("POST", "/v1/run/sleep", headers=us.headers, body=body))
    if started.status != 202:  # noqa: PLR2004 - it runs, and nobody waits
        raise WrongAnswer(f"the sleep did not start: {started.held[:500]!r}")
    job = json.loads(started.body)["id"]
    pid = _find(["/bin/sleep", seconds])
    sent = request("POST", f"/v1/jobs/{job}/cancel", headers=us.headers, body=b"{}")
    descriptor = os.pidfd_open(pid)
    try:
        with connect(up.port) as found:
            start = time.perf_counter()
            found.sendall(sent)
            gone, answered = _wait_for_both(pid, descriptor, found)
            answer = receive(found)
    finally:
        os.close(descriptor)
    if answer.status != 200 or b'"state":"canceled"' not in answer.body:  # noqa: PLR2004 - the stop is known
        raise WrongAnswer(f"the cancel was not confirmed: {answer.held[:2000]!r}")
    return (gone - start) * 1e3, (answered - start) * 1e3


def _kills() -> tuple[float, ...]:
    took = []
    for _ in range(_CANCELS):
        with subprocess.Popen(["/bin/sleep", str(_FIRST_SLEEP)], stdin=subprocess.DEVNULL) as sleep:
            start = time.perf_counter()
            sleep.send_signal(signal.SIGTERM)
            sleep.wait()
            took.append((time.perf_counter() - start) * 1e3)
    return (percentile(sorted(took), 0.5),)


def _find(argv: list[str]) -> int:
    """The pid of the process with these arguments. Raises WrongAnswer if none comes."""
    wanted = b"".join(argument.encode() + b"\0" for argument in argv)
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and (process / "cmdline").read_bytes() == wanted:
                    return int(process.name)
        time.sleep(0.001)
    raise WrongAnswer(f"no process {argv} within {_PATIENCE:.0f} s")


def _wait_for_both(pid: int, descriptor: int, answer: socket.socket) -> tuple[float, float]:
    """When the process was gone, that is ended and reaped by its parent, and when the answer was there. Raises WrongAnswer."""
    gone, answered = math.nan, math.nan
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(answer, select.POLLIN)
    while math.isnan(gone) or math.isnan(answered):
        events = poll.poll(_PATIENCE * 1e3)
        if not events:
            raise WrongAnswer(f"the process {pid} or its cancel is still there after {_PATIENCE:.0f} s")
        for number, _ in events:
            poll.unregister(number)
            if number == descriptor:
                gone = _wait_until_reaped(pid)
            else:
                answered = time.perf_counter()
    return gone, answered


def _wait_until_reaped(pid: int) -> float:
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return time.perf_counter()
        time.sleep(0.00005)
    raise WrongAnswer(f"the process {pid} has ended, and nobody takes its status")
