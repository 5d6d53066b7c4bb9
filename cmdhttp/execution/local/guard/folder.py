"""The private folder of a run: `work` is its current folder and TMPDIR, and a script lies beside it. It goes with the run."""

import os
import subprocess
from contextlib import suppress

from cmdhttp.execution.local.guard.order import Order, owner_of, work_of


def make(order: Order) -> None:
    """Make the folder of a run for the account that it runs as. Raises OSError."""
    folder, work, owner = order["folder"], work_of(order), owner_of(order)
    above = os.path.dirname(folder)
    os.makedirs(above, mode=0o700, exist_ok=True)
    os.mkdir(folder, 0o700)
    os.mkdir(work, 0o700)
    if order["script"] is not None:
        write_new(f"{folder}/script", order["script"].encode(), mode=0o400, owner=owner)
    if order["account"] is not None:
        os.chmod(above, 0o711)  # noqa: S103 - to be passed, not listed
        os.chown(work, *owner)
        os.chown(folder, *owner)


def write_new(path: str, data: bytes, *, mode: int, owner: tuple[int, int]) -> None:
    """Write a file that must not be there yet. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)


def clear(folder: str) -> None:
    """Remove a run's folder, whatever modes and depths the run left in it, and its job's folder once that is empty.

    What cannot be removed is left for the next start; it never decides how a run ended.
    """
    try:
        os.rmdir(f"{folder}/work")
        os.rmdir(folder)
    except OSError:
        if os.path.lexists(folder):
            _clear_tree(folder)
    with suppress(OSError):
        os.rmdir(os.path.dirname(folder))


def _clear_tree(folder: str) -> None:
    import shutil  # noqa: PLC0415 - few runs need it, and it would double the start-up time of a guard

    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        for tool in (["/bin/chmod", "-R", "u+rwx"], ["/bin/rm", "-rf"]):
            subprocess.run([*tool, "--", folder], check=False, capture_output=True)  # noqa: S603 - our own folder
