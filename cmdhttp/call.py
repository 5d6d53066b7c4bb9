"""One call and what becomes of it, as the doors and the pipeline speak of it. Plain data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cmdhttp.auth.principal import Principal
from cmdhttp.errors import FieldError
from cmdhttp.jobs.journal import IdempotencyKey
from cmdhttp.jobs.state import Job, OnDisconnect
from cmdhttp.plan.build import Wish
from cmdhttp.plan.model import Plan
from cmdhttp.policy.decide import Decision, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to run a command.

    `faults` is what the door already found wrong with the request's fields; `one_host` says that its answer has room for
    the output of one host only.
    """

    command: str
    params: Mapping[str, object] = field(default_factory=dict, repr=False)
    hosts: Sequence[str] = ()
    wish: Wish = field(default_factory=Wish)
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    labels: tuple[str, ...] = ()
    reason: str = ""
    key: str | None = None
    request_id: str = ""
    one_host: bool = False
    faults: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job for this call; `replayed` if an earlier call with the same idempotency key made it."""

    job: Job
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would happen: the decision and the exact plan."""

    plan: Plan
    decisions: Mapping[str, Decision]

    @property
    def verdict(self) -> Verdict:
        """Of the call as a whole: allowed only if it is on every host."""
        return overall(self.decisions)


def overall(decisions: Mapping[str, Decision]) -> Verdict:
    """The verdict on a call to several hosts: the least that any of them gets."""
    verdicts = {decision.verdict for decision in decisions.values()}
    if verdicts == {Verdict.ALLOW}:
        return Verdict.ALLOW
    return Verdict.NEEDS_APPROVAL if verdicts and verdicts <= {Verdict.ALLOW, Verdict.NEEDS_APPROVAL} else Verdict.DENY


def idempotency_key(principal: Principal, call: Call) -> IdempotencyKey | None:
    """The key of a call with the digest of its canonical body, or None if it gives no key.

    The order of keys, spaces, escapes, and whether a whole number is written 1, 1.0 or 1e0 make no other body.
    """
    if call.key is None:
        return None
    stdin = hashlib.sha256(call.wish.stdin).hexdigest() if call.wish.stdin is not None else None
    body = [
        call.command, _plain(call.params), list(call.hosts), stdin, call.wish.timeout, call.on_disconnect, call.labels,
        call.reason,
    ]  # fmt: skip
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return IdempotencyKey(principal=principal.name, key=call.key, digest=hashlib.sha256(canonical.encode()).hexdigest())


def _plain(value: object) -> object:
    """Return a JSON value in which a number that is whole is an int."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case Mapping():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case _:
            return value
