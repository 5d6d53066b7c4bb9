"""One run on a host whose guard takes orders.

The guard ends the run by our order, by its own deadline, and when this end falls away; what it says of the end is what is
told. A stop is confirmed only if the guard says that nothing of the run is alive. An end that nobody saw is `lost`.
"""

import asyncio
import os
import signal
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from cmdhttp.execution.model import Emit, Exited, RunError, RunErrorCode, Started, Stop, Stopped
from cmdhttp.execution.ssh.failures import connection_lost
from cmdhttp.execution.ssh.guard import STDIN_AHEAD, Guard, GuardedRun
from cmdhttp.execution.ssh.orders import By, Folder, Over, Start

GUARD_KILLS_WITHIN = 8.0
"""Seconds that a guard tries to kill what is left, after the grace."""
_ANSWER = 8.0
"""Seconds that it takes a guard at most, after that, to end a warden that stands still, and what that watched, and to say so."""
_ABANDON = 2.0
_UNUSABLE = {
    "folder": (
        "The run's folder on the host could not be used there",
        "Check that the account may enter the folder.",
    ),
    "program": (
        "The program could not be used there",
        "Check that the program exists on the host and that the account may execute it.",
    ),
    "guard": (
        "The guard on the host could not prepare a run",
        "Check how many processes and open files the account may have on the host, and how many it has.",
    ),
}
"""By what a start on a host failed at: the beginning of the detail, and the hint."""


@dataclass(slots=True, kw_only=True)
class Guarded:
    """Runs an order once. `started` is what to tell of the start, but for the process id; `grace` is in seconds."""

    guard: Guard
    order: Start
    stdin: bytes = field(repr=False)
    started: Started
    emit: Emit
    stop: Stop
    grace: float
    folder: Folder | None = None
    _run: GuardedRun = field(init=False)
    _asked: bool = field(init=False, default=False)
    _given_up: bool = field(init=False, default=False)
    _told: bool = field(init=False, default=False)
    _timer: asyncio.TimerHandle | None = field(init=False, default=None)

    async def to_end(self) -> Exited:
        """Return how it ended. Raises what `emit` raises, and cancellation; then the run is ended, too."""
        self._run = self.guard.start(self.order, stdin=self.stdin, folder=self.folder)
        try:
            with self.stop.calling(self._ask):
                if len(self.stdin) > STDIN_AHEAD:
                    await self._feed_and_pump()
                else:
                    await self._pump()
        except BaseException:
            await self._abandon()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return self._end()

    async def _feed_and_pump(self) -> None:
        failures: list[Exception] = []

        async def pump(tasks: TaskGroup) -> None:
            try:
                await self._pump()
            except Exception as failure:  # noqa: BLE001 - raised below, where the task group does not wrap it
                failures.append(failure)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, tasks)
            await self._run.feed(self.stdin)
        if failures:
            raise failures[0]

    async def _pump(self) -> None:
        """Hand on the start and all output, until the run is over or given up."""
        run = self._run
        while not self._given_up:
            if run.pid is not None and not self._told:
                self._told = True
                await self.emit(
                    Started(
                        pid=run.pid,
                        remote_id=self.started.remote_id,
                        host_key=self.started.host_key,
                        certificate=self.started.certificate,
                    )
                )
            output = run.inbox.take()
            if output is not None:
                await self.emit(output)
                run.taken()
            elif run.ended:
                return
            else:
                await run.inbox.news()

    def _ask(self) -> None:
        self._asked = True
        self._run.stop(self.grace)
        patience = self.grace + GUARD_KILLS_WITHIN + _ANSWER
        self._timer = asyncio.get_running_loop().call_later(patience, self._give_up)

    def _give_up(self) -> None:
        """The guard does not say how it ended: nothing more is sent to it, and without its connection it ends by itself."""
        self._given_up = True
        self.guard.close()
        self._run.inbox.ring()

    async def _abandon(self) -> None:
        """End the run without a taker for its output."""
        self._run.stop(0)
        with anyio.move_on_after(_ABANDON, shield=True):
            while not self._run.ended:
                while self._run.inbox.take() is not None:
                    self._run.taken()
                await self._run.inbox.news()
        if not self._run.ended:
            self.guard.close()

    def _end(self) -> Exited:
        run = self._run
        if run.over is not None:
            return self._seen(run.over)
        if run.failed is not None:
            return Exited(error=_not_started(*run.failed))
        if self._given_up:
            return Exited(stopped=Stopped.UNCONFIRMED)
        return Exited(lost=True, stopped=Stopped.UNCONFIRMED if self._asked else None, error=connection_lost())

    def _seen(self, over: Over) -> Exited:
        if over.by is By.NOBODY or over.status is None:
            return Exited(lost=True, stopped=self._verdict(over), error=_guard_lost())
        stopped = self._verdict(over) if over.by is not By.END or over.alive else None
        code, number = (over.status, None) if over.status >= 0 else (None, -over.status)
        late = RunError(code=RunErrorCode.TIMED_OUT, detail="The guard on the host ended the run at its deadline.")
        return Exited(
            exit_code=code,
            signal=None if number is None else _name(number),
            stopped=stopped,
            error=late if over.by is By.DEADLINE else None,
        )

    def _verdict(self, over: Over) -> Stopped:
        return Stopped.CONFIRMED if over.alive == 0 and self.guard.adopts else Stopped.UNCONFIRMED


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _not_started(number: int, on: str) -> RunError:
    """`number` is an errno of Linux, as it was on the host."""
    what, hint = _UNUSABLE.get(on, _UNUSABLE["program"])
    return RunError(
        code=RunErrorCode.SPAWN_FAILED, detail=f"{what}: {os.strerror(number)} (errno {number}).", hint=hint
    )


def _guard_lost() -> RunError:
    return RunError(
        code=RunErrorCode.GUARD_LOST,
        detail="The process on the host that watched the run was killed, so the end of the run was not seen.",
        hint="Look on the host whether the command took effect before it is run again.",
    )
