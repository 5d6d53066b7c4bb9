"""What an order says, for all who read it. `cmdhttp.execution.local.orders` makes it, from a step."""

from collections.abc import Mapping
from typing import Any

Order = Mapping[str, Any]


def work_of(order: Order) -> str:
    """The working folder of a run: its current folder and TMPDIR."""
    return f"{order['folder']}/work"


def owner_of(order: Order) -> tuple[int, int]:
    """User and group of what the run owns; -1 leaves them as they are."""
    account = order["account"]
    return (account["uid"], account["gid"]) if account is not None else (-1, -1)
