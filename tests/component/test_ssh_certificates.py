"""Certificates for one job each against a real sshd: what they are good for, and that a stolen one is good for nothing else."""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import asyncssh
import pytest

from cmdhttp.clock import SystemClock
from cmdhttp.execution.model import (
    CertificateIssued,
    Exited,
    News,
    Order,
    Output,
    RunContext,
    RunError,
    RunErrorCode,
    Started,
    Stop,
)
from cmdhttp.execution.ssh import SshExecutor
from cmdhttp.execution.ssh.failures import ConnectFailed
from cmdhttp.execution.ssh.login.certificates import Issued, Issuer, Purpose
from cmdhttp.execution.ssh.login.dial import Dialed, Dialer, close
from cmdhttp.execution.ssh.login.signers import KeySigner
from cmdhttp.plan.model import Agent, AgentSigner, Certificate, KeyFile, KeyVariable, Shell, SshTarget, Step
from tests.support.agent import Agent as RunningAgent
from tests.support.leaks import nothing_left
from tests.support.sshd import Sshd, make_key

pytestmark = pytest.mark.anyio

PRINCIPAL = "cmdhttp-tests"
LINE = "echo only this"
CONTEXT = RunContext(job_id="job_01TEST", order=Order(principal="ann", command="c", policy="sha256:0"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one authority of each kind, and one that nobody trusts."""
    made = tmp_path_factory.mktemp("authorities")
    for kind in ("ed25519", "rsa", "ecdsa"):
        make_key(made / kind, kind=kind)
    make_key(made / "stranger")
    return made


@contextlib.contextmanager
def trusting(where: Path, folder: Path, *config: str) -> Iterator[Sshd]:
    """A server that lets certificates of the authorities in for the principal, and no key at all."""
    lines = ["TrustedUserCAKeys {open}/authorities", "AuthorizedPrincipalsFile {open}/principals"]
    lines += ["Subsystem sftp internal-sftp", *config]
    with Sshd.start(where, config=lines) as server:
        keys = [(folder / kind).with_suffix(".pub").read_text() for kind in ("ed25519", "rsa", "ecdsa")]
        server.put("authorities", "".join(keys))
        server.put("principals", f"{PRINCIPAL}\n")
        server.put("authorized_keys", "")
        yield server


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Sshd]:
    with trusting(tmp_path_factory.mktemp("sshd"), folder) as server:
        yield server


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    with RunningAgent.start(tmp_path) as running:
        yield running


def certificate(authority: KeyFile | KeyVariable | AgentSigner, *, ttl: float = 60.0) -> Certificate:
    return Certificate(authority=authority, principal=PRINCIPAL, ttl=ttl)


def target_of(server: Sshd, login: Certificate | KeyFile) -> SshTarget:
    return SshTarget(
        address=server.address,
        port=server.port,
        account=server.account,
        login=login,
        known_hosts=str(server.known_hosts),
    )


class Told:
    """An `on_issue` that keeps what it was told, and what the host had seen of logins by then."""

    def __init__(self, server: Sshd | None = None) -> None:
        self.records: list[CertificateIssued] = []
        self.logins_before: list[int] = []
        self._server = server

    async def __call__(self, issued: CertificateIssued) -> None:
        self.records.append(issued)
        if self._server is not None:
            self.logins_before.append(self._server.log.count("userauth-request"))


@contextlib.asynccontextmanager
async def dialed(
    target: SshTarget, dialer: Dialer | None = None, *, only: str | None = None, through: Dialed | None = None
) -> AsyncIterator[Dialed]:
    used = dialer or Dialer()
    way = through.connection if through else None
    async with nothing_left():
        found = await used.dial(target, only=only, job="job_01TEST", principal="ann", through=way)
        try:
            yield found
        finally:
            await close(found.connection)


async def refused(target: SshTarget, dialer: Dialer | None = None) -> RunError:
    with pytest.raises(ConnectFailed) as failed:
        async with dialed(target, dialer):
            pass
    assert failed.value.error.hint
    return failed.value.error


async def said(found: Dialed, line: str) -> str:
    return str((await found.connection.run(line)).stdout).strip()


# What is made.


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("way", ["file", "variable", "agent"])
async def test_every_authority(
    sshd: Sshd, folder: Path, agent: RunningAgent, monkeypatch: pytest.MonkeyPatch, kind: str, way: str
) -> None:
    """Each kind of key, from each place, makes certificates that sshd takes."""
    key = folder / kind
    match way:
        case "file":
            authority: KeyFile | KeyVariable | AgentSigner = KeyFile(path=str(key))
        case "variable":
            monkeypatch.setenv("TEST_CA", key.read_text())
            authority = KeyVariable(variable="TEST_CA")
        case _:
            agent.add(folder / "stranger")
            agent.add(key)
            authority = AgentSigner(agent=Agent(socket=str(agent.socket)), public_key=f"{key}.pub")
    async with dialed(target_of(sshd, certificate(authority))) as found:
        assert await said(found, "echo here") == "here"


async def test_what_the_host_and_the_audit_are_told(sshd: Sshd, folder: Path) -> None:
    """Job and caller stand in sshd's log, with the serial and the authority that the record has too."""
    told = Told(sshd)
    before = sshd.log.count("userauth-request")
    async with dialed(
        target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), Dialer(on_issue=told), only=LINE
    ) as found:
        assert await said(found, LINE) == "only this"
    (record,) = told.records
    assert told.logins_before == [before], "it is recorded before the login begins"
    assert (record.job, record.principal, record.key_id) == ("job_01TEST", "ann", "cmdhttp:job_01TEST:ann")
    assert (record.source_addresses, record.certificate_principal) == (("127.0.0.1/32",), PRINCIPAL)
    assert record.valid_before - record.valid_after == 90
    assert record.authority == asyncssh.read_public_key(folder / "ed25519.pub").get_fingerprint()
    assert found.certificate == record.serial
    assert found.host_key == asyncssh.read_public_key(sshd.host_key.with_suffix(".pub")).get_fingerprint()
    accepted = re.findall(r"ID (\S+) \(serial (\d+)\) CA \S+ (\S+)", sshd.log)
    assert (record.key_id, record.serial, record.authority) in accepted


async def test_no_two_are_alike(sshd: Sshd, folder: Path) -> None:
    """Each login has a key and a serial of its own."""
    told = Told()
    dialer = Dialer(on_issue=told)
    for _ in range(5):
        async with dialed(target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), dialer):
            pass
    assert len({record.serial for record in told.records}) == 5
    keys = re.findall(r"Accepted publickey for .*?ED25519-CERT (\S+) ID", sshd.log)
    assert len(set(keys[-5:])) == 5


