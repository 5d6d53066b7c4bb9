"""Escapees on SSH hosts, with python3 and without, and the service that sends them there.

The far side is this machine, so what survives is found by a walk of /proc for the mark in its argv.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from tests.support import escapees
from tests.support.escapees import HOSTILE, KINDS
from tests.support.escaping import PLAIN, Attempt, EscapeService
from tests.support.service import Document
from tests.support.sshd import Machine, Sshd

Flavour = Literal["python3", "sh"]
FLAVOURS = ("python3", pytest.param("sh", marks=pytest.mark.long))

_WHERE = ("/usr/local/bin", "/usr/bin", "/bin")
_HIDE = f"""
    for python in {" ".join(f"{folder}/python*" for folder in _WHERE)}; do
        if [ -f "$python" ]; then mount --bind /dev/null "$(readlink -f "$python")"; fi
    done
"""
"""A file that nobody can execute stands in the place of each Python; of links, in the place of what they lead to."""


def machine(flavour: Flavour, *, prefix: Sequence[str] = (), address: str = "127.0.0.1") -> Machine:
    """A machine with or without a python3 that a login can find."""
    return Machine(setup=_HIDE if flavour == "sh" else ":", prefix=tuple(prefix), address=address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuge:
    """A folder that every account can write to, with the escapees and a Python to run them that nobody else can find."""

    folder: Path

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator["Refuge"]:
        refuge = cls(folder=Path(tempfile.mkdtemp(prefix="cmdhttp-refuge-")))
        try:
            refuge.folder.chmod(0o777)
            shutil.copyfile(escapees.__file__, refuge.program)
            shutil.copyfile(_python(), refuge.interpreter)
            refuge.interpreter.chmod(0o755)
            refuge.program.chmod(0o644)
            yield refuge
        finally:
            shutil.rmtree(refuge.folder)

    @property
    def program(self) -> Path:
        return self.folder / "escapees.py"

    @property
    def interpreter(self) -> Path:
        return self.folder / "interpreter"


class RemoteEscapes(EscapeService):
    """A service that sends escapees to SSH hosts. Set `refuge` before the first attempt."""

    refuge: Refuge
    commands: ClassVar[Mapping[str, Document]] = {
        **EscapeService.commands,
        "flee": {
            "script": 'exec "$P_PYTHON" -I -S "$P_PROGRAM" "$P_KIND" "$P_STAY" "$P_FILE" "$P_MARK"',
            "params": {
                "python": PLAIN,
                "program": PLAIN,
                "kind": {"type": "enum", "values": [*KINDS, *HOSTILE]},
                "stay": {"type": "enum", "values": ["yes", "no"]},
                "file": PLAIN,
                "mark": PLAIN,
            },
            "timeout": "40s",
            "on": ["far"],
        },
    }

    @property
    def hideout(self) -> Path:
        return self.refuge.folder

    def flee(self, attempt: Attempt, host: str, body: Document | None = None, **more: Any) -> Document:
        return self.launch("flee", {**self.flight(attempt, host), **(body or {})}, **more)

    def flight(self, attempt: Attempt, host: str) -> Document:
        """The body of the call that starts an attempt on a host."""
        where = {"python": str(self.refuge.interpreter), "program": str(self.refuge.program)}
        return {"params": {**attempt.params, **where}, "hosts": [host]}


def _python() -> str:
    """The Python that a login on this machine would find. Raises RuntimeError if there is none."""
    found = shutil.which("python3", path=":".join(_WHERE))
    if found is None:
        raise RuntimeError(f"No python3 in {_WHERE}, and hosts with python3 are to be tested. Hint: install python3.")
    return found


def sshd(flavour: Flavour, folder: Path, **more: Any) -> contextlib.AbstractContextManager[Sshd]:
    return Sshd.start(folder, machine=machine(flavour, **more))
