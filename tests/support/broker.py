"""A broker that believes: the real loop, real guards and real orders, and no policy, so that a test can run any step.

`trusting_link` starts it as the process that it is; the step travels in the order's parameters.
"""

import base64
import os
import pickle
import signal
import socket
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from cmdhttp.broker.check import Copies, Refused
from cmdhttp.broker.loop import Broker
from cmdhttp.execution.local import containment
from cmdhttp.execution.local.executor import LocalExecutor
from cmdhttp.execution.local.link import BrokerLink, OwnBrokers
from cmdhttp.execution.local.orders import AccountError, spawn_order
from cmdhttp.execution.local.wire import Message
from cmdhttp.execution.model import Emit, Exited, Order, RunContext, Stop
from cmdhttp.plan.model import Step

COPIES = Copies(wrong="", held=())
"""It believes the front, and has no policy of its own."""


def context_of(step: Step, *, job: str = "job_TEST") -> RunContext:
    """The context in which the believing broker finds the step."""
    packed = base64.b64encode(pickle.dumps(step)).decode()
    return RunContext(job_id=job, order=Order(principal="p", command="c", policy="d", params={"step": packed}))


@asynccontextmanager
async def trusting_link(runs: str) -> AsyncIterator[BrokerLink]:
    """A believing broker for the length of the block; its end leaves nothing behind."""
    link = BrokerLink(OwnBrokers(runs, arguments=("-m", "tests.support.broker")))
    link.start()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(link.serve)
            with anyio.fail_after(10):
                await link.ready()
            yield link
            group.cancel_scope.cancel()
    finally:
        link.close()


@dataclass(frozen=True, kw_only=True)
class Place:
    """An executor whose broker runs whatever it is given, and the folder that it makes for a run."""

    executor: LocalExecutor
    link: BrokerLink
    runs: Path
    _jobs: list[str] = field(default_factory=lambda: ["job_TEST0"])

    @property
    def job(self) -> str:
        """That of the last run; each run is a job of its own."""
        return self._jobs[-1]

    @property
    def folder(self) -> Path:
        """That of the last run."""
        return self.runs / f"{self._jobs[-1]}.0"

    async def go(self, what: Step, *, emit: Emit, stop: Stop | None = None) -> Exited:
        self._jobs.append(f"job_TEST{len(self._jobs)}")
        context = context_of(what, job=self._jobs[-1])
        return await self.executor.run(what, context=context, emit=emit, stop=stop or Stop())


@asynccontextmanager
async def trusting_place(runs: Path) -> AsyncIterator[Place]:
    """An executor with a believing broker, and little patience."""
    async with trusting_link(str(runs)) as link:
        executor = LocalExecutor(link=link, kill_grace=0.3, drain=0.3)
        yield Place(executor=executor, link=link, runs=runs)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    runs = sys.argv[1]
    with socket.socket(fileno=os.dup(0)) as front:
        held = containment.enter(f"cmdhttp-tests-{zlib.crc32(runs.encode()):08x}", runs=runs)

        def make_order(message: Message, _: int | None) -> dict[str, Any]:
            step: Step = pickle.loads(base64.b64decode(message["params"]["step"]))  # noqa: S301 - the test wrote it
            folder = f"{runs}/{message['job']}.{message['run']}"
            try:
                return spawn_order(step, folder=folder, job_id=message["job"])
            except AccountError as error:
                raise Refused(str(error)) from None

        broker = Broker(front, make_order=make_order, refresh=lambda: COPIES, ready=2)
        broker.tell(
            {"hello": os.getpid(), "rung": held.rung, "swept": held.swept, "left": held.left, **COPIES.message()}
        )
        broker.serve()
        held.leave()


if __name__ == "__main__":
    main()