async def test_half_of_a_life(sshd: Sshd, folder: Path) -> None:
    """A connection that serves many runs is given up at half of its certificate's life; that of one job is not."""
    target = target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")), ttl=20.0))
    async with dialed(target) as shared:
        assert 9 < shared.until - anyio.current_time() <= 10
    async with dialed(target, only=LINE) as single:
        assert single.until == float("inf")


async def test_a_long_command_line_fits(sshd: Sshd, folder: Path) -> None:
    """As long as a line may be at all."""
    line = f"printf %s {'x' * 100_000} | wc -c"
    async with dialed(target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), only=line) as found:
        assert await said(found, line) == "100000"


async def test_a_run_by_the_executor(sshd: Sshd, folder: Path) -> None:
    """The whole way: a step whose target is not shared runs by a certificate for its line, and says which one."""
    told, events = Told(), list[News]()

    async def emit(event: News) -> None:
        events.append(event)

    step = Step(
        run=0,
        host="h",
        target=replace(target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), shared=False),
        argv=("/bin/echo", "a b", "$HOME"),
        env={},
        timeout=30,
        output_limit=1 << 20,
    )
    executor = SshExecutor(on_issue=told)
    exited = await executor.run(step, context=CONTEXT, emit=emit, stop=Stop())
    await executor.aclose()
    assert exited == Exited(exit_code=0)
    assert b"".join(event.data for event in events if isinstance(event, Output)) == b"a b $HOME\n"
    started = next(event for event in events if isinstance(event, Started))
    assert (started.certificate, started.host_key is not None) == (told.records[0].serial, True)
    assert told.records[0].command_sha256 is not None


