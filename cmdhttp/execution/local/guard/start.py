"""How a command is started: nothing inherited but what the order gives.

Its own session, folder, environment, umask 077 and no descriptor beside its three streams. An account is taken whole: user,
group and supplementary groups.
"""

import errno
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

from cmdhttp.execution.local.guard.order import Order
from cmdhttp.execution.local.limits import apply, tasks_of


def start(order: Order, *, stdin: int, stdout: int, stderr: int) -> int:
    """Start the process of an order; returns its pid. Raises OSError.

    What must be done in the new process before it is the program makes a start by fork of what would be one by vfork, three
    times as dear, so it is done only when there is something to do.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the argv comes from a plan, and no shell is involved
            order["argv"],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=order["folder"],
            env=order["env"],
            start_new_session=True,
            umask=0o077,
            preexec_fn=_preparation(order),  # noqa: PLW1509 - a guard has one thread
            **_switch(order),
        )
    except subprocess.SubprocessError as error:  # the preparation has failed
        what = "its isolation is not possible here" if order["isolated"] else "its limits cannot be set"
        raise OSError(errno.EPERM, what) from error
    process.returncode = 0  # its end is seen by the guard's own wait for all children
    return process.pid


def _switch(order: Order) -> dict[str, Any]:
    """The account, unless the process must keep its rights for its preparation."""
    account = order["account"]
    if account is None or order["isolated"]:
        return {}
    return {"user": account["uid"], "group": account["gid"], "extra_groups": account["groups"]}


def _preparation(order: Order) -> Callable[[], None] | None:
    """What the new process must do before it becomes the program; None if there is nothing."""
    limits, account = order["limits"], order["account"]
    tasks = tasks_of(account["uid"]) if account is not None and "processes" in limits else None
    limit = partial(apply, limits, tasks=tasks)
    if not order["isolated"]:
        return limit if limits else None
    from cmdhttp.execution.local.guard import isolation  # noqa: PLC0415 - few runs need it

    def become() -> None:
        if account is not None:
            isolation.take_account(account)
        limit()

    return partial(isolation.enter, become)
