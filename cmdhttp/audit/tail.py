"""What the end of the log says of jobs, for a start after a kill: whose end is not on it.

A kill may come after a job's end was kept and before it was recorded, or after its start was recorded and before the job was
kept. Only the end of the file is read, so a start takes no longer for a long history.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cmdhttp.audit.codes import Code

_TAIL = 16 << 20
_OVER = frozenset({Code.JOB_ENDED, Code.JOB_REFUSED, Code.JOB_REPLAYED})


@dataclass(slots=True, kw_only=True)
class Tail:
    """`open` are jobs with a start and no end, in order, with their principals; `closed` are those with an end.

    `last` is when the last record was written, in Unix seconds. After a stop in good order all is empty.
    """

    open: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    last: float | None = None

    def take(self, line: bytes) -> None:
        record = json.loads(line)
        code, job = record.get("code"), record.get("job")
        self.last = datetime.fromisoformat(record["time"]).timestamp()
        if code == Code.SERVICE_STOPPED:
            self.open, self.closed, self.last = {}, set(), None
        elif code == Code.JOB_STARTED and isinstance(job, str):
            self.open[job] = str(record.get("principal"))
        elif code in _OVER and isinstance(job, str):
            self.open.pop(job, None)
            self.closed.add(job)


def read_tail(path: Path) -> Tail:
    """Read what an earlier life left. Blocks. Raises OSError, or ValueError if a line is none of ours."""
    tail = Tail()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        if size > _TAIL:
            file.readline()
        for line in file:
            if line.endswith(b"\n"):
                tail.take(line)
    return tail
