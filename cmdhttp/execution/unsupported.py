"""The executor of what this version cannot do: it starts nothing and says so.

A policy may ask for more than this version has, such as a login by certificate. To go without would be to do something
else than what the policy says, so such a run ends before it starts.
"""

from cmdhttp.execution.model import Emit, Exited, RunContext, RunError, RunErrorCode, Stop
from cmdhttp.plan.model import Step, UnsupportedTarget


class UnsupportedExecutor:
    """Ends every step with `unsupported`."""

    async def run(self, step: Step, *, context: RunContext, emit: Emit, stop: Stop) -> Exited:  # noqa: ARG002 - nothing runs
        """Say what is missing. Raises nothing."""
        what = step.target.what if isinstance(step.target, UnsupportedTarget) else "this"
        detail = f"This version cannot do {what}; nothing has run."
        hint = "'cmdhttp check' lists what a policy asks for and this version cannot do (P216)."
        return Exited(error=RunError(code=RunErrorCode.UNSUPPORTED, detail=detail, hint=hint))

    async def aclose(self) -> None:
        """Nothing is kept between runs."""
