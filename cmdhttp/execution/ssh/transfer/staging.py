"""Files that are there before a run starts on a host: uploads and secrets, in the run's private folder there.

The folder is the one that this host's guard has just made, as SFTP sees it: if it is another or anybody may enter it, nothing is
written. Each file is made new with its mode, and read back before it counts as written.
"""

import stat
from collections.abc import Iterable
from contextlib import aclosing

from cmdhttp.execution.ssh.orders import Folder
from cmdhttp.execution.ssh.transfer.sftp import Sftp, SftpError
from cmdhttp.plan.model import Staged, staged_path

_FOLDER_MODE = 0o700


class NotStaged(Exception):
    """The files of a run could not be written as they must be; the text says why, and holds no name."""


async def check(sftp: Sftp, folder: Folder) -> int:
    """Return the number of the user that owns the folder. Raises NotStaged unless SFTP sees it there, private."""
    uids = set()
    for part in (folder.path, folder.work, folder.inputs):
        try:
            found = await sftp.lstat(part.encode())
        except SftpError:
            raise NotStaged("SFTP does not see the folder that was made for the run") from None
        private = (
            found.mode is not None and stat.S_ISDIR(found.mode) and stat.S_IMODE(found.mode) & 0o777 == _FOLDER_MODE
        )
        if found.uid is None or not private:
            raise NotStaged("the folder that was made for the run is not private")
        uids.add(found.uid)
    if len(uids) != 1:
        raise NotStaged("the folder that was made for the run belongs to several users")
    return uids.pop()


async def stage(sftp: Sftp, folder: Folder, files: Iterable[Staged]) -> None:
    """Write the files. Raises NotStaged, and SftpBroken; what was written stays, and goes with the folder."""
    made: set[str] = set()
    for file in files:
        path = staged_path(folder.inputs, file)
        try:
            for place in _folders(file):
                if place not in made:
                    await sftp.mkdir(f"{folder.inputs}/{place}".encode(), mode=_FOLDER_MODE)
                    made.add(place)
            handle = await sftp.create(path.encode(), mode=file.mode)
            await sftp.write(handle, file.data)
            await _verify(sftp, handle, file)
            await sftp.close_handle(handle)
        except SftpError as error:
            raise NotStaged(f"the host's SFTP server refused to write it (status {error.status})") from None


def _folders(file: Staged) -> list[str]:
    """The folders that a file lies in, the outermost first."""
    parts = file.place.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


async def _verify(sftp: Sftp, handle: bytes, file: Staged) -> None:
    found = await sftp.fstat(handle)
    if found.mode != stat.S_IFREG | file.mode:
        raise NotStaged("the host gave it other rights than were asked for")
    at = 0
    if found.size == len(file.data):
        async with aclosing(sftp.read(handle, size=len(file.data))) as pieces:
            async for piece in pieces:
                if piece != file.data[at : at + len(piece)]:
                    break
                at += len(piece)
        if at == len(file.data):
            return
    raise NotStaged("what was written is not what was sent")
