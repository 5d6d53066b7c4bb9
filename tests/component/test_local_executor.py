"""The local executor with real processes."""

import errno
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.local import executor
from cmdhttp.execution.local.wire import close_all, send
from cmdhttp.execution.model import (
    Collected,
    Exited,
    LeftOut,
    News,
    Output,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.plan.model import LocalTarget, Step
from cmdhttp.policy.compiled import Collect, Script
from tests.support.broker import Place, context_of, trusting_place
from tests.support.sshd import is_alive

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with trusting_place(tmp_path_factory.mktemp("runs")) as shared:
        yield shared


@dataclass
class Told:
    events: list[News] = field(default_factory=list)
    started: anyio.Event = field(default_factory=anyio.Event)
    printed: anyio.Event = field(default_factory=anyio.Event)

    async def emit(self, event: News) -> None:
        self.events.append(event)
        (self.started if isinstance(event, Started) else self.printed).set()

    def text(self, stream: Stream = Stream.STDOUT) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Output) and event.stream is stream)


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    """No test may leave a descriptor, a child beside the broker, or the run's folder."""
    before = descriptors()
    yield shared
    gc.collect()
    assert list(shared.runs.iterdir()) == []
    assert descriptors() <= before
    assert os.waitpid(-1, os.WNOHANG) == (0, 0), "the broker lives"


def descriptors() -> set[str]:
    """What is open of the kinds that a run opens."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return {name for name in found if name.startswith(("pipe:", "/memfd", "anon_inode:[pidfd"))}


async def gone(pid: int) -> bool:
    """Whether a process that was killed has ended; the kernel takes a moment for one that is not our child."""
    for _ in range(200):
        if not is_alive(pid):
            return True
        await anyio.sleep(0.005)
    return False


def step(*argv: str, env: dict[str, str] | None = None, stdin: bytes | None = None, script: str | None = None) -> Step:
    return Step(
        run=0,
        host="local",
        target=LocalTarget(),
        argv=argv,
        env=env or {},
        script=Script(interpreter=("/bin/sh",), text=script, sha256="") if script is not None else None,
        stdin=stdin,
        timeout=10,
        output_limit=1 << 30,
    )


def sh(text: str) -> Step:
    return step("/bin/sh", "-c", text)


async def run(what: Step, place: Place, *, stop: Stop | None = None) -> tuple[Exited, Told]:
    told = Told()
    with anyio.fail_after(15):
        return await place.go(what, emit=told.emit, stop=stop), told


async def test_environment_from_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process sees a fixed set of variables and those of the policy, and nothing of the service's own."""
    monkeypatch.setenv("CANARY_SECRET", "x")
    _, told = await run(step("/usr/bin/env", "-0", env={"A": "1\n2", "CMDHTTP_JOB_ID": "forged"}), place)
    got = dict(item.split("=", 1) for item in told.text().decode().split("\0") if item)
    assert set(got) == {"A", "CMDHTTP_JOB_ID", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "USER"}
    assert (got["A"], got["CMDHTTP_JOB_ID"]) == ("1\n2", place.job)
    assert got["TMPDIR"] == str(place.folder)


async def test_a_private_folder_that_goes(place: Place) -> None:
    """A run works in a folder of its own, of mode 0700, with a strict umask; it goes, whatever is in it."""
    text = "pwd; stat -c %a . ..; umask; mkdir -p deep/er; touch deep/er/x; chmod 0 deep; ln -s / away"
    exited, told = await run(sh(text), place)
    assert exited == Exited(exit_code=0)
    assert told.text().decode().split() == [str(place.folder), "700", "700", "0077"]
    assert Path("/usr").exists()


