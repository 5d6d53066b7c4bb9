"""A TCP relay on loopback that can break what passes through it: reset it, freeze it, or leave one side standing.

It works in threads of its own; all of them, and both sides of each connection, are gone at the end of the `with` block.
"""

import contextlib
import ctypes
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST."""

_PIECE = 65536


@dataclass(slots=True)
class _Pair:
    """One connection: the caller's side and the server's."""

    near: socket.socket
    far: socket.socket
    threads: list[threading.Thread] = field(default_factory=list)


class Relay:
    """Listens at `port` and connects each caller with `address`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[_Pair] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._over = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @classmethod
    @contextlib.contextmanager
    def to(cls, address: tuple[str, int]) -> Iterator["Relay"]:
        relay = cls(address)
        relay._accepting.start()
        try:
            yield relay
        finally:
            relay._close()

    def reset(self, *, near: bool = True, far: bool = True) -> None:
        """Reset the callers' side of all connections, the server's side, or both; the other side hears nothing."""
        self._flowing.clear()
        for pair in self._pairs:
            for side, wanted in ((pair.near, near), (pair.far, far)):
                if wanted:
                    _reset(side)

    def freeze(self) -> None:
        """Pass nothing more on; both sides stay open, and the kernels go on to confirm what they receive."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on again, for new connections."""
        self._flowing.set()

    def _accept(self) -> None:
        while not self._over:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._address, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            pair = _Pair(near, far)
            self._pairs.append(pair)
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(source, sink), daemon=True)
                pair.threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on all that comes, and how it ends: an end as an end, a reset as a reset."""
        try:
            while piece := source.recv(_PIECE):
                self._flowing.wait()
                sink.sendall(piece)
            if self._flowing.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            if self._flowing.is_set():
                _reset(source)
                _reset(sink)

    def _close(self) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for pair in self._pairs:
            for side in (pair.near, pair.far):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        self._flowing.set()
        for pair in self._pairs:
            for thread in pair.threads:
                thread.join()
            pair.near.close()
            pair.far.close()


def _reset(side: socket.socket) -> None:
    """Send RST at once, though another thread may be waiting in a read of this socket.

    A close alone would wait for that read: connecting a TCP socket to nothing is what drops it at once, and with the linger
    time of zero that is a reset.
    """
    with contextlib.suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        _disconnect(side)


def _disconnect(side: socket.socket) -> None:
    unspecified = struct.pack("H14x", socket.AF_UNSPEC)
    ctypes.CDLL(None).connect(side.fileno(), unspecified, len(unspecified))
