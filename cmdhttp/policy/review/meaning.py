"""What the same right does: how a command, a host or a principal's limits came to mean something else.

Each change has a sign. More than before is gained, less is lost, and what is neither, or cannot be compared, is changed,
which counts as both. Left out is what gives nobody more: summaries, success codes, how a result is read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import ge, le
from typing import Any, assert_never

from cmdhttp.policy.compiled import Approval, Collect, Command, Concurrency, Host, Profile, Quota, Script, Stdin
from cmdhttp.policy.fields import Rate, Share
from cmdhttp.policy.params import ParamSpec
from cmdhttp.policy.review.describe import approval_needed, shortened, shown
from cmdhttp.policy.template import Argument, Group, Spread, Template, Text

_UNLIMITED = Concurrency(per_host=None, total=None, when_busy="reject")


class Sign(StrEnum):
    """Which way it goes. Stable: `diff --json` carries it."""

    GAINED = "gained"
    LOST = "lost"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One thing that means something else now, with both sides in words."""

    sign: Sign
    subject: str
    before: str
    now: str


def compare(
    subject: str, before: Any, now: Any, within: Callable[[Any, Any], bool], show: Callable[[Any], str] = str
) -> Shift | None:
    """Return the shift from one value to another, if it is one. `within`: whether the first gives no more than the second."""
    more, less = not within(now, before), not within(before, now)
    if not more and not less:
        return None
    sign = Sign.CHANGED if more and less else Sign.GAINED if more else Sign.LOST
    texts = ["none" if value is None else show(value) for value in (before, now)]
    return Shift(sign=sign, subject=subject, before=texts[0], now=texts[1])


