"""Profiles, hosts and groups: inheritance resolved, references checked, every way to log in made explicit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cmdhttp.policy.compile.report import NOT_DONE, Report
from cmdhttp.policy.compile.selectors import HostNames
from cmdhttp.policy.compiled import (
    EVERYTHING,
    LOCAL,
    AgentAuthority,
    AgentLogin,
    Authority,
    CertificateLogin,
    Host,
    KeyAuthority,
    KeyLogin,
    Login,
    PasswordLogin,
    Profile,
)
from cmdhttp.policy.merge import Defined
from cmdhttp.policy.model import AuthoritySpec, AuthSpec, CertificateSpec, HostSpec, SshProfile
from cmdhttp.policy.model.hosts import ANYWHERE

NO_JUMP = "none"
_SSH_PORT = 22
_NEEDED = ("user", "auth", "host_keys")
_FILE = "file:"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """A profile with what it inherits."""

    spec: SshProfile
    profile: Profile
    port: int


def compile_hosts(report: Report) -> dict[str, Host]:
    """Return every host that can be reached, `local` included."""
    profiles = {name: _settle(name, report) for name in report.merged.ssh_profiles}
    hosts = {LOCAL: Host(name=LOCAL)}
    for name, defined in report.merged.hosts.items():
        if name in (LOCAL, EVERYTHING):
            report.say("P207", f"'{name}' is this machine and cannot be defined", defined.at, "choose another name")
        hosts[name] = _host(name, defined, profiles, report)
    _check_jumps(hosts, report)
    return hosts


def compile_groups(hosts: Mapping[str, Host], report: Report) -> HostNames:
    """Return what host selectors may name."""
    plain = HostNames.of(hosts, {}, report)
    groups: dict[str, frozenset[str]] = {}
    for name, defined in report.merged.groups.items():
        if name in hosts:
            report.say("P207", f"'{name}' is a host and a group", defined.at, "rename one of them")
        groups[name] = plain.resolve(defined.node, everything=plain.remote)
    return HostNames.of(hosts, groups, report)


# Profiles.


def _settle(name: str, report: Report) -> _Settled | None:
    defined = report.merged.ssh_profiles[name]
    chain = _chain(name, report)
    if chain is None:
        return None
    fields: dict[str, object] = {}
    for link in reversed(chain):
        fields |= {key: getattr(link.spec, key) for key in link.spec.model_fields_set - {"inherit"}}
    spec = SshProfile.model_construct(_fields_set=set(fields), **fields)  # type: ignore[arg-type] # values of the same model
    for key in _NEEDED:
        if getattr(spec, key) is None:
            hint = "say it here, or inherit it from a profile that does"
            report.say("P202", f"the key '{key}' is missing", defined.node.at, hint)
    for key, what in _not_done(defined.spec):
        report.not_done(what, defined.where(key), NOT_DONE)
    if not _knows_authority(defined, spec.auth, report):
        return None
    if spec.user is None or spec.auth is None or spec.host_keys is None:
        return None
    return _Settled(spec=spec, profile=_profile(spec, spec.user, spec.auth, report), port=spec.port or _SSH_PORT)


def _knows_authority(defined: Defined[SshProfile], auth: AuthSpec | None, report: Report) -> bool:
    """Whether the login needs no authority or one that there is. If not, the profile that names it has said so."""
    if auth is None or auth.certificate is None:
        return True
    name, table = auth.certificate.ca, report.merged.ssh_authorities
    if defined.spec.auth is None:  # inherited
        return name in table
    at = defined.where("auth", "certificate", "ca")
    return report.check_known(name, table, section="ssh_authorities", kind="ssh authority", at=at)


def _chain(name: str, report: Report) -> list[Defined[SshProfile]] | None:
    """The profile and what it inherits from, nearest first; None if that cannot be told, which has been said."""
    table = report.merged.ssh_profiles
    chain = {name: table[name]}
    last = table[name]
    while (parent := last.spec.inherit) is not None:
        at = last.where("inherit")
        if not report.check_known(parent, table, section="ssh_profiles", kind="ssh profile", at=at):
            return None
        if parent in chain:
            if parent == name:
                loop = " -> ".join([*chain, parent])
                start = table[name].where("inherit")
                report.say("P218", f"the profile inherits from itself ({loop})", start, "take out one of the 'inherit'")
            return None
        chain[parent] = last = table[parent]
    return list(chain.values())


def _not_done(spec: SshProfile) -> Iterator[tuple[str, str]]:
    """Yield what the profile asks for and this version cannot do, each with its key."""
    if spec.become == "sudo" and spec.shell not in (None, "posix"):
        yield "become", f"become: sudo with the shell {spec.shell}"


def _profile(spec: SshProfile, user: str, auth: AuthSpec, report: Report) -> Profile:
    trust = spec.host_keys
    policies = report.folders.policies.absolute()
    return Profile(
        account=user,
        login=_login(auth, report),
        known_hosts=str(policies / trust.known_hosts) if trust and trust.known_hosts else None,
        cert_authority=str(policies / trust.cert_authority) if trust and trust.cert_authority else None,
        jump=None if spec.jump in (None, NO_JUMP) else spec.jump,
        shell=spec.shell or "posix",
        become=spec.become or "none",
        unsupported=tuple(what for _, what in _not_done(spec)),
    )


def _login(auth: AuthSpec, report: Report) -> Login:
    if auth.agent is not None:
        return AgentLogin(socket=auth.agent)
    if auth.password is not None:
        return PasswordLogin(secret=_secret(auth.password, report))
    if auth.certificate is not None:
        return _certificate(auth.certificate, report)
    return KeyLogin(path=_secret(str(auth.key), report))


def _certificate(made: CertificateSpec, report: Report) -> CertificateLogin:
    sources = None if made.source_address is None else tuple(text for text in made.source_address if text != ANYWHERE)
    return CertificateLogin(
        ca=made.ca,
        authority=_authority(report.merged.ssh_authorities[made.ca].spec, report),
        ttl=made.ttl,
        principal=made.principal,
        sources=sources,
    )


def _authority(spec: AuthoritySpec, report: Report) -> Authority:
    if spec.agent is not None:
        public_key = report.folders.policies.absolute() / str(spec.public_key)
        return AgentAuthority(socket=spec.agent, public_key=str(public_key))
    return KeyAuthority(key=_secret(str(spec.key), report))


def _secret(reference: str, report: Report) -> str:
    """Where a secret lies: the absolute path of its file, or `env:NAME`."""
    if reference.startswith(_FILE):
        return str(report.folders.secrets.absolute() / reference.removeprefix(_FILE))
    return reference


# Hosts.


def _host(name: str, defined: Defined[HostSpec], profiles: Mapping[str, _Settled | None], report: Report) -> Host:
    spec = defined.spec
    report.check_known(spec.ssh, profiles, section="ssh_profiles", kind="ssh profile", at=defined.where("ssh"))
    settled = profiles.get(spec.ssh)
    if settled is None:
        return Host(name=name, labels=spec.labels)
    profile = settled.profile
    if profile.jump == name:  # a bastion may share the profile of the hosts behind it
        profile = replace(profile, jump=None)
    return Host(
        name=name, address=spec.address, port=spec.port or settled.port, profile=profile, labels=spec.labels
    )  # fmt: skip


def _check_jumps(hosts: Mapping[str, Host], report: Report) -> None:
    """Every jump leads to a host, and no chain of them leads back."""
    for name, defined in report.merged.ssh_profiles.items():
        jump = defined.spec.jump
        if jump is None or jump == NO_JUMP:
            continue
        at = defined.where("jump")
        if jump == LOCAL:
            report.say("P207", "'local' is no host to jump through", at, "leave 'jump' out to connect directly")
        elif report.check_known(jump, hosts, section="hosts", kind="host", at=at):
            _check_chain(name, jump, hosts, report)


def _check_chain(profile: str, first: str, hosts: Mapping[str, Host], report: Report) -> None:
    name, seen = first, {first: None}  # a dict, because it keeps the order
    while (way := hosts[name].profile) is not None and way.jump is not None and way.jump in hosts:
        name = way.jump
        if name in seen:
            loop = " -> ".join([*seen, name])
            at = report.merged.ssh_profiles[profile].where("jump")
            report.say("P218", f"the jump hosts lead back to themselves ({loop})", at, "give one of them 'jump: none'")
            return
        seen[name] = None
