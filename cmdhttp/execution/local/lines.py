"""The front's side of a run: two pipes to read its output from, and a socket to its guard."""

import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

from cmdhttp.execution.local.wire import close_all, pair

_PIPE_BYTES = 256 << 10


@dataclass(slots=True, kw_only=True)
class Lines:
    """The front's ends of a run's pipes and of its control socket, and, until they are handed over, the other ends."""

    stdout: int
    stderr: int
    control: socket.socket
    theirs: list[int]

    @classmethod
    def open(cls) -> "Lines":
        opened: list[int] = []
        try:
            for _ in range(2):
                opened += os.pipe2(os.O_CLOEXEC)
            control, theirs = pair()
        except OSError:
            close_all(opened)
            raise
        stdout, write_out, stderr, write_err = opened
        for descriptor in (stdout, stderr):
            os.set_blocking(descriptor, False)
            with suppress(OSError):  # a smaller pipe will do where the user's share of pipe memory is used up
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        control.settimeout(0)
        return cls(stdout=stdout, stderr=stderr, control=control, theirs=[write_out, write_err, theirs.detach()])

    def close_theirs(self) -> None:
        theirs, self.theirs = self.theirs, []
        close_all(theirs)

    def close(self) -> None:
        self.close_theirs()
        close_all([self.stdout, self.stderr])
        self.control.close()