async def test_no_descriptor_is_inherited(place: Place) -> None:
    """A process has stdin, stdout and stderr, and no other descriptor of the service."""
    with (place.runs.parent / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        _, told = await run(step("/bin/ls", "/proc/self/fd"), place)
    assert told.text().split() == [b"0", b"1", b"2", b"3"], "3 is the folder that ls reads"


@pytest.mark.parametrize("value", ["$(id)", "; id", "a b", "", "-n", "'\"", "\\x41", "é\n"])
async def test_argv_is_handed_over_untouched(place: Place, value: str) -> None:
    """What stands in the plan is byte for byte what the process gets."""
    _, told = await run(step("/usr/bin/printf", "%s|%s", value, "end"), place)
    assert told.text() == f"{value}|end".encode()


async def test_stdin(place: Place) -> None:
    """Stdin is what the step says, far more than a pipe holds, or empty."""
    data = os.urandom(1 << 20)
    _, told = await run(step("/bin/cat", stdin=data), place)
    assert told.text() == data
    _, told = await run(step("/bin/cat"), place)
    assert told.text() == b""


async def test_a_script(place: Place) -> None:
    """A script is run from a file that only the account reads, with its arguments and exit code."""
    exited, told = await run(step("a b", "c", script='stat -c %a "$0"; echo "$#:$1"; exit 7'), place)
    assert (exited.exit_code, told.text()) == (7, b"400\n2:a b\n")


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("exit 3", 3, None),
        ("kill -KILL $$", None, "KILL"),
        ("kill -34 $$", None, "RTMIN"),
        ("kill -40 $$", None, "RTMIN+6"),
        ("kill -33 $$", None, "33"),
    ],
)
async def test_how_it_ended(place: Place, text: str, code: int | None, name: str | None) -> None:
    """An exit code or a signal's name, never both."""
    exited, _ = await run(sh(text), place)
    assert exited == Exited(exit_code=code, signal=name)


@pytest.mark.parametrize("program", ["/nonexistent", "/etc", "/etc/passwd", "/etc/passwd/x"])
async def test_what_cannot_be_started(place: Place, program: str) -> None:
    """A program that is missing or not executable is an end with an error, not an exception, and nothing started."""
    exited, told = await run(step(program, "CANARY"), place)
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.SPAWN_FAILED
    assert "CANARY" not in repr(exited)
    assert told.events == []


async def test_arguments_too_large_for_the_kernel(place: Place) -> None:
    """An argument that the kernel refuses is an end with an error that says so."""
    exited, _ = await run(step("/bin/true", "x" * 131_072), place)
    assert exited.error is not None
    assert "too large" in exited.error.detail


async def test_a_file_without_format(place: Place, tmp_path: Path) -> None:
    """An executable file that the kernel cannot run is not handed to a shell."""
    path = tmp_path / "program"
    path.write_text("echo no")
    path.chmod(0o755)
    exited, _ = await run(step(str(path)), place)
    assert exited.error is not None
    assert "format" in exited.error.detail


async def test_a_child_that_holds_stdout(place: Place) -> None:
    """A background child that keeps stdout open holds the run up for the drain only, and is then killed."""
    since = time.monotonic()
    exited, told = await run(sh("sleep 60 & echo $!; exit 4"), place)
    assert exited == Exited(exit_code=4)
    assert time.monotonic() - since < 3
    assert await gone(int(told.text()))


async def test_a_closed_stdout_goes_on(place: Place) -> None:
    """A process that closes both streams is waited for all the same."""
    exited, _ = await run(sh("exec >&- 2>&-; sleep 0.3; exit 5"), place)
    assert exited == Exited(exit_code=5)


async def test_many_small_writes(place: Place) -> None:
    """A hundred thousand writes of one byte arrive complete."""
    exited, told = await run(step("/bin/dd", "if=/dev/zero", "bs=1", "count=100000", "status=none"), place)
    assert (exited.exit_code, told.text()) == (0, bytes(100_000))


async def test_two_streams(place: Place) -> None:
    """Stdout and stderr are told apart, to their last byte."""
    _, told = await run(sh("printf out; printf err >&2"), place)
    assert (told.text(), told.text(Stream.STDERR)) == (b"out", b"err")


async def test_term_then_kill(place: Place) -> None:
    """A process that ignores TERM is killed after the grace, with its children, and that is known."""
    stop = Stop()
    told = Told()
    ended: list[Exited] = []

    async def go() -> None:
        text = "trap '' TERM; sleep 60 & echo $!; while :; do sleep 1; done"
        ended.append(await place.go(sh(text), emit=told.emit, stop=stop))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(go)
            await told.printed.wait()
            stop.request(StopReason.CANCEL)
    assert ended == [Exited(signal="KILL", stopped=Stopped.CONFIRMED)]
    assert await gone(int(told.text()))


async def test_term_is_enough(place: Place) -> None:
    """A process that ends at TERM may say so with its own exit code."""
    stop = Stop()
    told = Told()
    ended: list[Exited] = []

    async def go() -> None:
        text = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
        ended.append(await place.go(sh(text), emit=told.emit, stop=stop))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(go)
            await told.printed.wait()
            stop.request(StopReason.TIMEOUT)
    assert ended == [Exited(exit_code=9, stopped=Stopped.CONFIRMED)]
    assert told.text() == b"ready\nbye\n"


