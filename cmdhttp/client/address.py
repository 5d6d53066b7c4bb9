"""Where the service is, and how a connection to it begins.

`http://HOST[:PORT]`, `https://HOST[:PORT]`, either with a path before the routes, or `unix:/path`. Certificates and names
are always verified. A proxy is only ever the one that was named, and it sees no request: it is asked for a tunnel, so it is
for https alone.
"""

import http.client
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cmdhttp.errors import ConfigError

_UNIX = "unix:"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_FORM = "Write http://HOST:PORT, https://HOST or unix:/path."
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`socket` is the path of a unix socket; then nothing else counts. `prefix` stands before every route."""

    host: str = "localhost"
    port: int = 80
    tls: bool = False
    prefix: str = ""
    socket: str = ""

    @property
    def origin(self) -> str:
        """The URL without its path, for people."""
        if self.socket:
            return _UNIX + self.socket
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def in_clear(self) -> bool:
        """Whether what is sent can be read on a network."""
        return not (self.tls or self.socket or _is_loopback(self.host))


def read_address(text: str, *, origin: str) -> Address:
    """Return what a URL says. `origin` is the flag or variable that gave it. Raises ConfigError."""
    if text.startswith(_UNIX):
        if not text.startswith(_UNIX + "/") or "\0" in text:
            raise ConfigError(f"{origin}: the path of a socket must be absolute", hint="Write unix:/path.")
        return Address(socket=text.removeprefix(_UNIX))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{origin} is not a URL", hint=_FORM) from None
    if parts.scheme not in _PORTS or not parts.hostname or not _is_plain(text):
        raise ConfigError(f"{origin} is not the URL of a service", hint=_FORM)
    if "@" in parts.netloc:
        raise ConfigError(f"{origin} holds a user name or a password", hint="The token is taken from CMDHTTP_TOKEN.")
    prefix = parts.path.rstrip("/")
    dots = {".", ".."} & set(prefix.split("/"))
    if parts.query or parts.fragment or not _PREFIX.fullmatch(prefix) or dots:
        raise ConfigError(f"{origin} has a path, query or fragment that cannot be used", hint=_FORM)
    return Address(host=parts.hostname, port=port or _PORTS[parts.scheme], tls=parts.scheme == "https", prefix=prefix)


def read_proxy(text: str, *, origin: str) -> Address:
    """Return a proxy, `http://HOST:PORT`. Raises ConfigError."""
    address = read_address(text, origin=origin)
    if address.tls or address.socket or address.prefix:
        raise ConfigError(f"{origin} is not a proxy that can be used", hint="Write http://HOST:PORT.")
    return address


def trust(ca_file: str | None) -> ssl.SSLContext:
    """Return what verifies a service: the system's authorities, or those of a file and no others. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "it holds no certificate in PEM"
        raise ConfigError(f"--ca-file {ca_file}: {reason}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def connect(
    address: Address, *, timeout: float, context: ssl.SSLContext | None, proxy: Address | None
) -> http.client.HTTPConnection:
    """Return an open connection. Raises OSError or http.client.HTTPException."""
    connection: http.client.HTTPConnection
    if address.socket:
        connection = _UnixConnection(address.socket, timeout=timeout)
    elif not address.tls:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    else:
        first = proxy or address
        connection = http.client.HTTPSConnection(first.host, first.port, timeout=timeout, context=context)
        if proxy:
            connection.set_tunnel(address.host, address.port)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(Path(self._path)))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and "\\" not in text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
