"""How a command is started: nothing inherited but what the order gives.

Its own session, folder, environment, umask 077 and no descriptor beside its three streams. An account is taken whole: user,
group and supplementary groups.
"""

import subprocess
from collections.abc import Callable
from typing import Any

from cmdhttp.execution.local.guard.order import Order, work_of


def start(order: Order, *, stdin: int, stdout: int, stderr: int, prepare: Callable[[], None] | None = None) -> int:
    """Start the process of an order; returns its pid. Raises OSError.

    `prepare` runs in the new process before the program: it makes a start by fork of what would be one by vfork, three
    times as dear, so it is given only when there is something to prepare.
    """
    account = order["account"]
    switch: dict[str, Any] = (
        {"user": account["uid"], "group": account["gid"], "extra_groups": account["groups"]}
        if account is not None
        else {}
    )
    process = subprocess.Popen(  # noqa: S603 - the argv comes from a plan, and no shell is involved
        order["argv"],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=work_of(order),
        env=order["env"],
        start_new_session=True,
        umask=0o077,
        preexec_fn=prepare,  # noqa: PLW1509 - a guard has one thread
        **switch,
    )
    process.returncode = 0  # its end is seen by the guard's own wait for all children
    return process.pid
