"""What goes between the service, the guard and its wardens: shapes, and messages with descriptors.

A frame is length (4 bytes, big-endian), run (4 bytes), kind (1 byte) and that many bytes.
From the service: M make a folder for the run to come, S start, I stdin, E end of stdin, X stop, C credit for output, F remove
the run's folder, P ping. From the guard: H hello, m a folder was made, s started, f failed, o stdout, e stderr, c stdin was
taken, z over, p pong. Between guard and warden the kinds are S, X, s, f and z, and D: the command's output has ended. There an S
has the same bytes, and behind them the folder to run in: the service cannot name one, it can only have one made.
"""

import _socket
import os
import struct

PIECE = 128 * 1024
COST = 200
"""Bytes of credit that each piece of output takes beside its own, as it does where it waits."""
HEAD = struct.Struct("!IIB")
LINK_HEAD = struct.Struct("!IB")
ORDER = struct.Struct("!ddIBHH")
"""A start: seconds, drain in seconds, bytes of credit, flags, counts of arguments and variables; then these, a NUL after each."""
WITH_FOLDER, WITH_STDIN = 1, 2
OVER = struct.Struct("!BiIB")
"""Of an end: whether the status is known, the status (negative: a signal), how many live on, who ended it: one of these."""
END, STOP, DEADLINE, GUARD, NOBODY = range(5)


def tell(link: _socket.socket, kind: str, body: bytes, descriptors: tuple[int, ...] = ()) -> None:
    data = LINK_HEAD.pack(len(body), ord(kind)) + body
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
    sent = link.sendmsg([data], rights if descriptors else [])
    if sent < len(data):
        link.sendall(data[sent:])


def hear(link: _socket.socket) -> tuple[str, bytes, list[int]]:
    """The kind and bytes of one message, and its descriptors; an empty kind at the end."""
    data, rights, _flags, _from = link.recvmsg(LINK_HEAD.size, _socket.CMSG_LEN(12))
    found = b"".join(part for _level, _kind, part in rights)
    descriptors = list(struct.unpack(f"{len(found) // 4}i", found))
    for fd in descriptors:
        os.set_inheritable(fd, False)  # noqa: FBT003
    data += receive(link, LINK_HEAD.size - len(data)) if data else b""
    if len(data) < LINK_HEAD.size:
        return "", b"", descriptors
    length, kind = LINK_HEAD.unpack(data)
    body = receive(link, length)
    return (chr(kind), body, descriptors) if len(body) == length else ("", b"", descriptors)


def receive(link: _socket.socket, wanted: int) -> bytes:
    """So many bytes, or fewer at the end."""
    parts = []
    while wanted:
        part = link.recv(min(wanted, PIECE))
        if not part:
            break
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


class Order:
    """A start, read."""

    def __init__(self, body: bytes) -> None:
        self.seconds, self.drain, self.credit, self.flags, argc, envc = ORDER.unpack_from(body)
        words = body[ORDER.size :].split(b"\0")
        self.argv = words[:argc]
        self.settings = words[argc : argc + envc]
        self.folder = words[argc + envc] if self.flags & WITH_FOLDER else None

    def environment(self) -> dict[bytes, bytes]:
        found = dict(os.environb)
        for setting in self.settings:
            name, _, value = setting.partition(b"=")
            found[name] = value
        return found
