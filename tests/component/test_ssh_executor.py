"""The SSH executor against a real OpenSSH server, and against things that only pretend to be one."""

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from cmdhttp.execution.model import (
    Exited,
    News,
    Output,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    StopReason,
)
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.plan.model import KeyFile, LocalTarget, Shell, Step
from cmdhttp.policy.compiled import Script
from tests.support.leaks import nothing_left
from tests.support.ssh_runs import CONTEXT, Told, closing, run, sh, step_for, target_of
from tests.support.sshd import Sshd, is_alive, make_key

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd.start(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd.start(tmp_path / "sshd") as server:
        yield server


@contextlib.contextmanager
def running(told: Told) -> Iterator[None]:
    """Kill, in the end, the processes whose ids a command printed."""
    try:
        yield
    finally:
        for word in told.bytes_of().split():
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(word), signal.SIGKILL)


async def gone(pid: int) -> bool:
    for _ in range(300):
        if not is_alive(pid):
            return True
        await anyio.sleep(0.01)
    return False


async def ended(mark: str) -> bool:
    """Say whether no process with `mark` among its arguments is there, after a moment for a late one to show itself."""
    await anyio.sleep(0.05)
    for _ in range(300):
        if not any(mark.encode() in line for line in command_lines()):
            return True
        await anyio.sleep(0.01)
    return False


def command_lines() -> Iterator[bytes]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                descriptor = os.open(process / "cmdline", os.O_RDONLY)
                try:
                    yield os.read(descriptor, 1 << 16)
                finally:
                    os.close(descriptor)


# Ends


@pytest.mark.parametrize("code", [0, 1, 3, 125, 255])
async def test_exit_code(sshd: Sshd, code: int) -> None:
    """The exit code of the program is the exit code of the run."""
    exited, told = await run(sh(target_of(sshd), f"exit {code}"))
    assert exited == Exited(exit_code=code)
    assert [type(event) for event in told.events] == [Started]


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "USR1"])
async def test_death_by_signal(sshd: Sshd, name: str) -> None:
    """A program that dies of a signal has that signal and no exit code."""
    exited, _ = await run(sh(target_of(sshd), f"kill -{name} $$"))
    assert exited == Exited(signal=name)


async def test_unnamed_signal(sshd: Sshd) -> None:
    """A signal for which SSH has no name is told all the same."""
    exited, _ = await run(sh(target_of(sshd), "kill -BUS $$"))
    assert exited == Exited(signal="BUS")


async def test_missing_program(sshd: Sshd) -> None:
    """A program that is not there was not started, and the run says why without its name."""
    exited, told = await run(step_for(target_of(sshd), "/usr/bin/canary-5512"))
    assert exited.error is not None
    assert exited == Exited(error=exited.error)
    assert exited.error.code is RunErrorCode.SPAWN_FAILED
    assert "No such file" in exited.error.detail
    assert "canary" not in f"{exited.error}"
    assert told.events == []


async def test_program_that_may_not_be_executed(sshd: Sshd) -> None:
    """A file that is no program was not started."""
    exited, _ = await run(step_for(target_of(sshd), "/etc/passwd"))
    assert exited.error is not None
    assert "denied" in exited.error.detail
    assert exited.error.code is RunErrorCode.SPAWN_FAILED


async def test_own_exit_code_127(sshd: Sshd) -> None:
    """A program that printed something and exits 127 had certainly started."""
    exited, _ = await run(sh(target_of(sshd), "echo started; exit 127"))
    assert exited == Exited(exit_code=127)


async def test_remote_id_names_the_connection(own_sshd: Sshd) -> None:
    """The remote id is what the host's own log calls the connection."""
    _, told = await run(step_for(target_of(own_sshd), "/bin/true"))
    started = told.events[0]
    assert isinstance(started, Started)
    assert started.remote_id is not None
    port = started.remote_id.rsplit(":", 1)[1]
    assert f"Accepted publickey for {own_sshd.account} from 127.0.0.1 port {port}" in own_sshd.log


# Values


