"""Ports for servers that tests start: each worker takes them from a range of its own, one after the other.

A port is looked for before its server binds it. In the range that the kernel takes ports of outgoing connections from, any
connection of the machine might get it in between; in a range that is shared, any other worker might.
"""

import itertools
import os
import random
import socket
from collections.abc import Iterator

_FIRST = 10_000
_WORKERS = 16
_PORTS = 1_300
"""For each worker; the last one of all is 30,799, below the kernel's range for outgoing connections."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on; no second call of this worker returns it soon."""
    for port in itertools.islice(_ports, _PORTS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port of {_PORTS} is free")


def _own_ports() -> Iterator[int]:
    """The range of this worker, over and over, from a place that another run of the tests hardly begins at."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    ports = range(_FIRST + worker * _PORTS, _FIRST + (worker + 1) * _PORTS)
    return itertools.islice(itertools.cycle(ports), random.randrange(_PORTS), None)


_ports = _own_ports()
