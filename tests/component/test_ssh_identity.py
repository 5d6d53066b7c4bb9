"""Who logs in and whom it believes: every way to log in, every way to know a host, and jump hosts that are not believed."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from cmdhttp.execution.model import RunError, RunErrorCode
from cmdhttp.execution.ssh.failures import ConnectFailed, at_jump
from cmdhttp.execution.ssh.login import agents, credentials
from cmdhttp.execution.ssh.login.dial import Dialed, Dialer, close
from cmdhttp.plan.model import (
    Agent,
    AgentSigner,
    Certificate,
    KeyFile,
    KeyVariable,
    PasswordFile,
    PasswordVariable,
    SshLogin,
    SshTarget,
)
from tests.support.agent import Agent as RunningAgent
from tests.support.leaks import nothing_left
from tests.support.sshd import PASSWORD, Sshd, make_key

pytestmark = pytest.mark.anyio

CANARY = "canary-77d1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd.start(tmp_path_factory.mktemp("sshd"), password=True) as server:
        yield server


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd.start(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    with RunningAgent.start(tmp_path) as running:
        yield running


def target_of(server: Sshd, login: SshLogin | None = None) -> SshTarget:
    return SshTarget(
        address=server.address,
        port=server.port,
        account=server.account,
        login=login or KeyFile(path=str(server.key)),
        known_hosts=str(server.known_hosts),
    )


@contextlib.asynccontextmanager
async def dialed(target: SshTarget, dialer: Dialer | None = None) -> AsyncIterator[Dialed]:
    """A connection as the pool opens it: the jump host first. Nothing of it is left afterwards."""
    used = dialer or Dialer()
    async with nothing_left(), _opened(target, used) as found:
        yield found


@contextlib.asynccontextmanager
async def _opened(target: SshTarget, dialer: Dialer) -> AsyncIterator[Dialed]:
    async with contextlib.AsyncExitStack() as stack:
        through = None
        if target.jump is not None:
            try:
                through = (await stack.enter_async_context(_opened(target.jump, dialer))).connection
            except ConnectFailed as failed:
                raise at_jump(failed) from failed
        found = await dialer.dial(target, through=through)
        try:
            yield found
        finally:
            await close(found.connection)


async def said(target: SshTarget, line: str = "echo here", dialer: Dialer | None = None) -> str:
    async with dialed(target, dialer) as found:
        answer = await found.connection.run(line, check=True)
        return str(answer.stdout).strip()


async def refused(target: SshTarget, dialer: Dialer | None = None) -> RunError:
    with pytest.raises(ConnectFailed) as failed:
        async with dialed(target, dialer):
            pass
    error = failed.value.error
    assert error.hint
    assert CANARY not in repr(error)
    return error


def attempts(server: Sshd) -> int:
    """How many logins were begun at a server."""
    return server.log.count("userauth-request for user")


def keygen(*arguments: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, stdin=subprocess.DEVNULL)


# Keys.


async def test_a_key_from_a_variable(sshd: Sshd) -> None:
    """The key is what the variable holds at the moment of the login, and never touches a disk of ours."""
    environ: dict[str, str] = {}
    dialer = Dialer(environ=environ)
    target = target_of(sshd, KeyVariable(variable="OPS_KEY"))
    before = attempts(sshd)
    missing = await refused(target, dialer)
    assert missing.detail == "No login was attempted: the environment variable of the private key is not set."
    environ["OPS_KEY"] = CANARY
    broken = await refused(target, dialer)
    assert broken.detail == "No login was attempted: the private key is not a private key."
    assert attempts(sshd) == before
    environ["OPS_KEY"] = sshd.key.read_text()
    assert await said(target, dialer=dialer) == "here"


# Agents.


async def test_an_agent(sshd: Sshd, agent: RunningAgent, tmp_path: Path) -> None:
    """By the path of its socket, or by a variable that holds it; another key in it does no harm."""
    make_key(tmp_path / "other")
    agent.add(tmp_path / "other")
    agent.add(sshd.key)
    assert await said(target_of(sshd, Agent(socket=str(agent.socket)))) == "here"
    by_variable = target_of(sshd, Agent(socket="env:OPS_AGENT"))
    assert await said(by_variable, dialer=Dialer(environ={"OPS_AGENT": str(agent.socket)})) == "here"


async def test_the_agent_of_the_service_account_is_not_asked(
    sshd: Sshd, agent: RunningAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login by one agent or by a password never falls back on SSH_AUTH_SOCK, or on a key in the home folder."""
    agent.add(sshd.key)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text(sshd.key.read_text())
    with RunningAgent.start(tmp_path / ".ssh") as other:
        make_key(tmp_path / "other")
        other.add(tmp_path / "other")
        assert (await refused(target_of(sshd, Agent(socket=str(other.socket))))).code is RunErrorCode.LOGIN_FAILED
    wrong = target_of(sshd, PasswordVariable(password_variable="PW"))
    assert (await refused(wrong, Dialer(environ={"PW": CANARY}))).code is RunErrorCode.LOGIN_FAILED


