"""An SFTP server for sshd's `Subsystem` that lies in one way, named by its argument. Standard library only: a host runs it.

Where it does not lie it serves the real files, by the rules of version 3.
"""

import os
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, OPENDIR, READDIR, MKDIR = 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
OK, EOF, FAILURE = 0, 1, 4


def string(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


def attributes(info: os.stat_result, *, mode: int | None = None, size: int | None = None) -> bytes:
    mode, size = info.st_mode if mode is None else mode, info.st_size if size is None else size
    return struct.pack("!IQIII", 0x07, size, info.st_uid, info.st_gid, mode)


class Server:
    def __init__(self, lie: str) -> None:
        self.lie = lie
        self.handles: dict[bytes, tuple[int, str, list[str] | None]] = {}
        self.last = 0
        self.count = 0

    def serve(self) -> None:
        while True:
            (length,) = struct.unpack("!I", self.get(4))
            packet = self.get(length)
            if packet[0] == INIT:
                if self.lie == "a huge greeting":
                    self.put_raw(b"\xff\xff\xff\xff" + b"x" * (1 << 20))
                if self.lie == "noise":
                    self.put_raw(b"Welcome to this host!\r\n" * 1000)
                if self.lie != "silence":
                    self.put(VERSION, struct.pack("!I", 3))
                continue
            number, body = packet[1:5], packet[5:]
            if self.lie == "silence later":
                continue
            try:
                kind, answer = self.answer(packet[0], body)
            except OSError:
                kind, answer = STATUS, self.status(FAILURE)
            if self.lie == "answers to nothing":
                number = b"\xff" * 4
            self.put(kind, number + answer)

    def get(self, size: int) -> bytes:
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            sys.exit()
        return data

    def put(self, kind: int, body: bytes) -> None:
        self.put_raw(struct.pack("!IB", len(body) + 1, kind) + body)

    def put_raw(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def status(self, number: int) -> bytes:
        return struct.pack("!I", number) + string(b"") + string(b"")

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        (length,) = struct.unpack("!I", body[:4])
        subject, rest = body[4 : 4 + length], body[4 + length :]
        does: dict[int, Callable[[bytes, bytes], tuple[int, bytes]]] = {
            OPEN: self.open, CLOSE: self.close, READ: self.read, WRITE: self.write, LSTAT: self.lstat,
            FSTAT: self.fstat, OPENDIR: self.opendir, READDIR: self.readdir, MKDIR: self.mkdir,
        }  # fmt: skip
        return does[kind](subject, rest)

    def handle(self, descriptor: int, path: str, names: list[str] | None = None) -> tuple[int, bytes]:
        self.last += 1
        name = b"%d" % self.last
        self.handles[name] = descriptor, path, names
        return HANDLE, string(name)

    def open(self, path: bytes, rest: bytes) -> tuple[int, bytes]:
        wanted, flags = struct.unpack("!II", rest[:8])
        if wanted & 0x02:
            (mode,) = struct.unpack("!I", rest[8:12]) if flags else (0o644,)
            mode = 0o644 if self.lie == "other rights" else mode
            return self.handle(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), os.fsdecode(path))
        return self.handle(os.open(path, os.O_RDONLY), os.fsdecode(path))

    def close(self, handle: bytes, _rest: bytes) -> tuple[int, bytes]:
        descriptor, _, _ = self.handles.pop(handle)
        if descriptor >= 0:
            os.close(descriptor)
        return STATUS, self.status(OK)

    def read(self, handle: bytes, rest: bytes) -> tuple[int, bytes]:
        offset, size = struct.unpack("!QI", rest)
        lies = {
            "more than was asked for": b"x" * (size + 1),
            "endless content": b"x" * size,
            "a trickle": b"x",
            "empty content": b"",
        }
        if self.lie == "all is well":
            return STATUS, self.status(OK)
        if self.lie == "a trickle":
            time.sleep(0.1)
        if self.lie in lies:
            return DATA, string(lies[self.lie])
        data = os.pread(self.handles[handle][0], size, offset)
        return (DATA, string(data)) if data else (STATUS, self.status(EOF))

    def write(self, handle: bytes, rest: bytes) -> tuple[int, bytes]:
        offset, _ = struct.unpack("!QI", rest[:12])
        data = rest[12:]
        if self.lie == "other content":
            data = bytes(byte ^ 1 for byte in data)
        if self.lie != "no content":
            os.pwrite(self.handles[handle][0], data, offset)
        return STATUS, self.status(FAILURE if self.lie == "a full disk" else OK)

    def lstat(self, path: bytes, _rest: bytes) -> tuple[int, bytes]:
        if self.lie == "folders without end":
            path = path.replace(b"/deep", b"")
        info = os.lstat(path)
        if self.lie == "a link in its place" and path.endswith(b".csv"):
            return ATTRS, attributes(info, mode=stat.S_IFLNK | 0o777)
        if self.lie == "no rights told":
            return ATTRS, struct.pack("!I", 0)
        return ATTRS, attributes(info)

    def fstat(self, handle: bytes, _rest: bytes) -> tuple[int, bytes]:
        descriptor, path, _ = self.handles[handle]
        info = os.fstat(descriptor)
        sizes = {"a larger size": 900, "a smaller size": 2, "an endless size": 1 << 60, "a trickle": 1000}
        if path.endswith(".csv") and self.lie == "a pipe in its place":
            return ATTRS, attributes(info, mode=stat.S_IFIFO | 0o600)
        return ATTRS, attributes(info, size=sizes.get(self.lie) if path.endswith(".csv") else None)

    def opendir(self, path: bytes, _rest: bytes) -> tuple[int, bytes]:
        if self.lie == "folders without end":
            return self.handle(-1, "/etc/..", ["deep"])
        return self.handle(-1, os.fsdecode(path), [".", "..", *os.listdir(os.fsdecode(path))])

    def readdir(self, handle: bytes, _rest: bytes) -> tuple[int, bytes]:
        _, folder, names = self.handles[handle]
        self.count += 100
        lies: dict[str, Callable[[], bytes]] = {
            "a path for a name": lambda: struct.pack("!I", 1) + self.entry("/etc", "../../etc/passwd"),
            "an absolute path": lambda: struct.pack("!I", 1) + self.entry("/etc", "/etc/passwd"),
            "a long name": lambda: struct.pack("!I", 1) + self.entry("/etc", "passwd", shown="x" * 300 + ".csv"),
            "no names": lambda: struct.pack("!I", 0),
            "endless names": lambda: struct.pack("!I", 100) + b"".join(map(self.counted, range(100))),
            "one name without end": lambda: struct.pack("!I", 100) + 100 * self.entry("/etc", "passwd", shown=".."),
            "many names at once": lambda: (
                struct.pack("!I", 0xFFFFFFFF) + 20_000 * (string(b"") + string(b"") + bytes(4))
            ),
            "a packet of 4 MiB": lambda: bytes(4 << 20),
        }
        if self.lie in lies:
            return NAME, lies[self.lie]()
        if not names:
            return STATUS, self.status(EOF)
        listed, names[:] = list(names), []
        return NAME, struct.pack("!I", len(listed)) + b"".join(self.entry(folder, name) for name in listed)

    def counted(self, number: int) -> bytes:
        return self.entry("/etc", "passwd", shown=f"{self.count + number}.txt")

    def entry(self, folder: str, name: str, *, shown: str | None = None) -> bytes:
        try:
            info = os.lstat(os.path.join(folder, "" if name == "deep" else name))
        except OSError:
            info = os.lstat("/etc/passwd")
        links = "" if self.lie == "no links told" else f"{1 if stat.S_ISREG(info.st_mode) else 2}"
        long = f"{stat.filemode(info.st_mode)} {links} user group 1 Jan 1 00:00 {name}"
        return string(os.fsencode(shown or name)) + string(long.encode()) + attributes(info)

    def mkdir(self, path: bytes, _rest: bytes) -> tuple[int, bytes]:
        os.mkdir(path, 0o700)
        return STATUS, self.status(OK)


if __name__ == "__main__":
    Server(sys.argv[1].replace("-", " ")).serve()  # sshd parts the line of a subsystem at blanks
