"""What a local run may take: set on its processes before they start, and measured over all of them while they run.

The kernel holds each process to its own share (`apply`), also between two looks; `Meter` adds up the whole tree, which no
rlimit does. Nothing is said to be passed that was not: where two ways to count differ, the one that can only be too low is
taken. Limits are a plain mapping with the keys of the policy: `memory` and `file_size` in bytes, `cpu` in seconds,
`processes`, `files`; None or no key: unlimited. Standard library only, because this runs where a process is started.
"""

import math
import os
import resource
import signal
from collections.abc import Iterable, Iterator, Mapping

Limits = Mapping[str, float | None]

_MOST = 1 << 62
_MOST_SECONDS = 1 << 32
"""The kernel counts in nanoseconds, and ends at once what has more seconds than fit."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SPARE_DATA = 64 << 20
_THREADS_EACH = 8
_SHELL_SIGNAL = 128
_EXACT_PER_LOOK = 5
"""Processes whose memory is counted exactly in one look, on average: each takes half a millisecond."""

_CREDIBLE = 0.5
"""The kernel holds a limit of CPU by counting ticks and reports afterwards what it measured, which on a busy machine is less:
0.86 of it was seen. A signal that anyone may send is believed to be the limit's from this share on."""

_ANONYMOUS = b"Pss_Anon"


def apply(limits: Limits, *, tasks: int | None = None) -> None:
    """Hold this process, and what it will start, to the limits: the last thing before exec.

    `tasks` are the threads that the account has now, if it is not the account of whoever starts processes: RLIMIT_NPROC
    counts by account. Never raises a limit that is lower already.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and a program would inherit that
    for kind, soft, hard in _bounds(limits, tasks):
        most = resource.getrlimit(kind)[1]
        if most == resource.RLIM_INFINITY:
            most = _MOST
        resource.setrlimit(kind, (min(soft, most), min(hard, most)))


def _bounds(limits: Limits, tasks: int | None) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, soft, hard). Memory comes last: from there on this process may be unable to get more of it itself."""
    yield resource.RLIMIT_CORE, 0, 0
    if (cpu := limits.get("cpu")) is not None:
        seconds = min(math.ceil(cpu), _MOST_SECONDS)
        yield resource.RLIMIT_CPU, seconds, seconds + 1
    for name, kind in (("files", resource.RLIMIT_NOFILE), ("file_size", resource.RLIMIT_FSIZE)):
        if (value := limits.get(name)) is not None:
            yield kind, int(value), int(value)
    if (processes := limits.get("processes")) is not None and tasks is not None:
        most = tasks + int(processes) * _THREADS_EACH  # it counts threads, and those of other runs of the account
        yield resource.RLIMIT_NPROC, most, most
    if (memory := limits.get("memory")) is not None:
        # what is asked for and not used counts here, such as the stacks of threads, so this is wider than the limit
        data = 2 * int(memory) + _SPARE_DATA
        yield resource.RLIMIT_DATA, data, data


def tasks_of(uid: int) -> int:
    """Count the threads that an account has now."""
    count = 0
    with os.scandir("/proc") as entries:
        for entry in entries:
            try:
                if entry.name.isdigit() and entry.stat().st_uid == uid:
                    count += max(os.stat(f"{entry.path}/task").st_nlink - 2, 1)
            except OSError:
                continue
    return count


def named(status: int, limits: Limits, *, used: float = 0.0) -> str | None:
    """Name the limit that ended a process; None if it was none of them.

    `status` is an exit status, or minus a signal. `used` are its seconds of CPU with those of its children: a KILL is that
    of the CPU limit only if they were nearly used. A shell tells of a signal to what it started by 128 and the number.
    """
    number = -status if status < 0 else status - _SHELL_SIGNAL
    cpu = limits.get("cpu")
    if cpu is not None:
        if number == signal.SIGXCPU and (status < 0 or used >= _CREDIBLE * cpu):
            return "cpu"
        if number == signal.SIGKILL and used >= _CREDIBLE * (math.ceil(cpu) + 1):
            return "cpu"
    return "file_size" if number == signal.SIGXFSZ and limits.get("file_size") is not None else None


