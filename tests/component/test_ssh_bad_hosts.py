"""Hosts that are strange, full or hostile: each run ends inside its timeouts with an error that says what to mend.

No bad host disturbs a run on a good one, nor does it make the service grow.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.bad_ssh import Act, BadServers, Stage
from tests.support.remote import machine
from tests.support.service import Remote, Service
from tests.support.sshd import Machine, Sshd
from tests.support.strange_hosts import check_good, run_on, verdict

pytestmark = pytest.mark.timeout(240)

GROWTH = 48 * 1024 * 1024
"""Bytes that the service may grow by at its peak, whatever a host sends."""

# -- servers that misbehave at each stage


STAGES: Sequence[Stage] = ("accept", "version", "login", "channel", "exec", "running")
ACTS: Sequence[Act] = ("silent", "close", "garbage")
BAD: Mapping[str, tuple[Stage, Act]] = {f"{stage}_{act}": (stage, act) for stage in STAGES for act in ACTS}
ENDLESS: Mapping[str, tuple[Stage, Act]] = {
    "lines": ("accept", "endless"),
    "banners": ("login", "endless"),
    "noise": ("running", "endless"),
}

NO_CHANNEL = {("failed", "channel_refused"), ("failed", "login_shell_failed")}
"""The login worked, and what the service asked for then was not done; nothing ran."""

NO_SHELL = {("failed", "login_shell_failed")}

EXPECTED: Mapping[str, set[tuple[str, str]]] = {
    **{f"accept_{act}": {("failed", "connect_failed")} for act in ACTS},
    **{f"version_{act}": {("failed", "connect_failed")} for act in ACTS},
    "login_silent": {("failed", "login_failed")},
    "login_close": {("failed", "connect_failed")},
    "login_garbage": {("failed", "login_failed")},
    **{f"channel_{act}": NO_CHANNEL for act in ACTS},
    **{f"exec_{act}": NO_CHANNEL for act in ACTS},
    **{f"running_{act}": NO_SHELL for act in ACTS},
    "lines": {("failed", "connect_failed")},
    "banners": {("failed", "login_failed")},
    "noise": NO_SHELL,
}


@contextmanager
def growth(service: Service) -> Iterator[list[int]]:
    """Measure by how many bytes the service was larger at its peak than at the start."""
    grown: list[int] = []
    before = _memory(service, "VmRSS")
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")  # the peak starts anew
    yield grown
    grown.append(_memory(service, "VmHWM") - before)


def _memory(service: Service, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{service.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


# -- real servers, set up badly


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A server that is set up in a way of its own. `rc` is the .bashrc of an account whose shell is bash."""

    config: Sequence[str] = ()
    login_shell: str = "/bin/sh"
    home: str = "/"
    rc: str = ""
    machine: Machine = field(default_factory=Machine)
    expected: Sequence[tuple[str, str | None]] = (("succeeded", None),)
    full: int = 0
    """The size of the banner, in bytes."""


REFUSED = (("failed", "channel_refused"),)
SHELL_FAILED = (("failed", "login_shell_failed"),)
NOISE = "head -c 100000 /dev/zero | tr '\\0' x; echo; head -c 100000 /dev/zero | tr '\\0' y >&2; echo >&2"
FULL_TMP = """
    mount -t tmpfs none /run && mkdir /run/sshd /run/kept && mount --bind /tmp /run/kept
    mount -t tmpfs -o size=16k,mode=1777 none /tmp
    for folder in "$1" "$2"; do
        case $folder in /tmp/*) mkdir -p "$folder" && mount --bind "/run/kept/${folder#/tmp/}" "$folder" ;; esac
    done
    dd if=/dev/zero of=/tmp/fill bs=1k count=64 2>/dev/null || true
"""

ODD: Mapping[str, Odd] = {
    "no_session": Odd(config=["MaxSessions 0"], expected=REFUSED),
    "one_session": Odd(config=["MaxSessions 1"]),
    "two_sessions": Odd(config=["MaxSessions 2"]),
    "few_startups": Odd(config=["MaxStartups 1"]),
    "bare": Odd(machine=machine("sh")),
    "bare_one_session": Odd(machine=machine("sh"), config=["MaxSessions 1"]),
    "bare_two_sessions": Odd(machine=machine("sh"), config=["MaxSessions 2"]),
    "large_banner": Odd(full=1_000_000),
    "noise": Odd(login_shell="/bin/bash", rc=NOISE),
    "endless_noise": Odd(login_shell="/bin/bash", rc="yes noise", expected=SHELL_FAILED),
    "hang": Odd(login_shell="/bin/bash", rc="exec sleep 60", expected=SHELL_FAILED),
    "leaves": Odd(login_shell="/bin/bash", rc="exit 3", expected=SHELL_FAILED),
    "nologin": Odd(login_shell="/usr/sbin/nologin", expected=SHELL_FAILED),
    "false": Odd(login_shell="/bin/false", expected=SHELL_FAILED),
    "no_shell": Odd(login_shell="/nonexistent/shell", expected=(("failed", "login_failed"),)),
    "forced": Odd(config=["ForceCommand echo only this"], expected=SHELL_FAILED),
    "forced_sftp": Odd(config=["ForceCommand internal-sftp"], expected=SHELL_FAILED),
    "forced_hang": Odd(config=["ForceCommand sleep 60"], expected=SHELL_FAILED),
    "restricted": Odd(config=["DisableForwarding yes", "PermitTTY no", "PermitUserRC no"]),
    "homeless": Odd(home="/nonexistent/home"),
    "full_tmp": Odd(machine=Machine(setup=FULL_TMP)),
    "no_forks": Odd(
        machine=Machine(uid=61235, setup="prlimit --nproc=1 --pid $$"),
        expected=(*REFUSED, *SHELL_FAILED, ("failed", "spawn_failed")),
    ),
}