@pytest.mark.parametrize(
    ("socket", "environ", "detail"),
    [
        ("/nonexistent/agent.sock", {}, "the SSH agent is not there, or its socket cannot be used"),
        (
            "env:GONE",
            {},
            "the SSH agent is not there: the environment variable of its socket is not set to an absolute path",
        ),
        (
            "env:REL",
            {"REL": "agent.sock"},
            "the SSH agent is not there: the environment variable of its socket is not set to an absolute path",
        ),
    ],
)
async def test_an_agent_that_is_not_there(sshd: Sshd, socket: str, environ: dict[str, str], detail: str) -> None:
    """Nothing is tried at the host."""
    before = attempts(sshd)
    error = await refused(target_of(sshd, Agent(socket=socket)), Dialer(environ=environ))
    assert (error.code, error.detail) == (RunErrorCode.LOGIN_FAILED, f"No login was attempted: {detail}.")
    assert attempts(sshd) == before


async def test_an_agent_without_keys(sshd: Sshd, agent: RunningAgent) -> None:
    """An empty agent, or a locked one, is no reason to look for keys elsewhere."""
    target = target_of(sshd, Agent(socket=str(agent.socket)))
    detail = "No login was attempted: the SSH agent has no key of a kind that this service uses."
    assert (await refused(target)).detail == detail
    agent.add(sshd.key)
    await agent.lock()
    assert (await refused(target)).detail == detail


async def test_an_agent_that_refuses_to_sign(sshd: Sshd, agent: RunningAgent) -> None:
    """A key that wants a confirmation, and nobody to give it: the host knows the key, the agent says no."""
    agent.add(sshd.key, "-c")
    error = await refused(target_of(sshd, Agent(socket=str(agent.socket))))
    assert error.detail == "The host accepted a key of the SSH agent, and the agent refused to sign with it."


async def test_an_agent_with_many_keys(sshd: Sshd, agent: RunningAgent, tmp_path: Path) -> None:
    """Five are offered, so that the host does not end the login for too many; how many were not is said."""
    for number in range(6):
        make_key(tmp_path / f"key{number}")
        agent.add(tmp_path / f"key{number}")
    agent.add(sshd.key)
    error = await refused(target_of(sshd, Agent(socket=str(agent.socket))))
    assert error.detail == (
        "The host refused the login with the first 5 keys of the SSH agent. 2 more keys of the agent were not offered."
    )


async def test_a_host_that_takes_fewer_keys(tmp_path: Path, agent: RunningAgent) -> None:
    """One that breaks off the login before all were offered has refused them, and the hint says why."""
    for number in range(4):
        make_key(tmp_path / f"key{number}")
        agent.add(tmp_path / f"key{number}")
    with Sshd.start(tmp_path / "sshd", config=["MaxAuthTries 2"]) as server:
        error = await refused(target_of(server, Agent(socket=str(agent.socket))))
    assert error.detail == "The host refused the login with the first 4 keys of the SSH agent."
    assert "MaxAuthTries" in error.hint


