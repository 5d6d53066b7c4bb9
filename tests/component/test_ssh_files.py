"""Files of runs on SSH hosts against a real OpenSSH server: what is sent, what is collected, and that nothing stays."""

import contextlib
import hashlib
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import anyio
import asyncssh
import pytest
from anyio import to_thread

from cmdhttp.execution.model import (
    Collected,
    Exited,
    LeftOut,
    LeftOutMore,
    News,
    Order,
    Output,
    RunContext,
    RunErrorCode,
    Started,
    Stop,
    Stopped,
    StopReason,
    Stream,
)
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.execution.ssh.login.dial import Dialer, close
from cmdhttp.execution.ssh.transfer import files
from cmdhttp.plan.model import HERE, Certificate, KeyFile, SshTarget, Staged, Step
from cmdhttp.policy.compiled import Collect, Script
from tests.support.leaks import nothing_left
from tests.support.remote import machine
from tests.support.sshd import Machine, Sshd, make_key

pytestmark = pytest.mark.anyio

CONTEXT = RunContext(job_id="job_01TEST", order=Order(principal="ann", command="c", policy="sha256:0"))
SFTP = "Subsystem sftp internal-sftp"
AUTHORITY = ["TrustedUserCAKeys {open}/authorities", "AuthorizedPrincipalsFile {open}/principals"]
PRINCIPAL = "cmdhttp-tests"
SECRET = "canary-9f3c'\"$(id)\n"
UPLOAD = Staged(param="f", name="a <s>;$(id).txt", data=b"upload \0\xff" * 40_000, mode=0o600)
PW = Staged(param="pw", name="pw", data=SECRET.encode(), mode=0o400)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd.start(tmp_path_factory.mktemp("sshd"), config=[SFTP]) as server:
        yield server


def folders() -> set[Path]:
    return set(Path("/tmp").glob("cmdhttp-run-*"))


async def removed(before: set[Path]) -> None:
    """See that the folders that came since are gone a moment later."""
    mine = folders() - before
    with anyio.move_on_after(15):
        while any(map(os.path.lexists, mine)):
            await anyio.sleep(0.05)
    assert [path for path in mine if os.path.lexists(path)] == []


@dataclass
class Told:
    """What an executor emitted, with the content of each file at that moment."""

    events: list[News] = field(default_factory=list)
    files: dict[bytes, bytes] = field(default_factory=dict)
    printed: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def emit(self, event: News) -> None:
        self.events.append(event)
        if isinstance(event, Collected):
            self.files[event.name] = os.pread(event.descriptor, event.size + 1, 0)
            assert len(self.files[event.name]) == event.size
            assert os.fstat(event.descriptor).st_nlink == 0
        if b"\n" in self.output:
            self.printed.set()

    @property
    def output(self) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Output) and e.stream is Stream.STDOUT)

    @property
    def left(self) -> list[tuple[bytes, str]]:
        return [(e.name, e.why) for e in self.events if isinstance(e, LeftOut)]


def target_of(server: Sshd, login: KeyFile | Certificate | None = None, *, shared: bool = True) -> SshTarget:
    return SshTarget(
        address=server.address,
        port=server.port,
        account=server.account,
        login=login or KeyFile(path=str(server.key)),
        known_hosts=str(server.known_hosts),
        shared=shared,
    )


def step_for(
    target: SshTarget,
    text: str,
    *staged: Staged,
    collect: tuple[str, ...] = (),
    most: int = 1 << 20,
    timeout: float = 60,
) -> Step:
    """A shell that runs `text`; its arguments are the paths of what is staged."""
    start = ("/bin/sh", "-c", text, "sh")
    return Step(
        run=0,
        host="h",
        target=target,
        argv=(*start, *(f"<{file.param}>" for file in staged)),
        env={},
        timeout=timeout,
        output_limit=1 << 40,
        staged=staged,
        unplaced=(*start, *(f"{HERE}/{file.place}" for file in staged)) if staged else None,
        collect=Collect(patterns=collect, max_bytes=most) if collect else None,
    )


async def run(step: Step, *, stop: Stop | None = None, executor: SshExecutor | None = None) -> tuple[Exited, Told]:
    told = Told()
    async with nothing_left(), closing(executor or SshExecutor()) as used:
        exited = await used.run(step, context=CONTEXT, emit=told.emit, stop=stop or Stop())
    return exited, told