async def test_nasty_values_arrive_exactly(sshd: Sshd) -> None:
    """Hundreds of arguments that mean something to some shell arrive byte for byte."""
    chance = random.Random(20)
    nasty = [
        *"\"'`$\\!*?[]{}()<>|&;#~%^=\t\n\r -",
        "",
        "$(id)",
        "`id`",
        "-n",
        "--",
        "a\nb",
        "\n",
        "x\n\n",
        "%s%n",
        "\\0101",
    ]
    nasty += [chr(code) for code in range(1, 256)] + ["é", "\u202e", "\U0001f600", "x'\"x", "\\c", "$IFS", "!!", "*"]
    nasty += ["".join(chance.choices("ab '\"\\$`\n!%;&|(){}é0137x", k=12)) for _ in range(250)]
    exited, told = await run(step_for(target_of(sshd), "/bin/sh", "-c", "printf '%s\\0' \"$@\"", "sh", *nasty))
    assert exited == Exited(exit_code=0)
    assert told.bytes_of() == b"".join(value.encode() + b"\0" for value in nasty)


async def test_environment(sshd: Sshd) -> None:
    """The step's variables and the job's id are set, whatever they hold."""
    step = step_for(target_of(sshd), "/usr/bin/env", "-0", env={"P_NAME": "a 'b' \"$(id)\"\nc", "EMPTY": ""})
    _, told = await run(step)
    variables = dict(item.split(b"=", 1) for item in told.bytes_of().split(b"\0") if item)
    assert variables[b"P_NAME"] == b"a 'b' \"$(id)\"\nc"
    assert variables[b"EMPTY"] == b""
    assert variables[b"CMDHTTP_JOB_ID"] == b"job_01TEST"


async def test_script(sshd: Sshd) -> None:
    """A script is handed to its interpreter whole, with the arguments after it."""
    script = Script(interpreter=("/bin/sh",), text="echo \"got '$1'\"\nexit 4\n", sha256="")
    exited, told = await run(replace(step_for(target_of(sshd), "a  b"), script=script))
    assert exited == Exited(exit_code=4)
    assert told.bytes_of() == b"got 'a  b'\n"


async def test_stdin_round_trip(sshd: Sshd) -> None:
    """Five megabytes of any bytes go in and come out unchanged."""
    sent = random.Random(1).randbytes(5 * MIB)
    exited, told = await run(step_for(target_of(sshd), "/bin/cat", stdin=sent))
    assert exited == Exited(exit_code=0)
    assert told.bytes_of() == sent


async def test_stdin_that_nobody_reads(sshd: Sshd) -> None:
    """A program that ends without reading its stdin ends the run."""
    exited, _ = await run(step_for(target_of(sshd), "/bin/true", stdin=bytes(8 * MIB)))
    assert exited == Exited(exit_code=0)


async def test_no_stdin_is_an_empty_one(sshd: Sshd) -> None:
    """Without stdin the program reads an end of file at once, and sees no terminal."""
    exited, told = await run(sh(target_of(sshd), "cat; test -t 0 || test -t 1 || echo none"))
    assert exited == Exited(exit_code=0)
    assert told.bytes_of() == b"none\n"


# Output


async def test_streams_apart_and_in_order(sshd: Sshd) -> None:
    """Stdout and stderr are told apart and come in the order in which they were written."""
    _, told = await run(sh(target_of(sshd), "for i in 1 2 3; do echo o$i; sleep 0.05; echo e$i >&2; sleep 0.05; done"))
    seen = [(e.stream.value, e.data) for e in told.events if isinstance(e, Output)]
    expected = [[("stdout", f"o{i}\n".encode()), ("stderr", f"e{i}\n".encode())] for i in (1, 2, 3)]
    assert seen == [pair for pairs in expected for pair in pairs]


async def test_output_is_live(sshd: Sshd) -> None:
    """A line is told when it is written, not when the program ends."""
    told = Told()
    stop = Stop()
    started = time.monotonic()

    async def emit(event: News) -> None:
        await told.emit(event)
        if isinstance(event, Output):
            stop.request(StopReason.CANCEL)

    await run(sh(target_of(sshd), "echo now; exec sleep 30"), stop=stop, emit=emit)
    assert told.bytes_of() == b"now\n"
    assert time.monotonic() - started < 5


