"""A decided call becomes a plan. Limits are lowered here and never raised."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import assert_never

from cmdhttp.errors import BadValue
from cmdhttp.plan.argv import Resolver
from cmdhttp.plan.model import (
    HERE,
    Agent,
    AgentSigner,
    Certificate,
    KeyFile,
    KeyVariable,
    LocalTarget,
    PasswordFile,
    PasswordVariable,
    Plan,
    Shell,
    SshLogin,
    SshTarget,
    Step,
    Target,
    UnsupportedTarget,
    staged_path,
)
from cmdhttp.plan.remote import check_line
from cmdhttp.plan.remote.raw import not_plain
from cmdhttp.policy.compiled import (
    AgentLogin,
    CertificateLogin,
    Command,
    Host,
    KeyAuthority,
    KeyLogin,
    Login,
    PasswordLogin,
    Policy,
    Profile,
)
from cmdhttp.policy.decide import Arguments
from cmdhttp.policy.model import Effect
from cmdhttp.policy.params import Value
from cmdhttp.policy.params.values import Secret
from cmdhttp.policy.shells import is_plain
from cmdhttp.policy.template import names


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller asks beside the values. `timeout` in seconds; None means what the policy says."""

    stdin: bytes | None = field(default=None, repr=False)
    timeout: float | None = None


def check_wish(command: Command, wish: Wish) -> Iterable[tuple[str, BadValue]]:
    """Yield (pointer, error) for each wish that the policy does not grant."""
    if wish.timeout is not None and wish.timeout > command.timeout:
        hint = f"Ask for at most {command.timeout:g} seconds, or leave it out."
        yield "/timeout", BadValue("too_large", "a caller may lower the time limit, not raise it", hint=hint)
    if wish.stdin is None:
        return
    if command.stdin is None:
        yield "/stdin", BadValue("not_accepted", "this command takes no stdin", hint="Leave it out.")
    elif len(wish.stdin) > command.stdin.max_bytes:
        yield "/stdin", BadValue("too_large", f"stdin is over {command.stdin.max_bytes} bytes")


def build_plan(policy: Policy, command: Command, hosts: Iterable[str], arguments: Arguments, wish: Wish) -> Plan:
    """Resolve one step per host, in the order given. Raises BadValue when an argv cannot be sent to its host."""
    resolver = Resolver(command=command, values=arguments.values)
    argv, env, staged = resolver.argv(), resolver.env(), resolver.staged()
    placed = replace(resolver, paths={file.param: staged_path(HERE, file) for file in staged})
    unplaced = placed.argv() if staged else None
    masks = tuple(_masks(command, arguments, wish))
    steps = tuple(
        Step(
            run=run,
            host=host,
            target=_target(host, policy.hosts, command, arguments),
            argv=argv,
            env=env,
            script=command.script,
            stdin=wish.stdin,
            timeout=min(wish.timeout or command.timeout, command.timeout),
            output_limit=command.output.max_bytes,
            keep_ends=command.output.when_full == "keep_ends",
            limits=command.limits,
            staged=staged,
            unplaced=unplaced,
            collect=command.collect,
            masks=masks,
            redact=command.output.redact,
        )
        for run, host in enumerate(hosts)
    )
    _check_lines(steps, resolver)
    return Plan(
        command=command.name,
        policy=policy.digest,
        shown_params=resolver.shown_params(),
        steps=steps,
        success_codes=command.success_codes,
        max_parallel=command.max_parallel,
        batch=max(command.batch.of(len(steps)), 1) if command.batch else len(steps),
        max_failures=command.max_failures.of(len(steps)) if command.max_failures else None,
        parser=command.parser,
    )


def _check_lines(steps: Iterable[Step], resolver: Resolver) -> None:
    """Raise BadValue if some host cannot be sent its step. The line is dear to make, so one stands for all of its kind."""
    seen: set[tuple[Shell, str | None]] = set()
    for step in steps:
        if isinstance(step.target, SshTarget) and (kind := (step.target.shell, step.target.become)) not in seen:
            seen.add(kind)
            if step.target.shell is Shell.RAW:
                _check_plain(resolver)
            check_line(step)


