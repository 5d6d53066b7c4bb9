"""The policy in force, and how another takes its place.

A policy is loaded whole, in a worker thread, and put into force by one assignment on the event loop; loads never overlap.
A load that fails changes nothing but what is told: the log, readiness, a metric and the audit say it until one succeeds.
The folder is looked at again and again, because notifications miss bind mounts, network file systems and swapped links.
It is loaded once it has changed and come to rest, so one `git checkout` is one load; SIGHUP loads at once.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import Clock
from cmdhttp.errors import ConfigError
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.findings import PolicyError
from cmdhttp.reload.debounce import SETTLE, Debounce
from cmdhttp.reload.source import PolicySource
from cmdhttp.telemetry.metrics import Metrics

T = TypeVar("T")

_log = logging.getLogger("cmdhttp.policy")
_FASTEST = 0.02
_HANGS = 30.0
_AGREE_SECONDS = 5.0
_SHOWN = 3
_LONGEST = 500


async def _nothing() -> None:
    """Whoever has nothing to do then."""


class Copies(Protocol):
    """The policies of whoever decides a second time, from the same files."""

    async def reread(self) -> None:
        """Have the files read, without waiting for what comes of it."""

    async def copies(self) -> Container[str] | None:
        """Wait for that, and return the digests of the policies that are held; None if nobody answers."""


class PolicyHolder:
    """The policy in force. It is swapped whole; who decides takes `current` once and keeps to it.

    `state` is that of the source just before the load, so that no change is missed between the two.
    """

    def __init__(self, source: PolicySource) -> None:
        """Load the first policy. Raises ConfigError."""
        self.state = source.state()
        self.current = source.load()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a load gave no policy: each reason is one line, as `cmdhttp check` prints it."""

    reasons: tuple[str, ...]
    codes: tuple[str, ...]

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        if isinstance(error, PolicyError):
            lines = (str(finding).partition("\n")[0][:_LONGEST] for finding in error.findings)
            return cls(reasons=tuple(lines), codes=tuple(sorted({finding.code for finding in error.findings})))
        if isinstance(error, ConfigError):
            return cls(reasons=(error.detail,), codes=(error.code,))
        return cls(reasons=(f"loading it failed with {type(error).__name__}; the log says more",), codes=("internal",))

    def told(self, *, digest: str, shown: int) -> str:
        """Say how many reasons there are, the first of them, and what stays in force."""
        count = len(self.reasons)
        which = "1 error" if count == 1 else f"{count} errors"
        first = "" if count <= shown else ", the first"
        return f"{which}{first}: {'; '.join(self.reasons[:shown])}; the policy {digest} stays in force"


class Reloader:
    """Puts new policies into force."""

    def __init__(
        self,
        *,
        source: PolicySource,
        holder: PolicyHolder,
        audit: AuditLog,
        metrics: Metrics,
        clock: Clock,
        poll: float,
        copies: Copies,
        on_taken: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """`poll` is how often the source is looked at, in seconds; 0 for never. `on_taken` follows each change of policy."""
        self._copies = copies
        self._on_taken = on_taken
        self._source = source
        self._holder = holder
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._poll = max(poll, _FASTEST) if poll else math.inf
        self._debounce = Debounce(loaded=holder.state)
        self._asked = anyio.Event()
        self._failure: Failure | None = None
        self._reading_since: float | None = None

    @property
    def trouble(self) -> str:
        """What was wrong with the last load, or that reading the source has hung for 30 s, or nothing."""
        digest = self._holder.current.digest
        if self._reading_since is not None and self._clock.monotonic() - self._reading_since >= _HANGS:
            return f"reading the policy files has not come to an end; the policy {digest} stays in force"
        return self._failure.told(digest=digest, shown=1) if self._failure else ""

    def ask(self) -> None:
        """Load at once, or once more after the load that is under way. Asking again before that changes nothing."""
        self._asked.set()

    async def watch(self) -> None:
        """Reload whenever it is due or asked for, until this is cancelled."""
        while True:
            with anyio.move_on_after(min(self._poll, SETTLE) if self._debounce.restless else self._poll):
                await self._asked.wait()
            asked, self._asked = self._asked.is_set(), anyio.Event()
            state = await self._in_thread(self._source.state)
            now = self._clock.monotonic()
            if self._debounce.look(state, now=now, failing=self._failure is not None) or asked:
                self._debounce.load(now=now)
                await self._load(asked=asked)

    async def _load(self, *, asked: bool) -> None:
        try:
            policy = await self._load_with_copies()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new policy, the one in force stays
            if not isinstance(error, ConfigError):
                _log.exception("loading the policy failed")
            await self._keep(Failure.of(error), asked=asked)
        else:
            await self._take(policy, asked=asked)

    async def _load_with_copies(self) -> Policy:
        """Load a policy that the broker holds as well: what is decided by another one, it refuses to run.

        Files that change between the two reads are read once more. After 5 s the policy is taken as it is, since it may be
        the one that takes a right away.
        """
        until = self._clock.monotonic() + _AGREE_SECONDS
        while True:
            await self._copies.reread()
            policy = await self._in_thread(self._source.load)
            if policy.digest == self._holder.current.digest:
                return policy
            held = await self._copies.copies()
            if held is None or policy.digest in held:
                return policy
            if self._clock.monotonic() >= until:
                _log.warning(
                    "the broker does not hold the policy %s, and refuses its runs until it does", policy.digest
                )
                return policy

    async def _take(self, policy: Policy, *, asked: bool) -> None:
        before = self._holder.current.digest
        changed = policy.digest != before
        if changed:
            fields = {"policy": policy.digest, "before": before, "commands": len(policy.commands)}
            await self._record(Code.POLICY_LOADED, fields)
            _log.info("the policy %s is in force, in place of %s", policy.digest, before)
        else:
            level = logging.INFO if asked or self._failure else logging.DEBUG
            _log.log(level, "the policy loads and is the one in force: %s", before)
        self._holder.current = policy
        self._failure = None
        self._metrics.policy_loaded(digest=policy.digest, at=self._clock.now(), changed=changed)
        if changed:
            await self._on_taken()

    async def _keep(self, failure: Failure, *, asked: bool) -> None:
        digest = self._holder.current.digest
        news = asked or failure != self._failure
        self._failure = failure
        self._metrics.policy_failed(findings=len(failure.reasons))
        if news:
            _log.error("the policy does not load: %s", failure.told(digest=digest, shown=_SHOWN))
            fields = {"policy": digest, "findings": len(failure.reasons), "codes": failure.codes}
            await self._record(Code.POLICY_RELOAD_FAILED, fields)

    async def _record(self, code: Code, fields: Mapping[str, object]) -> None:
        """A policy takes effect whether or not this can be written: it may be the one that takes a right away."""
        try:
            await self._audit.write(code, fields)
        except OSError as error:
            _log.error("%s is not in the audit log: %s", code, error.strerror)

    async def _in_thread(self, read: Callable[[], T]) -> T:
        """A stop does not wait for it: it may hang on a dead network file system, and what it returns is dropped then."""
        self._reading_since = self._clock.monotonic()
        try:
            return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        finally:
            self._reading_since = None