async def test_much_output_with_a_slow_receiver(sshd: Sshd) -> None:
    """Fifty megabytes arrive whole while little of it is in memory at any time."""
    size, most, pieces = 0, 0, 0
    before = resident()

    async def emit(event: News) -> None:
        nonlocal size, most, pieces
        if isinstance(event, Output):
            await anyio.sleep(0.005)
            size, most, pieces = size + len(event.data), max(most, len(event.data)), pieces + 1
            assert resident() - before < 24 * MIB

    exited, _ = await run(step_for(target_of(sshd), "/usr/bin/head", "-c", str(50 * MIB), "/dev/zero"), emit=emit)
    assert exited == Exited(exit_code=0)
    assert size == 50 * MIB
    assert most <= 512 * 1024


async def test_slow_receiver_loses_nothing_at_the_end(sshd: Sshd) -> None:
    """What a program wrote before it ended is told even if that takes longer than the drain."""
    size = 0

    async def emit(event: News) -> None:
        nonlocal size
        if isinstance(event, Output):
            await anyio.sleep(0.3)
            size += len(event.data)

    executor = SshExecutor(drain=0.2)
    exited, _ = await run(sh(target_of(sshd), "head -c 1500000 /dev/zero"), emit=emit, executor=executor)
    assert exited == Exited(exit_code=0)
    assert size == 1500000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("noise", ["sleep 20", "yes", "while :; do echo; sleep 0.01; done"])
async def test_background_child_does_not_hold_the_run(sshd: Sshd, noise: str) -> None:
    """A child that keeps the channel open, silent or not, holds the run up for no longer than the drain."""
    told = Told()
    with running(told):
        started = time.monotonic()

        async def emit(event: News) -> None:
            if len(told.events) < 3:
                await told.emit(event)

        exited, _ = await run(
            sh(target_of(sshd), f"({noise}) & echo $!; exit 5"), emit=emit, executor=SshExecutor(drain=0.5)
        )
        assert exited == Exited(exit_code=5)
        assert time.monotonic() - started < 3


async def test_background_flood_against_a_slow_receiver(sshd: Sshd) -> None:
    """A child that writes faster than the receiver takes is cut off once all that the command wrote must be there."""
    size = 0

    async def emit(event: News) -> None:
        nonlocal size
        if isinstance(event, Output):
            await anyio.sleep(0.05)
            size += len(event.data)

    with anyio.fail_after(8):
        exited, _ = await run(sh(target_of(sshd), "yes & exit 5"), emit=emit, executor=SshExecutor(drain=0.2))
    assert exited == Exited(exit_code=5)
    assert size < 8 * MIB


# Hosts that are not who they should be


def ssh_keygen(*arguments: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, capture_output=True)


def no_login(server: Sshd) -> bool:
    return "userauth-request" not in server.log


async def refused(step: Step, *, executor: SshExecutor | None = None) -> RunErrorCode:
    """Return why a run that must not have started did not start."""
    exited, told = await run(step, executor=executor, keep=executor is not None)
    assert told.events == []
    assert exited.error is not None
    assert exited == Exited(error=exited.error)
    assert "/" not in exited.error.detail
    return exited.error.code


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_changed_host_key(own_sshd: Sshd, kind: str) -> None:
    """A host with another key than the recorded one, of whatever kind, gets no login."""
    own_sshd.rotate_host_key(kind)
    assert await refused(sh(target_of(own_sshd), "true")) is RunErrorCode.HOST_KEY_MISMATCH
    assert no_login(own_sshd)


async def test_unknown_host(own_sshd: Sshd) -> None:
    """A host of which no key is recorded gets no login."""
    own_sshd.known_hosts.write_text("# nobody\n")
    assert await refused(sh(target_of(own_sshd), "true")) is RunErrorCode.HOST_KEY_MISMATCH
    assert no_login(own_sshd)


@pytest.mark.parametrize("recorded_as", ["[{address}]:{port}", "{address}", "*"])
async def test_revoked_host_key(own_sshd: Sshd, recorded_as: str) -> None:
    """A revoked key is refused though it is also recorded as good, with or without the port."""
    pattern = recorded_as.format(address=own_sshd.address, port=own_sshd.port)
    good = own_sshd.recorded()
    for trusted in (good, good.replace(f"[{own_sshd.address}]:{own_sshd.port}", own_sshd.address)):
        own_sshd.known_hosts.write_text(f"{trusted}@revoked {pattern} {good.split(' ', 1)[1]}")
        assert await refused(sh(target_of(own_sshd), "true")) is RunErrorCode.HOST_KEY_MISMATCH
    assert no_login(own_sshd)


