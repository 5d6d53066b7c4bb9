"""TCP to a host, before any SSH: the socket's own address has to be known before a certificate can name it."""

import asyncio
import socket


async def connect_tcp(address: str, port: int) -> socket.socket:
    """Return a connected socket, of the first of the name's addresses that answers; the caller closes it.

    Raises OSError, and UnicodeError for a name that can be none.
    """
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, protocol, _, where in await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM):
        try:
            return await _connect(socket.socket(family, kind, protocol), where)
        except OSError as exc:
            failure = exc
    raise failure or OSError("the name has no address")


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
