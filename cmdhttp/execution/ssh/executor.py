"""Runs steps on SSH hosts.

What goes over the wire is the step's argv, with its environment and `CMDHTTP_JOB_ID`, spelled so that no login shell
can read any of it as syntax. There is no terminal, no forwarding and no agent. A step that cannot be spelled is refused
before anything is connected.
"""

import dataclasses

from cmdhttp.errors import BadValue
from cmdhttp.execution.model import Emit, Exited, RunContext, RunError, RunErrorCode, Stop, Stopped
from cmdhttp.execution.ssh.certificates import OnIssue
from cmdhttp.execution.ssh.connections import Connections
from cmdhttp.execution.ssh.dial import Dialer
from cmdhttp.execution.ssh.run import Patience, Run
from cmdhttp.plan.model import Shell, SshTarget, Step
from cmdhttp.plan.remote import posix_line, remote_argv


class SshExecutor:
    """The executor of steps whose target is an SSH host. All times are in seconds.

    `on_issue` is told of every certificate before it is used; if it raises OSError, there is no login.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        login_timeout: float = 10.0,
        kill_grace: float = 5.0,
        drain: float = 2.0,
        on_issue: OnIssue | None = None,
    ) -> None:
        self._connections = Connections(
            Dialer(connect_timeout=connect_timeout, login_timeout=login_timeout, on_issue=on_issue)
        )
        self._patience = Patience(kill_grace=kill_grace, drain=drain)

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:
        """Run `step` to its end. Raises nothing but cancellation, and what `emit` raises."""
        if stop.requested:
            return Exited(stopped=Stopped.CONFIRMED)
        if not isinstance(step.target, SshTarget):
            return _not_spawned("The step is not for an SSH host.")
        if step.target.shell is not Shell.POSIX:
            return _not_spawned(f"Hosts with a login shell of the family '{step.target.shell}' cannot be used yet.")
        try:
            line = _line(step, context)
        except BadValue as bad:
            return _not_spawned(f"The command cannot be sent: {bad.detail}.", hint=bad.hint)
        except UnicodeEncodeError:
            return _not_spawned("The command cannot be sent: a value is not valid Unicode text.")
        return await Run(
            connections=self._connections,
            target=step.target,
            line=line,
            context=context,
            stdin=step.stdin or b"",
            emit=emit,
            stop=stop,
            patience=self._patience,
        ).to_end()

    async def aclose(self) -> None:
        """Close every connection that is kept between runs."""
        await self._connections.aclose()


def _line(step: Step, context: RunContext) -> str:
    env = {**step.env, "CMDHTTP_JOB_ID": context.job_id}
    return posix_line(remote_argv(dataclasses.replace(step, env=env)))


def _not_spawned(detail: str, *, hint: str = "") -> Exited:
    return Exited(error=RunError(code=RunErrorCode.SPAWN_FAILED, detail=detail, hint=hint))
