"""How front, broker and guards speak: one JSON object a packet, with descriptors beside it, over a Unix socket.

A packet is whole or not there at all (SOCK_SEQPACKET), and the end of the other side is a closed socket. What is too large
for a packet travels in a memory file whose descriptor goes last. No side waits for the other: what does not fit into a socket
is an error, and a memory file is sealed, so that it can neither change once it was looked at nor hold its reader up.
Standard library only: guards import this.
"""

import fcntl
import json
import os
import socket
import stat
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

_PACKET = 64 << 10
_MOST_DESCRIPTORS = 64
_MOST_BYTES = 128 << 20
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_AT_ONCE = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT

Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(to: socket.socket, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError: BlockingIOError if there is no room, BrokenPipeError if the other side is gone."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) <= _PACKET:
        _send(to, data, descriptors)
        return
    large = memory_file("message", data)
    try:
        _send(to, b"", [*descriptors, large])
    finally:
        os.close(large)


def receive(source: socket.socket) -> tuple[Message, list[int]] | None:
    """Receive one message with its descriptors, all of them close-on-exec; None at the end.

    Raises OSError, or ValueError for what no side of ours would send; no descriptor is left open then.
    """
    try:
        data, descriptors, flags, _ = _packet(source)
    except ConnectionResetError:
        return None
    if not data and not descriptors:
        return None
    try:
        message = _read(data, descriptors, whole=not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))
    except RecursionError:
        close_all(descriptors)
        raise ValueError("a packet is nested too deeply") from None
    except BaseException:
        close_all(descriptors)
        raise
    return message, descriptors


def memory_file(name: str, data: bytes) -> int:
    """Return a descriptor to read `data` from, so that no writer has to keep pace with the reader. Raises OSError."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sealed_size(descriptor: int) -> int:
    """Return the size of a memory file that nobody can change any more. Raises ValueError for anything else."""
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:
        sealed = False
    if not sealed:
        raise ValueError("a descriptor is no sealed memory file")
    return os.fstat(descriptor).st_size


def is_end_of_pair(descriptor: int) -> bool:
    """Whether a descriptor is an end of what `pair` makes."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as found:
        return (found.family, found.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)


def close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _packet(source: socket.socket) -> tuple[bytes, list[int], int, Any]:
    """Receive one packet. A side that closes with something unread resets the line, and what it had sent comes after that."""
    try:
        return socket.recv_fds(source, _PACKET, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return socket.recv_fds(source, _PACKET, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)


def _send(to: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    if descriptors:  # not by socket.send_fds, which drops the flags, and so waits
        beside = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
        to.sendmsg([data], [beside], _AT_ONCE)
    else:
        to.send(data, _AT_ONCE)


def _read(data: bytes, descriptors: list[int], *, whole: bool) -> Message:
    if not whole:
        raise ValueError("a packet came in part")
    message = json.loads(data or _take(descriptors.pop()))
    if not isinstance(message, dict):
        raise ValueError("a packet holds no object")  # noqa: TRY004 - of all that can be wrong with it
    return message


def _take(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        if sealed_size(descriptor) > _MOST_BYTES:
            raise ValueError("a message is too large")
        file.seek(0)
        return file.read()