class Meter:
    """Measures the processes of one run. Memory stays bounded by the number of processes that live at once."""

    def __init__(self, limits: Limits) -> None:
        self._memory = limits.get("memory")
        self._cpu = limits.get("cpu")
        self._processes = limits.get("processes")
        self._ticks: dict[tuple[int, int], int] = {}
        self._gone = 0
        self._pause, self._enough = 0, 0.0

    @property
    def needed(self) -> bool:
        """Whether there is anything to measure."""
        return not (self._memory is None and self._cpu is None and self._processes is None)

    def exceeded(self, pids: Iterable[int], *, reaped: float = 0.0) -> str | None:
        """Name the limit that the processes have passed together, if they have.

        `pids` are all processes of the run, parents before their children. `reaped` are the seconds of CPU of those that the
        caller has waited for.
        """
        pids = tuple(pids)
        if self._processes is not None and len(pids) > self._processes:
            return "processes"
        if self._memory is None and self._cpu is None:
            return None
        stats = [stat for pid in pids if (stat := _Stat.read(pid)) is not None]
        if self._cpu is not None and self._used(stats, reaped) > self._cpu:
            return "cpu"
        if self._memory is not None and self._holds_more(stats, self._memory):
            return "memory"
        return None

    def _used(self, stats: list["_Stat"], reaped: float) -> float:
        """Seconds of CPU: by what parents know of children that have ended, or, if that is more, by what was seen here.

        Both miss something, and neither counts anything twice: a parent that ignores SIGCHLD never learns what a child took.
        """
        now = {(stat.pid, stat.start): stat.own for stat in stats}
        self._gone += sum(ticks for process, ticks in self._ticks.items() if process not in now)
        self._ticks = now
        seen = (self._gone + sum(now.values())) / _TICKS
        return max(seen, sum(stat.own + stat.children for stat in stats) / _TICKS + reaped)

    def _holds_more(self, stats: list["_Stat"], most: float) -> bool:
        """Whether the processes hold more memory than `most` bytes.

        All their pages in RAM are an upper bound of what they hold there, and cheap. Only if that is passed, it is counted
        exactly: what they share counts once, pages of files not at all because the kernel can take them back. That is dear,
        so it waits for a few looks, by the number of processes, unless they came to have more pages than there was room for.
        """
        pages = sum(stat.pages for stat in stats) * _PAGE
        self._pause -= 1
        if pages <= most or (self._pause >= 0 and pages <= self._enough):
            return False
        held = sum(_held(stat) for stat in stats)
        self._pause, self._enough = len(stats) // _EXACT_PER_LOOK, pages + most - held
        return held > most


class _Stat:
    """What /proc/PID/stat says: ticks of the process and of its children that it waited for, when it began, pages in RAM."""

    __slots__ = ("children", "own", "pages", "pid", "start")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.own = int(fields[11]) + int(fields[12])
        self.children = int(fields[13]) + int(fields[14])
        self.start = int(fields[19])
        self.pages = int(fields[21])

    @classmethod
    def read(cls, pid: int) -> "_Stat | None":
        """Return None for a process that is gone. The name may hold anything, so fields count from its last bracket."""
        try:
            data = _contents(f"/proc/{pid}/stat")
        except OSError:
            return None
        return cls(pid, data[data.rindex(b")") + 2 :].split()) if data else None


def _held(stat: _Stat) -> int:
    """Bytes of one process. Where the kernel does not say exactly, all its pages; nothing, if it is gone."""
    try:
        lines = _contents(f"/proc/{stat.pid}/smaps_rollup").splitlines()
    except ProcessLookupError:
        return 0
    except OSError:
        return stat.pages * _PAGE if _Stat.read(stat.pid) else 0
    found = {line[: line.index(b":")]: int(line.split()[1]) for line in lines[1:]}
    if _ANONYMOUS not in found:
        return stat.pages * _PAGE
    return 1024 * (found[_ANONYMOUS] + found.get(b"Pss_Shmem", 0) + found.get(b"SwapPss", 0))


def _contents(path: str) -> bytes:
    """The beginning of a file of /proc, which is all that is needed of the two that are read. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
