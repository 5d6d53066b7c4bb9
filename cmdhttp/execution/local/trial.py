"""Whether this machine lets a guard do its work: tried with a real guard, in a process of its own that ends with the trial.

A program through a guard, again and again, says what a run costs here. A process that its parent has left says whether guards
keep what they start: it must become the guard's child, and be gone when the guard is told to kill. Nothing is left behind.
"""

import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.guards import Guards
from cmdhttp.execution.local.wire import Message, close_all, pair, receive, send

_SECONDS = 30.0
_PATIENCE = 5.0
_ROOT = str(Path(__file__).parents[3])
_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cmdhttp.execution.local.trial import main; main()"

Order = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came out. A text is empty if all went well, else it says what did not; `median` is in seconds, of `times` runs."""

    subreaper: str
    children: str
    guard: str
    orphan: str
    median: float
    times: int


def try_guard(order: Order, orphan: Order, *, times: int = 20) -> Verdict:
    """Try a guard: `order` runs a short program, `orphan` leaves a process behind; nothing else may use their folders.

    Raises OSError if the trial cannot be begun or does not end.
    """
    return Verdict(**_try({"order": order, "orphan": orphan, "times": times}))


def try_program(order: Order) -> str:
    """Have a guard run one order, which must end with 0. Returns why it did not, or nothing. Raises OSError as `try_guard`."""
    why: str = _try({"order": order})["program"]
    return why


def _try(what: Mapping[str, object]) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, json.dumps(what)]
    try:
        done = subprocess.run(  # noqa: S603 - this program itself
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise OSError(f"the trial did not come to its end: {type(error).__name__}") from error
    return found


def main() -> None:
    """Try what `sys.argv[1]` says, and print what came out as JSON."""
    os.umask(0o077)
    what: dict[str, Any] = json.loads(sys.argv[1])
    found = asdict(_guard(**what)) if "orphan" in what else {"program": _said(lambda: _try_program(**what))}
    print(json.dumps(found))  # noqa: T201 - to whoever started the trial


def _guard(order: Order, orphan: Order, times: int) -> Verdict:
    subreaper = _said(tree.become_subreaper)
    children = _said(_try_children)
    medians: list[float] = []
    guard = _said(lambda: medians.append(_median(order, times=times)))
    return Verdict(
        subreaper=subreaper,
        children=children,
        guard=guard,
        orphan="" if guard else _said(lambda: _try_orphan(orphan)),
        median=medians[0] if medians else 0.0,
        times=times,
    )


def _said(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except (OSError, ValueError) as error:
        return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ""


def _try_children() -> None:
    """See a child of this process where guards look for the children of theirs."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        if child.pid not in tree.descendants(os.getpid()):
            raise OSError("a child of this process does not stand in /proc/PID/task/TID/children")
    finally:
        child.kill()
        child.communicate()


class _Trial:
    """One guard, and runs of it one after the other."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._guards = Guards(selector=self._selector, ready=1)

    def __enter__(self) -> Self:
        self._until_free()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._guards.close()
        self._selector.close()

    def run_well(self, order: Order) -> None:
        """Run an order to its end. Raises OSError if that is not an exit with 0."""
        status = self.run(order)[-1]["ended"]
        if status != 0:
            raise OSError(f"it ended with {status}")

    def run(self, order: Order, *, killed_after: str = "") -> list[Message]:
        """Run an order to its end; returns what the guard said. After the word `killed_after` it is told to kill."""
        ours, theirs = pair()
        with ours:
            ours.settimeout(_PATIENCE)
            nowhere = [os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC) for _ in range(2)]
            self._guards.run(order, [*nowhere, theirs.detach()])
            heard = [self._hear(ours)]
            while "ended" not in heard[-1]:
                if killed_after in heard[-1]:
                    send(ours, {"do": "kill"})
                heard.append(self._hear(ours))
        if heard[-1]["left"]:
            raise OSError("the guard could not end what it ran")
        self._until_free()
        return heard

    @staticmethod
    def _hear(guard: socket.socket) -> Message:
        received = receive(guard)
        if received is None:
            raise OSError("the guard has died")
        message, descriptors = received
        close_all(descriptors)
        if "failed" in message:
            raise OSError(message["failed"], os.strerror(message["failed"]))
        return message

    def _until_free(self) -> None:
        ready = self._selector.select(_PATIENCE)
        for key, _ in ready:
            self._guards.heard(key.data)
        if self._guards.lost:
            raise OSError("the guard has died")
        if not ready:
            raise OSError("the guard says nothing")


def _median(order: Order, *, times: int) -> float:
    """Seconds from an order to its end, its folder made and taken away in between."""
    spans = []
    with _Trial() as trial:
        for _ in range(times):
            begin = time.perf_counter()
            trial.run_well(order)
            spans.append(time.perf_counter() - begin)
    return statistics.median(spans)


def _try_program(order: Order) -> None:
    with _Trial() as trial:
        trial.run_well(order)


def _try_orphan(order: Order) -> None:
    with _Trial() as trial:
        if not any("exited" in message for message in trial.run(order, killed_after="exited")):
            raise OSError("what its parent has left did not become a child of the guard")