async def test_what_is_no_agent(sshd: Sshd, tmp_path: Path) -> None:
    """A socket on which something else answers is told, and does not hang."""
    path = tmp_path / "web.sock"

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x05\x0c\xff\xff\xff\xff")
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    async with server:
        error = await refused(target_of(sshd, Agent(socket=str(path))))
    assert error.detail == "No login was attempted: the SSH agent does not answer as an agent should."


async def test_an_agent_that_hangs(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, long before anybody waits for the login."""
    monkeypatch.setattr(agents, "_ANSWER_WITHIN", 0.3)
    path = tmp_path / "mute.sock"

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(say_nothing, path):
        error = await refused(target_of(sshd, Agent(socket=str(path))))
        assert error.detail == "No login was attempted: the SSH agent did not answer in time."
        signer = AgentSigner(agent=Agent(socket=str(path)), public_key=str(sshd.key.with_suffix(".pub")))
        login = Certificate(authority=signer, principal="p", ttl=60.0)
        assert "refused to sign the certificate" in (await refused(target_of(sshd, login))).detail


# Passwords.


async def test_a_password(sshd: Sshd, tmp_path: Path) -> None:
    """From a file, whose last newline is none of it, or from a variable."""
    (tmp_path / "pw").write_text(PASSWORD + "\n")
    assert await said(target_of(sshd, PasswordFile(password_file=str(tmp_path / "pw")))) == "here"
    dialer = Dialer(environ={"OPS_PW": PASSWORD})
    assert await said(target_of(sshd, PasswordVariable(password_variable="OPS_PW")), dialer=dialer) == "here"


async def test_a_wrong_password(sshd: Sshd) -> None:
    """It is a failed login, sent once, and no key is tried in its place."""
    before = sshd.log.count("Failed password")
    error = await refused(target_of(sshd, PasswordVariable(password_variable="PW")), Dialer(environ={"PW": CANARY}))
    assert (error.code, error.detail) == (RunErrorCode.LOGIN_FAILED, "The host refused the login by password.")
    assert sshd.log.count("Failed password") == before + 1
    assert "Failed publickey" not in sshd.log.rpartition("Failed password")[2]


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"nul\0", b"x" * 5000])
async def test_a_password_that_cannot_be_used(sshd: Sshd, tmp_path: Path, content: bytes | None) -> None:
    """What is no password is not sent."""
    if content is not None:
        (tmp_path / "pw").write_bytes(content)
    before = attempts(sshd)
    error = await refused(target_of(sshd, PasswordFile(password_file=str(tmp_path / "pw"))))
    assert error.detail == "No login was attempted: the password is missing or cannot be used."
    assert attempts(sshd) == before


async def test_a_password_goes_to_no_unverified_host(sshd: Sshd, tmp_path: Path) -> None:
    """Whoever answers with another key is not told."""
    make_key(tmp_path / "other")
    (tmp_path / "known").write_text(sshd.recorded(tmp_path / "other.pub"))
    target = replace(target_of(sshd, PasswordVariable(password_variable="PW")), known_hosts=str(tmp_path / "known"))
    before = attempts(sshd)
    error = await refused(target, Dialer(environ={"PW": PASSWORD}))
    assert (error.code, attempts(sshd)) == (RunErrorCode.HOST_KEY_MISMATCH, before)


class Asking(asyncssh.SSHServer):
    """A server that asks by keyboard-interactive, or for a new password, and remembers what it was told."""

    def __init__(self, prompts: list[list[tuple[str, bool]]], told: list[str], *, change: bool) -> None:
        self.prompts, self.told, self.change = list(prompts), told, change

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return self.change

    def validate_password(self, username: str, password: str) -> bool:
        self.told.append(password)
        raise asyncssh.PasswordChangeRequired("choose another")

    def change_password(self, username: str, old_password: str, new_password: str) -> bool:
        self.told.append(new_password)
        return True

    def kbdint_auth_supported(self) -> bool:
        return bool(self.prompts)

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return "", "", "", self.prompts.pop(0)

    def validate_kbdint_response(
        self, username: str, responses: Sequence[str]
    ) -> bool | tuple[str, str, str, list[tuple[str, bool]]]:
        self.told += responses
        if self.prompts:
            return "", "", "", self.prompts.pop(0)
        return self.told == [PASSWORD]


@contextlib.asynccontextmanager
async def asking(
    tmp_path: Path, prompts: list[list[tuple[str, bool]]], *, change: bool = False
) -> AsyncIterator[tuple[SshTarget, list[str]]]:
    told: list[str] = []
    make_key(tmp_path / "host")
    server = await asyncssh.create_server(
        lambda: Asking(prompts, told, change=change),
        "127.0.0.1",
        0,
        server_host_keys=[str(tmp_path / "host")],
        process_factory=lambda process: process.exit(0),
    )
    port = server.get_port()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    try:
        yield (
            SshTarget(
                address="127.0.0.1",
                port=port,
                account="u",
                login=PasswordVariable(password_variable="PW"),
                known_hosts=str(tmp_path / "known"),
            ),
            told,
        )
    finally:
        server.close()
        await server.wait_closed()


WITH_PASSWORD = {"PW": PASSWORD}
HIDDEN, SHOWN = ("Secret please: ", False), ("Password: ", True)


@pytest.mark.parametrize("prompts", [[[HIDDEN]], [[], [HIDDEN]], [[HIDDEN], []]])
async def test_one_hidden_prompt_is_the_password(tmp_path: Path, prompts: list[list[tuple[str, bool]]]) -> None:
    """Keyboard-interactive that asks for one hidden thing gets the password, whatever the prompt's words are."""
    async with asking(tmp_path, prompts) as (target, told):
        async with _opened(target, Dialer(environ=WITH_PASSWORD)):
            pass
        assert told == [PASSWORD]


@pytest.mark.parametrize(
    ("prompts", "sent"),
    [
        ([[SHOWN]], []),
        ([[HIDDEN, HIDDEN]], []),
        ([[HIDDEN, SHOWN]], []),
        ([[HIDDEN], [HIDDEN]], [PASSWORD]),
        ([[]], []),
    ],
)
async def test_other_prompts_get_nothing(
    tmp_path: Path, prompts: list[list[tuple[str, bool]]], sent: list[str]
) -> None:
    """What is shown, or more than one thing, or asked for again, is not answered, and the login fails."""
    async with asking(tmp_path, prompts) as (target, told):
        with pytest.raises(ConnectFailed) as failed:
            async with _opened(target, Dialer(environ=WITH_PASSWORD)):
                pass
        assert failed.value.error.code is RunErrorCode.LOGIN_FAILED
        assert told == sent


async def test_a_host_that_wants_a_new_password(tmp_path: Path) -> None:
    """It gets none, also where it would take keyboard-interactive, and the error says what it wanted."""
    async with asking(tmp_path, [[HIDDEN]], change=True) as (target, told):
        with pytest.raises(ConnectFailed) as failed:
            async with _opened(target, Dialer(environ=WITH_PASSWORD)):
                pass
        assert failed.value.error.detail == "The host wants a new password for the account, and got none."
        assert told == [PASSWORD]


async def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    """What is loaded for a login shows no secret when it is printed."""
    (tmp_path / "pw").write_text(CANARY)
    files = credentials.CredentialFiles({})
    target = SshTarget(
        address="a", port=22, account="u", login=PasswordFile(password_file=str(tmp_path / "pw")), known_hosts=None
    )
    assert CANARY not in repr(await files.load(target))


# Host certificates.


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_key(tmp_path / "host_ca")
    return tmp_path / "host_ca"


@contextlib.contextmanager
def certified(folder: Path, authority: Path, *options: str, names: str | None = "127.0.0.1") -> Iterator[Sshd]:
    """A server with a certificate for its key; nothing else is recorded of it."""
    with Sshd.start(folder, config=[f"HostCertificate {folder / 'host_key-cert.pub'}"]) as server:
        named = [] if names is None else ["-n", names]
        public = str(server.host_key.with_suffix(".pub"))
        host = [] if "-user" in options else ["-h"]
        rest = [option for option in options if option != "-user"]
        keygen("-s", str(authority), "-I", "host", *host, *named, *rest, public)
        server.known_hosts.write_text("")
        server.down()
        server.up()
        yield server


def by_authority(server: Sshd, authorities: Path, *, known_hosts: bool = False) -> SshTarget:
    known = str(server.known_hosts) if known_hosts else None
    return replace(target_of(server), known_hosts=known, cert_authority=str(authorities))


async def test_a_host_key_authority(tmp_path: Path, authority: Path) -> None:
    """A file of public keys, with comments, alone or beside known_hosts; the key that the host has is what is reported."""
    make_key(tmp_path / "other")
    file = tmp_path / "authorities"
    file.write_text(f"# ours\n\n{(tmp_path / 'other.pub').read_text()}{authority.with_suffix('.pub').read_text()}")
    with certified(tmp_path / "sshd", authority) as server:
        async with dialed(by_authority(server, file)) as found:
            pass
        fingerprint = subprocess.run(
            ["ssh-keygen", "-l", "-f", str(server.host_key)], check=True, capture_output=True, text=True
        ).stdout.split()[1]
        assert (found.host_key, found.certificate) == (fingerprint, None)
        assert await said(by_authority(server, file, known_hosts=True)) == "here"


async def test_a_recorded_key_beside_an_authority(own_sshd: Sshd, authority: Path) -> None:
    """A host without a certificate is known by its recorded key; without that, an authority helps it nothing."""
    public = authority.with_suffix(".pub")
    assert await said(by_authority(own_sshd, public, known_hosts=True)) == "here"
    before = attempts(own_sshd)
    assert (await refused(by_authority(own_sshd, public))).code is RunErrorCode.HOST_KEY_MISMATCH
    assert attempts(own_sshd) == before


BAD = {
    "another name": ([], "10.0.0.1,localhost", "a certificate for another name"),
    "no name": ([], None, "a certificate that names no host"),
    "a pattern": ([], "127.0.0.*", "a certificate for another name"),
    "expired": (["-V", "20200101:20200102"], "127.0.0.1", "a certificate that is no longer valid"),
    "not yet": (["-V", "20990101:20990102"], "127.0.0.1", "a certificate that is not valid yet"),
}


@pytest.mark.parametrize("name", BAD)
async def test_host_certificates_that_do_not_count(tmp_path: Path, authority: Path, name: str) -> None:
    """Signed by the right authority, and still not a proof: no login is attempted, and the error says why."""
    options, names, shown = BAD[name]
    with certified(tmp_path / "sshd", authority, *options, names=names) as server:
        error = await refused(by_authority(server, authority.with_suffix(".pub")))
        expected = f"The host showed {shown}. No login was attempted."
        assert (error.code, error.detail) == (RunErrorCode.HOST_KEY_MISMATCH, expected)
        assert attempts(server) == 0


async def test_an_authority_that_signs_with_sha1(tmp_path: Path) -> None:
    """A signature that can be forged proves nothing."""
    make_key(tmp_path / "rsa_ca", kind="rsa")
    with certified(tmp_path / "sshd", tmp_path / "rsa_ca", "-t", "ssh-rsa") as server:
        error = await refused(by_authority(server, tmp_path / "rsa_ca.pub"))
        assert error.detail.startswith("The host showed a certificate that is signed with a weak algorithm.")
        assert attempts(server) == 0
    with certified(tmp_path / "sshd2", tmp_path / "rsa_ca", "-t", "rsa-sha2-512") as server:
        assert await said(by_authority(server, tmp_path / "rsa_ca.pub")) == "here"


async def test_a_certificate_of_another_authority(tmp_path: Path, authority: Path) -> None:
    """Whoever signed it must be in the file, in this very one."""
    make_key(tmp_path / "other")
    with certified(tmp_path / "sshd", tmp_path / "other") as server:
        error = await refused(by_authority(server, authority.with_suffix(".pub")))
        assert error.code is RunErrorCode.HOST_KEY_MISMATCH
        assert "an authority that is not recorded for it" in error.detail
        assert attempts(server) == 0


@pytest.mark.parametrize("which", ["host_ca", "host_key"])
@pytest.mark.parametrize("hosts", ["[127.0.0.1]:{port}", "127.0.0.1", "*"])
async def test_revoked_beats_signed(tmp_path: Path, authority: Path, which: str, hosts: str) -> None:
    """A revoked authority, and a revoked key that a good authority has signed."""
    with certified(tmp_path / "sshd", authority) as server:
        public = authority if which == "host_ca" else server.host_key
        kind, body, *_ = public.with_suffix(".pub").read_text().split()
        server.known_hosts.write_text(f"@revoked {hosts.format(port=server.port)} {kind} {body}\n")
        error = await refused(by_authority(server, authority.with_suffix(".pub"), known_hosts=True))
        assert error.detail == "The host showed a key that is recorded as revoked. No login was attempted."
        assert attempts(server) == 0


@pytest.mark.parametrize("content", [None, "", "# nothing\n", "garbage\n", "ssh-ed25519 AAAA\n", "GOOD\nbad line\n"])
async def test_a_file_of_authorities_that_cannot_be_used(
    own_sshd: Sshd, tmp_path: Path, authority: Path, content: str | None
) -> None:
    """One bad line spoils the file: nobody knows what it was to say."""
    file = tmp_path / "authorities"
    if content is not None:
        file.write_text(content.replace("GOOD", authority.with_suffix(".pub").read_text().strip()))
    error = await refused(by_authority(own_sshd, file, known_hosts=True))
    assert error.code is RunErrorCode.HOST_KEY_MISMATCH
    assert error.detail == "The host cannot be verified: its file of host key authorities is missing or cannot be read."
    assert attempts(own_sshd) == 0


async def test_a_long_file_is_parsed_once(own_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand hashed lines cost something at the first connection alone."""
    lines = "".join(own_sshd.recorded().replace("127.0.0.1", f"10.0.{n // 250}.{n % 250}") for n in range(1000))
    own_sshd.known_hosts.write_text(lines + own_sshd.recorded())
    keygen("-H", "-f", str(own_sshd.known_hosts))
    parsed: list[int] = []
    real = asyncssh.import_known_hosts

    def counted(data: str) -> asyncssh.SSHKnownHosts:
        parsed.append(len(data))
        return real(data)

    monkeypatch.setattr(asyncssh, "import_known_hosts", counted)
    dialer = Dialer()
    for _ in range(3):
        assert await said(target_of(own_sshd), dialer=dialer) == "here"
    assert len(parsed) == 1
    assert "127.0.0.1" not in own_sshd.known_hosts.read_text()


# Jump hosts.


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Sshd]]:
    """A bastion, a host behind it, and one behind that."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Sshd.start(tmp_path / name)) for name in ("outer", "inner", "far")]


def chain(servers: list[Sshd]) -> SshTarget:
    target = target_of(servers[0])
    for server in servers[1:]:
        target = replace(target_of(server), jump=target)
    return target


async def test_a_chain_of_jumps(three: list[Sshd]) -> None:
    """Each hop has its own login and its own host key, and nothing is left when the connection is closed."""
    async with dialed(chain(three)) as found:
        answer = await found.connection.run("echo $SSH_CONNECTION", check=True)
        assert str(answer.stdout).split()[3] == str(three[2].port)
        assert found.host_key == asyncssh.read_public_key(three[2].host_key.with_suffix(".pub")).get_fingerprint()
    assert [server.log.count("Accepted publickey") for server in three] == [1, 1, 1]


async def test_the_way_of_the_policy_is_the_only_one(three: list[Sshd]) -> None:
    """A host behind a jump host is never dialled directly, nor the other way round."""
    dialer = Dialer()
    with pytest.raises(ValueError, match="jump host"):
        await dialer.dial(chain(three[:2]))
    async with dialed(target_of(three[0])) as found:
        with pytest.raises(ValueError, match="jump host"):
            await dialer.dial(target_of(three[1]), through=found.connection)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_every_hop_is_verified(three: list[Sshd], place: int) -> None:
    """Whichever host has another key than the recorded one: no login there, and which host it was is said."""
    three[place].rotate_host_key()
    error = await refused(chain(three))
    who = "The host" if place == 2 else "The jump host"
    assert error.code is RunErrorCode.HOST_KEY_MISMATCH
    assert error.detail == f"{who} showed a key other than the one that is recorded for it. No login was attempted."
    assert attempts(three[place]) == 0


async def test_a_jump_host_that_leads_elsewhere(three: list[Sshd]) -> None:
    """A jump host that answers with a server of its own in the place of the host behind it gets no login there."""
    swapped, wanted = three[1], three[2]

    class Elsewhere(asyncssh.SSHServer):
        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            return True

        def connection_requested(
            self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
        ) -> Awaitable[Any]:
            assert (dest_host, dest_port) == (wanted.address, wanted.port)
            return self.conn.forward_connection(swapped.address, swapped.port)

        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.conn = conn

    async with asyncssh.listen(
        "127.0.0.1", 0, server_factory=Elsewhere, server_host_keys=[str(three[0].host_key)]
    ) as bad:
        (three[0].folder / "bad").write_text(three[0].recorded().replace(str(three[0].port), str(bad.get_port())))
        jump = replace(target_of(three[0]), port=bad.get_port(), known_hosts=str(three[0].folder / "bad"))
        with pytest.raises(ConnectFailed) as failed:
            async with _opened(replace(target_of(wanted), jump=jump), Dialer()):
                pass
    assert failed.value.error.code is RunErrorCode.HOST_KEY_MISMATCH
    assert failed.value.error.detail.startswith("The host showed a key other")
    assert (attempts(swapped), attempts(wanted)) == (0, 0)


async def test_a_jump_host_is_known_under_its_own_name_only(three: list[Sshd]) -> None:
    """The key of the jump host does not count for the host behind it, though it is in the file."""
    three[1].known_hosts.write_text(three[0].recorded())
    error = await refused(chain(three[:2]))
    assert error.detail == "No key is recorded for the host, so it cannot be verified. No login was attempted."


async def test_a_jump_host_that_does_not_forward(tmp_path: Path) -> None:
    """It is the jump host's fault and told as that."""
    with (
        Sshd.start(tmp_path / "jump", config=["AllowTcpForwarding no"]) as jump,
        Sshd.start(tmp_path / "far") as far,
    ):
        error = await refused(chain([jump, far]))
    assert (error.code, error.detail) == (
        RunErrorCode.CONNECT_FAILED,
        "The jump host does not permit connections to the host.",
    )
    assert "AllowTcpForwarding" in error.hint


async def test_a_host_that_is_down_behind_a_jump_host(three: list[Sshd]) -> None:
    """The jump host says that it cannot reach it."""
    three[1].down()
    error = await refused(chain(three[:2]))
    assert (error.code, error.detail) == (RunErrorCode.CONNECT_FAILED, "The jump host could not reach the host.")


async def test_a_jump_host_that_is_down(three: list[Sshd]) -> None:
    """What is wrong is the jump host's, in the detail and in the hint."""
    three[0].down()
    error = await refused(chain(three[:2]))
    assert (error.code, error.detail) == (RunErrorCode.CONNECT_FAILED, "The jump host refused the connection.")
    assert error.hint.startswith("This is about the jump host.")


async def test_a_jump_host_without_a_usable_key(three: list[Sshd]) -> None:
    """Also what is wrong on our side is told as the jump host's."""
    target = chain(three[:2])
    broken = replace(target_of(three[0]), login=KeyFile(path="/nonexistent/key"))
    error = await refused(replace(target, jump=broken))
    assert error.detail == (
        "The jump host could not be used. No login was attempted: the private key file is missing or cannot be read."
    )


async def test_a_jump_host_that_goes_away(three: list[Sshd]) -> None:
    """A connection that has died is no way to anywhere, and says so."""
    dialer = Dialer()
    async with dialed(target_of(three[0]), dialer) as found:
        await found.connection.run("true")  # by then sshd has all its processes for the connection
        three[0].drop_connections()
        await found.connection.wait_closed()
        with pytest.raises(ConnectFailed) as failed:
            await dialer.dial(chain(three[:2]), through=found.connection)
    assert (failed.value.error.code, failed.value.error.detail) == (
        RunErrorCode.CONNECT_FAILED,
        "The connection to the jump host was lost.",
    )
