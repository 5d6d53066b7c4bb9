"""How front, broker and guards speak: one JSON object a packet, with descriptors beside it, over a Unix socket.

A packet is whole or not there at all (SOCK_SEQPACKET), and the end of the other side is a closed socket. What is too large
for a packet travels in a memory file whose descriptor goes last. Standard library only: guards import this.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

_PACKET = 64 << 10
_MOST_DESCRIPTORS = 64

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
        data, descriptors, flags, _ = socket.recv_fds(source, _PACKET, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not data and not descriptors:
        return None
    try:
        message = _read(data, descriptors, whole=not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))
    except BaseException:
        close_all(descriptors)
        raise
    return message, descriptors


def memory_file(name: str, data: bytes) -> int:
    """Return a descriptor to read `data` from, so that no writer has to keep pace with the reader."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _send(to: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    if descriptors:
        socket.send_fds(to, [data], descriptors, socket.MSG_NOSIGNAL)
    else:
        to.send(data, socket.MSG_NOSIGNAL)


def _read(data: bytes, descriptors: list[int], *, whole: bool) -> Message:
    if not whole:
        raise ValueError("a packet came in part")
    message = json.loads(data or _take(descriptors.pop()))
    if not isinstance(message, dict):
        raise ValueError("a packet holds no object")  # noqa: TRY004 - of all that can be wrong with it
    return message


def _take(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()
