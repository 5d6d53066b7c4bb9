"""What the front orders, held against this process's own copy of the policy.

The front names a principal, a command, a host and the values as the caller sent them. The step is made anew from these; it
must be allowed, and it must be the one that the front put on record.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cmdhttp.errors import ConfigError
from cmdhttp.execution.local.orders import AccountError, spawn_order
from cmdhttp.ids import is_job_id
from cmdhttp.plan.build import Wish, build_plan
from cmdhttp.plan.digest import step_digest
from cmdhttp.plan.model import Step
from cmdhttp.policy.compiled import LOCAL, Policy
from cmdhttp.policy.decide import Question, Verdict, bind, decide

_COPIES = 3
_KEPT_SECONDS = 300.0
_LOOK_SECONDS = 2.0
_RUNS = 1_000_000
_KINDS: Mapping[str, tuple[type, ...]] = {
    "job": (str,),
    "run": (int,),
    "policy": (str,),
    "principal": (str,),
    "command": (str,),
    "host": (str,),
    "params": (dict,),
    "timeout": (int, float, type(None)),
    "step": (str,),
}
_MEND = "Look at 'cmdhttp check' and at the service's log; nothing has run."


class Refused(Exception):
    """The broker starts nothing; the message says why, without values."""

    def __init__(self, detail: str, hint: str = _MEND) -> None:
        super().__init__(detail)
        self.detail, self.hint = detail, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the front orders. `stdin` is the size of what it wants to send, None for nothing."""

    job: str
    run: int
    policy: str
    principal: str
    command: str
    host: str
    params: Mapping[str, object]
    timeout: float | None
    step: str
    stdin: int | None

    @classmethod
    def read(cls, message: Mapping[str, Any], *, stdin: int | None) -> "Wanted":
        """Read a message. Raises Refused if it is none of ours."""
        if message.keys() != _KINDS.keys() or not all(type(message[key]) in kinds for key, kinds in _KINDS.items()):
            raise Refused("the order cannot be read")
        wanted = cls(stdin=stdin, **message)
        if not is_job_id(wanted.job) or not 0 <= wanted.run < _RUNS:
            raise Refused("the order names no run of a job")
        if wanted.timeout is not None and not 0 < wanted.timeout < math.inf:
            raise Refused("the order's time limit is none")
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The policy folder: `load` raises ConfigError, `state` tells cheaply whether another load could give another policy."""

    load: Callable[[], Policy]
    state: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What there is after a look at the policy files: why they do not load, or nothing, and the policies that calls may name."""

    wrong: str
    held: tuple[str, ...]

    def message(self) -> dict[str, Any]:
        return {"policy": self.wrong, "held": list(self.held)}


class Checker:
    """Keeps the newest policies that loaded, so that a call which was decided just before a reload still runs.

    It looks for itself whether the files have changed: what was taken away in them is gone a few minutes later, whether or
    not the front says that there is something new. Where a change shall count only once the admin says so, it does not look.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        runs: str,
        account: str | None = None,
        front: str | None = None,
        by_itself: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`account` is that of commands whose policy names none, `front` that of the front, which no command gets.

        `by_itself`: whether it sees to a change of the files, and not only the front.
        """
        self._folder = folder
        self._by_itself = by_itself
        self._account = account
        self._front = front
        self._runs = runs
        self._monotonic = monotonic
        self._copies: dict[str, Policy] = {}
        self._replaced: dict[str, float] = {}
        self._state = ""
        self._looked = -math.inf

    def refresh(self) -> Copies:
        """Load the policy anew. A load that fails leaves the copies as they are."""
        return Copies(wrong=self._load(), held=tuple(self._copies))

    def _load(self) -> str:
        self._looked, self._state = self._monotonic(), self._folder.state()
        try:
            policy = self._folder.load()
        except ConfigError as error:
            return error.detail
        for digest in self._copies.keys() - {policy.digest}:
            self._replaced.setdefault(digest, self._looked)
        self._replaced.pop(policy.digest, None)
        self._copies.pop(policy.digest, None)
        self._copies[policy.digest] = policy
        while len(self._copies) > _COPIES:
            self._forget(next(iter(self._copies)))
        return ""

    def look(self) -> Copies | None:
        """Load the policy anew if the files have changed; None if there was nothing to load."""
        now = self._monotonic()
        for digest in [digest for digest, since in self._replaced.items() if now - since > _KEPT_SECONDS]:
            self._forget(digest)
        if not self._by_itself or now - self._looked < _LOOK_SECONDS:
            return None
        self._looked = now
        return self.refresh() if self._folder.state() != self._state else None

    def _forget(self, digest: str) -> None:
        del self._copies[digest]
        self._replaced.pop(digest, None)

    def order(self, wanted: Wanted) -> dict[str, Any]:
        """Return the order for a guard. Raises Refused."""
        step = self._step(self._policy(wanted.policy), wanted)
        if step_digest(step) != wanted.step:
            raise Refused("the step that the front recorded is not the one that the policy gives")
        try:
            folder = f"{self._runs}/{wanted.job}.{wanted.run}"
            return spawn_order(step, folder=folder, job_id=wanted.job, account=self._account, front=self._front)
        except AccountError as error:
            raise Refused(str(error), "Look at 'as' in the policy.") from None

    def _policy(self, digest: str) -> Policy:
        wrong = "" if digest in self._copies else self._load()
        if digest not in self._copies:
            raise Refused(
                wrong or "the policy files have changed since the call was decided", f"{_MEND} Then call again."
            )
        return self._copies[digest]

    def _step(self, policy: Policy, wanted: Wanted) -> Step:
        command = policy.commands.get(wanted.command)
        if command is None or wanted.host != LOCAL:
            raise Refused("the policy has no such command for this machine")
        arguments = bind(command, wanted.params)
        at = datetime.fromtimestamp(time.time(), tz=UTC)
        question = Question(
            principal=wanted.principal, command=command.name, host=wanted.host, arguments=arguments, at=at
        )
        decision = decide(policy, question)
        if decision.verdict is not Verdict.ALLOW:
            raise Refused(f"the policy does not allow it ({decision.reason})")
        if wanted.stdin is not None and (command.stdin is None or wanted.stdin > command.stdin.max_bytes):
            raise Refused("the policy does not allow so much stdin")
        plan = build_plan(policy, command, [wanted.host], arguments, Wish(timeout=wanted.timeout))
        return plan.steps[0]