def command_shifts(before: Command, now: Command) -> list[Shift]:
    """Return what running the same command with the same values came to mean."""
    found = (
        compare("run", before.template, now.template, _same, written),
        compare("script", before.script, now.script, _same, _script),
        *_param_shifts(before, now),
        compare("env", dict(before.env), dict(now.env), _same, _env),
        compare("stdin", before.stdin, now.stdin, _stdin_within, _stdin),
        compare("files", before.collect, now.collect, _collect_within, _collect),
        compare("timeout", before.timeout, now.timeout, capped, _seconds),
        compare("output max", before.output.max_bytes, now.output.max_bytes, capped, _bytes),
        compare("output when_full", before.output.when_full, now.output.when_full, _same),
        compare("output redact", set(before.output.redact), set(now.output.redact), ge, _set),
        compare("limits memory", before.limits.memory, now.limits.memory, capped, _bytes),
        compare("limits cpu", before.limits.cpu, now.limits.cpu, capped, _seconds),
        compare("limits processes", before.limits.processes, now.limits.processes, capped),
        compare("limits files", before.limits.files, now.limits.files, capped),
        compare("limits file_size", before.limits.file_size, now.limits.file_size, capped, _bytes),
        compare("isolation", before.isolated, now.isolated, ge, _isolation),
        *_concurrency_shifts(before.concurrency or _UNLIMITED, now.concurrency or _UNLIMITED),
        compare("rate", before.rate, now.rate, _rate_within, _rate),
        compare("max_parallel", before.max_parallel, now.max_parallel, capped),
        compare("batch", before.batch, now.batch, _share_within),
        compare("max_failures", before.max_failures, now.max_failures, _share_within),
        compare("reason", before.reason_required, now.reason_required, ge, _reason),
        *_approval_shifts(before.approval, now.approval),
    )
    return [shift for shift in found if shift]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host for a command, and the hosts that the way to it goes through with their profiles, nearest to it first."""

    command: Command
    host: Host
    through: tuple[tuple[Host, Profile], ...] = ()


def place_shifts(before: Place, now: Place) -> list[Shift]:
    """Return what a host came to be for a command: another machine, another way to it, another account."""
    old, new = before.host.profile, now.host.profile
    found = [compare("account", account(before.command, before.host), account(now.command, now.host), _same)]
    if old and new:
        found += [
            *_machine_shifts((before.host, old), (now.host, new)),
            compare("jump", _way(before), _way(now), _same),
            compare("shell", old.shell, new.shell, _same),
            compare("become", old.become, new.become, _same),
        ]
    if _way(before) == _way(now):
        for hop, comes in zip(before.through, now.through, strict=True):
            found += _hop_shifts(hop, comes)
    return [shift for shift in found if shift]


def _machine_shifts(
    before: tuple[Host, Profile], now: tuple[Host, Profile], *, prefix: str = ""
) -> Iterator[Shift | None]:
    """Which machine it is, and how it and the service know each other."""
    (old_host, old), (new_host, new) = before, now
    yield compare(f"{prefix}address", _address(old_host), _address(new_host), _same)
    yield compare(f"{prefix}login", old.login, new.login, _same)
    yield compare(f"{prefix}host keys", _trust(old), _trust(new), _same)


def _hop_shifts(before: tuple[Host, Profile], now: tuple[Host, Profile]) -> Iterator[Shift | None]:
    """A host to go through sees who goes where; whoever holds another one in its place may turn the way elsewhere."""
    prefix = f"jump {before[0].name} "
    yield compare(f"{prefix}account", before[1].account, now[1].account, _same)
    yield from _machine_shifts(before, now, prefix=prefix)


def quota_shifts(before: Quota, now: Quota) -> list[Shift]:
    """Return how much more or less a principal may ask for."""
    found = (
        compare("limits rate", before.rate, now.rate, _rate_within, _rate),
        compare("limits concurrency", before.concurrency, now.concurrency, capped),
        compare("limits queue", before.queue, now.queue, capped),
    )
    return [shift for shift in found if shift]


def account(command: Command, host: Host) -> str:
    """Return the account that a command runs as on a host."""
    return command.account or (host.profile.account if host.profile else "the service's own")


def written(template: Template) -> str:
    """Return a template as a policy writes it."""
    return " ".join(_item(item) for item in template)


def _item(item: Argument | Spread | Group) -> str:
    match item:
        case Group(items):
            return f"[{written(items)}]"
        case Spread(name):
            return f"<{name}...>"
        case Argument(parts):
            return "".join(part.text if isinstance(part, Text) else f"<{part.name}>" for part in parts)
        case _:
            assert_never(item)


def _param_shifts(before: Command, now: Command) -> Iterator[Shift | None]:
    for name in sorted(before.params.keys() & now.params.keys()):
        old, new = before.params[name], now.params[name]
        if not old.required and not new.required:
            yield compare(f"default of {name}", _default(old), _default(new), _same)
        yield compare(f"flag of {name}", getattr(old, "flag", None), getattr(new, "flag", None), _same)


def _concurrency_shifts(before: Concurrency, now: Concurrency) -> Iterator[Shift | None]:
    yield compare("concurrency per_host", before.per_host, now.per_host, capped)
    yield compare("concurrency total", before.total, now.total, capped)


def _approval_shifts(before: Approval | None, now: Approval | None) -> Iterator[Shift | None]:
    if before is None or now is None:
        yield compare("approval", before, now, _approval_within, approval_needed)
        return
    yield compare("approval needed", before.needed, now.needed, ge)
    yield compare("approval by", set(before.by), set(now.by), le, _set)
    yield compare("approval not_self", before.not_self, now.not_self, ge)
    yield compare("approval within", before.within, now.within, le, _seconds)


# Whether the first gives no more than the second.


def _same(one: object, other: object) -> bool:
    return one == other


def capped(one: float | None, other: float | None) -> bool:
    return other is None or (one is not None and one <= other)


def _share_within(one: Share | None, other: Share | None) -> bool:
    """A count and a share cannot be compared: which is more depends on the hosts of a call."""
    if one is None or other is None:
        return other is None
    return one.percent == other.percent and one.number <= other.number


def _rate_within(one: Rate | None, other: Rate | None) -> bool:
    if one is None or other is None:
        return other is None
    return one.count <= other.count and one.count * other.seconds <= other.count * one.seconds


def _stdin_within(one: Stdin | None, other: Stdin | None) -> bool:
    if one is None or other is None:
        return one is None
    return one.max_bytes <= other.max_bytes and one.secret == other.secret


def _collect_within(one: Collect | None, other: Collect | None) -> bool:
    if one is None or other is None:
        return one is None
    return set(one.patterns) <= set(other.patterns) and one.max_bytes <= other.max_bytes


def _approval_within(one: Approval | None, other: Approval | None) -> bool:
    return one is not None or other is None


# In words.


def _default(spec: ParamSpec) -> str | None:
    return shown(spec, spec.default) if spec.has_default else None


def _script(script: Script) -> str:
    return f"{' '.join(script.interpreter)} sha256:{script.sha256}"


def _env(env: Mapping[str, str]) -> str:
    return " ".join(f"{name}={env[name]}" for name in sorted(env)) or "none"


def _set(names: Iterable[str]) -> str:
    return shortened(sorted(names)) or "none"


def _stdin(stdin: Stdin) -> str:
    return f"{'secret' if stdin.secret else 'text'}, {_bytes(stdin.max_bytes)}"


def _collect(collect: Collect) -> str:
    return f"{_set(collect.patterns)}, {_bytes(collect.max_bytes)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s"


def _bytes(count: int) -> str:
    return f"{count} bytes"


def _rate(rate: Rate) -> str:
    return f"{rate.count} in {rate.seconds} s"


def _reason(required: object) -> str:
    return "required" if required else "optional"


def _isolation(isolated: object) -> str:
    return "namespace" if isolated else "none"


def _address(host: Host) -> str:
    return f"{host.address} port {host.port}"


def _way(place: Place) -> str | None:
    return ", ".join(host.name for host, _ in place.through) or None


def _trust(profile: Profile) -> str:
    return ", ".join(text for text in (profile.known_hosts, profile.cert_authority) if text)
