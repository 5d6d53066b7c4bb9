"""What a guard is told: a step of a plan as plain data, with the account looked up and the environment made from nothing.

The variables are those below, those that the policy sets, and `P_<NAME>` and `P_<NAME>_FILE` of a script. TMPDIR and
CMDHTTP_JOB_ID are always ours: by them a later life of the service finds what an earlier one left.
"""

import base64
import os
import pwd
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cmdhttp.execution.local.guard.order import SCRIPT, inputs_of
from cmdhttp.plan.model import LocalTarget, Step

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SPARE_SECONDS = 15.0
"""Beyond the time limit, which the front keeps: by then it has hung."""


class AccountError(Exception):
    """A step asks for an account that its process cannot have; the message says why."""


def spawn_order(
    step: Step, *, folder: str, job_id: str, account: str | None = None, front: str | None = None
) -> dict[str, Any]:
    """Return the order for a step; `account` is that of a step that names none. Raises AccountError.

    `front` is the account that the front has taken, if it has: no command gets that one, whose keys and journal it would have.
    """
    target = step.target
    if not isinstance(target, LocalTarget):
        raise TypeError("not a step for this machine")
    account = target.account or account
    entry = _entry(account)
    if front is not None and entry.pw_uid == pwd.getpwnam(front).pw_uid:
        raise AccountError(f"no command runs as '{entry.pw_name}', which is the account of the service itself (--user)")
    inputs = inputs_of(folder)
    argv = list(step.argv_in(inputs))
    if step.script is not None:
        argv = [*step.script.interpreter, f"{inputs}/{SCRIPT}", *argv]
    return {
        "argv": argv,
        "env": _environment(step, entry, folder=folder, job_id=job_id),
        "folder": folder,
        "script": step.script.text if step.script is not None else None,
        "files": [[file.place, base64.b64encode(file.data).decode(), file.mode] for file in step.staged],
        "collect": asdict(step.collect) if step.collect is not None else None,
        "account": _account(entry) if account is not None else None,
        "isolated": target.isolated,
        "limits": {name: value for name, value in asdict(step.limits).items() if value is not None},
        "deadline": step.timeout + _SPARE_SECONDS,
    }


def _entry(account: str | None) -> pwd.struct_passwd:
    if account is None:
        return _own_entry()
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise AccountError(f"there is no account '{account}' on this machine") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise AccountError(f"only a service that was started as root can run a command as '{account}'")
    return entry


def _own_entry() -> pwd.struct_passwd:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid)
    except KeyError:  # a container may run as any number
        return pwd.struct_passwd((str(uid), "x", uid, os.getegid(), "", "/", "/bin/sh"))


def _account(entry: pwd.struct_passwd) -> dict[str, object] | None:
    """User, group and supplementary groups as numbers; None if the process has them already."""
    groups = sorted(os.getgrouplist(entry.pw_name, entry.pw_gid))
    if os.geteuid() != 0:
        return None
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups}


def _environment(step: Step, entry: pwd.struct_passwd, *, folder: str, job_id: str) -> Mapping[str, str]:
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": "/bin/sh",
        **step.env_in(inputs_of(folder)),
        "TMPDIR": folder,
        "CMDHTTP_JOB_ID": job_id,
    }