async def test_stopped_before_it_began(place: Place) -> None:
    """A run that was stopped before its start starts nothing."""
    stop = Stop()
    stop.request(StopReason.CANCEL)
    exited, told = await run(sh("echo no"), place, stop=stop)
    assert exited == Exited(stopped=Stopped.CONFIRMED)
    assert told.events == []


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.01, 0.1])
async def test_cancellation_leaves_nothing(place: Place, delay: float) -> None:
    """Whenever the task is cancelled, process, descriptors and folder are gone."""
    told = Told()
    with anyio.move_on_after(delay):
        await place.go(sh("sleep 60"), emit=told.emit)
    for event in told.events:
        if isinstance(event, Started) and event.pid:
            assert await gone(event.pid)


async def test_a_reader_that_fails_kills_the_run(place: Place) -> None:
    """If what is told cannot be kept, the process is killed before the error goes on."""
    pids: list[int] = []

    async def emit(event: News) -> None:
        if isinstance(event, Started):
            pids.append(event.pid or 0)
        else:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(Exception) as caught:  # noqa: PT011 - a group of it, from the task group
        await place.go(sh("echo x; sleep 60"), emit=emit)
    assert "full" in repr(caught.value)
    assert await gone(pids[0])


async def test_a_slow_reader_slows_the_process(place: Place) -> None:
    """Output is read no faster than it is taken, so memory stays bounded."""
    told = Told()
    sizes: list[int] = []

    async def emit(event: News) -> None:
        await told.emit(event)
        if isinstance(event, Output):
            sizes.append(len(event.data))
            await anyio.sleep(0.02)

    exited = await place.go(step("/usr/bin/head", "-c", str(3 << 20), "/dev/zero"), emit=emit, stop=Stop())
    assert exited.exit_code == 0
    assert sum(sizes) == 3 << 20
    assert max(sizes) <= 256 << 10


async def test_no_memory_for_stdin(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is short when the order is made is an end with an error, not an exception."""

    def none_left(_name: str, _data: bytes) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(executor, "memory_file", none_left)
    exited, told = await run(step("/bin/cat", stdin=b"x"), place)
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.SPAWN_FAILED
    assert told.events == []


@pytest.mark.parametrize(("make", "kind"), [("echo $i >", Collected), ("ln -s x", LeftOut)])
async def test_a_slow_reader_gets_every_file(place: Place, make: str, kind: type[News]) -> None:
    """Files with long names of many bytes fill the guard's socket long before a slow reader has taken them."""
    folder = "/".join(["\N{LATIN SMALL LETTER E WITH ACUTE}" * 125] * 3)
    text = f"mkdir -p {folder}; cd {folder}; for i in $(seq 100); do {make} $i; done"
    told = Told()

    async def emit(event: News) -> None:
        await told.emit(event)
        if isinstance(event, kind):
            await anyio.sleep(0.02)

    what = replace(sh(text), collect=Collect(patterns=("**",), max_bytes=1 << 20))
    with anyio.fail_after(20):
        exited = await place.go(what, emit=emit)
    assert exited == Exited(exit_code=0)
    assert sum(isinstance(event, kind) for event in told.events) == 100


@dataclass
class HungGuard:
    """A line to a guard that takes an order and then says no more; `prints` is whether its run goes on printing."""

    prints: bool
    held: list[int] = field(default_factory=list)

    async def send(self, _message: Mapping[str, object], descriptors: Sequence[int]) -> None:
        self.held = [os.dup(descriptor) for descriptor in descriptors]
        if self.prints:
            with socket.socket(fileno=os.dup(self.held[2])) as control:
                send(control, {"started": os.getpid()})
            os.set_blocking(self.held[0], False)
            os.write(self.held[0], b"x" * 1000)


@pytest.mark.parametrize("prints", [False, True])
async def test_a_guard_that_hangs_is_given_up(place: Place, prints: bool) -> None:
    """A stop that the guard does not answer ends in what is true: nobody knows whether the run has ended."""
    del place
    link, told, stop = HungGuard(prints=prints), Told(), Stop()

    async def emit(event: News) -> None:
        await told.emit(event)
        if isinstance(event, Output):
            await anyio.sleep(0.01)
            os.write(link.held[0], b"x")

    what = sh("the guard does not start it")
    try:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(_request_later, stop)
                hung = executor.LocalExecutor(link=link, kill_grace=0.1, patience=0.3)
                exited = await hung.run(what, context=context_of(what), emit=emit, stop=stop)
    finally:
        close_all(link.held)
    assert exited.lost
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.GUARD_LOST
    assert "has not answered" in exited.error.detail


async def _request_later(stop: Stop) -> None:
    await anyio.sleep(0.1)
    stop.request(StopReason.TIMEOUT)
