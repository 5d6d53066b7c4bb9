"""How sure it is that nothing outlives a kill of the whole service: the rung of the ladder that this machine permits.

On every rung a run's guard ends all that is left of it, whoever else is killed. The rungs differ in what happens when front,
broker and guards are all killed at the same moment:

    container   the front is PID 1 of its PID namespace, so the kernel ends everything with it, at once
    cgroup      the next start kills the cgroup of the broker: nothing can have left it
    subreaper   the next start finds the processes by what their environment says; one that has executed another program with
                another environment in another folder is not found
"""

import os
from dataclasses import dataclass
from enum import StrEnum

from cmdhttp.execution.local import tree
from cmdhttp.execution.local.cgroup import Cgroup

_SECONDS = 5.0


class Rung(StrEnum):
    CONTAINER = "container"
    CGROUP = "cgroup"
    SUBREAPER = "subreaper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Containment:
    """The rung that was taken; how many processes an earlier life had left, and those of them that cannot be ended."""

    rung: Rung
    swept: int
    left: tuple[int, ...]
    cgroup: Cgroup | None

    def leave(self) -> None:
        """Take away what `enter` made. Nothing of what was started may be left."""
        if self.cgroup is not None:
            self.cgroup.leave()


def enter(name: str, *, runs: str) -> Containment:
    """End what an earlier life left, and take the strongest rung for what this process will start.

    `name` is that of the cgroup, `runs` the folder of all runs; no other service may use either. Raises OSError if there is not
    even the lowest rung.
    """
    tree.become_subreaper()
    cgroup = Cgroup.find(name)
    found = len(cgroup.pids()) if cgroup is not None else 0
    stuck = [] if cgroup is None or cgroup.kill(within=_SECONDS) else cgroup.pids()
    swept, left = tree.sweep(runs, within=_SECONDS)
    entered = cgroup is not None and cgroup.enter()
    rung = Rung.CONTAINER if os.getppid() == 1 else Rung.CGROUP if entered else Rung.SUBREAPER
    return Containment(rung=rung, swept=found + swept, left=tuple(sorted({*stuck, *left})), cgroup=cgroup)
