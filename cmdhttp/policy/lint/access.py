"""Principals, their tokens and networks, and grants."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from cmdhttp.policy.findings import Finding
from cmdhttp.policy.lint.book import Book
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import PrincipalSpec, TokenSpec

_LONGEST = timedelta(days=400)
_FEWEST_DIGITS = 8
"""A sha256 has 64 digits; that fewer than these differ happens by chance less than once in 10^15."""

_GUESSES = frozenset(
    hashlib.sha256(word).hexdigest() for word in (b"", b"test", b"token", b"secret", b"password", b"changeme")
)


def tokens(book: Book) -> Iterator[Finding]:
    digests = Counter(token.sha256 for defined in book.merged.principals.values() for token in defined.spec.tokens)
    for defined in book.merged.principals.values():
        for index, token in enumerate(defined.spec.tokens):
            yield from _expiry(book, defined, index, token)
            if _is_fake(token.sha256) or digests[token.sha256] > 1:
                message = f"no token can have this sha256 beside the id '{token.id}'"
                hint = "paste the line that 'cmdhttp token new' prints"
                yield LintCode.FAKE_DIGEST.found(message, defined.where("tokens", index, "sha256"), hint)


def _expiry(book: Book, defined: Defined[PrincipalSpec], index: int, token: TokenSpec) -> Iterator[Finding]:
    expires = token.expires
    if expires is None:
        hint = "give it a date, like 'expires: 2027-01-31'; two tokens make a rotation without a gap"
        message = f"the token '{token.id}' never expires"
        yield LintCode.TOKEN_FOREVER.found(message, defined.where("tokens", index), hint)
        return
    at = defined.where("tokens", index, "expires")
    if expires <= book.now:
        yield LintCode.TOKEN_EXPIRED.found(f"the token '{token.id}' has expired", at, "take it out")
    elif expires - book.now > _LONGEST:
        message = f"the token '{token.id}' lives for more than {_LONGEST.days} days"
        yield LintCode.TOKEN_LONG.found(message, at, "let it expire within a year, and rotate it")


def _is_fake(sha256: str) -> bool:
    repeats = any(sha256 == sha256[:size] * (len(sha256) // size) for size in (16, 32))
    return repeats or len(set(sha256)) < _FEWEST_DIGITS or sha256 in _GUESSES


def sources(book: Book) -> Iterator[Finding]:
    for name, defined in book.merged.principals.items():
        networks = [ip_network(text) for text in defined.spec.sources or ()]
        if any(network.prefixlen == 0 for network in _collapsed(networks)):
            message = f"'from' lets '{name}' come from every address"
            hint = "name the networks that it comes from, or take out 'from' to say that none is meant"
            yield LintCode.FROM_ANYWHERE.found(message, defined.where("from"), hint)


def _collapsed(networks: list[IPv4Network | IPv6Network]) -> Iterator[IPv4Network | IPv6Network]:
    """The same addresses in the fewest networks: two halves of everything are everything."""
    yield from collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
    yield from collapse_addresses(network for network in networks if isinstance(network, IPv6Network))


def principals(book: Book) -> Iterator[Finding]:
    for name, defined in book.merged.principals.items():
        if not book.policy.principals[name].roles:
            message, hint = f"'{name}' holds no role, so it may do nothing", "grant it a role, or take it out"
            yield LintCode.NO_GRANT.found(message, defined.at, hint)


def grants(book: Book) -> Iterator[Finding]:
    held: dict[tuple[str, str], str] = {}
    for grant in book.merged.grants:
        for index, name in enumerate(grant.spec.to):
            for role in grant.spec.roles:
                first = held.setdefault((name, role), f"{grant.where('to', index)}")
                if first != f"{grant.where('to', index)}":
                    message = f"'{name}' holds '{role}' already (granted at {first})"
                    yield LintCode.GRANTED_TWICE.found(message, grant.where("to", index), "take one of them out")
    holders = {role for _, role in held}
    for role, defined in book.merged.roles.items():
        if role not in holders:
            yield LintCode.NO_HOLDER.found(f"nobody holds the role '{role}'", defined.at, "grant it, or take it out")


def commands_for_nobody(book: Book) -> Iterator[Finding]:
    """Commands that no role line of anybody allows on any host that they are made for."""
    closed = set(book.policy.commands)
    for role in {role for held in book.policy.principals.values() for role in held.roles}:
        for line in book.policy.roles[role]:
            taken = book.taken(line.atoms) & closed
            closed -= {name for name in taken if not line.hosts.isdisjoint(book.policy.commands[name].hosts)}
    for command, defined in book.commands():
        if command.name in closed:
            why = "" if command.hosts else ": it is made for no host"
            hint = "allow it in a role that somebody holds, or take it out"
            yield LintCode.NEVER_ALLOWED.found(f"nobody may run '{command.name}'{why}", defined.at, hint)
