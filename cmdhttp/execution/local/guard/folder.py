"""The private folder of a run: its current folder and TMPDIR, and it goes with the run.

What the run gets to read, a script, uploads and secrets, lies in a second folder beside it, which only such a run has: to make a
folder costs a good part of what it costs to start a program.
"""

import binascii
import os
import subprocess

from cmdhttp.execution.local.guard.order import SCRIPT, Order, inputs_of, owner_of
from cmdhttp.execution.local.staging import stage


def make(order: Order) -> None:
    """Make the folders of a run for the account that it runs as. Raises OSError; FileExistsError if another run has them."""
    folder, owner = order["folder"], owner_of(order)
    os.mkdir(folder, 0o700)
    if order["account"] is not None:
        os.chown(folder, *owner)
    files = [(place, binascii.a2b_base64(text), mode) for place, text, mode in order["files"]]
    if order["script"] is not None:
        files.append((SCRIPT, order["script"].encode(), 0o400))
    if files:
        uid, gid = owner
        inputs = inputs_of(folder)
        os.mkdir(inputs, 0o700)
        stage(inputs, files, uid=uid, gid=gid)
        if order["account"] is not None:
            os.chown(inputs, *owner)


def clear_run(order: Order) -> None:
    """Remove the folders of a run."""
    clear(order["folder"])
    if order["script"] is not None or order["files"]:
        clear(inputs_of(order["folder"]))


def clear_all(folder: str) -> None:
    """Remove the folders of a run of which only the name is known."""
    clear(folder)
    clear(inputs_of(folder))


def clear(folder: str) -> None:
    """Remove a folder, whatever modes and depths a run left in it.

    What cannot be removed is left for the next start; it never decides how a run ended.
    """
    try:
        os.rmdir(folder)
    except OSError:
        if os.path.lexists(folder) and not _holds_mount(folder):
            _clear_tree(folder)


def _holds_mount(folder: str) -> bool:
    """Whether something is mounted in a folder: what lies there is not the run's. If it cannot be known, it is taken to be so."""
    parent, name = os.path.split(folder)
    beneath = f"{os.path.realpath(parent)}/{name}/".encode(errors="surrogateescape")
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            return any(
                f"{_path(line.split()[4])}/".encode(errors="surrogateescape").startswith(beneath) for line in mounts
            )
    except OSError:
        return True


def _path(escaped: bytes) -> str:
    r"""A path of mountinfo, where blanks and the like stand as \040."""
    return escaped.decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")


def _clear_tree(folder: str) -> None:
    import shutil  # noqa: PLC0415 - few runs need it, and it would double the start-up time of a guard

    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        _use("/bin/rm", "-rf", folder)
        if os.geteuid() != 0 and os.path.lexists(folder):
            # not as root, who needs no mode to remove: chmod follows a link that an account may put where it looks next
            _use("/bin/chmod", "-R", "u+rwx", folder)
            _use("/bin/rm", "-rf", folder)


def _use(tool: str, options: str, *arguments: str) -> None:
    subprocess.run([tool, options, *arguments], check=False, capture_output=True)  # noqa: S603 - our own folder
