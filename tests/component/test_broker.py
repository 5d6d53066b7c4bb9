"""The broker and a front that has been taken over: it speaks the wire as the front does, and asks for what it should not get.

Who can write to that socket can name any principal, so what is tried here is everything else. A refusal starts nothing.
"""

import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cmdhttp.broker.check import Checker, Copies, Folder, Refused, Wanted
from cmdhttp.execution.local.link import BrokerConfig
from cmdhttp.execution.local.wire import memory_file, pair, receive, send
from cmdhttp.plan.build import Wish, build_plan
from cmdhttp.plan.digest import step_digest
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import bind
from cmdhttp.reload.source import read_policy
from cmdhttp.settings import Settings
from tests.support.escaping import open_files
from tests.support.service import Document, environment, wait_until
from tests.support.sshd import descendants, is_alive

pytestmark = pytest.mark.timeout(240)
_ROOT = Path(__file__).parents[2]
JOB = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
_TOKEN = {"id": "abcdefgh", "sha256": "0" * 64}
POLICY: Document = {
    "version": 1,
    "hosts": {"far": {"address": "192.0.2.1", "ssh": "login"}},
    "ssh_profiles": {"login": {"user": "x", "auth": {"key": "file:key"}, "host_keys": {"known_hosts": "known_hosts"}}},
    "commands": {
        "echo": {
            "run": ["/bin/echo", "<word>"],
            "params": {"word": {"type": "string", "pattern": "[a-z]{1,9}"}},
            "effect": "read",
            "on": ["local", "far"],
            "timeout": "20s",
        },
        "cat": {"run": ["/bin/cat"], "stdin": {"max": "1KiB"}, "effect": "read", "on": "local"},
        "sleep": {"run": ["/bin/sleep", "60"], "effect": "read", "on": "local"},
        "private": {"run": ["/bin/true"], "effect": "read", "on": "local"},
    },
    "principals": {"ann": {"tokens": []}, "bob": {"tokens": []}},
    "roles": {
        "some": [{"commands": ["echo", "cat", "sleep"], "hosts": "local"}],
        "own": [{"commands": "private", "hosts": "local"}],
    },
    "grants": [{"to": ["ann"], "roles": ["some"]}, {"to": ["bob"], "roles": ["own"]}],
}


@dataclass(kw_only=True)
class TakenFront:
    """The front's end of the wire to a real broker, and its copy of the policy."""

    folder: Path
    process: subprocess.Popen[bytes]
    wire: socket.socket
    policy: Policy
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def order(self, of: str = "echo", /, **changed: Any) -> Document:
        """The order that an honest front would send for a command, but for what is `changed`."""
        return {
            "do": "run",
            "job": f"job_{next(self.numbers):026d}",
            "run": 0,
            "policy": self.policy.digest,
            "principal": "ann",
            "command": of,
            "host": "local",
            "params": {"word": "hi"} if of == "echo" else {},
            "timeout": None,
            "step": digest_of(self.policy, of),
            **changed,
        }

    def send(self, order: Document, *, stdin: int | None = None) -> socket.socket:
        """Order, with pipes that lead nowhere; returns our end of the control socket."""
        ours, theirs = pair()
        ours.settimeout(10)
        nowhere = os.open(os.devnull, os.O_RDWR)
        with theirs:
            descriptors = [nowhere, nowhere, theirs.fileno(), *([stdin] if stdin is not None else [])]
            send(self.wire, order, descriptors)
        os.close(nowhere)
        return ours

    def answer(self, order: Document, *, stdin: int | None = None) -> Document:
        """What comes first on the control socket."""
        with self.send(order, stdin=stdin) as control:
            return heard(control)

    def refusal(self, order: Document, *, stdin: int | None = None) -> str:
        return str(self.answer(order, stdin=stdin).get("refused"))

    def works(self) -> bool:
        """Whether the broker still runs what it may."""
        return "started" in self.answer(self.order())

    def descriptors(self) -> int:
        return open_files(self.process.pid)

    def write_policy(self, document: Document) -> None:
        (self.folder / "policies" / "policy.yaml").write_text(json.dumps(document))


def heard(control: socket.socket) -> Document:
    received = receive(control)
    assert received is not None, "the other side has closed"
    assert received[1] == []
    return received[0]


