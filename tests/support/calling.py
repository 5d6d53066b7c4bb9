"""`cmdhttp` as a caller runs it: a process with pipes or a terminal, and a network between it and the service that cuts."""

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.support.service import Document, Service, environment

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-W", "error", "-m", "cmdhttp.cli.main")
_WAIT = 60
_PIECE = 4096


def variables(service: Service, *, principal: str = "ann", url: str = "", **more: str) -> dict[str, str]:
    """The environment of a caller of a service."""
    return environment() | {
        "CMDHTTP_URL": url or service.url,
        "CMDHTTP_TOKEN": service.tokens[principal],
        "COLUMNS": "100",
        **more,
    }


def call(
    service: Service, *arguments: str, stdin: bytes = b"", principal: str = "ann", url: str = "", **more: str
) -> subprocess.CompletedProcess[bytes]:
    """Run one command line to its end, with pipes."""
    env = variables(service, principal=principal, url=url, **more)
    return subprocess.run(
        [*PROGRAM, *arguments], input=stdin, capture_output=True, timeout=_WAIT, check=False, env=env, cwd=ROOT
    )


@contextlib.contextmanager
def calling(service: Service, *arguments: str, url: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run one command line with pipes, for the length of the block."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=variables(service, url=url),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@dataclass(slots=True)
class Terminal:
    """What a process on a terminal has written, stdout and stderr together or stdout alone."""

    process: subprocess.Popen[bytes]
    master: int
    seen: bytearray = field(default_factory=bytearray)

    def read_until(self, text: bytes) -> bytes:
        while text not in self.seen:
            piece = self._some()
            if not piece:
                raise AssertionError(f"{text!r} never came: {bytes(self.seen)!r}")
        return bytes(self.seen)

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        while self._some():
            pass
        return self.process.wait(_WAIT)

    def _some(self) -> bytes:
        try:
            piece = os.read(self.master, _PIECE)
        except OSError:  # EIO: nobody has the terminal any more
            return b""
        self.seen += piece
        return piece


@contextlib.contextmanager
def terminal(service: Service, *arguments: str, url: str = "") -> Iterator[Terminal]:
    """Run one command line with a terminal for stdin, stdout and stderr."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=variables(service, url=url),
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - no thread of ours holds a lock that the child could need
    )
    os.close(slave)
    try:
        with process:
            try:
                yield Terminal(process, master)
            finally:
                process.kill()
    finally:
        os.close(master)


def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415 - in the child
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


_MORE: Mapping[str, Document] = {
    "hostile": {
        "script": r"""printf 'a\033]52;c;aGk=\007b\302\2331mc\342\200\256d\rhidden\r\n\303\251\tend\377\n'""",
        "on": ["local", "far"],
    },
    "long_line": {
        "script": "head -c 1048576 /dev/zero | tr '\\0' x; echo",
        "output": {"max": "4MiB"},
        "on": ["local", "far"],
    },
    "leaves": {
        "script": r"""mkdir -p a/b; echo one >a/one.txt; head -c 300000 /dev/zero >a/b/big.bin; echo "$P_TEXT" >'od d'""",
        "params": {"text": {"type": "string", "pattern": ".*", "default": "x"}},
        "files": {"collect": ["a/*", "a/b/*", "*"]},
        "on": "local",
    },
    "many": {
        "run": ["/usr/bin/printf", "[%s]\\n", "<items...>"],
        "params": {"items": {"type": "list", "of": {"type": "string", "pattern": "[^\\n]*", "unicode": True}}},
        "on": "local",
    },
    "everywhere": {
        "script": 'i=0; while [ "$i" -lt "$P_COUNT" ]; do echo "tick $i"; i=$((i + 1)); sleep 0.3; done',
        "params": {"count": {"type": "int", "min": 0, "max": 1000}},
        "on": "*",
    },
    "kill_self": {"script": "kill -9 $$", "on": "local"},
}


class CalledService(Service):
    """With commands that try what a client must stand."""

    commands: ClassVar[Mapping[str, Document]] = {**Service.commands, **_MORE}


class Cutter:
    """A network in front of an address. `budget` says for each connection after how many bytes of the answer it is cut."""

    def __init__(self, target: str, budget: Callable[[], int | None]) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._budget = budget
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.cuts = 0
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @classmethod
    @contextlib.contextmanager
    def before(cls, service: Service, budget: Callable[[], int | None]) -> Iterator["Cutter"]:
        cutter = cls(service.listen, budget)
        accepting = threading.Thread(target=cutter._accept)
        accepting.start()
        try:
            yield cutter
        finally:
            cutter._listener.shutdown(socket.SHUT_RDWR)
            cutter._listener.close()
            accepting.join()
            for thread in cutter._threads:
                thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                self.connections += 1
                thread = threading.Thread(target=self._carry, args=(near, self._budget()))
                thread.start()
                self._threads.append(thread)

    def _carry(self, near: socket.socket, budget: int | None) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target) as far:
            left = budget
            while left is None or left > 0:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(_PIECE if left is None or source is near else min(left, _PIECE))
                    if not data:
                        return
                    (far if source is near else near).sendall(data)
                    left = left if left is None or source is near else left - len(data)
            self.cuts += 1
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end


def eventually(check: Callable[[], object], *, seconds: float = 40.0) -> None:
    """Return once `check()` is true. Raises AssertionError if it does not become true in time."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            raise AssertionError("not in time")
        time.sleep(0.02)


def ids(lines: Sequence[str]) -> list[str]:
    """The ids of jobs that stand at the beginning of lines."""
    return [line.split()[0] for line in lines if line.startswith("job_")]
