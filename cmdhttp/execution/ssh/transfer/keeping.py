"""The private folder of a run on a host without Python: a channel of its own makes it, and removes it when that channel ends."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import asyncssh

from cmdhttp.execution.model import Stream
from cmdhttp.execution.ssh.failures import ConnectFailed, channel_refused
from cmdhttp.execution.ssh.guard import FOLDER
from cmdhttp.execution.ssh.link import new_token
from cmdhttp.execution.ssh.orders import Folder
from cmdhttp.execution.ssh.remote import lines
from cmdhttp.execution.ssh.session import RunSession
from cmdhttp.execution.ssh.transfer.collecting import longest
from cmdhttp.execution.ssh.transfer.files import no_folder
from cmdhttp.plan.remote import posix_line

_TO_STAGE = 120.0
_REMOVED_WITHIN = 5.0
_LONGEST = 4096


def keeping_seconds(max_bytes: int | None) -> float:
    """How long a folder may be needed beside the time of its run, of which so many bytes are collected (None: nothing is)."""
    return _TO_STAGE + (0.0 if max_bytes is None else longest(max_bytes))


@asynccontextmanager
async def kept_folder(
    connection: asyncssh.SSHClientConnection, *, seconds: float, patience: float
) -> AsyncIterator[Folder]:
    """Yield a folder that is gone afterwards, or `seconds` after its start. Raises NoFiles, ConnectFailed."""
    token = new_token()
    keeper = RunSession(may_start=lambda: True, token=token)
    line = posix_line(lines.keeper(token, name=f"cmdhttp-run-{secrets.token_hex(16)}", seconds=seconds))
    try:
        path = b""
        with anyio.move_on_after(patience):
            try:
                await connection.create_session(lambda: keeper, line, encoding=None)
            except (asyncssh.Error, OSError):
                error = channel_refused()
                raise ConnectFailed(error.code, error.detail, hint=error.hint) from None
            path = await _path(keeper)
        if not FOLDER.fullmatch(path):
            raise no_folder("the host did not say where it is")
        yield Folder(path=path.decode())
    finally:
        with anyio.move_on_after(_REMOVED_WITHIN, shield=True):
            keeper.write_eof()
            await keeper.over.wait()
        keeper.close()


async def _path(keeper: RunSession) -> bytes:
    said = b""
    while not keeper.closed and not said.endswith(b"\n") and len(said) < _LONGEST:
        output = keeper.take()
        if output is None:
            await keeper.news()
        elif output.stream is Stream.STDOUT:
            said += output.data
    return said.removesuffix(b"\n")
