"""The connection of a guard, on its stdin and stdout: frames in, frames out, and a bound on what waits to be told."""

import fcntl
import os
import select
import time

from cmdhttp.execution.ssh.remote.messages import HEAD

FULL = 512 * 1024
"""Bytes that wait for the connection before nothing more is read of any command."""
F_SETPIPE_SZ = 1031
TOO_MUCH = 16 * 1024 * 1024


class Connection:
    """What a guard reads and writes. Who inherits it does what orders say, and stops listening where there is no room."""

    def __init__(self) -> None:
        self.inbox = bytearray()
        self.outbox: list[bytes] = []
        self.waiting = 0
        self.heard = time.monotonic()
        self.poll = select.poll()
        self.poll.register(0, select.POLLIN)
        self.poll.register(1, 0)  # an error there is always told
        for stream in (0, 1):
            os.set_blocking(stream, False)
        widen(1)

    def obey(self, kind: str, number: int, body: bytes) -> None:
        raise NotImplementedError

    def listen(self) -> None:
        raise NotImplementedError

    def read(self) -> bool:
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.heard = time.monotonic()
        self.inbox += data
        while len(self.inbox) >= HEAD.size:
            length, number, kind = HEAD.unpack_from(self.inbox)
            if length > TOO_MUCH:
                return False
            if len(self.inbox) < HEAD.size + length:
                break
            body = bytes(self.inbox[HEAD.size : HEAD.size + length])
            del self.inbox[: HEAD.size + length]
            self.obey(chr(kind), number, body)
        return bool(data)

    def say(self, kind: str, number: int, body: bytes) -> None:
        self.outbox.append(HEAD.pack(len(body), number, ord(kind)))
        self.outbox.append(body)
        before, self.waiting = self.waiting, self.waiting + len(body) + HEAD.size
        if before < FULL <= self.waiting:
            self.listen()

    def flush(self) -> bool:
        """Write what the connection takes. Whether it is still there."""
        before = self.waiting
        while self.outbox:
            try:
                sent = os.writev(1, self.outbox[:32])
            except BlockingIOError:
                break
            except OSError:
                return False
            self.waiting -= sent
            while sent or (self.outbox and not self.outbox[0]):
                first = self.outbox[0]
                if sent < len(first):
                    self.outbox[0] = first[sent:]
                    break
                sent -= len(first)
                del self.outbox[0]
        self.poll.modify(1, select.POLLOUT if self.outbox else 0)
        if self.waiting < FULL <= before:
            self.listen()
        return True

    def unwatch(self, fd: int) -> None:
        try:
            self.poll.unregister(fd)
        except KeyError:
            pass


def widen(fd: int) -> None:
    try:
        fcntl.fcntl(fd, F_SETPIPE_SZ, 1 << 20)
    except OSError:
        pass