def _check_plain(resolver: Resolver) -> None:
    """Name the parameter, if it is the value of one that a raw host cannot be sent."""
    for name in names(resolver.command.template):
        if name in resolver.values:
            texts = resolver.command.params[name].arguments(resolver.values[name])
            if not all(is_plain(text) for text in texts if text):
                raise not_plain(f"the value of '{name}'", param=name)


def _masks(command: Command, arguments: Arguments, wish: Wish) -> Iterator[bytes]:
    """Yield every secret that the processes of the call get to know."""
    if command.stdin is not None and command.stdin.secret and wish.stdin:
        yield wish.stdin
    for value in arguments.values.values():
        yield from _secrets(value)


def _secrets(value: Value) -> Iterator[bytes]:
    if isinstance(value, Secret):
        yield value.text.encode()
    elif isinstance(value, tuple):
        yield from chain.from_iterable(map(_secrets, value))


_ENV = "env:"
_ACCOUNT = "<account>"


def _target(name: str, hosts: Mapping[str, Host], command: Command, arguments: Arguments) -> Target:
    host = hosts[name]
    profile = host.profile
    if missing := command.missing_on(host, arguments.values):
        return UnsupportedTarget(what=missing[0])
    if profile is None:
        return LocalTarget(account=command.account, isolated=command.isolated)
    becomes = profile.becomes(command.account)
    account = profile.account if becomes else command.account or profile.account
    target = replace(_reached(host, profile, hosts, account=account), become=becomes)
    if isinstance(target.login, Certificate) and command.effect is not Effect.READ:
        return replace(target, shared=False)
    return target


def _reached(host: Host, profile: Profile, hosts: Mapping[str, Host], *, account: str) -> SshTarget:
    return SshTarget(
        address=host.address,
        port=host.port,
        account=account,
        login=_login(profile.login, account),
        known_hosts=profile.known_hosts,
        cert_authority=profile.cert_authority,
        shell=Shell(profile.shell),
        jump=_jump(profile, hosts),
    )


def jump_of(host: Host, hosts: Mapping[str, Host]) -> SshTarget | None:
    """Return the host that commands for `host` go through, or None if they go there directly."""
    return None if host.profile is None else _jump(host.profile, hosts)


def _jump(profile: Profile, hosts: Mapping[str, Host]) -> SshTarget | None:
    """The host to go through, as its own profile says; a policy that loads has no circle of them."""
    if profile.jump is None:
        return None
    host = hosts[profile.jump]
    if host.profile is None:  # never without the jump instead
        raise RuntimeError("a jump leads through a host that is not reached by SSH")
    target = _reached(host, host.profile, hosts, account=host.profile.account)
    return replace(target, leads_on=isinstance(target.login, Certificate))


def _login(login: Login, account: str) -> SshLogin:
    match login:
        case KeyLogin(path=place):
            return _key(place)
        case AgentLogin(socket=socket):
            return Agent(socket=socket)
        case PasswordLogin(secret=place):
            if place.startswith(_ENV):
                return PasswordVariable(password_variable=place.removeprefix(_ENV))
            return PasswordFile(password_file=place)
        case CertificateLogin():
            principal = login.principal.replace(_ACCOUNT, account)
            return Certificate(authority=_authority(login), principal=principal, ttl=login.ttl, sources=login.sources)
        case _:
            assert_never(login)


def _authority(login: CertificateLogin) -> KeyFile | KeyVariable | AgentSigner:
    authority = login.authority
    if isinstance(authority, KeyAuthority):
        return _key(authority.key)
    return AgentSigner(agent=Agent(socket=authority.socket), public_key=authority.public_key)


def _key(place: str) -> KeyFile | KeyVariable:
    return KeyVariable(variable=place.removeprefix(_ENV)) if place.startswith(_ENV) else KeyFile(path=place)
