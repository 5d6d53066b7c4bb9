"""Principals, roles, grants and denies: every name resolved, every rule under the atoms by which it is looked up."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from cmdhttp.auth.tokens import TokenRecord
from cmdhttp.policy import source
from cmdhttp.policy.compile.commands import child
from cmdhttp.policy.compile.narrowings import compile_narrowings
from cmdhttp.policy.compile.report import Report
from cmdhttp.policy.compile.selectors import CommandNames, HostNames
from cmdhttp.policy.compiled import EVERYTHING, Approval, Callback, Deny, Grants, Line, Oidc, Oversight, Quota
from cmdhttp.policy.findings import Position
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import CommandSpec, DenySpec, PrincipalSpec, RoleLine
from cmdhttp.policy.params import Narrowing

Rule = TypeVar("Rule", Line, Oversight, Deny)
ROLE = "role:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Who bears a name that a `to` or `by` may give: a principal, or `role:NAME` for all that hold it."""

    report: Report
    by_role: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, report: Report) -> "Holders":
        held: dict[str, set[str]] = {role: set() for role in report.merged.roles}
        for grant in report.merged.grants:
            for role in grant.spec.roles:
                held.setdefault(role, set()).update(grant.spec.to)
        return cls(report=report, by_role={role: frozenset(names) for role, names in held.items()})

    def named(self, names: Iterable[str], where: Callable[[int], Position]) -> frozenset[str]:
        """The principals that the names mean; `where` tells the place of each name."""
        found: set[str] = set()
        for index, name in enumerate(names):
            at = where(index)
            if name.startswith(ROLE):
                role = name.removeprefix(ROLE)
                roles = self.report.merged.roles
                self.report.check_known(role, roles, section="roles", kind="role", at=at)
                found |= self.by_role.get(role, frozenset())
            else:
                self._check_principal(name, at)
                found.add(name)
        return frozenset(found)

    def _check_principal(self, name: str, at: Position) -> None:
        principals = self.report.merged.principals
        if name not in principals and name in self.report.merged.roles:
            self.report.say("P205", f"there is no principal '{name}'", at, f"did you mean '{ROLE}{name}'?")
        else:
            self.report.check_known(name, principals, section="principals", kind="principal", at=at)


