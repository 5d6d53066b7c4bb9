"""Which limit ended a run, in words: the limit, its value, and where it stands. Never what the run did with it."""

from cmdhttp.execution.local.limits import Limits
from cmdhttp.execution.model import RunError, RunErrorCode

_KINDS: dict[str, tuple[RunErrorCode, str]] = {
    "memory": (RunErrorCode.MEMORY_LIMIT, "The run held more memory than its limit of {} bytes."),
    "cpu": (RunErrorCode.CPU_LIMIT, "The run used more CPU than its limit of {:g} s."),
    "processes": (RunErrorCode.PROCESS_LIMIT, "The run had more processes than its limit of {}."),
    "file_size": (RunErrorCode.FILE_SIZE_LIMIT, "The run wrote a file that is larger than its limit of {} bytes."),
}


def limit_error(name: str, limits: Limits) -> RunError:
    """The error of a run that passed the limit `name`, as `limits.named` and `limits.Meter` name it."""
    code, detail = _KINDS[name]
    hint = f"Ask for less work, or raise 'limits: {name}' of the command."
    return RunError(code=code, detail=detail.format(limits[name]), hint=hint)
