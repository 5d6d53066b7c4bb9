"""The public halves of keys, which is all of a key that is ever shown."""

import asyncssh

_PARTS = 2


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
