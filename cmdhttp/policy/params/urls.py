"""A URL that every program reads in the same way, or none.

Only the plain shape `scheme://host[:port][/path][?query]` of RFC 3986: no user name, fragment, backslash, bracket
outside the host, dot segment (encoded or not) or encoded control character, since clients differ on each. Scheme and
host become lower case, the scheme's own port is dropped, an empty path becomes `/`, and a character that needs no
%-code has none (`%61` becomes `a`, `%2f` becomes `%2F`). A port must be in `ports`, or the scheme's own if there are
none. An IP literal must stand in `hosts`; without `hosts`, any host name passes. Where a name resolves to is the
network's matter.
"""

import re
import string
from ipaddress import IPv6Address
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Int, spelling
from cmdhttp.policy.params.base import ParamSpec, check_length, check_order, wrong_format
from cmdhttp.policy.params.hostnames import read_hostname
from cmdhttp.policy.params.networks import read_address
from cmdhttp.policy.params.values import Json

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([1-9][0-9]{0,4}))?")
_REST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-F]|7F)")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}")
_SCHEME_WORDS = "a scheme in lower case, like https"
_OWN_PORT = {"http": 80, "https": 443, "ftp": 21, "ssh": 22, "git": 9418, "ws": 80, "wss": 443}
_MAX_PORT = 65535


def _read_host(text: str) -> str | None:
    """The host in its one spelling, IPv6 in brackets; nothing if it is neither a name nor a plain address."""
    address = read_address(text.removeprefix("[").removesuffix("]"))
    if address is not None and text.startswith("[") == (":" in text):
        return f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return None if text.startswith("[") else read_hostname(text)


def _read_allowed_host(value: object) -> str:
    text = value if isinstance(value, str) else ""
    wildcard = "*." if text.startswith("*.") else ""
    bare = text.removeprefix(wildcard)
    host = _read_host(f"[{bare}]" if ":" in bare and not bare.startswith("[") else bare)
    if host is None or (wildcard and read_address(bare) is not None):
        raise ValueError("must be a host, like api.example.com, *.example.com or 192.0.2.1")
    return wildcard + host


def _read_scheme(value: object) -> str:
    if not isinstance(value, str) or not _SCHEME.fullmatch(value):
        raise ValueError(f"must be {_SCHEME_WORDS}")
    return value


AllowedHost = Annotated[str, BeforeValidator(_read_allowed_host), WithJsonSchema({"type": "string"})]
Scheme = Annotated[str, BeforeValidator(_read_scheme), WithJsonSchema(spelling(_SCHEME, _SCHEME_WORDS))]


class UrlParam(ParamSpec):
    """A URL of one of `schemes` to one of `hosts`: exact, or `*.example.com` for any name below that domain."""

    narrow_by: ClassVar = ("schemes", "hosts", "ports", "max_length")

    type: Literal["url"]
    schemes: tuple[Scheme, ...] = Field(default=("https",), description="Which schemes; https if left out.")
    hosts: tuple[AllowedHost, ...] | None = Field(
        default=None, description="Which hosts, *.example.com for all below a domain; any name if left out."
    )
    ports: tuple[Int, ...] = Field(default=(), description="Which ports; the scheme's own if left out.")
    max_length: Int = Field(default=2048, description="The most characters; 2048 if left out.")

    def check(self) -> None:
        if not self.schemes or (self.hosts is not None and not self.hosts):
            raise ValueError("schemes and hosts: an empty list allows nothing")
        if any(not 1 <= port <= _MAX_PORT for port in self.ports):
            raise ValueError(f"ports: must be 1 to {_MAX_PORT}")
        check_order(1, self.max_length, names=("1", "max_length"))

    def normalise(self, value: object) -> str:
        text = self.ascii_of(value, "a URL, as text")
        found = _URL.fullmatch(text)
        if not found:
            raise wrong_format("a URL, like https://example.com/path")
        scheme, authority, path, query, fragment = found[1].lower(), found[2], found[3], found[4] or "", found[5]
        if scheme not in self.schemes:
            raise BadValue("scheme", f"must start with {' or '.join(f'{scheme}://' for scheme in self.schemes)}")
        if fragment is not None:
            raise BadValue("fragment", "must not have a fragment", hint="Leave out '#' and what follows it.")
        place = self._place(scheme, authority)
        url = f"{scheme}://{place}{_read_rest(path) or '/'}{_read_rest(query)}"
        check_length(url, low=0, high=self.max_length)
        return url

    def _place(self, scheme: str, authority: str) -> str:
        if "@" in authority:
            raise BadValue("userinfo", "must not carry a user name or password")
        found = _AUTHORITY.fullmatch(authority)
        host = _read_host(found[1]) if found else None
        if found is None or host is None:
            raise wrong_format("a URL with a plain host name or address, like https://example.com/path")
        if not self._allows(host):
            raise BadValue("host", "goes to a host that is not allowed")
        own = _OWN_PORT.get(scheme)
        port = int(found[2]) if found[2] else own
        if port is not None and port > _MAX_PORT:
            raise BadValue("port", f"has a port above {_MAX_PORT}")
        if port not in (self.ports or (own,)):
            raise BadValue("port", "goes to a port that is not allowed")
        return host if port == own else f"{host}:{port}"

    def _allows(self, host: str) -> bool:
        if self.hosts is None:
            return read_address(host.strip("[]")) is None
        return any(host == allowed or (allowed[:2] == "*." and host.endswith(allowed[1:])) for allowed in self.hosts)

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "format": "uri"}


def _read_rest(text: str) -> str:
    """Path or query, after RFC 3986 6.2.2: %-codes in capitals, and none for what needs none."""
    if not _REST.fullmatch(text):
        raise wrong_format("a URL whose path and query hold only the characters of RFC 3986, others %-encoded")
    plain = _ENCODED.sub(_decoded, text)
    if _ENCODED_CONTROL.search(plain):
        raise BadValue("control_character", "holds an encoded control character")
    if any(segment in (".", "..") for segment in plain.partition("?")[0].split("/")):
        raise BadValue("dot_segment", "must not have a '.' or '..' segment", hint="Send the path that is meant.")
    return plain


def _decoded(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()
