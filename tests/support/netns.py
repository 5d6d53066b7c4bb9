"""Network namespaces of our own: one for whoever tests, one for a far machine, and a router between them.

The link is cut as a dead router cuts it: no packet passes, nobody is told, and both ends keep their addresses. Nothing of
the machine's own network is touched, and all of it goes with the processes that hold it.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_CLONE_NEWNET = 0x40000000
_HOLD = "ip link set lo up && echo up && exec sleep infinity"
_WAIT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The way from the near namespace to the far one, over a router."""

    near: int
    router: int
    far: int
    far_address: str = "198.18.2.2"

    @property
    def far_prefix(self) -> tuple[str, ...]:
        """How to start a program in the far namespace."""
        return ("nsenter", f"--net=/proc/{self.far}/ns/net")

    def cut(self) -> None:
        """From now on no packet passes, in either direction."""
        self._forward(on=False)

    def mend(self) -> None:
        self._forward(on=True)

    def _forward(self, *, on: bool) -> None:
        _inside(self.router, f"echo {int(on)} >/proc/sys/net/ipv4/ip_forward")


@contextlib.contextmanager
def linked() -> Iterator[Link]:
    """Two namespaces with a router between them; the calling thread, and what it starts, is in the near one meanwhile."""
    with _namespace() as near, _namespace() as router, _namespace() as far:
        link = Link(near=near, router=router, far=far)
        _wire(near, router, net=1)
        _wire(far, router, net=2)
        link.mend()
        with _entered(near):
            yield link


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """A new network namespace; yields the id of the process that holds it."""
    command = ["unshare", "--net", "sh", "-c", _HOLD]
    holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    with holder:
        try:
            if holder.stdout is None or holder.stdout.readline() != b"up\n":
                raise RuntimeError(
                    "No network namespace can be made here. Hint: run the tests as root, with iproute2 and util-linux."
                )
            yield holder.pid
        finally:
            holder.kill()


def _wire(machine: int, router: int, *, net: int) -> None:
    """Connect a machine to the router by a subnet of its own: the router is .1, the machine .2."""
    name = f"net{net}"
    _inside(
        machine,
        f"ip link add eth0 type veth peer name {name} netns {router}",
        f"ip addr add 198.18.{net}.2/24 dev eth0",
        "ip link set eth0 up",
    )
    _inside(router, f"ip addr add 198.18.{net}.1/24 dev {name}", f"ip link set {name} up")
    _inside(machine, f"ip route add default via 198.18.{net}.1")


def _inside(holder: int, *lines: str) -> None:
    command = ["nsenter", f"--net=/proc/{holder}/ns/net", "sh", "-ec", "\n".join(lines)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=_WAIT)


@contextlib.contextmanager
def _entered(holder: int) -> Iterator[None]:
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _enter(f"/proc/{holder}/ns/net")
        yield
    finally:
        _set(before)
        os.close(before)


def _enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _set(descriptor)
    finally:
        os.close(descriptor)


def _set(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
