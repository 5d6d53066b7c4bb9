"""`isolation: namespace`: a run that sees no process but its own, and of which a kill of everything leaves nothing."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from cmdhttp.execution.model import Exited, News, Output, Stop, Stopped, StopReason, Stream
from cmdhttp.plan.model import LocalTarget, Step
from cmdhttp.policy.compiled import Limits
from tests.support.broker import Place, trusting_place
from tests.support.sshd import descendants, is_alive

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with trusting_place(tmp_path_factory.mktemp("runs")) as shared:
        yield shared


def isolated(text: str, *, account: str | None = None, limits: Limits | None = None) -> Step:
    return Step(
        run=0,
        host="local",
        target=LocalTarget(account=account, isolated=True),
        argv=("/bin/sh", "-c", text),
        env={},
        timeout=20,
        output_limit=1 << 20,
        limits=limits or Limits(),
    )


class Told:
    def __init__(self) -> None:
        self.data = b""
        self.printed = anyio.Event()

    async def __call__(self, event: News) -> None:
        if isinstance(event, Output) and event.stream is Stream.STDOUT:
            self.data += event.data
            self.printed.set()


async def ran(place: Place, step: Step) -> tuple[Exited, str]:
    told = Told()
    with anyio.fail_after(15):
        exited = await place.go(step, emit=told)
    assert not place.folder.exists()
    return exited, told.data.decode()


async def test_it_sees_no_process_but_its_own(place: Place) -> None:
    """Its /proc shows the first process of its namespace, itself and what it starts, and it can signal nobody else."""
    exited, printed = await ran(
        place, isolated(f"echo $$; ls /proc | grep -c '^[0-9]'; kill -0 {os.getpid()} || echo gone")
    )
    assert exited == Exited(exit_code=0)
    own, seen, other = printed.split()
    assert (own, seen in {"3", "4"}, other) == ("2", True, "gone")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("exit 7", Exited(exit_code=7)), ("exit 143", Exited(exit_code=143)), ("kill -USR1 $$", Exited(signal="USR1"))],
)
async def test_it_ends_as_its_command_does(place: Place, text: str, expected: Exited) -> None:
    """Exit status and signal are the command's, and one is never taken for the other."""
    assert (await ran(place, isolated(text)))[0] == expected


async def test_a_missing_program(place: Place) -> None:
    """What cannot be started is said as without isolation."""
    step = Step(
        run=0,
        host="local",
        target=LocalTarget(isolated=True),
        argv=("/usr/bin/no-such-program",),
        env={},
        timeout=5,
        output_limit=9,
    )
    exited, _ = await ran(place, step)
    assert exited.error is not None
    assert "no such program" in exited.error.detail


async def test_daemons_end_with_the_command(place: Place) -> None:
    """The end of the command is the end of all that it has started, without waiting for the drain."""
    exited, printed = await ran(place, isolated("setsid sleep 987 >/dev/null 2>&1 & echo started"))
    assert (exited, printed) == (Exited(exit_code=0), "started\n")
    assert not [pid for pid in descendants(os.getpid()) if b"987" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_account_and_limits(place: Place) -> None:
    """Both hold within the namespace; the account has no way back to the rights that made it."""
    text = "id -u; id -g; grep -c . /proc/self/status; ulimit -n; grep CapEff /proc/self/status; stat -c %u ."
    exited, printed = await ran(place, isolated(text, account="nobody", limits=Limits(files=77)))
    assert exited == Exited(exit_code=0)
    uid, gid, _, files, _, capabilities, owner = printed.split()
    assert (uid, gid, files, int(capabilities, 16), owner) == ("65534", "65534", "77", 0, "65534")


async def test_term_reaches_the_command(place: Place) -> None:
    """A stop asks the command first, which may end in its own way."""
    told, stop, ended = Told(), Stop(), []

    async def go() -> None:
        step = isolated("trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
        ended.append(await place.go(step, emit=told, stop=stop))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(go)
            await told.printed.wait()
            stop.request(StopReason.CANCEL)
    assert ended == [Exited(exit_code=9, stopped=Stopped.CONFIRMED)]
    assert told.data == b"ready\nbye\n"


async def test_a_kill_of_broker_and_guards_at_once_leaves_nothing(tmp_path: Path) -> None:
    """No sweep is needed: the kernel ends the namespace when the process above it ends."""
    told = Told()
    async with trusting_place(tmp_path) as place:
        text = "setsid env -i /bin/sh -c 'cd /; trap \"\" TERM HUP; while :; do sleep 1; done' & echo started; sleep 60"
        async with anyio.create_task_group() as group:

            async def go() -> None:
                await place.go(isolated(text), emit=told)

            group.start_soon(go)
            with anyio.fail_after(10):
                await told.printed.wait()
            assert place.link.pid is not None
            broker = place.link.pid
            guards = [int(pid) for pid in Path(f"/proc/{broker}/task/{broker}/children").read_text().split()]
            family = descendants(broker)
            assert len(family) >= len(guards) + 4
            os.kill(broker, signal.SIGSTOP)
            for pid in [*guards, broker]:
                os.kill(pid, signal.SIGKILL)
            with anyio.fail_after(1):
                while any(map(is_alive, family)):
                    await anyio.sleep(0.01)
