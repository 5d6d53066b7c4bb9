"""What has to hold of a host's certificate beyond what asyncssh looks at.

asyncssh checks who signed it, what is revoked, its time and that its principals, if it has any, name the host. Here a
certificate without principals, which would be good for every host, and one that is signed with SHA-1 are refused as well.
"""

import base64

import asyncssh

from cmdhttp.execution.ssh.login import algorithms
from cmdhttp.execution.ssh.login.wire import Reader

NAMELESS = "certificate names no host"
WEAK = "certificate is signed with a weak algorithm"

_CERTIFICATE = b"-cert-v01@openssh.com"
_FIELDS = {
    b"ssh-ed25519": 1,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"ssh-rsa": 2,
}
"""By kind of key: of how many fields its public key consists in a certificate."""


def refuse_unfit(shown: bytes) -> None:
    """Raise ValueError if `shown`, what a host showed as its key, is a certificate that may not count."""
    kind = Reader(shown).string()
    if not kind.endswith(_CERTIFICATE):
        return
    certificate = asyncssh.import_certificate(kind + b" " + base64.b64encode(shown))
    if not getattr(certificate, "principals", ()):
        raise ValueError(NAMELESS)
    if _signature_kind(shown) not in algorithms.SIGNATURE:
        raise ValueError(WEAK)


def _signature_kind(shown: bytes) -> str:
    reader = Reader(shown)
    fields = _FIELDS.get(reader.string().removesuffix(_CERTIFICATE))
    if fields is None:
        return ""
    for _ in range(1 + fields):  # the nonce, then the public key
        reader.string()
    reader.take(8 + 4)  # serial, type
    for _ in range(2):  # key id, principals
        reader.string()
    reader.take(8 + 8)  # the time
    for _ in range(4):  # critical options, extensions, reserved, the authority's key
        reader.string()
    return Reader(reader.string()).string().decode("ascii", "replace")