@contextmanager
def odd_server(folder: Path, odd: Odd) -> Iterator[Sshd]:
    config = list(odd.config)
    folder.mkdir(parents=True)
    if odd.full:
        (folder / "banner").write_text("x" * 79 + "\n" * (odd.full // 80))
        config.append(f"Banner {folder / 'banner'}")
    there, home = odd.machine, odd.home
    if odd.rc:
        there, home = replace(there, setup=_home(odd.rc)), "/run/home"
    with Sshd.start(folder / "sshd", config=config, shell=odd.login_shell, home=home, machine=there) as sshd:
        yield sshd


def _home(rc: str) -> str:
    """A home directory on a file system of its own, with this .bashrc."""
    return f"""
        mount -t tmpfs none /run && mkdir -p /run/sshd /run/home && chmod 755 /run/sshd
        cat >/run/home/.bashrc <<'END'
{rc}
END
    """


HANGING = ("hang", "forced_hang")
"""Each takes the whole time-out of a start, so they take it beside the bad servers."""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service and all hosts that take their time to fail."""
    folder = tmp_path_factory.mktemp("bad")
    with ExitStack() as stack:
        servers = stack.enter_context(BadServers.start(folder / "servers", {**BAD, **ENDLESS}))
        hanging = {name: stack.enter_context(odd_server(folder / name, ODD[name])) for name in HANGING}
        remotes = {**servers.remotes, **{name: Remote.of(sshd) for name, sshd in hanging.items()}}
        yield stack.enter_context(Service.running(folder / "service", remotes=remotes))


def test_hosts_that_never_get_there(bad: Service) -> None:
    """Silent, closing or talking without an end, at each stage, all at once: each run ends in time and says which it was.

    They cost little memory and nobody else's time.
    """
    expected: dict[str, set[tuple[str, str | None]]] = {
        **{name: set(seen) for name, seen in EXPECTED.items()},
        **{name: set(ODD[name].expected) for name in HANGING},
    }
    check_good(bad)
    with growth(bad) as grown, ThreadPoolExecutor(len(expected)) as pool:
        runs = {name: pool.submit(run_on, bad, name) for name in expected}
        time.sleep(1)
        check_good(bad)
        assert not all(run.done() for run in runs.values()), "the good host waited for the bad ones"
        seen = {name: verdict(run.result()) for name, run in runs.items()}
    assert {name: seen[name] for name in seen if seen[name] not in expected[name]} == {}
    assert grown[0] < GROWTH


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("odd")
    with ExitStack() as stack:
        made = {name: stack.enter_context(odd_server(folder / name, ODD[name])) for name in ODD if name not in HANGING}
        remotes = {name: Remote.of(sshd) for name, sshd in made.items()}
        with Service.running(folder / "service", remotes=remotes) as service:
            yield service


@pytest.mark.parametrize("name", [name for name in ODD if name not in HANGING])
def test_odd_host(odd: Service, name: str) -> None:
    """What can work works, with the command's own output and nothing else; what cannot says why, in time."""
    with growth(odd) as grown, ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_on, odd, name, "count", params={"to": 3})
        check_good(odd)
        job = run.result()
    assert verdict(job) in ODD[name].expected, job
    if job["ok"]:
        assert job["stdout"] == "1\n2\n3\n"
    assert grown[0] < GROWTH


SMALL = ("one_session", "two_sessions", "few_startups", "bare_one_session", "bare_two_sessions")


@pytest.mark.parametrize("name", SMALL)
def test_many_runs_on_a_small_host(odd: Service, name: str) -> None:
    """Runs wait for a free channel or take another connection; the host's limits fail none of them."""
    with ThreadPoolExecutor(12) as pool:
        ended = list(pool.map(lambda _: run_on(odd, name, "stamp"), range(12)))
    assert [verdict(job) for job in ended] == [("succeeded", None)] * 12