@contextlib.asynccontextmanager
async def closing(executor: SshExecutor) -> AsyncIterator[SshExecutor]:
    before = folders()
    try:
        yield executor
    finally:
        with anyio.CancelScope(shield=True):
            await executor.aclose()
            await removed(before)


LOOK = """
pwd; echo "$TMPDIR"; umask; stat -c '%a %F' . .. "$1" "$2" "${1%/*}" "${1%/*/*}"; sha256sum < "$1"; sha256sum < "$2"; echo "$1"
"""


def looked(printed: bytes) -> None:
    """See that a run found its files where and how they must be."""
    lines = printed.decode().splitlines()
    work, tmp, _umask, *kinds, first, second, path = lines
    assert work == tmp
    assert work.startswith("/tmp/cmdhttp-run-")
    assert work.endswith("/work")
    assert path == f"{work.removesuffix('/work')}/in/files/f/{UPLOAD.name}"
    assert kinds == [
        "700 directory",
        "700 directory",
        "600 regular file",
        "400 regular file",
        "700 directory",
        "700 directory",
    ]
    assert first.split()[0] == hashlib.sha256(UPLOAD.data).hexdigest()
    assert second.split()[0] == hashlib.sha256(PW.data).hexdigest()


FLAVOURS = (
    "python3",
    "sh",
    "certificate",
    "shared certificate",
    "one session",
    "two sessions",
    "a server of its own",
    "csh",
)


@dataclass(frozen=True)
class Host:
    server: Sshd
    target: SshTarget
    flavour: str