def digest_of(policy: Policy, command: str) -> str:
    asked = {"word": "hi"} if command == "echo" else {}
    found = policy.commands[command]
    return step_digest(build_plan(policy, found, ["local"], bind(found, asked), Wish()).steps[0])


@contextmanager
def taken_front(folder: Path) -> Iterator[TakenFront]:
    """A broker as the front starts it. When the wire is closed it ends, and leaves nothing."""
    policies, secrets, runs = (folder / name for name in ("policies", "secrets", "runs"))
    policies.mkdir()
    secrets.mkdir(mode=0o700)
    (secrets / "key").touch(mode=0o600)
    (policies / "known_hosts").write_text("")
    (policies / "policy.yaml").write_text(json.dumps(POLICY))
    policy = read_policy(Settings(policies=policies, secrets=secrets), now=time.time(), may_switch=True).usable()
    config = BrokerConfig(
        policies=policies,
        secrets=secrets,
        runs=runs,
        cgroup=f"cmdhttp-test-{hashlib.sha256(bytes(folder)).hexdigest()[:12]}",
        most=8,
    )
    ours, theirs = pair()
    with theirs, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cmdhttp.broker", config.text()],
            cwd=_ROOT,
            env=environment(),
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    with process, ours:
        ours.settimeout(20)
        hello = heard(ours)
        assert (hello["hello"], hello["policy"]) == (process.pid, "")
        try:
            yield TakenFront(folder=folder, process=process, wire=ours, policy=policy)
        except BaseException:
            sys.stderr.write((folder / "stderr").read_text())
            raise
        family = descendants(process.pid)
        ours.close()
        assert process.wait(15) == 0
        assert (folder / "stderr").read_text() == ""
        wait_until(lambda: not any(map(is_alive, family)), "what the broker started is gone")
        assert not runs.exists()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TakenFront]:
    with taken_front(tmp_path_factory.mktemp("broker")) as front:
        yield front


@pytest.fixture
def front(shared: TakenFront) -> Iterator[TakenFront]:
    """No test may end the broker or wear it out."""
    yield shared
    assert shared.works()


def test_what_the_policy_allows_runs(front: TakenFront) -> None:
    """The order of an honest front is obeyed, to its end."""
    with front.send(front.order()) as control:
        assert heard(control)["started"] > 0
        end = heard(control)
        assert (end["ended"], end["left"], end["by"]) == (0, 0, None)