def compile_approval(defined: Defined[CommandSpec], holders: Holders) -> Approval | None:
    """Return who must agree before the command runs."""
    spec = defined.spec.approval
    if spec is None:
        return None
    report, at = holders.report, defined.where("approval")
    by = holders.named(spec.by, lambda index: defined.where("approval", "by", index))
    report.not_done("approvals", at, "leave it out, or expect such calls to be refused as 'needs_approval'")
    if len(by) < spec.needed:
        message = f"{spec.needed} must agree, and {len(by)} may: nobody could ever run this"
        report.say("P219", message, at, "name more principals or roles in 'by', or need fewer")
    return Approval(needed=spec.needed, by=by, not_self=spec.not_self, within=spec.within)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Compiles rules: the commands, hosts and holders that they may name."""

    commands: CommandNames
    hosts: HostNames
    holders: Holders
    report: Report

    def roles(self) -> dict[str, tuple[Line, ...]]:
        """Return the lines of every role that let run, in their order."""
        return {name: tuple(self._role(name, defined)) for name, defined in self.report.merged.roles.items()}

    def oversight(self) -> dict[str, tuple[Oversight, ...]]:
        """Return the lines of every role that give rights over jobs of others, in their order."""
        return {name: tuple(self._oversight(name, defined)) for name, defined in self.report.merged.roles.items()}

    def principals(
        self, roles: Mapping[str, tuple[Line, ...]], oversight: Mapping[str, tuple[Oversight, ...]]
    ) -> dict[str, Grants]:
        """Return what each principal holds."""
        table = self.report.merged.principals
        held: dict[str, dict[str, None]] = {name: {} for name in table}
        for grant in self.report.merged.grants:
            for index, role in enumerate(grant.spec.roles):
                self.report.check_known(role, roles, section="roles", kind="role", at=grant.where("roles", index))
            for index, name in enumerate(grant.spec.to):
                at = grant.where("to", index)
                self.report.check_known(name, table, section="principals", kind="principal", at=at)
                held.setdefault(name, {}).update(dict.fromkeys(grant.spec.roles))
        return {
            name: Grants(
                roles=tuple(sorted(names)),
                lines=by_atom(line for role in sorted(names) for line in roles.get(role, ())),
                oversight=by_atom(line for role in sorted(names) for line in oversight.get(role, ())),
                quota=_quota(table.get(name)),
            )
            for name, names in held.items()
        }

    def rules(self) -> tuple[Deny, ...]:
        """Return every deny, in an order that does not depend on where it stands as long as its reason is its own."""
        return tuple(sorted((self._deny(defined) for defined in self.report.merged.deny), key=_reason_first))

    def _role(self, name: str, defined: Defined[list[RoleLine]]) -> Iterator[Line]:
        for index, spec in enumerate(defined.spec):
            if spec.jobs is not None:
                continue
            node = child(defined.node, index) or defined.node
            atoms = self.commands.atoms(child(node, "commands"))
            yield Line(
                role=name,
                atoms=atoms,
                hosts=self.hosts.resolve(child(node, "hosts")),
                narrowings=self._narrowings(spec.params, node, atoms),
                at=defined.where(index),
            )

    def _oversight(self, name: str, defined: Defined[list[RoleLine]]) -> Iterator[Oversight]:
        for index, spec in enumerate(defined.spec):
            if spec.jobs is None:
                continue
            node = child(defined.node, index) or defined.node
            atoms = self.commands.atoms(child(node, "commands"))
            yield Oversight(
                role=name,
                atoms=atoms,
                hosts=self.hosts.resolve(child(node, "hosts")),
                narrowings=self._narrowings(spec.params, node, atoms),
                principals=self._overseen(spec.of, defined, index),
                cancel=spec.jobs == "cancel",
                at=defined.where(index),
            )

    def _overseen(self, names: list[str] | None, defined: Defined[list[RoleLine]], line: int) -> frozenset[str] | None:
        if names is None or EVERYTHING in names:
            return None
        return self.holders.named(names, lambda index: defined.where(line, "of", index))

    def _narrowings(
        self, params: Mapping[str, object], node: source.Node, atoms: frozenset[str]
    ) -> dict[str, Narrowing]:
        """Most rules narrow nothing, and then the commands that they take in need not be looked at."""
        return compile_narrowings(params, node, self.commands.taken(atoms), self.report) if params else {}

    def _deny(self, defined: Defined[DenySpec]) -> Deny:
        spec = defined.spec
        atoms = self.commands.atoms(child(defined.node, "commands"))
        if spec.since and spec.until and spec.since >= spec.until:
            self.report.say("P215", "'until' is not after 'from', so this deny never matches", defined.at)
        return Deny(
            why=spec.why,
            atoms=atoms,
            principals=None
            if EVERYTHING in spec.to
            else self.holders.named(spec.to, lambda index: defined.where("to", index)),
            hosts=self.hosts.resolve(child(defined.node, "hosts")),
            narrowings=self._narrowings(spec.params, defined.node, atoms),
            since=spec.since,
            until=spec.until,
            at=defined.at,
        )


def _reason_first(deny: Deny) -> tuple[str, Position]:
    return deny.why, deny.at


def by_atom(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    """The rules that stand under each atom."""
    table: dict[str, list[Rule]] = {}
    for rule in rules:
        for atom in rule.atoms:
            table.setdefault(atom, []).append(rule)
    return {atom: tuple(found) for atom, found in table.items()}


def _quota(defined: Defined[PrincipalSpec] | None) -> Quota:
    if defined is None or defined.spec.limits is None:
        return Quota()
    limits = defined.spec.limits
    return Quota(rate=limits.rate, concurrency=limits.concurrency, queue=limits.queue)


# What proves a principal, and where to tell the end of a job.


Networks = tuple[IPv4Network | IPv6Network, ...]


def compile_sources(report: Report) -> dict[str, Networks]:
    """Return the networks from which each principal may come; none means from everywhere."""
    return {name: _sources(defined, report) for name, defined in report.merged.principals.items()}


def compile_tokens(report: Report, sources: Mapping[str, Networks]) -> dict[str, TokenRecord]:
    """Return every token by its id."""
    tokens: dict[str, TokenRecord] = {}
    first: dict[str, Position] = {}
    for name, defined in report.merged.principals.items():
        for index, spec in enumerate(defined.spec.tokens):
            at = defined.where("tokens", index)
            if spec.id in tokens:
                report.say("P214", f"the token id '{spec.id}' is used twice (first at {first[spec.id]})", at)
            first.setdefault(spec.id, at)
            tokens[spec.id] = TokenRecord(
                id=spec.id,
                principal=name,
                sha256=bytes.fromhex(spec.sha256),
                expires=spec.expires.timestamp() if spec.expires else None,
                sources=sources[name],
            )
    return tokens


def compile_oidc(report: Report, sources: Mapping[str, Networks]) -> tuple[Oidc, ...]:
    """Return every JWT that proves a principal. No two principals are proved by the same one."""
    found: dict[tuple[str, str, str], Oidc] = {}
    for name, defined in report.merged.principals.items():
        spec = defined.spec.oidc
        if spec is None:
            continue
        at = defined.where("oidc")
        report.not_done("a login by oidc", at, "nobody can log in so: give the principal 'tokens'")
        claim = "email" if spec.email is not None else "common_name"
        value = str(spec.email if spec.email is not None else spec.common_name)
        proof = (spec.issuer, spec.aud, f"{claim}={value}")
        if proof in found:
            report.say("P214", f"the same JWT proves '{found[proof].principal}' already", at, "one of them must differ")
        found[proof] = Oidc(
            principal=name, issuer=spec.issuer, audience=spec.aud, claim=claim, value=value, sources=sources[name]
        )
    return tuple(found.values())


def compile_callbacks(report: Report) -> dict[str, Callback]:
    """Return where the end of a job may be told."""
    for defined in report.merged.callbacks.values():
        report.not_done("callbacks", defined.at, "leave it out: nobody is told of the end of a job")
    table = report.merged.callbacks.items()
    return {name: Callback(url=defined.spec.url, sign=defined.spec.sign) for name, defined in table}


def _sources(defined: Defined[PrincipalSpec], report: Report) -> Networks:
    networks = []
    for index, text in enumerate(defined.spec.sources or ()):
        try:
            networks.append(ip_network(text))
        except ValueError:
            message = f"'{text}' is not a network, like 198.51.100.0/24"
            report.say("P201", message, defined.where("from", index), "the host bits must be zero")
    return tuple(networks)
