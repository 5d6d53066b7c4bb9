"""Runs on the SSH executor alone: what it is given, what it tells, and that it leaves nothing."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import anyio

from cmdhttp.execution.model import Emit, Executor, Exited, News, Order, Output, RunContext, Stop, Stream
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.plan.model import KeyFile, LocalTarget, SshTarget, Step
from tests.support.leaks import nothing_left
from tests.support.sshd import Sshd

ORDER = Order(principal="ann", command="test", policy="sha256:0")
CONTEXT = RunContext(job_id="job_01TEST", order=ORDER)


@dataclass
class Told:
    """What an executor emitted."""

    events: list[News] = field(default_factory=list)
    printed: anyio.Event = field(default_factory=anyio.Event)

    async def emit(self, event: News) -> None:
        self.events.append(event)
        if b"\n" in self.bytes_of():
            self.printed.set()

    def bytes_of(self, stream: Stream = Stream.STDOUT) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Output) and e.stream is stream)

    async def first_line(self) -> bytes:
        with anyio.fail_after(10):
            await self.printed.wait()
        return self.bytes_of().split(b"\n")[0]


def target_of(server: Sshd) -> SshTarget:
    return SshTarget(
        address=server.address,
        port=server.port,
        account=server.account,
        login=KeyFile(path=str(server.key)),
        known_hosts=str(server.known_hosts),
    )


def step_for(
    target: SshTarget | LocalTarget, *argv: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> Step:
    return Step(
        run=0,
        host="h",
        target=target,
        argv=argv,
        env=env or {},
        stdin=stdin,
        timeout=60,
        output_limit=1 << 40,
    )


def sh(target: SshTarget, text: str) -> Step:
    return step_for(target, "/bin/sh", "-c", text)


async def run(
    step: Step,
    *,
    stop: Stop | None = None,
    emit: Emit | None = None,
    executor: Executor | None = None,
    keep: bool = False,
) -> tuple[Exited, Told]:
    """Run a step on an executor of its own and check that nothing stays behind; with `keep` it may keep connections."""
    told = Told()
    used = executor or SshExecutor()
    if keep:
        return await used.run(step, context=CONTEXT, emit=emit or told.emit, stop=stop or Stop()), told
    async with nothing_left(), closing(used):
        exited = await used.run(step, context=CONTEXT, emit=emit or told.emit, stop=stop or Stop())
    return exited, told


@contextlib.asynccontextmanager
async def closing(executor: Executor) -> AsyncIterator[Executor]:
    """Close the executor at the end, also of a cancelled block."""
    try:
        yield executor
    finally:
        with anyio.CancelScope(shield=True):
            await executor.aclose()
