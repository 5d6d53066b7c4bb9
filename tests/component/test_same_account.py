"""A command that runs as the service's own account, which tries to look into the processes of the service.

The service is started without the rights to look into any process, as it has none where it is not root; what remains is what an
account may do to its own processes.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.service import Document, Service, wait_until
from tests.support.sshd import descendants

_PREFIX = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin")
_PARTS = ("environ", "maps", "mem", "fd/0")
_LOOK = """
import os, sys
for part in sys.argv[2:]:
    path = f"/proc/{sys.argv[1]}/{part}"
    try:
        os.readlink(path) if part == "fd/0" else open(path, "rb").close()
    except PermissionError:
        print(part, "denied")
    else:
        print(part, "open")
"""


class OwnAccount(Service):
    """Publishes a look at a process."""

    commands: ClassVar[Mapping[str, Document]] = {
        "look": {
            "run": [sys.executable, "-I", "-c", _LOOK, "<pid>", *_PARTS],
            "params": {"pid": {"type": "int", "min": 1}},
            "on": "local",
        },
        "exit": {"run": ["/usr/bin/true"], "on": "local"},
        "private": {"run": ["/usr/bin/true"], "on": "local"},
        "sleep": {"run": ["/usr/bin/sleep", "20"], "on": "local"},
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnAccount]:
    folder = tmp_path_factory.mktemp("own") / "service"
    with OwnAccount.running(folder, prefix=_PREFIX) as running:
        yield running


def looked(service: OwnAccount, pid: int) -> set[str]:
    return set(service.result("look", {"params": {"pid": pid}})["stdout"].splitlines())


def holding(service: OwnAccount, words: bytes) -> list[int]:
    return [
        pid for pid in (service.pid, *descendants(service.pid)) if words in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.parametrize(("words", "count"), [(b"cmdhttp.cli.main", 1), (b"cmdhttp.broker", 1), (b"guard.main", 2)])
def test_front_broker_and_guards_show_nothing(service: OwnAccount, words: bytes, count: int) -> None:
    """Neither memory nor environment, where passwords of `env:` are, nor descriptors: sockets to the broker, output of others."""
    found = holding(service, words)
    assert len(found) >= count
    for pid in found:
        assert looked(service, pid) == {f"{part} denied" for part in _PARTS}


def test_a_command_is_as_any_program_is(service: OwnAccount) -> None:
    """It is not hidden, so this look would see something."""
    job = service.launch("sleep")
    wait_until(lambda: holding(service, b"/usr/bin/sleep"), "it runs")
    [pid] = holding(service, b"/usr/bin/sleep")
    assert looked(service, pid) == {f"{part} open" for part in _PARTS}
    service.cancel(job["id"])
