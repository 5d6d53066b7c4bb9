"""TCP to a host, before any SSH: the socket's own address has to be known before a certificate can name it."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from anyio import CapacityLimiter, to_thread


async def connect_tcp(address: str, port: int) -> socket.socket:
    """Return a connected socket, of the first of the name's addresses that answers; the caller closes it.

    Raises OSError, and UnicodeError for a name that can be none.
    """
    failure: OSError | None = None
    for family, kind, protocol, _, where in await _addresses(address, port):
        try:
            return await _connect(socket.socket(family, kind, protocol), where)
        except OSError as exc:
            failure = exc
    raise failure or OSError("the name has no address")


async def _addresses(address: str, port: int) -> Sequence[tuple[int, int, int, str, tuple[object, ...]]]:
    """Look a name up in a thread that nobody else waits for: names that get no answer must not hold up others."""
    if _is_literal(address):
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

    def look_up() -> Sequence[tuple[int, int, int, str, tuple[object, ...]]]:
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)

    return await to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=CapacityLimiter(1))


def _is_literal(address: str) -> bool:
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


async def _connect(made: socket.socket, where: object) -> socket.socket:
    made.settimeout(0)
    try:
        await asyncio.get_running_loop().sock_connect(made, where)  # type: ignore[arg-type] # as getaddrinfo gave it
    except BaseException:
        made.close()
        raise
    return made


def own_address(connected: socket.socket) -> str:
    """Return the address of our end."""
    address: str = connected.getsockname()[0]
    return address
