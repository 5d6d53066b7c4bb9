"""The public halves of keys, which is all of a key that is ever shown, and the files that hold them."""

import os
import stat
from errno import EFBIG, EINVAL

import asyncssh

_PARTS = 2
_LARGEST = 16 * 1024 * 1024


def read_file(path: str) -> bytes:
    """Return the content of a regular file of at most 16 MiB. Raises OSError; nothing here waits for a pipe."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(EINVAL, "not a regular file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(EFBIG, os.strerror(EFBIG))
    return data


def public_half(data: bytes) -> str:
    """Return `kind base64` of a private key, or of a public key file. Raises ValueError if it cannot be told."""
    text = data.decode("ascii", "replace")
    try:
        key = asyncssh.import_private_key(data) if "PRIVATE KEY" in text else asyncssh.import_public_key(data)
    except asyncssh.KeyEncryptionError:
        raise ValueError("it has a passphrase") from None
    except (asyncssh.KeyImportError, ValueError):
        raise ValueError("it is no key without passphrase") from None
    return " ".join(key.export_public_key().decode().split()[:_PARTS])