@pytest.fixture(params=FLAVOURS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """A host of each kind: what starts the run, and how many connections it takes, differ; the run does not."""
    flavour = str(request.param)
    config = {
        "one session": [SFTP, "MaxSessions 1"],
        "two sessions": [SFTP, "MaxSessions 2"],
        "a server of its own": ["Subsystem sftp /usr/lib/openssh/sftp-server"],
    }
    by_certificate = "certificate" in flavour
    lines = [*AUTHORITY, SFTP] if by_certificate else config.get(flavour, [SFTP])
    shell = "/bin/csh" if flavour == "csh" else "/bin/sh"
    kind = machine("sh" if flavour == "sh" else "python3")
    with Sshd.start(tmp_path / "sshd", config=lines, shell=shell, machine=kind) as server:
        if not by_certificate:
            yield Host(server, target_of(server), flavour)
            return
        make_key(authority := tmp_path / "authority")
        trust(server, authority)
        yield Host(server, target_of(server, certificate(authority), shared=flavour.startswith("shared")), flavour)


@pytest.fixture
def target(host: Host) -> SshTarget:
    return host.target


def certificate(authority: Path) -> Certificate:
    return Certificate(authority=KeyFile(path=str(authority)), principal=PRINCIPAL, ttl=60.0)


def trust(server: Sshd, authority: Path) -> None:
    server.put("authorities", authority.with_suffix(".pub").read_text())
    server.put("principals", f"{PRINCIPAL}\n")
    server.put("authorized_keys", "")


async def test_what_is_sent(target: SshTarget) -> None:
    """Uploads and secrets are files in a private folder beside the one the command runs in, which is its TMPDIR too."""
    exited, told = await run(step_for(target, LOOK, UPLOAD, PW))
    assert exited == Exited(exit_code=0)
    looked(told.output)


async def test_what_is_left(target: SshTarget) -> None:
    """Files that match come in the order of their names, byte for byte, whatever the run's end was."""
    text = (
        "mkdir -p r/deep; echo x > r/b.csv; head -c 300000 /dev/zero > r/deep/z.csv; : > r/a.csv; echo no > .h; exit 3"
    )
    exited, told = await run(step_for(target, text, collect=("r/*.csv", "r/deep/**", "*")))
    assert exited == Exited(exit_code=3)
    assert list(told.files.items()) == [(b"r/a.csv", b""), (b"r/b.csv", b"x\n"), (b"r/deep/z.csv", bytes(300_000))]
    assert told.left == []
    assert isinstance(told.events[0], Started)


async def test_both_ways_again_and_at_once(target: SshTarget) -> None:
    """Runs on one host have each its own files, one after the other and at the same time."""
    executor, seen = SshExecutor(), {}

    async def one(number: int) -> None:
        told = Told()
        mine = replace(UPLOAD, data=str(number).encode())
        step = step_for(target, 'cat "$1" > out', mine, collect=("out",))
        exited = await executor.run(step, context=CONTEXT, emit=told.emit, stop=Stop())
        seen[number] = (exited.exit_code, told.files)

    async with nothing_left(), closing(executor):
        await one(0)
        async with anyio.create_task_group() as tasks:
            for number in range(1, 7):
                tasks.start_soon(one, number)
    assert seen == {number: (0, {b"out": str(number).encode()}) for number in range(7)}


async def test_a_script_knows_its_files(sshd: Sshd) -> None:
    """By a variable for each."""
    step = step_for(target_of(sshd), "", PW)
    text = 'cat "$P_PW_FILE"'
    script = Script(interpreter=("/bin/sh",), text=text, sha256="0")
    step = replace(step, argv=(), unplaced=(), script=script)
    assert (await run(step))[1].output == PW.data


# What a run leaves is hostile.


async def test_no_link_is_followed(sshd: Sshd) -> None:
    """Neither a symbolic nor a hard one, and nothing is opened that is no file; each is told by its reason."""
    text = """
    ln -s /etc/passwd link; ln -s /etc folder; mkfifo pipe; echo > twice; ln twice again; echo ok > ok
    mkdir closed; chmod 0 closed; echo > unreadable; chmod 0 unreadable
    """
    with anyio.fail_after(15):
        exited, told = await run(step_for(target_of(sshd), text, collect=("*", "folder/passwd", "closed/*")))
    assert (exited, told.files) == (Exited(exit_code=0), {b"ok": b"ok\n"})
    assert dict(told.left) == {
        b"link": "symlink",
        b"folder": "symlink",
        b"pipe": "not_regular",
        b"twice": "linked",
        b"again": "linked",
        b"closed": "unreadable",
        b"unreadable": "unreadable",
    }


@pytest.mark.parametrize(
    "text",
    [
        'f=$(cd ..; pwd); rm -rf "$f/work"; ln -s /etc "$f/work"',
        'f=$(cd ..; pwd); rm -rf "$f"; ln -s /etc "$f"',
        'f=$(cd ..; pwd); rm -rf "$f"',
        "chmod 0 .",
        "cd ..; chmod 0 .",
    ],
)
async def test_a_working_folder_that_is_something_else(sshd: Sshd, text: str) -> None:
    """What lies where the folder was is not looked at, and goes; what it leads to stays."""
    exited, told = await run(step_for(target_of(sshd), f"{text}; exit 0", collect=("passwd",)))
    assert (exited, told.files, told.left) == (Exited(exit_code=0), {}, [(b"", "unreadable")])
    assert Path("/etc/passwd").exists()


async def test_bounds(sshd: Sshd) -> None:
    """Bytes, files, depth and the length of a path have bounds, and what is over them is told."""
    text = """
    truncate -s 1G 0; head -c 6 /dev/zero > b; head -c 5 /dev/zero > c; head -c 4 /dev/zero > d
    mkdir many; i=0; while [ $i -lt 250 ]; do : > many/$(printf %03d $i); i=$((i+1)); done
    mkdir -p a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a
    """
    exited, told = await run(step_for(target_of(sshd), text, collect=("*", "many/*", "**/x"), most=10))
    assert exited == Exited(exit_code=0)
    assert (told.files[b"b"], told.files[b"d"], len(told.files)) == (bytes(6), bytes(4), 100)
    left = dict(told.left)
    assert (left[b"0"], left[b"c"], left[b"many/098"]) == ("too_large", "no_room", "too_many")
    assert left[b"a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"] == "too_deep"
    assert len(told.left) == 100
    assert told.events[-1] == LeftOutMore(count=4 + 150 + 2 - 100 - 1)


async def test_odd_names(sshd: Sshd) -> None:
    """A name is bytes, and comes as it is."""
    text = r"""touch "$(printf 'a\377b')" "$(printf 'c\nd')" ' e' 'f\g' -- -h"""
    _, told = await run(step_for(target_of(sshd), text, collect=("*",)))
    assert list(told.files) == [b" e", b"-h", b"a\xffb", b"c\nd", b"f\\g"]


# Ends.


@pytest.mark.parametrize("collect", [(), ("*",)])
async def test_an_end_by_force(target: SshTarget, collect: tuple[str, ...]) -> None:
    """What was written until a run is stopped is collected, and then all is gone."""
    stop, told = Stop(), Told()
    step = step_for(target, "echo kept > kept; echo; exec sleep 100", PW, collect=collect)
    executor = SshExecutor(kill_grace=0.5)
    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:

        async def cancel() -> None:
            with anyio.fail_after(15):
                await told.printed.wait()
            stop.request(StopReason.CANCEL)

        tasks.start_soon(cancel)
        exited = await executor.run(step, context=CONTEXT, emit=told.emit, stop=stop)
    assert exited.stopped is not None
    assert told.files == ({b"kept": b"kept\n"} if collect else {})


async def test_a_lost_connection(host: Host) -> None:
    """Nothing of the run's files stays on a host whose connection is gone, and the run says that it could not look."""
    told = Told()
    executor, step = SshExecutor(), step_for(host.target, "echo; exec sleep 100", PW, collect=("*",))
    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:

        async def cut() -> None:
            with anyio.fail_after(15):
                await told.printed.wait()
            host.server.drop_connections()

        tasks.start_soon(cut)
        exited = await executor.run(step, context=CONTEXT, emit=told.emit, stop=Stop())
    assert exited.lost
    assert told.left == [(b"", "unreadable")]


_SERVICE = """
import pickle, sys, anyio
from cmdhttp.execution.model import Order, RunContext, Stop
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.execution.ssh.transfer import files
from cmdhttp.execution.ssh.login.dial import Dialer, close

async def emit(news):
    print(type(news).__name__, flush=True)

async def main():
    step = pickle.loads(open(sys.argv[1], "rb").read())
    context = RunContext(job_id="job_01TEST", order=Order(principal="ann", command="c", policy="sha256:0"))
    await SshExecutor().run(step, context=context, emit=emit, stop=Stop())

anyio.run(main)
"""


def started_service(step: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", _SERVICE, str(step)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("when", ["Started", "Output"])
async def test_a_killed_service(host: Host, tmp_path: Path, when: str) -> None:
    """After a kill -9 of the service nothing of the run's files stays on the host."""
    step = step_for(host.target, 'echo "$1"; exec sleep 100', PW, collect=("*",))
    (tmp_path / "step").write_bytes(pickle.dumps(step))
    before = folders()
    service = started_service(tmp_path / "step")
    try:
        assert service.stdout is not None
        while (line := await to_thread.run_sync(service.stdout.readline)) and line.strip() != when:
            pass
        there = folders() - before
    finally:
        service.kill()
        service.communicate()
    assert there
    await removed(before)


async def test_a_killed_guard(sshd: Sshd) -> None:
    """What a guard that was killed has left is removed by the next one of the account, and only that."""
    executor, stop = SshExecutor(), Stop()
    lasting = step_for(target_of(sshd), "pwd; grep PPid /proc/$PPID/status; echo; exec sleep 100", PW)
    killed, living = Told(), Told()
    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:
        tasks.start_soon(hold, executor, lasting, killed, stop)
        left, guard = await where(killed)
        os.kill(guard, signal.SIGKILL)
        with anyio.fail_after(10):
            await killed.ended.wait()
        assert left.exists()
        os.utime(left, (0, 0))
        tasks.start_soon(hold, executor, lasting, living, stop)
        there, another = await where(living)
        assert another != guard
        with anyio.fail_after(10):
            while left.exists():
                await anyio.sleep(0.05)
        os.utime(there, (0, 0))
        exited, _ = await run(step_for(target_of(sshd), "true", PW))
        assert (exited.error, there.exists()) == (None, True)
        stop.request(StopReason.CANCEL)


async def where(told: Told) -> tuple[Path, int]:
    """Return the folder and the guard of a run that prints both."""
    with anyio.fail_after(10):
        while b"\n\n" not in told.output:
            await anyio.sleep(0.02)
    work, parent = told.output.split(b"\n")[:2]
    return Path(work.decode()).parent, int(parent.split()[1])


async def hold(executor: SshExecutor, step: Step, told: Told, stop: Stop) -> None:
    await executor.run(step, context=CONTEXT, emit=told.emit, stop=stop)
    told.ended.set()


# Hosts that cannot take files.


@pytest.mark.parametrize("collect", [(), ("*",)])
async def test_a_host_without_sftp(tmp_path: Path, collect: tuple[str, ...]) -> None:
    """Nothing runs, and the hint names the subsystem."""
    with Sshd.start(tmp_path / "sshd") as server:
        exited, told = await run(step_for(target_of(server), "echo ran", *([] if collect else [PW]), collect=collect))
        assert exited.error is not None
        assert (exited.error.code, told.events) == (RunErrorCode.CHANNEL_REFUSED, [])
        assert "Subsystem sftp" in exited.error.hint
        exited, told = await run(step_for(target_of(server), "echo ran"))
        assert told.output == b"ran\n"


async def test_a_host_whose_sftp_is_elsewhere(tmp_path: Path) -> None:
    """Where SFTP sees another tree than commands do, nothing is written and nothing runs."""
    text = "#!/bin/sh\nexec unshare -rm sh -c 'mount -t tmpfs tmpfs /tmp && exec /usr/lib/openssh/sftp-server'\n"
    with Sshd.start(tmp_path / "sshd", config=["Subsystem sftp {open}/elsewhere"]) as server:
        server.put("elsewhere", text).chmod(0o755)
        exited, told = await run(step_for(target_of(server), "echo ran", PW))
    assert exited.error is not None
    assert (exited.error.code, told.events) == (RunErrorCode.SPAWN_FAILED, [])
    assert "SFTP does not see" in exited.error.detail


async def test_a_certificate_and_no_python(tmp_path: Path) -> None:
    """What cannot be done is said, and nothing has run; without files the same host runs the command."""
    make_key(authority := tmp_path / "authority")
    with Sshd.start(tmp_path / "sshd", config=[*AUTHORITY, SFTP], machine=machine("sh")) as server:
        trust(server, authority)
        target = target_of(server, certificate(authority), shared=False)
        exited, told = await run(step_for(target, "echo ran", PW))
        assert exited.error is not None
        assert (exited.error.code, told.events) == (RunErrorCode.UNSUPPORTED, [])
        assert "python3" in exited.error.hint
        assert (await run(step_for(target, "echo ran")))[1].output == b"ran\n"


OTHER_TMP = """
    mount -t tmpfs none /run && mkdir /run/sshd /run/kept /run/home && mount --bind /tmp /run/kept
    chown %d /run/home && chmod 711 /run && chmod 755 /run/sshd
    mount -t tmpfs -o mode=1777 none /tmp
    for folder in "$1" "$2"; do
        case $folder in /tmp/*) mkdir -p "$folder" && mount --bind "/run/kept/${folder#/tmp/}" "$folder" ;; esac
    done
"""


@pytest.mark.parametrize(
    ("change", "home", "place"),
    [
        ("true", "/run/home", "/tmp/"),
        ("mount -o remount,ro /tmp", "/nowhere", None),
        ("chmod 777 /tmp", "/nowhere", None),
        ("mount -o remount,ro /tmp", "/run/home", "/run/home/"),
        ("chmod 777 /tmp", "/run/home", "/run/home/"),
    ],
)
@pytest.mark.parametrize("flavour", ["python3", "sh"])
async def test_places_for_the_folder(
    tmp_path: Path, change: str, home: str, place: str | None, flavour: Literal["python3", "sh"]
) -> None:
    """It is made where nobody else can replace it: in /tmp, else at home, else nowhere, and then nothing runs."""
    odd = Machine(setup=f"{machine(flavour).setup}\n{OTHER_TMP % Machine().uid}\n{change}")
    with Sshd.start(tmp_path / "sshd", config=[SFTP], home=home, machine=odd) as server:
        exited, told = await run(step_for(target_of(server), "pwd", PW))
    if place is None:
        assert exited.error is not None
        assert (exited.error.code, told.events) == (RunErrorCode.SPAWN_FAILED, [])
        assert "folder could not be made" in exited.error.detail
    else:
        assert (exited, told.output.startswith(place.encode())) == (Exited(exit_code=0), True)


# Thieves.


@pytest.mark.parametrize("only", [files._TO_STAGE, files._TO_COLLECT])
async def test_a_stolen_certificate_for_files(tmp_path: Path, only: str) -> None:
    """It is good for SFTP and no command; that for what is sent removes nothing, and that for what is left writes nothing."""
    make_key(authority := tmp_path / "authority")
    with Sshd.start(tmp_path / "sshd", config=[*AUTHORITY, SFTP]) as server:
        trust(server, authority)
        (play := server.put("x", "")).unlink()
        play.mkdir(mode=0o777)
        play.chmod(0o777)
        target = target_of(server, certificate(authority), shared=False)
        dialed = await Dialer().dial(target, only=only, job="job_01TEST", principal="ann")
        try:
            refused = await dialed.connection.run("echo ran; touch /tmp/ran", check=False)
            assert "ran" not in str(refused.stdout)
            with pytest.raises(asyncssh.ChannelOpenError):
                await dialed.connection.open_connection("127.0.0.1", server.port)
            async with dialed.connection.start_sftp_client() as sftp:
                assert "passwd" in await sftp.listdir("/etc") if only == files._TO_COLLECT else await sftp.lstat("/etc")
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await sftp.remove(f"{play}/nothing")
                if only == files._TO_STAGE:
                    await sftp.mkdir(f"{play}/made")
                    with pytest.raises(asyncssh.SFTPPermissionDenied):
                        await sftp.symlink("/etc", f"{play}/link")
                else:
                    with pytest.raises(asyncssh.SFTPPermissionDenied):
                        await sftp.mkdir(f"{play}/made")
        finally:
            await close(dialed.connection)


# Size.


async def test_much(sshd: Sshd) -> None:
    """Sixty-four megabytes go each way, with flat memory on the way back."""
    data = os.urandom(1 << 20) * 64
    step = step_for(target_of(sshd), 'cp "$1" back', replace(UPLOAD, data=data), collect=("back",), most=64 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sums = []

    async def emit(event: News) -> None:
        if isinstance(event, Collected):
            with os.fdopen(os.dup(event.descriptor), "rb") as file:
                file.seek(0)
                sums.append(hashlib.file_digest(file, "sha256").hexdigest())

    executor = SshExecutor()
    async with nothing_left(), closing(executor):
        exited = await executor.run(step, context=CONTEXT, emit=emit, stop=Stop())
    assert (exited.exit_code, sums) == (0, [hashlib.sha256(data).hexdigest()])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


async def test_a_stop_while_files_are_sent(sshd: Sshd) -> None:
    """Nothing has run, which is certain, and what was sent is gone."""
    stop, told, executor = Stop(), Told(), SshExecutor()
    step = step_for(target_of(sshd), "echo ran", replace(UPLOAD, data=bytes(64 << 20)))
    before = folders()
    async with nothing_left(), closing(executor), anyio.create_task_group() as tasks:

        async def cancel() -> None:
            while not folders() - before:
                await anyio.sleep(0.01)
            stop.request(StopReason.CANCEL)

        tasks.start_soon(cancel)
        exited = await executor.run(step, context=CONTEXT, emit=told.emit, stop=stop)
    assert (exited, told.events) == (Exited(stopped=Stopped.CONFIRMED), [])


# Secrets.


async def test_a_secret_is_nowhere_else(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """No argument of any process, no variable, no log of ours and none of the host's has the text of a secret."""
    caplog.set_level(logging.DEBUG)
    for name in ("asyncssh", "asyncssh.sftp", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    text = 'for p in /proc/[0-9]*; do cat "$p/cmdline" "$p/environ" 2>/dev/null; done; cp "$1" kept'
    exited, told = await run(step_for(host.target, text, PW, collect=("kept",)))
    assert exited == Exited(exit_code=0)
    assert told.files == {b"kept": PW.data}
    needle = SECRET[:11]
    assert len(told.output) > 1000
    assert needle.encode() not in told.output
    assert needle not in caplog.text
    assert needle not in host.server.log