async def test_many_runs_at_once_do_not_drop_each_other(tmp_path: Path, folder: Path) -> None:
    """Runs that share no connection are not so many logins at once that the host drops some, and with them other callers'."""
    with trusting(tmp_path, folder, "MaxStartups 10:100:10") as server:
        target = replace(target_of(server, certificate(KeyFile(path=str(folder / "ed25519")))), shared=False)
        step = Step(run=0, host="h", target=target, argv=("/bin/true",), env={}, timeout=30, output_limit=1 << 20)
        executor, ends = SshExecutor(), list[Exited]()

        async def emit(_event: News) -> None:
            pass

        async def one() -> None:
            ends.append(await executor.run(step, context=CONTEXT, emit=emit, stop=Stop()))

        async with anyio.create_task_group() as runs:
            for _ in range(24):
                runs.start_soon(one)
        await executor.aclose()
    assert ends == [Exited(exit_code=0)] * 24


async def test_a_run_where_no_guard_goes(sshd: Sshd, folder: Path) -> None:
    """A host whose shell takes no guard gets a certificate for the line all the same."""
    told = Told()
    target = replace(target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), shared=False, shell=Shell.RAW)

    async def emit(_event: News) -> None:
        pass

    step = Step(run=0, host="h", target=target, argv=("/bin/echo", "hello"), env={}, timeout=30, output_limit=1 << 20)
    executor = SshExecutor(on_issue=told)
    exited = await executor.run(step, context=CONTEXT, emit=emit, stop=Stop())
    await executor.aclose()
    assert exited.exit_code == 0
    (record,) = told.records
    assert (record.job, record.command_sha256) == ("job_01TEST", hashlib.sha256(b"/bin/echo hello").hexdigest())


# No login.


async def test_no_record_no_login(sshd: Sshd, folder: Path) -> None:
    """A certificate that cannot be recorded is not used."""

    async def full(_issued: CertificateIssued) -> None:
        raise OSError(28, "No space left on device")

    before = sshd.log.count("userauth-request")
    error = await refused(target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), Dialer(on_issue=full))
    assert error.code is RunErrorCode.RECORD_FAILED
    assert sshd.log.count("userauth-request") == before


async def test_an_authority_that_the_host_does_not_know(sshd: Sshd, folder: Path) -> None:
    """A failed login, with what to look at."""
    error = await refused(target_of(sshd, certificate(KeyFile(path=str(folder / "stranger")))))
    assert (error.code, error.detail) == (RunErrorCode.LOGIN_FAILED, "The host refused the login by certificate.")
    assert "TrustedUserCAKeys" in error.hint
    assert "AuthorizedPrincipalsFile" in error.hint
    assert "clocks" in error.hint


async def test_a_principal_that_the_host_does_not_let_in(sshd: Sshd, folder: Path) -> None:
    """Another account's certificate is no certificate for this one."""
    login = replace(certificate(KeyFile(path=str(folder / "ed25519"))), principal="cmdhttp-other")
    assert (await refused(target_of(sshd, login))).code is RunErrorCode.LOGIN_FAILED


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
async def test_clocks_that_disagree(sshd: Sshd, folder: Path, seconds: float) -> None:
    """A certificate that is over, or that is not yet valid, by the host's clock."""
    target = target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519"))))
    error = await refused(target, Dialer(clock=Skewed(seconds)))
    assert error.detail == "The host refused the login by certificate."
    async with dialed(target, Dialer(clock=Skewed(25))):
        pass  # a clock that is a little ahead is no trouble


