"""One argv, one remote command line: the only place that knows about shells.

SSH always passes a command line through the login shell of the account. Each family of shells has a module that makes the
line, in which no value is ever read as syntax; what a family cannot be sent is refused (`BadValue`), never bent. This
module says what runs on a host, in whose name and with which variables, and picks the family.
"""

from cmdhttp.plan.remote.invocation import (
    GUARD_ROOM,
    PROBES,
    Invocation,
    check_line,
    command_line,
    for_job,
    has_files,
    in_folder,
    invocation,
    probe_argv,
    probe_echo,
    probe_line,
    remote_argv,
    step_line,
)
from cmdhttp.plan.remote.posix import MAX_LINE, posix_line
from cmdhttp.plan.remote.raw import MAX_RAW, raw_line
from cmdhttp.plan.remote.windows import MAX_CMD, MAX_POWERSHELL, script_line, windows_line

__all__ = [
    "GUARD_ROOM",
    "MAX_CMD",
    "MAX_LINE",
    "MAX_POWERSHELL",
    "MAX_RAW",
    "PROBES",
    "Invocation",
    "check_line",
    "command_line",
    "for_job",
    "has_files",
    "in_folder",
    "invocation",
    "posix_line",
    "probe_argv",
    "probe_echo",
    "probe_line",
    "raw_line",
    "remote_argv",
    "script_line",
    "step_line",
    "windows_line",
]
