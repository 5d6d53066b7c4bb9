"""A PID namespace of its own for one run: the command sees no other process, and the kernel ends all of it with its first one.

Three processes stand where else one does. The outer one is what the guard watches; it ends as the command did. The first of the
namespace takes the orphans, and its end is the end of every process in it. Each dies with the one above it, so a kill of front,
broker and guard at once leaves nothing. The command itself comes last, with the account and the limits that it is to have.

Source: pid_namespaces(7), user_namespaces(7), mount(2), prctl(2).
"""

import ctypes
import os
import resource
import signal
from collections.abc import Callable

from cmdhttp.execution.local import tree

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
_STATUS_BYTES = 4

_libc = ctypes.CDLL(None, use_errno=True)


def enter(then: Callable[[], None]) -> None:
    """Turn this new process into three, and return in the last, after `then`. Raises OSError if the kernel refuses."""
    _unshare()
    told, tell = os.pipe2(os.O_CLOEXEC)
    first = os.fork()
    if first != 0:
        os.close(tell)
        _outer(first, told)
    os.close(told)
    _die_with_parent()
    _own_proc()
    command = os.fork()
    if command != 0:
        _first(command, tell)
    os.close(tell)
    then()


def take_account(account: dict[str, object]) -> None:
    """Become the account, whole and for good. Raises OSError."""
    uid, gid, groups = account["uid"], account["gid"], account["groups"]
    if not (isinstance(uid, int) and isinstance(gid, int) and isinstance(groups, list)):
        raise TypeError("not an account")
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    if os.geteuid() == 0:
        _check(_libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS))
        return
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNS))
    tree.show_memory()
    for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{file}", "w") as place:
            place.write(text)
    tree.hide_memory()


def _own_proc() -> None:
    """Show the processes of this namespace in /proc, here alone."""
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    _check(_libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None))


def _die_with_parent() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _outer(first: int, told: int) -> None:
    """Wait for the namespace to end, and end as its command did. Never returns."""
    guard = os.getppid()
    _die_with_parent()
    if os.getppid() != guard:
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the command, which has its own
    _close_all_but(told)
    data = os.read(told, _STATUS_BYTES)
    os.waitpid(first, 0)
    status = int.from_bytes(data, "big", signed=True) if len(data) == _STATUS_BYTES else -signal.SIGKILL
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), -status)
        signal.pause()
    os._exit(status)


def _first(command: int, tell: int) -> None:
    """Take the orphans until the command has ended, tell how, and end the namespace. Never returns."""
    _close_all_but(tell)
    while True:
        pid, status = os.wait()
        if pid == command:
            os.write(tell, os.waitstatus_to_exitcode(status).to_bytes(_STATUS_BYTES, "big", signed=True))
            os._exit(0)


def _close_all_but(kept: int) -> None:
    """What these two hold open would keep the streams of the command open, and the guard waiting for its start."""
    os.closerange(0, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
