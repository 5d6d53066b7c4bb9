"""The guards of a broker, without a broker: real processes, polled as the broker polls them."""

import os
import resource
import selectors
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.guards import Guards
from cmdhttp.execution.local.wire import pair

_FILES = 2000
_PATIENCE = 10.0


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


def polled(guards: Guards, selector: selectors.BaseSelector) -> None:
    """Take one piece of news."""
    for key, _ in selector.select(_PATIENCE):
        guards.heard(key.data)


@pytest.mark.parametrize("closed", [False, True])
def test_the_folder_of_a_killed_guard_keeps_nobody_waiting(
    tmp_path: Path, selector: selectors.BaseSelector, *, closed: bool
) -> None:
    """However much a run has left: another guard takes it away, and this process goes on meanwhile. A close leaves nothing."""
    folder = tmp_path / "job.0"
    guards = Guards(selector=selector, ready=1, files=resource.getrlimit(resource.RLIMIT_NOFILE))
    try:
        polled(guards, selector)
        [killed] = [key.data for key in selector.get_map().values()]
        ours, theirs = pair()
        nowhere = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
        order: dict[str, object] = {
            "argv": ["/usr/bin/sleep", "60"], "env": {}, "folder": str(folder), "script": None, "files": [], "collect": None,
            "account": None, "isolated": False, "limits": {}, "deadline": 60.0,
        }  # fmt: skip
        with ours:
            guards.run(order, [*nowhere, theirs.detach()])
            give_up = time.monotonic() + _PATIENCE
            while not folder.exists() and time.monotonic() < give_up:
                time.sleep(0.01)
            for number in range(_FILES):
                (folder / str(number)).touch()
            os.kill(killed.process.pid, signal.SIGKILL)
            polled(guards, selector)
            assert guards.lost == 1
            assert folder.exists()
            assert guards.has(str(folder))
            while not closed and guards.has(str(folder)):
                polled(guards, selector)
    finally:
        guards.close()
    assert not folder.exists()


def test_a_guard_that_was_stopped_goes_on_when_a_later_life_sweeps(
    tmp_path: Path, selector: selectors.BaseSelector
) -> None:
    """A command can stop its guard, and then everything else be killed: the guard goes on, sees that, and ends the run."""
    folder = tmp_path / "job.0"
    guards = Guards(selector=selector, ready=1, files=resource.getrlimit(resource.RLIMIT_NOFILE), runs=str(tmp_path))
    polled(guards, selector)
    [stopped] = [key.data for key in selector.get_map().values()]
    ours, theirs = pair()
    nowhere = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
    stranger = "cd /; kill -STOP $PPID; exec env -i /usr/bin/sleep 61"
    order: dict[str, object] = {
        "argv": ["/bin/sh", "-c", stranger], "env": {}, "folder": str(folder), "script": None, "files": [],
        "collect": None, "account": None, "isolated": False, "limits": {}, "deadline": 60.0,
    }  # fmt: skip
    guards.run(order, [*nowhere, theirs.detach()])
    give_up = time.monotonic() + _PATIENCE
    while not tree.is_stopped(stopped.process.pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    ours.close()
    selector.unregister(stopped.socket)
    stopped.socket.close()
    time.sleep(0.2)
    assert folder.exists(), "it stands still"
    tree.sweep(str(tmp_path), within=5)
    assert stopped.process.wait(_PATIENCE) == 0
    assert not folder.exists()
    assert tree.descendants(os.getpid()) == []