class Skewed(SystemClock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


async def test_from_another_address(sshd: Sshd, folder: Path) -> None:
    """What the policy says of the address goes before what the socket says; `none` is good from everywhere."""
    login = certificate(KeyFile(path=str(folder / "ed25519")))
    told = Told()
    dialer = Dialer(on_issue=told)
    assert (await refused(target_of(sshd, replace(login, sources=("10.9.9.0/24",))), dialer)).code is (
        RunErrorCode.LOGIN_FAILED
    )
    for sources in (("10.9.9.0/24", "127.0.0.0/8"), ()):
        async with dialed(target_of(sshd, replace(login, sources=sources)), dialer):
            pass
    assert [record.source_addresses for record in told.records] == [
        ("10.9.9.0/24",),
        ("10.9.9.0/24", "127.0.0.0/8"),
        (),
    ]


@pytest.mark.parametrize(
    ("case", "detail"),
    [
        ("missing", "the certificate authority's private key file is missing or cannot be read"),
        ("garbage", "the certificate authority's private key file is not a private key"),
        ("passphrase", "the certificate authority's private key file is protected by a passphrase"),
        ("public", "the certificate authority's private key file is not a private key"),
        ("kind", "the certificate authority's key is of a kind that this service does not sign with"),
    ],
)
async def test_an_authority_that_cannot_sign(sshd: Sshd, folder: Path, tmp_path: Path, case: str, detail: str) -> None:
    """It is our side's fault, and nothing is tried at the host."""
    path = tmp_path / "ca"
    match case:
        case "garbage":
            path.write_text("canary")
        case "passphrase":
            make_key(path, passphrase="secret enough")
        case "public":
            path.write_text((folder / "ed25519.pub").read_text())
        case "kind":
            path.write_bytes(asyncssh.generate_private_key("ssh-ed448").export_private_key())
        case _:
            pass
    before = sshd.log.count("userauth-request")
    told = Told()
    error = await refused(target_of(sshd, certificate(KeyFile(path=str(path)))), Dialer(on_issue=told))
    assert (error.code, error.detail) == (RunErrorCode.LOGIN_FAILED, f"No login was attempted: {detail}.")
    assert (sshd.log.count("userauth-request"), told.records) == (before, [])


async def test_an_agent_that_does_not_sign(sshd: Sshd, folder: Path, agent: RunningAgent, tmp_path: Path) -> None:
    """Without the key, or with a key that wants to be confirmed, and with a public key file that is none."""
    login = certificate(AgentSigner(agent=Agent(socket=str(agent.socket)), public_key=str(folder / "ed25519.pub")))
    detail = (
        "No login was attempted: the SSH agent does not hold the authority's key, or refused to sign the certificate."
    )
    assert (await refused(target_of(sshd, login))).detail == detail
    agent.add(folder / "ed25519", "-c")
    assert (await refused(target_of(sshd, login))).detail == detail
    gone = replace(login, authority=AgentSigner(agent=Agent(socket="/nonexistent"), public_key=str(folder / "rsa.pub")))
    assert "agent is not there" in (await refused(target_of(sshd, gone))).detail
    (tmp_path / "not.pub").write_text("canary")
    bad = replace(login, authority=AgentSigner(agent=Agent(socket="/a"), public_key=str(tmp_path / "not.pub")))
    assert "public key file is missing or cannot be read" in (await refused(target_of(sshd, bad))).detail


@pytest.mark.parametrize("lie", ["sha1", "other", "short"])
async def test_an_agent_that_lies(sshd: Sshd, folder: Path, tmp_path: Path, lie: str) -> None:
    """A signature by another key, with SHA-1, or none at all makes no certificate."""
    key = asyncssh.read_private_key(folder / "rsa")
    other = asyncssh.read_private_key(folder / "stranger")

    def string(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    def lied(data: bytes) -> bytes:
        match lie:
            case "sha1":
                return key.sign(data, b"ssh-rsa")
            case "other":
                return string(b"rsa-sha2-512") + string(other.sign(data, b"ssh-ed25519"))
            case _:
                return b"\x00"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            length = int.from_bytes(request[1:5], "big")
            start = 5 + length + 4
            data = request[start : start + int.from_bytes(request[start - 4 : start], "big")]
            writer.write(string(b"\x0e" + string(lied(data))))
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(answer, tmp_path / "liar.sock")
    async with server:
        login = certificate(
            AgentSigner(agent=Agent(socket=str(tmp_path / "liar.sock")), public_key=str(folder / "rsa.pub"))
        )
        error = await refused(target_of(sshd, login))
    assert error.detail == (
        "No login was attempted: the SSH agent signed the certificate with another key or a weaker algorithm."
    )


# Through a jump host.


async def test_a_certificate_for_a_jump_host(sshd: Sshd, folder: Path, tmp_path: Path) -> None:
    """It forwards and runs nothing; the certificate for the host behind it is bound to no address that we cannot know."""
    told = Told()
    dialer = Dialer(on_issue=told)
    login = certificate(KeyFile(path=str(folder / "ed25519")))
    with trusting(tmp_path / "far", folder) as far:
        jump = replace(target_of(sshd, login), leads_on=True)
        target = replace(target_of(far, login), jump=jump)
        async with dialed(jump, dialer) as way:
            async with dialed(target, dialer, only=LINE, through=way) as found:
                assert await said(found, LINE) == "only this"
            assert (await way.connection.run("echo no")).stdout == ""
    first, second = told.records
    assert (first.source_addresses, second.source_addresses) == (("127.0.0.1/32",), ())
    assert None not in (first.command_sha256, second.command_sha256)


async def test_a_plain_certificate_forwards_nothing(sshd: Sshd, folder: Path) -> None:
    """One that was not made for a jump host leads nowhere."""
    login = certificate(KeyFile(path=str(folder / "ed25519")))
    async with dialed(target_of(sshd, login)) as found:
        target = replace(target_of(sshd, login), jump=target_of(sshd, login))
        with pytest.raises(ConnectFailed) as failed:
            async with dialed(target, through=found):
                pass
    assert failed.value.error.detail == "The jump host does not permit connections to the host."


async def test_no_certificate_for_everything_where_one_is_for_a_job(sshd: Sshd, folder: Path) -> None:
    """A connection that is not to be shared is never opened without its command line."""
    target = replace(target_of(sshd, certificate(KeyFile(path=str(folder / "ed25519")))), shared=False)
    with pytest.raises(ValueError, match="one command line"):
        await Dialer().dial(target)


# A thief.


class Stolen:
    """A key pair and its certificate as files, and OpenSSH's own client to use them with."""

    def __init__(self, issued: Issued, server: Sshd, folder: Path) -> None:
        self.server, self.folder = server, folder
        issued.key.write_private_key(folder / "key")
        (folder / "key").chmod(0o600)
        issued.certificate.write_certificate(folder / "key-cert.pub")

    def ssh(self, *options: str, line: str | None = None, program: str = "ssh") -> subprocess.CompletedProcess[str]:
        config = {
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "UserKnownHostsFile": str(self.server.known_hosts),
            "CertificateFile": str(self.folder / "key-cert.pub"),
            "ConnectTimeout": "5",
        }
        command = [shutil.which(program) or program, "-F", "none", "-i", str(self.folder / "key")]
        command += [part for name, value in config.items() for part in ("-o", f"{name}={value}")]
        port = "-P" if program == "sftp" else "-p"
        command += [*options, port, str(self.server.port)]
        command += [f"{self.server.account}@{self.server.address}", *([line] if line else [])]
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=15, check=False
        )


@pytest.fixture
def stolen(sshd: Sshd, folder: Path, tmp_path: Path) -> Stolen:
    return Stolen(asyncio.run(issued_for(sshd, folder)), sshd, tmp_path)


async def issued_for(server: Sshd, folder: Path, *, clock: SystemClock | None = None) -> Issued:
    login = certificate(KeyFile(path=str(folder / "ed25519")))
    issuer = Issuer(clock=clock or SystemClock(), entropy=os.urandom)
    signer = KeySigner(key=asyncssh.read_private_key(folder / "ed25519"))
    return await issuer.issue(target_of(server, login), login, Purpose(only=LINE), signer=signer, local="127.0.0.1")


def test_a_thief_gets_the_one_command(stolen: Stolen) -> None:
    """The certificate works as it should, so that what follows is refused for the right reason."""
    assert stolen.ssh(line=LINE).stdout == "only this\n"


def test_a_thief_gets_no_other_command(stolen: Stolen) -> None:
    """Whatever is asked for, what runs is the line of the job: no shell, no other program."""
    for line in ("id; echo canary", None, "/bin/sh -i", "echo only this; id"):
        answer = stolen.ssh(line=line)
        assert answer.stdout == "only this\n"


def test_a_thief_gets_no_terminal(stolen: Stolen) -> None:
    """A terminal is refused, and a client that insists on one gets nothing."""
    answer = stolen.ssh("-tt", line="tty")
    assert "PTY allocation request failed" in answer.stderr
    assert answer.stdout.replace("\r", "") in ("", "only this\n")


def test_a_thief_gets_no_files(stolen: Stolen) -> None:
    """Neither sftp nor the subsystem asked for by hand: the line of the job runs in their place."""
    answer = stolen.ssh("-s", line="sftp")
    assert answer.stdout == "only this\n"
    assert stolen.ssh("-b", "/dev/null", program="sftp").returncode != 0


def test_a_thief_gets_no_forwarding(stolen: Stolen, sshd: Sshd) -> None:
    """Neither to the host's own ports nor back from them, and no agent."""
    direct = stolen.ssh("-W", f"127.0.0.1:{sshd.port}")
    assert "SSH-2.0" not in direct.stdout
    assert "administratively prohibited" in direct.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    back = stolen.ssh("-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{port}:127.0.0.1:{sshd.port}", line=LINE)
    assert (back.returncode, back.stdout) == (255, "")
    assert "remote port forwarding failed" in back.stderr


def test_a_thief_elsewhere_gets_nothing(stolen: Stolen, sshd: Sshd) -> None:
    """From another address not even the one command."""
    answer = stolen.ssh("-b", "127.0.0.2", line=LINE)
    assert (answer.returncode, answer.stdout) == (255, "")
    assert "Permission denied" in answer.stderr
    assert "source address is not authorized" in sshd.log or "not from a permitted" in sshd.log


async def test_a_thief_who_is_late_gets_nothing(sshd: Sshd, folder: Path, tmp_path: Path) -> None:
    """A certificate after its life is none."""
    late = Stolen(await issued_for(sshd, folder, clock=Skewed(-61)), sshd, tmp_path)
    answer = late.ssh(line=LINE)
    assert (answer.returncode, answer.stdout) == (255, "")
    assert "Permission denied" in answer.stderr


async def test_it_is_what_ssh_keygen_reads(sshd: Sshd, folder: Path, tmp_path: Path) -> None:
    """OpenSSH reads the body as it was meant: two critical options and not one extension."""
    Stolen(await issued_for(sshd, folder), sshd, tmp_path)
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", str(tmp_path / "key-cert.pub")], check=True, capture_output=True, text=True
    ).stdout
    assert "Type: ssh-ed25519-cert-v01@openssh.com user certificate" in shown
    assert re.search(r"Critical Options:\s+force-command echo only this\s+source-address 127.0.0.1/32\s+Ext", shown)
    assert "Extensions: (none)" in shown
    assert re.search(rf"Principals:\s+{PRINCIPAL}\s+Critical", shown)