async def test_recorded_under_its_address_only(own_sshd: Sshd) -> None:
    """A host that is addressed by name is not trusted for a key that is recorded for the address behind that name."""
    target = replace(target_of(own_sshd), address="localhost")
    assert await refused(sh(target, "true")) is RunErrorCode.HOST_KEY_MISMATCH
    assert no_login(own_sshd)


async def test_changed_files_count_at_once(own_sshd: Sshd) -> None:
    """A known_hosts file and a key file are read again as soon as they change."""
    executor = SshExecutor()
    step = sh(target_of(own_sshd), "exit 0")
    async with nothing_left(), closing(executor):
        assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=0)
        own_sshd.rotate_host_key()
        assert await refused(step, executor=executor) is RunErrorCode.HOST_KEY_MISMATCH
        own_sshd.record_host_key()
        assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=0)
        own_sshd.known_hosts.write_text(own_sshd.recorded(marker="@revoked"))
        assert await refused(step, executor=executor) is RunErrorCode.HOST_KEY_MISMATCH
        own_sshd.record_host_key()
        assert (await run(step, executor=executor, keep=True))[0] == Exited(exit_code=0)
        make_key(own_sshd.key)
        assert await refused(step, executor=executor) is RunErrorCode.LOGIN_FAILED


async def test_hashed_known_hosts(own_sshd: Sshd) -> None:
    """A known_hosts file with hashed names works."""
    ssh_keygen("-H", "-f", str(own_sshd.known_hosts))
    assert own_sshd.known_hosts.read_text().startswith("|1|")
    assert (await run(sh(target_of(own_sshd), "exit 0")))[0] == Exited(exit_code=0)


async def test_recorded_kind_is_asked_for(tmp_path: Path) -> None:
    """A host with several keys is asked for the one that is recorded."""
    make_key(tmp_path / "rsa_key", kind="rsa")
    with Sshd.start(tmp_path / "sshd", config=[f"HostKey {tmp_path / 'rsa_key'}"]) as server:
        server.known_hosts.write_text(server.recorded(tmp_path / "rsa_key.pub"))
        assert (await run(sh(target_of(server), "exit 0")))[0] == Exited(exit_code=0)


@pytest.mark.parametrize(("principal", "trusted"), [("127.0.0.1", True), ("other.example", False)])
async def test_host_certificate(tmp_path: Path, principal: str, trusted: bool) -> None:
    """A host certificate of a recorded authority is trusted for the names in it and for no other."""
    folder = tmp_path / "sshd"
    make_key(tmp_path / "ca")
    with Sshd.start(folder, config=[f"HostCertificate {folder / 'host_key-cert.pub'}"]) as server:
        public = str(server.host_key.with_suffix(".pub"))
        ssh_keygen("-s", str(tmp_path / "ca"), "-I", "host", "-h", "-n", principal, public)
        server.down()
        server.up()
        server.known_hosts.write_text(server.recorded(tmp_path / "ca.pub", marker="@cert-authority"))
        exited, _ = await run(sh(target_of(server), "exit 0"))
        if trusted:
            assert exited == Exited(exit_code=0)
        else:
            assert exited.error is not None
            assert exited.error.code is RunErrorCode.HOST_KEY_MISMATCH
            assert no_login(server)


@pytest.mark.parametrize("content", [None, b"garbage\n", b"\xff\xfe", b"[h]:1 ssh-ed25519\n"])
async def test_known_hosts_file_that_cannot_be_used(sshd: Sshd, tmp_path: Path, content: bytes | None) -> None:
    """Without a known_hosts file that can be read whole there is no connection."""
    path = tmp_path / "known_hosts"
    if content is not None:
        path.write_bytes(content)
    target = replace(target_of(sshd), known_hosts=str(path))
    assert await refused(sh(target, "true")) is RunErrorCode.HOST_KEY_MISMATCH


# Logins that fail


async def test_wrong_key(sshd: Sshd, tmp_path: Path) -> None:
    """A key that the account does not know is a failed login."""
    make_key(tmp_path / "key")
    assert (
        await refused(sh(replace(target_of(sshd), login=KeyFile(path=str(tmp_path / "key"))), "true"))
        is RunErrorCode.LOGIN_FAILED
    )


