"""The sums of requests that idempotency keys were used for, sealed with a key of the data folder.

A plain sum would tell whoever reads the database, or a copy of it, whether a guess of what was sent is right: a request may
hold a secret of few bits. A key that is lost makes every earlier request another one, so a retry gets a 409 and runs nothing.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cmdhttp.errors import ConfigError

KEY_FILE = "idempotency.key"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    key: bytes = field(repr=False)

    def of(self, digest: str) -> str:
        """Return the HMAC-SHA256 of a sum, as hex."""
        return hmac.new(self.key, digest.encode(), hashlib.sha256).hexdigest()


def read_seal(folder: Path) -> Seal:
    """Return the seal of a data folder; its key is made at the first start. Raises ConfigError if it cannot be used."""
    path = folder / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        hint = "Let it belong to the account that serves, of mode 0600."
        raise ConfigError(f"the key {path} cannot be used: {error.strerror}", hint=hint) from error
    if len(key) != _KEY_BYTES:
        hint = "Restore it from a backup, or remove it: then a retry of an earlier request gets a 409, and nothing runs twice."
        raise ConfigError(f"the key {path} is damaged: it has {len(key)} bytes, not {_KEY_BYTES}", hint=hint)
    return Seal(key=key)


def _make_key(path: Path) -> None:
    """Write the key whole or not at all: a crash leaves no part of one under its name."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