REFUSED: dict[str, tuple[Document, str]] = {
    "no right to the command": ({"command": "private"}, "does not allow it"),
    "another's command": ({"principal": "bob"}, "does not allow it"),
    "nobody": ({"principal": "eve"}, "does not allow it"),
    "no name": ({"principal": ""}, "does not allow it"),
    "no such command": ({"command": "rm"}, "no such command"),
    "another machine": ({"host": "far"}, "no such command for this machine"),
    "no machine": ({"host": "nowhere"}, "no such command for this machine"),
    "values out of bounds": ({"params": {"word": "TOO LOUD"}}, "does not allow it"),
    "values of another kind": ({"params": {"word": ["hi"]}}, "does not allow it"),
    "values missing": ({"params": {}}, "does not allow it"),
    "values too many": ({"params": {"word": "hi", "more": 1}}, "does not allow it"),
    "another step": ({"step": "0" * 64}, "not the one"),
    "the step of other values": ({"params": {"word": "ho"}}, "not the one"),
    "no step": ({"step": ""}, "not the one"),
    "another limit": ({"timeout": 3.0}, "not the one"),
    "a limit of nothing": ({"timeout": 0}, "time limit"),
    "a limit below nothing": ({"timeout": -1.0}, "time limit"),
    "a limit that is no number": ({"timeout": float("nan")}, "time limit"),
    "a limit without end": ({"timeout": float("inf")}, "time limit"),
    "a policy that never was": ({"policy": "sha256:0"}, "have changed"),
    "a path": ({"job": "../../x"}, "no run of a job"),
    "a path behind a job": ({"job": f"{JOB}/../../x"}, "no run of a job"),
    "a job and a line": ({"job": f"{JOB}\n"}, "no run of a job"),
    "no job": ({"job": ""}, "no run of a job"),
    "a run below nothing": ({"run": -1}, "no run of a job"),
    "a run beyond all": ({"run": 10**9}, "no run of a job"),
    "a run of a thousand digits": ({"run": 10**1000}, "no run of a job"),
    "a true run": ({"run": True}, "cannot be read"),
    "a run and a half": ({"run": 1.5}, "cannot be read"),
    "a path for a run": ({"run": "../../x"}, "cannot be read"),
    "one key more": ({"argv": ["/bin/sh"]}, "cannot be read"),
    "a stdin of its own": ({"stdin": 0}, "cannot be read"),
    "an account": ({"account": "root"}, "cannot be read"),
    "lists for names": ({"policy": [], "command": {}, "principal": []}, "cannot be read"),
    "params that are a list": ({"params": ["word"]}, "cannot be read"),
    "no params": ({"params": None}, "cannot be read"),
    "a limit that is true": ({"timeout": True}, "cannot be read"),
    "a limit that is text": ({"timeout": "5"}, "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(front: TakenFront, name: str) -> None:
    """Nothing starts, and the answer says why without a value."""
    changed, why = REFUSED[name]
    told = front.answer(front.order(**changed))
    assert why in told["refused"]
    assert told["hint"]
    assert "LOUD" not in str(told)


@pytest.mark.parametrize("key", ["job", "run", "policy", "principal", "command", "host", "params", "timeout", "step"])
def test_an_order_that_lacks_something(front: TakenFront, key: str) -> None:
    """What is not said is not guessed."""
    order = front.order()
    del order[key]
    assert "cannot be read" in front.refusal(order)


# -- stdin


def test_stdin_within_the_policy(front: TakenFront) -> None:
    """A command that takes stdin gets it, up to the policy's limit."""
    stdin = memory_file("stdin", bytes(1024))
    assert "started" in front.answer(front.order("cat"), stdin=stdin)
    os.close(stdin)


@pytest.mark.parametrize(("command", "size"), [("cat", 1025), ("cat", 64 << 20), ("echo", 0), ("echo", 1)])
def test_more_stdin_than_the_policy_allows(front: TakenFront, command: str, size: int) -> None:
    """A byte too much is too much, and a command that takes none gets none."""
    stdin = memory_file("stdin", bytes(size))
    assert "so much stdin" in front.refusal(front.order(command), stdin=stdin)
    os.close(stdin)


def test_stdin_that_grows_after_it_was_measured(front: TakenFront) -> None:
    """Only what cannot change any more is a stdin: no pipe, no file, no memory that somebody may still write."""
    pipe, write = os.pipe()
    memory = os.memfd_create("growing", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    half = os.memfd_create("half", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(half, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    others = [os.open(path, os.O_RDONLY) for path in ("/dev/zero", "/etc/passwd", "/")]
    for stdin in (pipe, memory, half, *others):
        assert "could still be changed" in front.refusal(front.order("cat"), stdin=stdin)
    for descriptor in (pipe, write, memory, half, *others):
        os.close(descriptor)


# -- what is no order


def nowhere(count: int) -> list[int]:
    return [os.open(os.devnull, os.O_RDWR) for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 63, 64])
def test_descriptors_that_do_not_fit(front: TakenFront, count: int) -> None:
    """An order without a line to answer on is dropped, with all that came with it."""
    before = front.descriptors()
    descriptors = nowhere(count)
    send(front.wire, front.order(), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    assert front.works()
    wait_until(lambda: front.descriptors() <= before, "no descriptor is left")


@pytest.mark.parametrize("message", [{}, {"do": None}, {"do": []}, {"do": "exec"}, {"do": "run"}, {"do": {"run": 1}}])
def test_words_that_are_none(front: TakenFront, message: Document) -> None:
    """What the broker does not know it does not do."""
    send(front.wire, message, descriptors := nowhere(2))
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_line_that_nobody_reads(front: TakenFront) -> None:
    """A control socket that is half closed, or full, holds nobody up."""
    for how in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
        ours, theirs = pair()
        ours.shutdown(how)  # before it is handed over, which is the earliest
        descriptors = nowhere(2)
        with theirs, ours:
            send(front.wire, front.order("private"), [*descriptors, theirs.fileno()])
            send(front.wire, front.order(), [*descriptors, theirs.fileno()])
        for descriptor in descriptors:
            os.close(descriptor)
        assert front.works()
    with ExitStack() as held:
        for command in ("private", "echo", "private"):
            ours, theirs = (held.enter_context(end) for end in pair())
            fill(theirs)
            descriptors = nowhere(2)
            send(front.wire, front.order(command), [*descriptors, theirs.fileno()])
            for descriptor in descriptors:
                os.close(descriptor)
        assert front.works()


def fill(end: socket.socket) -> None:
    """Send until nothing more fits."""
    with suppress(BlockingIOError):
        while True:
            send(end, {"noise": "x" * 4096})


def raw(wire: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    socket.send_fds(wire, [data], descriptors)


def too_many(wire: socket.socket) -> None:
    descriptors = nowhere(200)
    raw(wire, b"{}", descriptors)
    for descriptor in descriptors:
        os.close(descriptor)


def a_pipe_for_a_message(wire: socket.socket) -> None:
    read, write = os.pipe()
    raw(wire, b"", [read])
    os.close(read)
    os.close(write)


NOISE = {
    "no JSON": lambda wire: raw(wire, b"\xff\x00garbage"),
    "no object": lambda wire: raw(wire, b"[1, 2]"),
    "a number": lambda wire: raw(wire, b"1"),
    "no end": lambda wire: raw(wire, b'{"do": "run"'),
    "ten thousand lists": lambda wire: raw(wire, b"[" * 30_000),
    "ten thousand lists in an order": lambda wire: raw(wire, b'{"do":' + b"[" * 30_000),
    "more than a packet": lambda wire: raw(wire, b'{"do":"' + b"x" * 70_000 + b'"}'),
    "two hundred descriptors": too_many,
    "a pipe for a message": a_pipe_for_a_message,
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_the_end(tmp_path: Path, name: str) -> None:
    """What no front of ours would send ends the broker as the front's death would: nothing that it ran is left."""
    with taken_front(tmp_path) as front:
        control = front.send(front.order("sleep"))
        pid = heard(control)["started"]
        NOISE[name](front.wire)
        assert front.process.wait(10) == 0
        wait_until(lambda: not is_alive(pid), "what ran has been ended")
        assert heard(control)["by"] == "broker"
        control.close()


# -- many


def test_five_hundred_orders_at_once(front: TakenFront) -> None:
    """More than the service is set to run is refused, and no more guards are started than that takes."""
    controls = [front.send(front.order("sleep")) for _ in range(500)]
    told = [heard(control) for control in controls]
    started = [answer["started"] for answer in told if "started" in answer]
    refused = [answer["refused"] for answer in told if "refused" in answer]
    assert len(started) + len(refused) == 500
    assert 8 <= len(started) <= 24
    assert all("more runs are under way" in why for why in refused)
    for control in controls:
        control.close()
    wait_until(lambda: not any(map(is_alive, started)), "a closed line ends each run")
    wait_until(front.works, "there is room again")


def test_a_thousand_refusals_leave_nothing(front: TakenFront) -> None:
    """No descriptor, no process and no folder is left of what was refused."""
    assert front.works()
    before, family = front.descriptors(), len(descendants(front.process.pid))
    for _ in range(1000):
        assert "does not allow it" in front.refusal(front.order("private"))
    wait_until(lambda: front.descriptors() <= before, "no descriptor is left")
    assert len(descendants(front.process.pid)) <= family


def test_two_orders_for_one_run(front: TakenFront) -> None:
    """A run that is under way is not touched by another order for it."""
    order = front.order("sleep")
    with front.send(order) as first:
        pid = heard(first)["started"]
        again = front.answer(order)
        assert "under way" in again["refused"]
        assert is_alive(pid)
        assert (front.folder / "runs" / f"{order['job']}.0").is_dir()


# -- the policy


def without(command: str) -> Document:
    """The policy, but ann may no longer run `command`."""
    left = [name for name in ("echo", "cat", "sleep") if name != command]
    return {**POLICY, "roles": {**POLICY["roles"], "some": [{"commands": left, "hosts": "local"}]}}


def test_a_call_that_was_decided_just_before_a_reload_still_runs(tmp_path: Path) -> None:
    """The copies are kept for a moment, each with its own rights; three of them, and no policy that was never there."""
    with taken_front(tmp_path) as front:
        old = front.order("echo")
        front.write_policy(without("echo"))
        assert "have changed" in front.refusal({**old, "policy": "sha256:1"})
        assert "started" in front.answer(old)
        new = read_policy(
            Settings(policies=tmp_path / "policies", secrets=tmp_path / "secrets"), now=time.time(), may_switch=True
        ).usable()
        assert "does not allow it" in front.refusal({**front.order("echo"), "policy": new.digest})
        for text in ("a", "b", "c"):
            front.write_policy({**without("echo"), "hosts": {**POLICY["hosts"], text: POLICY["hosts"]["far"]}})
            send(front.wire, {"do": "policy", "asked": text})
            news = heard(front.wire)
            assert (news["policy"], len(news["held"]), news["asked"]) == ("", 3, text)
        assert "have changed" in front.refusal(front.order("echo"))


def test_a_front_that_says_nothing_of_a_change(tmp_path: Path) -> None:
    """The broker sees for itself that the files have changed, and says what it makes of them."""
    with taken_front(tmp_path) as front:
        time.sleep(2.1)
        front.write_policy(without("echo"))
        assert front.works(), "with the copy that it was decided by"
        news = heard(front.wire)
        assert (news["policy"], news["held"][0], len(news["held"])) == ("", front.policy.digest, 2)


def test_a_copy_that_was_replaced_counts_for_a_few_minutes(front: TakenFront) -> None:
    """Rights that were taken away are gone after five minutes, however quiet the front is and however long nothing changes."""
    now = 1000.0
    policies = [front.policy, replace(front.policy, digest="sha256:new")]
    state = ["old"]
    folder = Folder(load=lambda: policies[0], state=lambda: state[0])
    checker = Checker(folder, runs="/nowhere", monotonic=lambda: now)
    assert checker.refresh() == Copies(wrong="", held=(front.policy.digest,))
    del policies[0]
    state[0] = "new"
    assert checker.look() is None, "it has only just looked"
    now += 3
    assert checker.look() == Copies(wrong="", held=(front.policy.digest, "sha256:new"))
    assert checker.order(wanted(front)), "decided a moment before"
    now += 299
    assert checker.look() is None
    assert checker.order(wanted(front))
    now += 2
    assert checker.look() is None
    with pytest.raises(Refused, match="have changed"):
        checker.order(wanted(front))


def test_where_only_the_admin_says_when_it_does_not_look(front: TakenFront) -> None:
    """With `policy_poll` 0 an edit that nobody has asked to be read takes nothing away, however long it lies there."""
    now = 1000.0
    state = "old"
    folder = Folder(load=lambda: front.policy, state=lambda: state)
    checker = Checker(folder, runs="/nowhere", by_itself=False, monotonic=lambda: now)
    checker.refresh()
    state = "new"
    now += 1000
    assert checker.look() is None
    assert checker.order(wanted(front))


def wanted(front: TakenFront) -> Wanted:
    return Wanted.read({key: value for key, value in front.order().items() if key != "do"}, stdin=None)


def test_a_broken_policy_folder(tmp_path: Path) -> None:
    """What cannot be loaded allows nothing new, and it is said what is wrong."""
    with taken_front(tmp_path) as front:
        (tmp_path / "policies" / "policy.yaml").write_text("version: [")
        send(front.wire, {"do": "policy"})
        assert "policy.yaml" in heard(front.wire)["policy"]
        why = front.refusal(front.order(policy="sha256:1"))
        assert "policy.yaml" in why
        (tmp_path / "policies" / "policy.yaml").unlink()
        (tmp_path / "policies").rename(tmp_path / "elsewhere")
        assert front.refusal(front.order(policy="sha256:1"))
        (tmp_path / "elsewhere").rename(tmp_path / "policies")
        front.write_policy(POLICY)
        send(front.wire, {"do": "policy"})
        assert front.works()


def test_signals_that_a_terminal_sends_to_all(front: TakenFront) -> None:
    """The broker ends when the front does, and at no signal that can be ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(front.process.pid, number)
    assert front.works()
