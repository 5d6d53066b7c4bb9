"""A decided call becomes a plan. Limits are lowered here and never raised."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from cmdhttp.errors import BadValue
from cmdhttp.plan.argv import Resolver
from cmdhttp.plan.model import (
    HERE,
    KeyFile,
    LocalTarget,
    Plan,
    Shell,
    SshTarget,
    Step,
    Target,
    UnsupportedTarget,
    staged_path,
)
from cmdhttp.plan.remote import posix_line, remote_argv
from cmdhttp.policy.compiled import Command, Host, KeyLogin, Policy
from cmdhttp.policy.decide import Arguments
from cmdhttp.policy.params import Value
from cmdhttp.policy.params.values import Secret


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
    """Resolve one step per host, in the order given. Raises BadValue when an argv is too long for its host."""
    resolver = Resolver(command=command, values=arguments.values)
    argv, env, staged = resolver.argv(), resolver.env(), resolver.staged()
    placed = replace(resolver, paths={file.param: staged_path(HERE, file) for file in staged})
    unplaced = placed.argv() if staged else None
    masks = tuple(_masks(command, arguments, wish))
    steps = tuple(
        Step(
            run=run,
            host=host,
            target=_target(policy.hosts[host], command, arguments),
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
    remote = next((step for step in steps if isinstance(step.target, SshTarget)), None)
    if remote is not None:  # one for all: the line says nothing of the host, and is dear to make
        posix_line(remote_argv(remote))
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


def _target(host: Host, command: Command, arguments: Arguments) -> Target:
    profile = host.profile
    if missing := command.missing_on(host, arguments.values):
        return UnsupportedTarget(what=missing[0])
    if profile is None:
        return LocalTarget(account=command.account, isolated=command.isolated)
    if not isinstance(profile.login, KeyLogin) or profile.known_hosts is None:
        return UnsupportedTarget(what="this way to log in")
    return SshTarget(
        address=host.address,
        port=host.port,
        account=command.account or profile.account,
        login=KeyFile(path=profile.login.path),
        known_hosts=profile.known_hosts,
        shell=Shell(profile.shell),
    )