async def test_unknown_account(sshd: Sshd) -> None:
    """An account that does not exist is a failed login."""
    assert await refused(sh(replace(target_of(sshd), account="nobody-here"), "true")) is RunErrorCode.LOGIN_FAILED


@pytest.mark.parametrize("case", ["missing", "folder", "garbage", "public", "passphrase", "fifo"])
async def test_key_file_that_cannot_be_used(sshd: Sshd, tmp_path: Path, case: str) -> None:
    """A key file that is no readable private key is a failed login, and its path and content stay untold."""
    path = tmp_path / "canary-key"
    match case:
        case "folder":
            path.mkdir()
        case "garbage":
            path.write_text("canary")
        case "public":
            path.write_text(sshd.key.with_suffix(".pub").read_text())
        case "passphrase":
            make_key(path, passphrase="secret")
        case "fifo":
            os.mkfifo(path)
        case _:
            assert case == "missing"
    exited, _ = await run(sh(replace(target_of(sshd), login=KeyFile(path=str(path))), "true"))
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.LOGIN_FAILED
    assert ("passphrase" in exited.error.detail) is (case == "passphrase")
    assert "canary" not in f"{exited.error}"


async def test_nothing_of_the_service_account_is_used(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account's ssh configuration, agent and keys play no part."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text("Port garbage\n")
    (folder / "id_ed25519").write_text(sshd.key.read_text())
    make_key(tmp_path / "key")
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        agent.settimeout(0)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        assert (await run(sh(target_of(sshd), "exit 0")))[0] == Exited(exit_code=0)
        strange = replace(target_of(sshd), login=KeyFile(path=str(tmp_path / "key")))
        assert await refused(sh(strange, "true")) is RunErrorCode.LOGIN_FAILED
        with pytest.raises(BlockingIOError):
            agent.accept()


async def test_refused_channel(tmp_path: Path) -> None:
    """A host that lets in and then opens no session has refused the channel."""
    with Sshd.start(tmp_path / "sshd", config=["MaxSessions 0"]) as server:
        assert await refused(sh(target_of(server), "true")) is RunErrorCode.CHANNEL_REFUSED


# Hosts that are not there, or no hosts


@contextlib.asynccontextmanager
async def pretender(greeting: bytes) -> AsyncIterator[int]:
    """Yield the port of a server that sends `greeting` and then nothing."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                await stream.send(greeting)
                while True:
                    await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def test_down_host(own_sshd: Sshd) -> None:
    """A host where nobody listens cannot be connected to."""
    own_sshd.down()
    assert await refused(sh(target_of(own_sshd), "true")) is RunErrorCode.CONNECT_FAILED


async def test_name_without_address(sshd: Sshd) -> None:
    """A host whose name has no address cannot be connected to."""
    target = replace(target_of(sshd), address="nowhere.invalid")
    assert await refused(sh(target, "true")) is RunErrorCode.CONNECT_FAILED


@pytest.mark.parametrize(
    "greeting",
    [b"", b"x" * MIB, b"x\n" * (MIB // 2), b"HTTP/1.1 400 Bad\r\n\r\n", b"SSH-2.0-silent\r\n", b"SSH-1.5-old\r\n"],
    ids=["silent", "long line", "many lines", "http", "silent ssh", "ssh 1"],
)
async def test_something_else_answers(sshd: Sshd, greeting: bytes) -> None:
    """Whatever else answers at the port, the run ends within the time limits."""
    executor = SshExecutor(connect_timeout=2, login_timeout=0.5)
    async with pretender(greeting) as port:
        with anyio.fail_after(3):
            exited = await executor.run(
                sh(replace(target_of(sshd), port=port), "true"), context=CONTEXT, emit=Told().emit, stop=Stop()
            )
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.CONNECT_FAILED


async def test_lost_connection(own_sshd: Sshd) -> None:
    """A connection that breaks while the command runs makes the run lost, with what was seen until then."""
    told = Told()
    ends: list[Exited] = []

    async def follow() -> None:
        ends.append((await run(sh(target_of(own_sshd), "echo $$; exec sleep 30"), emit=told.emit))[0])

    with running(told), anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await told.first_line()
            own_sshd.drop_connections()
        assert ends[0].error is not None
        assert ends[0].error.code is RunErrorCode.CONNECTION_LOST
        assert ends[0] == Exited(lost=True, error=ends[0].error)


# Stops


async def stopped_after_first_line(step: Step, executor: SshExecutor, told: Told) -> tuple[Exited, int]:
    """Run a step whose command prints its process id, cancel it then, and return the end and the id."""
    stop = Stop()
    ends: list[Exited] = []

    async def follow() -> None:
        ends.append((await run(step, stop=stop, emit=told.emit, executor=executor))[0])

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            pid = int(await told.first_line())
            assert is_alive(pid)
            stop.request(StopReason.CANCEL)
    return ends[0], pid


async def test_stop_ends_the_process(sshd: Sshd) -> None:
    """A stop ends the process on the host with TERM, and that is confirmed."""
    exited, pid = await stopped_after_first_line(sh(target_of(sshd), "echo $$; exec sleep 30"), SshExecutor(), Told())
    assert exited == Exited(signal="TERM", stopped=Stopped.CONFIRMED)
    assert await gone(pid)


async def test_stop_kills_what_ignores_term(sshd: Sshd) -> None:
    """A program that ignores TERM is killed after the grace, and what it still prints is told."""
    told = Told()
    step = sh(target_of(sshd), "trap '' TERM; echo $$; while :; do sleep 0.05; echo still; done")
    started = time.monotonic()
    exited, pid = await stopped_after_first_line(step, SshExecutor(kill_grace=0.5), told)
    assert exited == Exited(signal="KILL", stopped=Stopped.CONFIRMED)
    assert time.monotonic() - started > 0.5
    assert told.bytes_of().count(b"still") > 3
    assert await gone(pid)


async def test_exit_after_term_keeps_its_code(sshd: Sshd) -> None:
    """A program that ends by itself on TERM is a confirmed stop with its own exit code."""
    step = sh(target_of(sshd), "trap 'exit 9' TERM; echo $$; while :; do sleep 0.05; done")
    exited, _ = await stopped_after_first_line(step, SshExecutor(), Told())
    assert exited == Exited(exit_code=9, stopped=Stopped.CONFIRMED)


async def test_host_that_passes_no_signals(tmp_path: Path) -> None:
    """Where sshd refuses signals, as for forced commands, the guard takes them."""
    told = Told()
    with Sshd.start(tmp_path / "sshd", config=['ForceCommand eval "$SSH_ORIGINAL_COMMAND"']) as server, running(told):
        step = sh(target_of(server), "echo $$; while :; do sleep 0.05; done")
        exited, pid = await stopped_after_first_line(step, SshExecutor(kill_grace=0.1), told)
        assert exited == Exited(signal="TERM", stopped=Stopped.CONFIRMED)
        assert not is_alive(pid)


async def test_stop_before_the_start(sshd: Sshd) -> None:
    """A run that is stopped before it starts connects nowhere."""
    stop = Stop()
    stop.request(StopReason.TIMEOUT)
    exited, told = await run(sh(replace(target_of(sshd), port=1), "true"), stop=stop)
    assert exited == Exited(stopped=Stopped.CONFIRMED)
    assert told.events == []


async def request_after(stop: Stop, seconds: float) -> None:
    await anyio.sleep(seconds)
    stop.request(StopReason.CANCEL)


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-silent\r\n"])
async def test_stop_while_connecting(sshd: Sshd, greeting: bytes) -> None:
    """A stop while connecting ends the run at once, and nothing ran."""
    stop = Stop()
    async with pretender(greeting) as port, closing(SshExecutor()) as executor, anyio.create_task_group() as tasks:
        step = sh(replace(target_of(sshd), port=port), "true")
        with anyio.fail_after(1):
            tasks.start_soon(request_after, stop, 0.2)
            exited = await executor.run(step, context=CONTEXT, emit=Told().emit, stop=stop)
    assert exited == Exited(stopped=Stopped.CONFIRMED)


async def test_stop_at_any_moment(sshd: Sshd) -> None:
    """Whenever the stop comes: it is confirmed, nobody calls it an error, and no process is there afterwards."""
    for moment in range(30):
        stop, told, mark = Stop(), Told(), f"30.4242{moment}1"
        async with closing(SshExecutor()) as executor, anyio.create_task_group() as tasks:
            tasks.start_soon(request_after, stop, moment * 0.006)
            exited = await executor.run(
                step_for(target_of(sshd), "/bin/sleep", mark), context=CONTEXT, emit=told.emit, stop=stop
            )
        assert exited == Exited(signal="TERM" if told.events else None, stopped=Stopped.CONFIRMED)
        assert await ended(mark)


async def test_stop_that_is_seen_at_the_last_moment(sshd: Sshd) -> None:
    """Even if nobody waits for the stop, a command is not sent once it was requested."""

    class Unheard(Stop):
        async def wait(self) -> None:
            await anyio.sleep_forever()

    stop, told, mark = Unheard(), Told(), "30.45451"
    async with nothing_left(), closing(SshExecutor()) as executor, anyio.create_task_group() as tasks:
        tasks.start_soon(request_after, stop, 0.01)
        exited = await executor.run(
            step_for(target_of(sshd), "/bin/sleep", mark), context=CONTEXT, emit=told.emit, stop=stop
        )
    assert exited == Exited(stopped=Stopped.CONFIRMED)
    assert told.events == []
    assert await ended(mark)


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.05, 0.07, 0.09, 0.5])
async def test_cancellation_leaves_nothing(sshd: Sshd, after: float) -> None:
    """Cancelling the task at any time closes everything at once."""
    step = step_for(target_of(sshd), "/bin/sleep", "1")
    started = time.monotonic()
    async with nothing_left():
        with anyio.move_on_after(after) as scope:
            async with closing(SshExecutor()) as executor:
                await executor.run(step, context=CONTEXT, emit=Told().emit, stop=Stop())
    assert scope.cancelled_caught
    assert time.monotonic() - started < after + 1


async def test_cancellation_ends_the_process(sshd: Sshd) -> None:
    """Cancelling the task kills a command that runs, if the host permits."""
    told, mark = Told(), "30.43431"
    async with nothing_left(), closing(SshExecutor()) as executor, anyio.create_task_group() as tasks:
        step = sh(target_of(sshd), f"echo up; exec sleep {mark}")
        tasks.start_soon(partial(executor.run, step, context=CONTEXT, emit=told.emit, stop=Stop()))
        await told.first_line()
        tasks.cancel_scope.cancel()
    assert await ended(mark)


async def test_failing_receiver(sshd: Sshd) -> None:
    """What `emit` raises comes out as it is, and the run leaves nothing."""

    async def emit(event: News) -> None:
        if isinstance(event, Output):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await run(sh(target_of(sshd), "echo $$; exec sleep 30"), emit=emit)


async def test_many_runs_at_once(sshd: Sshd) -> None:
    """Runs at the same time do not mix."""
    executor = SshExecutor()
    seen: dict[int, bytes] = {}

    async def one(number: int) -> None:
        told = Told()
        await executor.run(
            step_for(target_of(sshd), "/bin/echo", str(number)), context=CONTEXT, emit=told.emit, stop=Stop()
        )
        seen[number] = told.bytes_of()

    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(one, number)
    assert seen == {number: f"{number}\n".encode() for number in range(12)}


# Steps that are not sent


async def test_steps_that_cannot_be_sent(sshd: Sshd) -> None:
    """What cannot be spelled for the host's shell is refused before anything is connected."""
    nowhere = replace(target_of(sshd), port=1)
    for step in (
        step_for(nowhere, "/bin/echo", "x" * 200_000),
        step_for(nowhere, "/bin/echo", "\ud800"),
        step_for(replace(nowhere, shell=Shell.POWERSHELL), "/bin/echo"),
        step_for(LocalTarget(), "/bin/echo"),
    ):
        exited, told = await run(step)
        assert exited.error is not None
        assert exited.error.code is RunErrorCode.SPAWN_FAILED
        assert told.events == []


async def test_logs_hold_no_values(sshd: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    """Not even a log that is set to show everything shows an argument, a variable or stdin."""
    executor = SshExecutor()
    step = step_for(target_of(sshd), "/bin/cat", "--", "-", "canary1", env={"X": "canary2"}, stdin=b"canary3")
    caplog.set_level(logging.DEBUG)
    for name in ("asyncssh", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    await run(step, executor=executor)
    assert "canary" not in caplog.text
    assert "asyncssh" not in caplog.text
