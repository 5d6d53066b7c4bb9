"""What an executor is, and what it tells.

An executor runs exactly one step: it emits `Started` at most once, then `Output` in order of arrival, then what it
collected (`Collected`, `LeftOut`, `LeftOutMore`), and returns one `Exited`. A start that fails is an `Exited` with an
`error`, never an exception. It waits for `emit`, so whoever receives sets the pace and memory stays bounded. When `stop` is
requested it ends the process (TERM, a grace, KILL) and says in `Exited.stopped` whether the process is known to be dead.
When its own task is cancelled it kills what it started first.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import anyio

from cmdhttp.plan.model import Step


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


class StopReason(StrEnum):
    """Why a run is ended before its own end."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    OUTPUT_LIMIT = "output_limit"
    DISCONNECT = "disconnect"
    SHUTDOWN = "shutdown"


class Stopped(StrEnum):
    """Whether a process that was stopped is known to be dead."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"


class RunErrorCode(StrEnum):
    """Why a run did not end by itself with an exit status. Stable; `docs/reference/run-errors.md` explains each."""

    SPAWN_FAILED = "spawn_failed"
    BROKER_REFUSED = "broker_refused"
    BROKER_LOST = "broker_lost"
    GUARD_LOST = "guard_lost"
    CONNECT_FAILED = "connect_failed"
    HOST_KEY_MISMATCH = "host_key_mismatch"
    LOGIN_FAILED = "login_failed"
    CHANNEL_REFUSED = "channel_refused"
    LOGIN_SHELL_FAILED = "login_shell_failed"
    UNSUPPORTED = "unsupported"
    CONNECTION_LOST = "connection_lost"
    OUTPUT_LIMIT = "output_limit"
    MEMORY_LIMIT = "memory_limit"
    CPU_LIMIT = "cpu_limit"
    PROCESS_LIMIT = "process_limit"
    FILE_SIZE_LIMIT = "file_size_limit"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    MAX_FAILURES = "max_failures"
    SERVICE_STOPPED = "service_stopped"
    SERVICE_RESTARTED = "service_restarted"
    QUEUE_DEADLINE = "queue_deadline"
    POLICY_CHANGED = "policy_changed"
    RECORD_FAILED = "record_failed"
    RECORD_DAMAGED = "record_damaged"
    INTERNAL = "internal"


LIMITS = frozenset(
    {RunErrorCode.MEMORY_LIMIT, RunErrorCode.CPU_LIMIT, RunErrorCode.PROCESS_LIMIT, RunErrorCode.FILE_SIZE_LIMIT}
)
"""A run that passed one of these was ended for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """`detail` says what happened, `hint` what to look at. Neither holds argument values or credentials."""

    code: RunErrorCode
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The process exists (local: `pid`) or the SSH channel has accepted the command (`remote_id`).

    `host_key` is the fingerprint of the key that the host proved itself by, `certificate` the serial of the login's.
    """

    pid: int | None = None
    remote_id: str | None = None
    host_key: str | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateIssued:
    """A user certificate that a login is about to use, as the audit keeps it.

    `job` and `principal` are None where the connection serves many jobs. `authority` is a fingerprint; times are Unix
    seconds; `command_sha256` is the sum of the only command line, None if any is good.
    """

    serial: str
    key_id: str
    job: str | None
    principal: str | None
    authority: str
    address: str
    port: int
    account: str
    certificate_principal: str
    source_addresses: tuple[str, ...]
    command_sha256: str | None
    valid_after: int
    valid_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    stream: Stream
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A file that the run left and its step collects. The executor closes `descriptor` when it has been told.

    `name` is the path from the run's working folder, whatever bytes the run chose; the file had `size` bytes.
    """

    name: bytes
    descriptor: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file or folder that matches and is not kept. `why` is one of the words in `docs/reference/http.md`."""

    name: bytes
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutMore:
    """How many more were left out without being named."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The end. `exit_code` and `signal` (a name such as `TERM`) are both None when the end was not seen.

    `lost` is True only if the process may have run on, or may have ended in a way that can no longer be known.
    `stopped` is None when the process ended before anyone signalled it. An `error` of `LIMITS` says that a limit ended the
    run, whatever was asked of it at the same time.
    """

    exit_code: int | None = None
    signal: str | None = None
    stopped: Stopped | None = None
    error: RunError | None = None
    lost: bool = False


class Stop:
    """A request to end one run; the first reason stays."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._calls: list[Callable[[], None]] = []
        self.reason: StopReason | None = None

    @property
    def requested(self) -> bool:
        return self.reason is not None

    def request(self, reason: StopReason) -> None:
        if self.reason is None:
            self.reason = reason
            self._event.set()
            for call in self._calls:
                call()

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Within the block, `call` follows the request at once, also one that was made before."""
        self._calls.append(call)
        try:
            if self.requested:
                call()
            yield
        finally:
            self._calls.remove(call)

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked, as it was asked: whoever holds the policy of that digest can make the same step from it.

    `timeout` in seconds is the caller's wish, None if there was none.
    """

    principal: str
    command: str
    policy: str
    params: Mapping[str, object] = field(default_factory=dict, repr=False)
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Which job a run belongs to, and what was asked."""

    job_id: str
    order: Order


News = Started | Output | Collected | LeftOut | LeftOutMore
Emit = Callable[[News], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a pool of connections has and did. Counts are since the start of the service."""

    open: int = 0
    in_use: int = 0
    backing_off: int = 0
    waiting: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (what, result): `dial` by `ok` or an error code, `lease` by `reused`, `new` or `backed_off`, `close` by why."""


class Executor(Protocol):
    """Runs steps of one kind of target."""

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation."""

    async def aclose(self) -> None:
        """Let go of what is kept between runs, such as open connections."""
