"""We and the peers, all with the same key, and all checking host keys strictly but for parallel-ssh, which cannot.

Ours is `cmdhttp serve` with everything on, as an admin starts it. The peers are set up in their favour: no configuration of the
account that runs this is read, no agent is asked, and none looks for more than it needs.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.local import servers
from benchmarks.local.contenders import Cmdhttp
from benchmarks.local.http import Call, request
from benchmarks.local.programs import WORD
from benchmarks.local.servers import ROOT, Place, Streamed, find
from benchmarks.ssh.fleet import Fleet
from cmdhttp.execution.ssh.login.algorithms import KEY_EXCHANGE

PARALLEL = 64
FIRST, FLEET = "h0", "group:fleet"
ECHO = ("/bin/echo", WORD)
_UP = 10.0


class OverSsh(Cmdhttp):
    """The service, whose commands run on the hosts of a fleet. Its own calls go to the first of them, the group has the rest."""

    def __init__(self, fleet: Fleet, argvs: Mapping[str, list[str]]) -> None:
        super().__init__(argvs)
        self._fleet = fleet

    def prepare(self, place: Place) -> list[list[str]]:
        commands = super().prepare(place)
        keys = place.folder / "policies" / "keys"
        keys.mkdir(mode=0o755)
        shutil.copy(self._fleet.known_hosts, keys / "known_hosts")
        (keys / "known_hosts").chmod(0o644)
        secrets = place.folder / "data" / "secrets"
        for folder in (secrets.parent, secrets):
            folder.mkdir(mode=0o700)
        shutil.copy(self._fleet.key, secrets / "bench")
        (secrets / "bench").chmod(0o600)
        return commands

    def policy(self, token: Mapping[str, str]) -> dict[str, Any]:
        return policy(self._fleet, self.argvs, token)

    def call(self, program: str) -> Call:
        return self.call_on(FIRST, program)

    def call_on(self, hosts: str, program: str, *, wait: int = 60) -> Call:
        """The call that runs a program on a host, or on `FLEET`."""
        body = json.dumps({"hosts": [hosts], "wait": wait}).encode()
        sent = request("POST", f"/v1/run/{program}", headers=self.headers, body=body)
        return Call(request=sent, holds=b'"ok":true')

    def streamed(self, program: str) -> Streamed | None:
        headers = {**self.headers, "Accept": "text/plain"}
        return Streamed(target=f"/v1/run/{program}", headers=headers, body=json.dumps({"hosts": [FIRST]}))


def policy(fleet: Fleet, argvs: Mapping[str, list[str]], token: Mapping[str, str]) -> dict[str, Any]:
    """The programs on all hosts of a fleet, for one principal with this token."""
    hosts = {
        f"h{number}": {"address": address, "port": fleet.port, "ssh": "bench", "labels": {"part": _part(number)}}
        for number, address in enumerate(fleet.addresses)
    }
    plain = {"effect": "read", "on": "*", "timeout": "10m", "output": {"max": "4GiB"}, "max_parallel": PARALLEL}
    login = {"user": fleet.account, "auth": {"key": "file:bench"}, "host_keys": {"known_hosts": "keys/known_hosts"}}
    return {
        "version": 1,
        "ssh_profiles": {"bench": login},
        "hosts": hosts,
        "groups": {"fleet": {"part": "fleet"}},
        "commands": {name: {**plain, "run": argv} for name, argv in argvs.items()},
        "principals": {"bench": {"tokens": [token]}},
        "roles": {"all": [{"commands": list(argvs), "hosts": "*"}]},
        "grants": [{"to": "bench", "roles": "all"}],
    }


def _part(number: int) -> str:
    return "fleet" if number else "first"


# ssh.


def options(fleet: Fleet) -> list[str]:
    """What `ssh` is told by everybody who starts it, without the account and the port."""
    settings = {
        "IdentityFile": fleet.key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": fleet.known_hosts,
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    return ["-F", "none", *(part for name, value in settings.items() for part in ("-o", f"{name}={value}"))]


def ssh(fleet: Fleet, *, more: Sequence[str] = ()) -> list[str]:
    """`ssh` to the first host; the command follows."""
    where = ["-p", str(fleet.port), "-l", fleet.account, fleet.addresses[0]]
    return [find("ssh") or "ssh", "-n", *options(fleet), *more, *where]


def same_algorithms() -> list[str]:
    """Let `ssh` exchange keys as we do: its own first choice, sntrup761, is most of its processor time."""
    return ["-o", f"KexAlgorithms={','.join(KEY_EXCHANGE)}"]


@contextmanager
def control_master(fleet: Fleet, folder: Path) -> Iterator[tuple[list[str], int]]:
    """A master connection to the first host: how `ssh` is started that uses it, and the master's pid. Raises RuntimeError."""
    path = folder / "cm"
    master = subprocess.Popen(
        ssh(fleet, more=["-M", "-N", "-o", "ControlPersist=no", "-S", str(path)]), stdin=subprocess.DEVNULL
    )
    with servers.apart([master.pid]):
        try:
            give_up = time.monotonic() + _UP
            while not path.exists():
                if master.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError("ssh made no master connection")
                time.sleep(0.02)
            yield ssh(fleet, more=["-S", str(path)]), master.pid
        finally:
            master.terminate()
            try:
                master.wait(_UP)
            except subprocess.TimeoutExpired:  # it does not always hear the signal
                master.kill()
                master.wait()


