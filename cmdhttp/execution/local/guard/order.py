"""What an order says, for all who read it. `cmdhttp.execution.local.orders` makes it, from a step."""

from collections.abc import Mapping
from typing import Any

Order = Mapping[str, Any]


SCRIPT = "script"
"""The name of the script's file among the inputs."""


def inputs_of(folder: str) -> str:
    """Where the script, the uploads and the secrets of the run in `folder` lie."""
    return f"{folder}.in"


def owner_of(order: Order) -> tuple[int, int]:
    """User and group of what the run owns; -1 leaves them as they are."""
    account = order["account"]
    return (account["uid"], account["gid"]) if account is not None else (-1, -1)
