"""How a principal gets in, and how much it may ask for: tokens, networks, identities and limits, of two policies.

A token that has expired by then counts as none. Where the networks cannot matter because no way in is left, they are not
compared.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cmdhttp.auth.tokens import TokenRecord
from cmdhttp.policy.compiled import Oidc, Policy
from cmdhttp.policy.containment import Network, networks_within
from cmdhttp.policy.review.describe import instant, shortened
from cmdhttp.policy.review.meaning import Shift, capped, compare, quota_shifts


def entry_shifts(before: Policy, now: Policy, principal: str, *, since: datetime) -> list[Shift]:
    """Return what changed in the ways in of a principal that count at `since` or later."""
    old, new = _tokens(before, principal, since), _tokens(now, principal, since)
    was, comes = _oidc(before, principal), _oidc(now, principal)
    identity = compare("oidc", was, comes, _oidc_within, _identity)
    networks = _network_shift(_networks(old, was), _networks(new, comes))
    found = [shift for shift in (*_token_shifts(old, new), networks, identity) if shift]
    held, holds = before.principals.get(principal), now.principals.get(principal)
    return [*found, *(quota_shifts(held.quota, holds.quota) if held and holds else ())]


def _token_shifts(old: Mapping[str, TokenRecord], new: Mapping[str, TokenRecord]) -> Iterator[Shift | None]:
    for name in sorted(old.keys() | new.keys()):
        yield compare(f"token {name}", old.get(name), new.get(name), _token_within, _token)


def _network_shift(old: frozenset[Network] | None, new: frozenset[Network] | None) -> Shift | None:
    return None if old is None or new is None else compare("from", old, new, _sources_within, _sources)


def _tokens(policy: Policy, principal: str, since: datetime) -> dict[str, TokenRecord]:
    ends = since.timestamp()
    return {
        name: token
        for name, token in policy.tokens.items()
        if token.principal == principal and (token.expires is None or token.expires > ends)
    }


def _networks(tokens: Mapping[str, TokenRecord], oidc: Oidc | None) -> frozenset[Network] | None:
    """The networks of a principal, which are those of each of its ways in; empty means everywhere. None: it has no way in."""
    ways: list[TokenRecord | Oidc] = [*tokens.values(), *([oidc] if oidc else [])]
    return frozenset(network for way in ways for network in way.sources) if ways else None


def _oidc(policy: Policy, principal: str) -> Oidc | None:
    return next((oidc for oidc in policy.oidc if oidc.principal == principal), None)


def _token_within(one: TokenRecord | None, other: TokenRecord | None) -> bool:
    if one is None or other is None:
        return one is None
    return one.sha256 == other.sha256 and capped(one.expires, other.expires)


def _sources_within(one: frozenset[Network], other: frozenset[Network]) -> bool:
    return not other or (bool(one) and networks_within(one, other))


def _oidc_within(one: Oidc | None, other: Oidc | None) -> bool:
    return one is None or (other is not None and _identity(one) == _identity(other))


def _token(token: TokenRecord) -> str:
    ends = "no end" if token.expires is None else f"until {instant(datetime.fromtimestamp(token.expires, tz=UTC))}"
    return f"sha256:{token.sha256.hex()[:8]}, {ends}"


def _sources(networks: frozenset[Network]) -> str:
    return shortened(sorted(map(str, networks))) or "anywhere"


def _identity(oidc: Oidc) -> str:
    return f"{oidc.claim}={oidc.value} for {oidc.audience} by {oidc.issuer}"
