"""The life of a broker: started by the front, with one JSON argument and a socket to the front as descriptor 0."""

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cmdhttp.broker.check import Checker, Folder, Refused, Wanted
from cmdhttp.broker.loop import Broker
from cmdhttp.execution.local import containment, tree
from cmdhttp.execution.local.guard.folder import clear
from cmdhttp.execution.local.wire import Message, sealed_size
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.files import folder_state
from cmdhttp.reload.source import read_policy
from cmdhttp.settings import Settings


def live() -> None:
    """Clear what an earlier life left, load the policy, say so, and serve until the front has gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the front decides when it is over, and says so by closing the socket
    tree.hide_memory()
    os.umask(0o077)
    config: dict[str, Any] = json.loads(sys.argv[1])
    runs = Path(config["runs"])
    settings = Settings(
        policies=Path(config["policies"]),
        secrets=Path(config["secrets"]),
        interpreters={name: tuple(argv) for name, argv in config["interpreters"].items()},
    )
    with socket.socket(fileno=os.dup(0)) as front:
        held = containment.enter(config["cgroup"], runs=str(runs))
        made = _clear_runs(runs)
        folder = Folder(load=lambda: _load(settings), state=lambda: folder_state(settings.policies))
        checker = Checker(
            folder,
            runs=str(runs),
            account=config["account"],
            front=config["front"],
            by_itself=config["by_itself"],
        )

        def make_order(message: Message, stdin: int | None) -> dict[str, Any]:
            return checker.order(Wanted.read(message, stdin=None if stdin is None else _size_of(stdin)))

        broker = Broker(
            front,
            make_order=make_order,
            refresh=checker.refresh,
            look=checker.look,
            ready=config["ready"],
            most=config["most"],
            runs=str(runs),
        )
        copies = checker.refresh().message()
        broker.tell({"hello": os.getpid(), "rung": held.rung, "swept": held.swept, "left": held.left, **copies})
        broker.serve()
        held.leave()
        if made:
            with suppress(OSError):  # what could not be ended is still in it, and the next start takes that away
                runs.rmdir()


def _load(settings: Settings) -> Policy:
    return read_policy(settings, now=time.time(), may_switch=os.geteuid() == 0).usable()


def _size_of(stdin: int) -> int:
    try:
        return sealed_size(stdin)
    except ValueError:
        raise Refused("the stdin could still be changed after this look at its size") from None


def _clear_runs(runs: Path) -> bool:
    """Nothing runs in these folders any more: whoever did has been ended. Returns whether the folder of all had to be made.

    Where runs have accounts of their own, what leads there may be passed by all, and listed by none.
    """
    made = not runs.exists()
    for folder in (*reversed(runs.parents), runs):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for run in runs.iterdir():
        clear(str(run))
    return made
