"""The real program with a command for each escapee, and the means to kill the parts of it.

What survives is found by a walk of /proc for a mark in the argv, never by the program's own means.
"""

import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.support import escapees
from tests.support.escapees import HOSTILE, KINDS, end_marked, marked
from tests.support.service import COMMANDS, Document, Service, wait_until
from tests.support.sshd import is_alive

SURVIVAL_SECONDS = 1.0
_QUIET_WALKS = 3
_QUIET_PAUSE = 0.02
_BUSY_PAUSE = 0.25
"""Between walks of a long wait; each walk reads some hundred command lines."""
PLAIN = {"type": "string", "pattern": "[A-Za-z0-9_./-]+"}


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One escapee: how the test finds its processes and learns that it has got away."""

    kind: str
    mark: str
    file: Path
    stay: bool

    @property
    def params(self) -> Document:
        stay = "yes" if self.stay else "no"
        return {"kind": self.kind, "stay": stay, "file": str(self.file), "mark": self.mark}

    def away(self) -> bool:
        return self.file.exists() and self.file.stat().st_size > 0


class EscapeService(Service):
    """A service that runs escapees."""

    commands: ClassVar[Mapping[str, Document]] = {
        **COMMANDS,
        "escape": {
            "run": [sys.executable, "-I", "-S", escapees.__file__, "<kind>", "<stay>", "<file>", "<mark>"],
            "params": {
                "kind": {"type": "enum", "values": [*KINDS, *HOSTILE]},
                "stay": {"type": "enum", "values": ["yes", "no"]},
                "file": PLAIN,
                "mark": PLAIN,
            },
            "timeout": "40s",
            "on": "local",
        },
    }

    @property
    def hideout(self) -> Path:
        """Where escapees say that they have got away."""
        return self.folder / "escapees"

    def attempts(self, kinds: Sequence[str] = KINDS, *, stay: bool = True) -> list[Attempt]:
        """One attempt of each kind, with marks that are on no other process of this machine."""
        column = uuid.uuid4().hex
        folder = self.hideout
        folder.mkdir(exist_ok=True)
        return [
            Attempt(kind=kind, mark=f"escapee-{column}-{kind}", file=folder / f"{column}-{kind}", stay=stay)
            for kind in kinds
        ]

    def escape(self, attempt: Attempt, body: Document | None = None, **more: Any) -> Document:
        return self.launch("escape", {"params": attempt.params, **(body or {})}, **more)

    @property
    def rung(self) -> str:
        return str(self.ask_ops("/readyz").json()["containment"])

    @property
    def front(self) -> int:
        """The front's pid, which is below the one that was started if that one is no Python."""
        return next(iter(_called(self.pid, "cmdhttp.cli.main")))

    @property
    def broker(self) -> int:
        """The broker's pid: it is below the front, or beside it."""
        return next(iter(_called(self.pid, "cmdhttp.broker")))

    @property
    def guards(self) -> list[int]:
        return below(self.broker, "guard.main")

    def kill_at_once(self, *pids: int) -> None:
        """Kill processes with nobody the wiser in between: each stands still before the first is killed."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with suppress(ProcessLookupError):  # a broker kills a guard that stands still
                    os.kill(pid, number)
        wait_until(lambda: not any(map(is_alive, pids)), "the killed have died")

    def run_folders(self) -> list[Path]:
        runs = self.data / "runs"
        return list(runs.iterdir()) if runs.exists() else []

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.ask_ops("/metrics").text, re.MULTILINE)
        if found is None:
            raise AssertionError(f"no metric {name}")
        return float(found[1])

    def audit_codes(self) -> list[str]:
        text = (self.data / "audit" / "audit.jsonl").read_text()
        return re.findall(r'"code": ?"([a-z._]+)"', text)


def survivors(attempts: Iterable[Attempt], *, seconds: float = SURVIVAL_SECONDS) -> dict[str, list[int]]:
    """What is still there `seconds` from now, or nothing as soon as several walks of /proc in a row find nothing."""
    kinds = {attempt.mark: attempt.kind for attempt in attempts}
    give_up = time.monotonic() + seconds
    quiet = 0
    found: dict[str, list[int]] = {}
    while quiet < _QUIET_WALKS:
        found = {kinds[mark]: pids for mark, pids in marked(*kinds).items()}
        quiet = 0 if found else quiet + 1
        if found and time.monotonic() > give_up:
            break
        time.sleep(_BUSY_PAUSE if found and seconds > SURVIVAL_SECONDS else _QUIET_PAUSE)
    return found


def end_all(attempts: Iterable[Attempt]) -> None:
    end_marked(*(attempt.mark for attempt in attempts))


def below(pid: int, name: str) -> list[int]:
    """The children of a process in whose argv `name` stands."""
    return [child for child in children(pid) if name in _argv(child)]


def _called(pid: int, name: str) -> Iterable[int]:
    """A process and those below it in whose argv `name` stands as a word of its own, the lowest first."""
    for child in children(pid):
        yield from _called(child, name)
    if name in _argv(pid).split("\0"):
        yield pid


def _argv(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def zombies(pid: int) -> list[int]:
    """The children of a process that have ended and whose status it has not taken."""
    return [child for child in children(pid) if not is_alive(child)]


def children(pid: int) -> list[int]:
    """The children of every thread of a process; none if it has ended."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found
