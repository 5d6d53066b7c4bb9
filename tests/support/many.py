"""A service with hundreds of SSH hosts: distinct loopback addresses of one sshd, and some that never answer."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from tests.support.ports import free_port
from tests.support.service import Document, Service

HOSTS = 500
SILENT = 6

_ADDRESS = 'set -- $SSH_CONNECTION; echo "$3"'

_COMMANDS: Mapping[str, Document] = {
    "some": {"script": f'{_ADDRESS}; case "$3" in *.7) exit 3;; *.9) kill -9 $$;; esac', "max_parallel": 500},
    "big": {"script": "yes flood | head -c 1000000", "max_parallel": 20},
    "batches": {"script": "sleep 0.05", "batch": "25%", "max_parallel": 4},
    "pairs": {"script": "sleep 0.3", "batch": 2},
    "careful": {
        "script": f'{_ADDRESS} >/dev/null; case "$3" in *.3) exit 1;; esac',
        "max_failures": 0,
        "max_parallel": 2,
    },
    "tenth": {"run": ["/usr/bin/false"], "max_failures": "10%", "max_parallel": 3},
    "late": {
        "script": f'{_ADDRESS}; case "$3" in *.1|*.2) exit 0;; esac; sleep 20',
        "max_parallel": 3,
        "batch": 2,
    },
    "sleep": {"script": "echo up; sleep 20", "max_parallel": 3, "batch": 5},
    "echo": {"run": ["/usr/bin/echo", "hello"], "max_parallel": 100},
}


class ManyHosts(Service):
    """`h000` to `h499` in the group 'all'; `down`; and `silent0` to `silent5`, which accept and say nothing."""

    sshd_listens = "0.0.0.0"
    silent_port: ClassVar[int] = 0
    commands: ClassVar[Mapping[str, Document]] = {name: {"on": "*", **spec} for name, spec in _COMMANDS.items()}

    @classmethod
    @contextlib.contextmanager
    def serving(cls, folder: Path, **flags: str) -> Iterator["ManyHosts"]:
        """Run the service and what its hosts need."""
        with silence() as port:
            cls.silent_port = port
            with cls.running(folder, remotes=None, **flags) as service:
                yield service

    def write_policy(self) -> None:
        super().write_policy()
        kind, body, *_ = self.sshd.host_key.with_suffix(".pub").read_text().split()
        (self.policies / "known_hosts").write_text(f"* {kind} {body}\n")

    def _policy(self, principals: Document) -> Document:
        policy = super()._policy(principals)
        here = {"ssh": "good", "port": self.sshd.port, "labels": {"kind": "good"}}
        hosts = {name: {**here, "address": address(number)} for number, name in enumerate(names())}
        silent = {
            f"silent{number}": {"ssh": "good", "address": f"127.9.9.{number + 1}", "port": self.silent_port}
            for number in range(SILENT)
        }
        down = {"down": {"ssh": "good", "address": "127.9.9.99", "port": free_port()}}
        commands = {name: {**spec, "on": "*", "timeout": "30s"} for name, spec in policy["commands"].items()}
        return {
            **policy,
            "hosts": {**hosts, **silent, **down},
            "groups": {"all": {"kind": "good"}},
            "commands": commands,
            "roles": {"all": [{"commands": list(commands), "hosts": "*"}]},
            "grants": [{"to": ["ann"], "roles": ["all"]}],
        }


def names(count: int = HOSTS) -> list[str]:
    return [f"h{number:03}" for number in range(count)]


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


@contextlib.contextmanager
def silence() -> Iterator[int]:
    """Listen on all loopback addresses, accept and say nothing; yields the port."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen(256)
        held: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    held.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()
