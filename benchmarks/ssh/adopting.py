"""`adopting.py ARGV...`: become the parent of what outlives its parent below here, then be that program.

sshd does not wait for the process that has served a connection when the client ends it, so the processor time of that process
would be lost. As its new parent the listener waits for it like for every child.

Source: prctl(2), PR_SET_CHILD_SUBREAPER, which an execve keeps and a fork does not.
"""

import ctypes
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - there is nothing that a shell should read


if __name__ == "__main__":
    main()
