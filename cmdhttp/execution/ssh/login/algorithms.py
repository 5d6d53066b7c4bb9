"""The SSH algorithms that are offered, and no others.

No SHA-1 and no MD5 anywhere, no CBC, no DSA. Diffie-Hellman group exchange is left out as well: it costs half a second
of CPU per connection, and every server that has it also has something better. What a host does not speak is a failed
handshake, never a weaker one.
"""

KEY_EXCHANGE = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
ENCRYPTION = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
MAC = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
SIGNATURE = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def certificate_forms(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the same algorithms for keys that a certificate authority has signed."""
    return tuple(f"{name}-cert-v01@openssh.com" for name in algorithms)
