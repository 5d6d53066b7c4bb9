"""IP addresses and networks, in one spelling, so that `not_in` cannot be dodged by another.

An IPv4-mapped address (`::ffff:10.0.0.1`) is the IPv4 address, and becomes it. Other IPv6 forms that carry an IPv4
address (compatible, translated, NAT64, 6to4) stay IPv6, but an excluded IPv4 network excludes them too; where the
place of the IPv4 address is not known (Teredo, local-use NAT64) the whole range is excluded with it. A deny reaches as
far: no wider network and no other form of an address gets around it. No zones, no leading zeros, no number forms, no
netmasks.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Int, read_int
from cmdhttp.policy.params.base import ParamSpec, check_order, wrong_format
from cmdhttp.policy.params.values import Json, Value

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_PREFIX = re.compile(r"(?:0|[1-9][0-9]{0,2})")
_MAPPED = IPv6Network("::ffff:0:0/96")
# The last 32 bits: RFC 4291 2.5.5.1 (compatible), RFC 7915 (translated), RFC 6052 (well-known NAT64).
_LAST_32 = tuple(IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056: the 32 bits after the prefix
# RFC 8215 (local-use NAT64) and RFC 4380 (Teredo): the operator or the tunnel decides where the IPv4 address is.
_UNKNOWN = (IPv6Network("64:ff9b:1::/48"), IPv6Network("2001::/32"))


def read_address(text: str) -> Address | None:
    """The address, an IPv4-mapped one as IPv4; nothing if the text is not one in the plain spelling."""
    if not _ADDRESS.fullmatch(text):
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def read_network(text: str) -> Network | None:
    """The network, an IPv4-mapped one as IPv4. Raises `BadValue` `host_bits`; nothing for any other text."""
    base, slash, prefix = text.partition("/")
    if not slash or not _ADDRESS.fullmatch(base) or not _PREFIX.fullmatch(prefix):
        return None
    try:
        network, address = ip_network(text, strict=False), ip_address(base)
    except ValueError:
        return None
    if network.network_address != address:
        raise BadValue("host_bits", "must not have bits set after the prefix", hint="Send the network's own address.")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        last = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((last, network.prefixlen - 96))
    return network


def _policy_network(value: Any) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if isinstance(value, str):
        address = read_address(value)
        network = ip_network(address) if address else read_network(value)
        if network:
            return network
    raise ValueError("must be a network, like 10.0.0.0/8, or an address")


@lru_cache(maxsize=1024)
def _with_images(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    every: list[Network] = list(networks)
    for network in networks:
        if isinstance(network, IPv4Network):
            every += _images(network)
    return tuple(every)


def _images(network: IPv4Network) -> list[Network]:
    inner = int(network.network_address)
    images: list[Network] = [
        IPv6Network((int(outer.network_address) | inner, 96 + network.prefixlen)) for outer in (_MAPPED, *_LAST_32)
    ]
    six_to_four = int(_SIX_TO_FOUR.network_address) | (inner << 80)
    return [*images, IPv6Network((six_to_four, 16 + network.prefixlen)), *_UNKNOWN]


@lru_cache(maxsize=1024)
def _networks(among: frozenset[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in among)


def _touches(network: Network, others: tuple[Network, ...]) -> bool:
    """Whether the two share an address, in whatever form it carries an IPv4 address."""
    return any(network.overlaps(other) for other in _with_images(others))


def _inside(network: Network, outer: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(outer, IPv4Network) and network.subnet_of(outer)
    return isinstance(outer, IPv6Network) and network.subnet_of(outer)


PolicyNetwork = Annotated[Network, PlainValidator(_policy_network), WithJsonSchema({"type": "string"})]
IpVersion = Annotated[Literal[4, 6], BeforeValidator(read_int), WithJsonSchema({"enum": [4, 6]})]


class _IpParam(ParamSpec):
    """What addresses and networks share: `version`, `in` (inside one of these), `not_in` (touching none of these)."""

    version: IpVersion | None = Field(default=None, description="4 or 6; both if left out.")
    in_: tuple[PolicyNetwork, ...] | None = Field(
        default=None, alias="in", description="Networks; the value must lie in one of them."
    )
    not_in: tuple[PolicyNetwork, ...] = Field(default=(), description="Networks that the value may not touch.")

    def check(self) -> None:
        if self.in_ is not None and not self.in_:
            raise ValueError("in: an empty list allows nothing")

    def check_place(self, network: Network) -> None:
        """Raise `BadValue` if the version, `in` or `not_in` refuse the network."""
        if self.version is not None and network.version != self.version:
            raise BadValue("version", f"must be IPv{self.version}")
        if self.in_ is not None and not any(_inside(network, outer) for outer in self.in_):
            raise BadValue("outside", "lies outside the networks that are allowed")
        if _touches(network, self.not_in):
            raise BadValue("excluded", "lies in a network that is excluded")

    def meets(self, value: Value) -> bool:
        """For a deny: `in` is met by what touches one of the networks, `not_in` by what does not lie inside one."""
        network = ip_network(str(value))
        if self.version is not None and network.version != self.version:
            return False
        touched = self.in_ is None or _touches(network, self.in_)
        return touched and not any(_inside(network, other) for other in self.not_in)


class IpParam(_IpParam):
    """An IPv4 or IPv6 address; compressed lower case."""

    narrow_by: ClassVar = ("version", "in", "not_in")

    type: Literal["ip"]

    def normalise(self, value: object) -> str:
        address = read_address(self.ascii_of(value, "an IP address, as text"))
        if address is None:
            raise wrong_format("an IP address in plain form, like 192.0.2.1 or 2001:db8::1")
        self.check_place(ip_network(address))
        return str(address)

    def meets_values(self, value: Value, among: frozenset[str]) -> bool:
        return _touches(ip_network(str(value)), _networks(among))

    def input_schema(self) -> dict[str, Json]:
        either: list[Json] = [{"format": "ipv4"}, {"format": "ipv6"}]
        return {"type": "string", "anyOf": either}


class CidrParam(_IpParam):
    """A network with its prefix length, of `min_prefix` to `max_prefix`; no bits set after it."""

    narrow_by: ClassVar = ("version", "in", "not_in", "min_prefix", "max_prefix")

    type: Literal["cidr"]
    min_prefix: Int = Field(default=0, description="The shortest prefix; 0 if left out.")
    max_prefix: Int = Field(default=128, description="The longest prefix; 128 if left out.")

    def check(self) -> None:
        super().check()
        check_order(0, self.min_prefix, names=("0", "min_prefix"))
        check_order(self.min_prefix, self.max_prefix, names=("min_prefix", "max_prefix"))
        check_order(self.max_prefix, 128, names=("max_prefix", "128"))

    def normalise(self, value: object) -> str:
        network = read_network(self.ascii_of(value, "a network, as text"))
        if network is None:
            raise wrong_format("a network with its prefix length, like 192.0.2.0/24 or 2001:db8::/32")
        if network.prefixlen < self.min_prefix:
            raise BadValue("too_large", f"must have a prefix of /{self.min_prefix} or longer")
        if network.prefixlen > self.max_prefix:
            raise BadValue("too_small", f"must have a prefix of /{self.max_prefix} or shorter")
        self.check_place(network)
        return str(network)

    def meets(self, value: Value) -> bool:
        return super().meets(value) and self.min_prefix <= ip_network(str(value)).prefixlen <= self.max_prefix
