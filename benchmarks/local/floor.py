"""The floors: what no server can beat, as programs of their own.

`floor.py spawn IN_FLIGHT SECONDS ARGV...` keeps so many processes going with posix_spawn and wait, without pipes and without
HTTP, and prints as JSON how many seconds each and all took, and of processor time. `floor.py cat PORT` answers HTTP with a
program's output: a head, then the program through a pipe to `cat`, which writes to the connection; the target's path names the
program in the JSON object that stands in `FLOOR_PROGRAMS`.
"""

import json
import os
import resource
import signal
import socket
import sys
import time

_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def spawn(in_flight: int, seconds: float, argv: list[str]) -> dict[str, object]:
    """Start one for each that ends, until the time is up; returns how long each took, and all, and their processor time."""
    actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began: dict[int, float] = {}
    took = []
    start = time.perf_counter()
    end = start + seconds
    for _ in range(in_flight):
        now = time.perf_counter()
        began[os.posix_spawn(argv[0], argv, _ENVIRONMENT, file_actions=actions)] = now
    while began:
        pid, status = os.wait()
        now = time.perf_counter()
        if status:
            raise RuntimeError(f"{argv[0]} ended with wait status {status}")
        took.append(now - began.pop(pid))
        if now < end:
            began[os.posix_spawn(argv[0], argv, _ENVIRONMENT, file_actions=actions)] = now
    seconds = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"seconds": seconds, "took": took, "cpu": sum(each.ru_utime + each.ru_stime for each in used)}


def cat(port: int) -> None:
    """Serve one connection after the other until SIGTERM."""
    programs = json.loads(os.environ["FLOOR_PROGRAMS"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                _answer(connection, programs)


def _answer(connection: socket.socket, programs: dict[str, list[str]]) -> None:
    held = b""
    while b"\r\n\r\n" not in held:
        data = connection.recv(1 << 16)
        if not data:
            return
        held += data
    connection.sendall(_HEAD)
    argv = programs[held.split(b" ", 2)[1].decode().strip("/")]
    reader, writer = os.pipe()
    into = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    through = [(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_DUP2, connection.fileno(), 1)]
    pids = [os.posix_spawn(argv[0], argv, _ENVIRONMENT, file_actions=into)]
    os.close(writer)
    pids.append(os.posix_spawn("/bin/cat", ["cat"], _ENVIRONMENT, file_actions=through))
    os.close(reader)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    if sys.argv[1] == "spawn":
        print(json.dumps(spawn(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])))
    else:
        cat(int(sys.argv[2]))
