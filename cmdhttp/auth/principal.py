"""The authenticated caller, and the chain that finds it.

The law: every request passes here before it is routed, and there is one answer for every way to fail.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from cmdhttp.auth.tokens import TokenRecord, TokenTable, verify
from cmdhttp.errors import Unauthenticated


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls and what proved it. `credential` is the public id of the token; `source` the peer's address, if any."""

    name: str
    method: str
    credential: str
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a request offers. `authorization` holds every value of the header, as sent."""

    authorization: Sequence[bytes]
    source: str | None


class Authenticator:
    """Turns evidence into a Principal by the tokens of the policy that is in force at that moment."""

    def __init__(self, *, tokens: Callable[[], TokenTable], now: Callable[[], float]) -> None:
        self._tokens = tokens
        self._now = now

    def authenticate(self, evidence: Evidence) -> Principal:
        """Raise Unauthenticated unless exactly one live bearer token is offered from an allowed address."""
        if len(evidence.authorization) != 1:
            raise Unauthenticated
        scheme, _, token = evidence.authorization[0].decode("latin-1").partition(" ")
        record = verify(token.strip(), table=self._tokens(), now=self._now())
        if scheme.lower() != "bearer" or record is None or not _from_allowed(record, evidence.source):
            raise Unauthenticated
        return Principal(name=record.principal, method="token", credential=record.id, source=evidence.source)


def _from_allowed(record: TokenRecord, source: str | None) -> bool:
    if not record.sources:
        return True
    address = _address(source)
    return address is not None and any(address in network for network in record.sources)


def _address(source: str | None) -> IPv4Address | IPv6Address | None:
    if source is None:
        return None
    try:
        address = ip_address(source)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