# What runs one command on all hosts.


class Tool(ABC):
    """A program that runs `ECHO` on many hosts and prints what they say."""

    name: ClassVar[str]
    programs: ClassVar[Sequence[str]] = ()
    modules: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def argv(self, fleet: Fleet, hosts: Sequence[str], folder: Path) -> list[str]:
        """What to start; files that it needs go into the folder."""

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:  # noqa: ARG002 - those who need some look at it
        """Variables beyond ours."""
        return {}


class Clush(Tool):
    name = f"clush -f {PARALLEL}"
    programs = ("clush",)

    def argv(self, fleet: Fleet, hosts: Sequence[str], folder: Path) -> list[str]:  # noqa: ARG002 - it needs no files
        ssh_options = " ".join([*options(fleet), "-p", str(fleet.port)])
        flags = ["-n", "-S", "-f", str(PARALLEL), "-t", "60", "-l", fleet.account, "-o", ssh_options]
        return [find("clush") or "clush", *flags, "-w", ",".join(hosts), *ECHO]


class Pdsh(Tool):
    name = f"pdsh -f {PARALLEL} -R ssh"
    programs = ("pdsh",)

    def argv(self, fleet: Fleet, hosts: Sequence[str], folder: Path) -> list[str]:  # noqa: ARG002 - it needs no files
        flags = ["-R", "ssh", "-S", "-f", str(PARALLEL), "-t", "60", "-l", fleet.account]
        return [find("pdsh") or "pdsh", *flags, "-w", ",".join(hosts), *ECHO]

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:  # noqa: ARG002 - it needs no files
        # `-x` and `-a` are what it says when nothing is set; it puts in the account and the host.
        return {"PDSH_SSH_ARGS": " ".join(["-2", "-a", "-x", *options(fleet), "-p", str(fleet.port), "-l%u", "%h"])}


class Ansible(Tool):
    """The ad-hoc command, with pipelining and a named interpreter: one login a host."""

    modules = ("ansible",)
    module: ClassVar[str]

    def argv(self, fleet: Fleet, hosts: Sequence[str], folder: Path) -> list[str]:
        (folder / "ansible.cfg").touch()
        inventory = folder / "inventory"
        settings = f"ansible_user={fleet.account}\nansible_port={fleet.port}\n"
        more = "ansible_python_interpreter=/usr/bin/python3\n"
        inventory.write_text("\n".join(["[all]", *hosts, "[all:vars]", settings + more]))
        flags = ["-i", str(inventory), "-f", str(PARALLEL), "-m", self.module, "-a", " ".join(ECHO)]
        return [sys.executable, "-m", "ansible", "adhoc", "all", *flags]

    def environment(self, fleet: Fleet, folder: Path) -> Mapping[str, str]:
        return {
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_SSH_ARGS": " ".join([*options(fleet), "-o", "ControlMaster=no"]),
            "LC_ALL": "C.UTF-8",
        }


class AnsibleRaw(Ansible):
    name = f"ansible -f {PARALLEL} -m raw"
    module = "raw"


class AnsibleCommand(Ansible):
    name = f"ansible -f {PARALLEL} -m command"
    module = "command"


class Script(Tool):
    """A module of ours that is told the fleet by a file, and prints what each host said."""

    module: ClassVar[str]

    def argv(self, fleet: Fleet, hosts: Sequence[str], folder: Path) -> list[str]:
        path = folder / "fleet.json"
        path.write_text(json.dumps({**fleet.document(), "addresses": list(hosts)}))
        return [sys.executable, "-m", self.module, "fan", str(path), str(PARALLEL), " ".join(ECHO)]


class ParallelSsh(Script):
    name = f"parallel-ssh, {PARALLEL} at once"
    modules = ("pssh",)
    module = "benchmarks.ssh.parallel"


class Bare(Script):
    name = "floor: asyncssh alone"
    modules = ("asyncssh",)
    module = "benchmarks.ssh.bare"


TOOLS: tuple[Tool, ...] = (Clush(), Pdsh(), ParallelSsh(), AnsibleRaw(), AnsibleCommand(), Bare())
BARE = Bare()


def bare(fleet: Fleet, folder: Path, what: str, *arguments: str) -> list[str]:
    """How asyncssh alone is started on the first host; see bare.py."""
    path = folder / "first.json"
    path.write_text(json.dumps(fleet.document()))
    return [sys.executable, "-m", Bare.module, what, str(path), *arguments]


def clean_environment() -> dict[str, str]:
    """Ours, without what would steer a tool."""
    steering = ("CMDHTTP_", "ANSIBLE_", "PDSH_", "CLUSTERSHELL_", "SSH_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return ours | {"PYTHONPATH": str(ROOT)}
