"""The policy in force, and how another takes its place.

A policy is loaded whole, in a worker thread, and put into force by one assignment on the event loop; loads never overlap.
A load that fails changes nothing but what is told: the log, readiness, a metric and the audit say it until one succeeds.
The folder is looked at again and again, because notifications miss bind mounts, network file systems and swapped links.
It is loaded once it has changed and come to rest, so one `git checkout` is one load; SIGHUP loads at once.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import anyio.to_thread

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.clock import Clock
from cmdhttp.errors import ConfigError
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.findings import PolicyError
from cmdhttp.telemetry.metrics import Metrics

T = TypeVar("T")

_log = logging.getLogger("cmdhttp.policy")
_SETTLE = 0.3
_PATIENCE = 10.0
_RETRY = 30.0
_FASTEST = 0.02
_SHOWN = 3
_LONGEST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySource:
    """`load` makes a policy or raises ConfigError; `state` tells cheaply whether another load could give another one."""

    load: Callable[[], Policy]
    state: Callable[[], str]


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
        which = "1 finding" if count == 1 else f"{count} findings"
        first = "" if count <= shown else ", the first"
        return f"{which}{first}: {'; '.join(self.reasons[:shown])}; the policy {digest} stays in force"


@dataclass(slots=True, kw_only=True)
class Debounce:
    """Says when a source that changes is due for a load. Pure: states and times (monotonic, in seconds) come in.

    Due is a state that differs from the loaded one and has stayed the same for 0.3 s, or one that has kept changing for
    10 s; and, while loads fail, any state every 30 s, because what failed may have lain outside the source.
    """

    loaded: str
    _seen: str = field(init=False)
    _changed: float = field(init=False, default=-math.inf)
    _restless: float | None = field(init=False, default=None)
    _loaded_at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._seen = self.loaded

    @property
    def restless(self) -> bool:
        """Whether the source has changed and not come to rest since."""
        return self._restless is not None

    def look(self, state: str, *, now: float, failing: bool) -> bool:
        """Take note of a state; true if it is due. Whoever is told so loads, and calls `load` first."""
        if state != self._seen:
            self._seen, self._changed = state, now
            self._restless = now if self._restless is None else self._restless
        if self._restless is not None:
            if now - self._changed < _SETTLE and now - self._restless < _PATIENCE:
                return False
            self._restless = None
        return state != self.loaded or (failing and now - self._loaded_at >= _RETRY)

    def load(self, *, now: float) -> None:
        """The state that was seen last is being loaded, whatever comes of it."""
        self.loaded, self._restless, self._loaded_at = self._seen, None, now


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
    ) -> None:
        """`poll` is how often the source is looked at, in seconds; 0 for never."""
        self._source = source
        self._holder = holder
        self._audit = audit
        self._metrics = metrics
        self._clock = clock
        self._poll = max(poll, _FASTEST) if poll else math.inf
        self._debounce = Debounce(loaded=holder.state)
        self._asked = anyio.Event()
        self._failure: Failure | None = None

    @property
    def trouble(self) -> str:
        """What was wrong with the last load, or nothing."""
        return self._failure.told(digest=self._holder.current.digest, shown=1) if self._failure else ""

    def ask(self) -> None:
        """Load at once, or once more after the load that is under way. Asking again before that changes nothing."""
        self._asked.set()

    async def watch(self) -> None:
        """Reload whenever it is due or asked for, until this is cancelled."""
        while True:
            with anyio.move_on_after(min(self._poll, _SETTLE) if self._debounce.restless else self._poll):
                await self._asked.wait()
            asked, self._asked = self._asked.is_set(), anyio.Event()
            state = await _in_thread(self._source.state)
            now = self._clock.monotonic()
            if self._debounce.look(state, now=now, failing=self._failure is not None) or asked:
                self._debounce.load(now=now)
                await self._load(asked=asked)

    async def _load(self, *, asked: bool) -> None:
        try:
            policy = await _in_thread(self._source.load)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new policy, the one in force stays
            if not isinstance(error, ConfigError):
                _log.exception("loading the policy failed")
            await self._keep(Failure.of(error), asked=asked)
        else:
            await self._take(policy, asked=asked)

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


async def _in_thread(read: Callable[[], T]) -> T:
    """A stop does not wait for it: it may hang on a dead network file system, and what it returns is dropped then."""
    return await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
