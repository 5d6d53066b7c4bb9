"""Host names and mail addresses: ASCII, lower case, one spelling.

A host name keeps RFC 1123: labels of letters, digits and inner hyphens, 63 each, 253 in all, other scripts as
punycode. A name whose last label is a number (`127.1`, `0x7f000001`) is none, because resolvers read it as an
address.
"""

import re
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cmdhttp.errors import BadValue
from cmdhttp.policy.params.base import ParamSpec, wrong_format
from cmdhttp.policy.params.values import Json, Value

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_+-]|\.(?=[A-Za-z0-9_+-])){0,63}")
_MAX_NAME = 253
_MAX_EMAIL = 254


def read_hostname(text: str) -> str | None:
    """The name in lower case without its trailing dot; nothing if it is not one."""
    if not text.isascii():  # before lower(), which makes a plain 'k' of a Kelvin sign
        return None
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if _NUMBER_LABEL.fullmatch(labels[-1]) else name


def _read_suffix(value: object) -> str:
    name = read_hostname(value) if isinstance(value, str) else None
    if name is None:
        raise ValueError("must be a domain name, like example.com (no wildcard: subdomains are included)")
    return name


def _check_under(name: str, under: Iterable[str] | None) -> None:
    if under is not None and not any(name == suffix or name.endswith(f".{suffix}") for suffix in under):
        raise BadValue("not_under", "lies outside the domains that are allowed")


def _check_not_empty(under: tuple[str, ...] | None) -> None:
    if under is not None and not under:
        raise ValueError("under: an empty list allows nothing")


DomainSuffix = Annotated[str, BeforeValidator(_read_suffix), WithJsonSchema({"type": "string", "format": "hostname"})]


class HostnameParam(ParamSpec):
    """A host name; `under` are domains, each with itself and all its subdomains."""

    narrow_by: ClassVar = ("under",)

    type: Literal["hostname"]
    under: tuple[DomainSuffix, ...] | None = Field(default=None, description="Domains, each with its subdomains.")

    def check(self) -> None:
        _check_not_empty(self.under)

    def normalise(self, value: object) -> str:
        name = read_hostname(self.ascii_of(value, "a host name, as text"))
        if name is None:
            raise wrong_format("a host name, like web1.example.com (an IP address is not one)")
        _check_under(name, self.under)
        return name

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "maxLength": _MAX_NAME + 1}


class EmailParam(ParamSpec):
    """A mail address of plain characters; `under` are domains, each with itself and all its subdomains."""

    narrow_by: ClassVar = ("under",)

    type: Literal["email"]
    under: tuple[DomainSuffix, ...] | None = Field(default=None, description="Domains, each with its subdomains.")

    def check(self) -> None:
        _check_not_empty(self.under)

    def normalise(self, value: object) -> str:
        text = self.ascii_of(value, "a mail address, as text")
        local, _, domain = text.rpartition("@")
        name = read_hostname(domain)
        if name is None or "." not in name or domain.endswith(".") or not _LOCAL_PART.fullmatch(local):
            raise wrong_format("a mail address, like alice@example.com, of letters, digits and . _ + - before the @")
        if len(local) + 1 + len(name) > _MAX_EMAIL:
            raise BadValue("too_long", f"must be at most {_MAX_EMAIL} characters long")
        _check_under(name, self.under)
        return f"{local}@{name}"

    def meets_values(self, value: Value, among: frozenset[str]) -> bool:
        """For a deny: most mail systems take `Root@` for `root@`."""
        return str(value).lower() in {text.lower() for text in among}

    def from_prefix(self, prefix: str) -> str:
        return f"a@{prefix}"

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "maxLength": _MAX_EMAIL}
