"""`cmdhttp hosts scan` against real OpenSSH servers, and against things that only pretend to be one."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import cmdhttp
from tests.support.sshd import Sshd

PROFILE = "{user: %s, auth: {key: file:ops}, host_keys: {%s}}"
REST = """\
commands: {c: {on: local, run: [/usr/bin/true], effect: read, timeout: 5s}}
principals: {p: {}}
roles: {r: [{commands: c, hosts: local}]}
grants: [{to: p, roles: r}]
"""


@dataclass(kw_only=True)
class Desk:
    """A policy folder and a secrets folder of an admin."""

    folder: Path

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def known_hosts(self) -> Path:
        return self.policies / "known_hosts"

    def write(self, hosts: str, *, profiles: str = "") -> None:
        for folder in (self.policies, self.folder / "secrets"):
            folder.mkdir(mode=0o700, exist_ok=True)
        text = f"version: 1\nssh_profiles:\n{profiles}\nhosts:\n{hosts}\n{REST}"
        (self.policies / "p.yaml").write_text(text)

    def one(self, port: int, *, account: str = "ops", trust: str = "known_hosts: known_hosts") -> None:
        self.write(
            f"  web1: {{address: 127.0.0.1, port: {port}, ssh: web}}", profiles=f"  web: {PROFILE % (account, trust)}"
        )

    def scan(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        flags = ("--policies", str(self.policies))
        return cmdhttp("hosts", "scan", *arguments, *flags, CMDHTTP_SECRETS=str(self.folder / "secrets"))

    def keys(self, name: str = "web1", *, code: int) -> dict[str, dict[str, object]]:
        """The keys that a scan finds, by kind."""
        done = self.scan(name, "--json")
        assert done.returncode == code, done
        (host,) = json.loads(done.stdout)["hosts"]
        return {str(key["kind"]): key for key in host["keys"]}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(folder=tmp_path)


def fingerprint(public: Path) -> str:
    """What an admin sees on the host's console."""
    done = subprocess.run(["ssh-keygen", "-lf", str(public)], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def make_key(path: Path, *, kind: str = "ed25519") -> None:
    """Make a key pair; an RSA key of 2048 bits, because larger ones take seconds to find."""
    size = ("-b", "2048") if kind == "rsa" else ()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-f", str(path)], check=True)


def sign(authority: Path, key: Path, *options: str) -> None:
    command = ["ssh-keygen", "-q", "-s", str(authority), "-h", "-I", "web1", *options, str(key.with_suffix(".pub"))]
    subprocess.run(command, check=True)


@contextmanager
def with_keys(folder: Path, *kinds: str, certified: str = "") -> Iterator[Sshd]:
    """A server with more kinds of host key; `certified` has a certificate beside it."""
    config = [f"HostKey {folder / kind}" for kind in kinds]
    with Sshd.start(
        folder / "sshd", config=[*config, *([f"HostCertificate {certified}"] if certified else [])]
    ) as server:
        yield server


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd.start(tmp_path / "sshd") as server:
        yield server


# What is recorded, and what is not


def test_every_kind_of_key_is_shown(desk: Desk, tmp_path: Path) -> None:
    """Keys of all kinds come with the fingerprints of the host's console and lines that ssh-keyscan would write."""
    for kind in ("rsa", "ecdsa"):
        make_key(tmp_path / kind, kind=kind)
    with with_keys(tmp_path, "rsa", "ecdsa") as server:
        desk.one(server.port)
        found = desk.keys(code=1)
        files = {
            "ssh-ed25519": server.host_key,
            "ssh-rsa": tmp_path / "rsa",
            "ecdsa-sha2-nistp256": tmp_path / "ecdsa",
        }
        assert set(found) == set(files)
        for kind, file in files.items():
            public = file.with_suffix(".pub")
            assert found[kind]["standing"] == "new"
            assert found[kind]["fingerprint"] == fingerprint(public)
            assert found[kind]["to_record"] == server.recorded(public).strip()
        assert "Accepted" not in server.log
        assert "userauth-request" not in server.log
    assert sorted(path.name for path in desk.policies.iterdir()) == ["p.yaml"]


def test_pasted_lines_settle_it(desk: Desk, sshd: Sshd) -> None:
    """Once the printed line stands in the printed file, a scan has nothing more to say."""
    desk.one(sshd.port)
    first = desk.scan("web1")
    assert first.returncode == 1
    assert "Nothing has been recorded, and nobody has logged in." in first.stdout
    assert f"into {desk.known_hosts}:" in first.stdout
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in first.stdout
    desk.known_hosts.write_text(first.stdout.splitlines()[-1].strip() + "\n")
    second = desk.scan("web1")
    assert (second.returncode, second.stdout.splitlines()[-1]) == (0, "All of it is recorded, and matches.")
    assert "same" in second.stdout


def test_hashed_names_count(desk: Desk, sshd: Sshd) -> None:
    """A known_hosts file with hashed names settles it as well."""
    desk.one(sshd.port)
    shutil.copy(sshd.known_hosts, desk.known_hosts)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(desk.known_hosts)], check=True, capture_output=True)
    assert "127.0.0.1" not in desk.known_hosts.read_text()
    assert desk.keys(code=0)["ssh-ed25519"]["standing"] == "same"


def test_changed_key(desk: Desk, sshd: Sshd) -> None:
    """A host with another key of the recorded kind is a loud finding that shows both."""
    desk.one(sshd.port)
    shutil.copy(sshd.known_hosts, desk.known_hosts)
    old = fingerprint(sshd.host_key.with_suffix(".pub"))
    sshd.rotate_host_key()
    done = desk.scan("web1")
    assert done.returncode == 1
    assert f"CHANGED  ssh-ed25519  {fingerprint(sshd.host_key.with_suffix('.pub'))}" in done.stdout
    assert f"recorded: {old}" in done.stdout
    assert "Somebody else may be answering in its place" in done.stdout
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {desk.known_hosts}" in done.stdout


def test_revoked_key(desk: Desk, sshd: Sshd) -> None:
    """A revoked key is never offered for recording, even if it is recorded too."""
    desk.one(sshd.port)
    desk.known_hosts.write_text(sshd.recorded() + sshd.recorded(marker="@revoked"))
    key = desk.keys(code=1)["ssh-ed25519"]
    assert (key["standing"], key["to_record"]) == ("revoked", None)


def test_key_that_is_gone(desk: Desk, sshd: Sshd, tmp_path: Path) -> None:
    """A recorded kind of key that the host no longer shows is a finding."""
    desk.one(sshd.port)
    make_key(tmp_path / "rsa", kind="rsa")
    desk.known_hosts.write_text(sshd.recorded() + sshd.recorded(tmp_path / "rsa.pub"))
    found = desk.keys(code=1)
    assert {kind: key["standing"] for kind, key in found.items()} == {"ssh-ed25519": "same", "ssh-rsa": "gone"}


# Certificates


@pytest.mark.parametrize(("by", "kind"), [("ed25519", "ecdsa"), ("ecdsa", "rsa"), ("rsa", "ecdsa")])
def test_signed_by_the_authority(desk: Desk, tmp_path: Path, by: str, kind: str) -> None:
    """A certificate of the profile's authority settles its key too, which stands in no known_hosts."""
    make_key(tmp_path / "authority", kind=by)
    make_key(tmp_path / "signed", kind=kind)
    sign(tmp_path / "authority", tmp_path / "signed", "-n", "127.0.0.1", "-V", "-1m:+1h")
    with with_keys(tmp_path, "signed", certified=str(tmp_path / "signed-cert.pub")) as server:
        desk.one(server.port, trust="known_hosts: known_hosts, cert_authority: authority.pub")
        shutil.copy(tmp_path / "authority.pub", desk.policies)
        shutil.copy(server.known_hosts, desk.known_hosts)
        found = desk.keys(code=0)
    assert [key["standing"] for key in found.values()] == ["same", "signed", "signed"]
    (certificate,) = (key for name, key in found.items() if "-cert-" in name)
    authority = certificate["authority"]
    assert isinstance(authority, dict)
    assert authority["names"] == ["127.0.0.1"]
    assert authority["fingerprint"] == fingerprint(tmp_path / "authority.pub")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("-n", "elsewhere"), "principal mismatch"),
        ((), "names no host"),
        (("-n", "127.0.0.1", "-V", "20200101:20200102"), "expired"),
    ],
)
def test_certificate_that_does_not_hold(desk: Desk, tmp_path: Path, options: tuple[str, ...], problem: str) -> None:
    """A certificate of the right authority with a wrong name, no name or no time left is a finding."""
    make_key(tmp_path / "authority")
    make_key(tmp_path / "signed", kind="ecdsa")
    sign(tmp_path / "authority", tmp_path / "signed", *options)
    with with_keys(tmp_path, "signed", certified=str(tmp_path / "signed-cert.pub")) as server:
        desk.one(server.port, trust="cert_authority: authority.pub")
        shutil.copy(tmp_path / "authority.pub", desk.policies)
        done = desk.scan("web1")
    assert done.returncode == 1
    assert "INVALID" in done.stdout
    assert problem in done.stdout


def test_unknown_authority(desk: Desk, tmp_path: Path) -> None:
    """A certificate of an authority that nobody recorded is shown with the line that would trust it, and warned of."""
    make_key(tmp_path / "authority")
    make_key(tmp_path / "signed", kind="ecdsa")
    sign(tmp_path / "authority", tmp_path / "signed", "-n", "127.0.0.1\u202e\n")
    with with_keys(tmp_path, "signed", certified=str(tmp_path / "signed-cert.pub")) as server:
        desk.one(server.port)
        shutil.copy(server.known_hosts, desk.known_hosts)
        done = desk.scan("web1")
        kind, body, *_ = (tmp_path / "authority.pub").read_text().split()
        assert f"@cert-authority [127.0.0.1]:{server.port} {kind} {body}\n" in done.stdout
    assert done.returncode == 1
    assert "trusts every key that this authority signs" in done.stdout
    assert "for 127.0.0.1\\u202e\\n" in done.stdout


# On the way


@pytest.fixture
def jumping(desk: Desk, tmp_path: Path, sshd: Sshd) -> Iterator[tuple[Sshd, Sshd]]:
    """A host behind a jump host, neither of them recorded."""
    with Sshd.start(tmp_path / "behind") as behind:
        profiles = (
            f"  way: {PROFILE % (sshd.account, 'known_hosts: way')}\n"
            f"  web: {{inherit: way, jump: gate, host_keys: {{known_hosts: known_hosts}}}}"
        )
        hosts = (
            f"  gate: {{address: 127.0.0.1, port: {sshd.port}, ssh: way}}\n"
            f"  web1: {{address: 127.0.0.1, port: {behind.port}, ssh: web}}"
        )
        desk.write(hosts, profiles=profiles)
        shutil.copy(sshd.key, desk.folder / "secrets" / "ops")
        yield sshd, behind


def test_through_a_jump_host(desk: Desk, jumping: tuple[Sshd, Sshd]) -> None:
    """A host behind a recorded jump host is reached through it, and nobody logs in at the host itself."""
    gate, behind = jumping
    (desk.policies / "way").write_text(gate.recorded())
    key = desk.keys(code=1)["ssh-ed25519"]
    assert key["fingerprint"] == fingerprint(behind.host_key.with_suffix(".pub"))
    assert gate.log.count("Accepted publickey") == 1
    assert f"127.0.0.1 port {behind.port}" in gate.log
    assert "userauth-request" not in behind.log


def test_through_two_jump_hosts(desk: Desk, jumping: tuple[Sshd, Sshd], tmp_path: Path) -> None:
    """Each hop is verified by its own record, and goes through the one before it."""
    gate, middle = jumping
    text = (desk.policies / "p.yaml").read_text()
    with Sshd.start(tmp_path / "far") as far:
        text = text.replace(
            "hosts:\n", "  far: {inherit: way, jump: web1, host_keys: {known_hosts: known_hosts}}\nhosts:\n", 1
        )
        text = text.replace("commands:", f"  far1: {{address: 127.0.0.1, port: {far.port}, ssh: far}}\ncommands:", 1)
        (desk.policies / "p.yaml").write_text(text)
        (desk.policies / "way").write_text(gate.recorded())
        unverified = desk.scan("far1")
        assert unverified.returncode == 2
        assert "at the jump host 'web1'" in unverified.stdout
        assert "cmdhttp hosts scan web1" in unverified.stdout
        desk.known_hosts.write_text(middle.recorded())
        shutil.copy(gate.key.with_suffix(".pub"), middle._open_folder / "authorized_keys")
        key = desk.keys("far1", code=1)["ssh-ed25519"]
        assert key["fingerprint"] == fingerprint(far.host_key.with_suffix(".pub"))
        assert f"127.0.0.1 port {far.port}" in middle.log
        assert "userauth-request" not in far.log


@pytest.mark.parametrize("recorded", ["", "other"])
def test_jump_host_that_is_not_verified(desk: Desk, jumping: tuple[Sshd, Sshd], recorded: str) -> None:
    """Without a record, or with another key in it, no login is tried at the jump host, and the message says what to scan."""
    gate, behind = jumping
    if recorded:
        (desk.policies / "way").write_text(gate.recorded())
        gate.rotate_host_key()
    before = behind.log.count("Connection from")
    done = desk.scan("web1")
    assert done.returncode == 2
    assert "at the jump host 'gate'" in done.stdout
    assert "cmdhttp hosts scan gate" in done.stdout
    assert "userauth-request" not in gate.log
    assert behind.log.count("Connection from") == before


def test_jump_host_that_forwards_nothing(desk: Desk, jumping: tuple[Sshd, Sshd]) -> None:
    """A port behind the jump host where nobody listens is a host that cannot be reached."""
    gate, behind = jumping
    (desk.policies / "way").write_text(gate.recorded())
    behind.down()
    done = desk.scan("web1", "gate")
    assert done.returncode == 2
    assert "web1: 127.0.0.1" in done.stdout
    assert "failed:" in done.stdout
    assert "same" in done.stdout, "the other host is scanned all the same"


# Servers that only pretend


@contextmanager
def pretending(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener that hands each connection to `talk`; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(OSError):
                    connection, _ = listener.accept()
                    connection.settimeout(0.2)
                    with connection, suppress(OSError):
                        while not over.is_set():
                            talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def silent(connection: socket.socket) -> None:
    time.sleep(0.02)


def trickling(connection: socket.socket) -> None:
    connection.sendall(b"x")
    time.sleep(0.02)


def garbage(connection: socket.socket) -> None:
    connection.sendall(os.urandom(4096))


def babbling(connection: socket.socket) -> None:
    connection.sendall(b"\x1b[31mhello, I am not \x07 SSH\r\n" * 100)


def late_garbage(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-\x1b]0;owned\x07\r\n" + bytes(4096))


def hanging_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)
    raise OSError


@pytest.mark.parametrize("talk", [silent, trickling, garbage, babbling, late_garbage, hanging_up])
def test_pretender(desk: Desk, talk: Callable[[socket.socket], None]) -> None:
    """Whatever answers, the scan ends within its time, says so in our own words, and repeats nothing of it."""
    with pretending(talk) as port:
        desk.one(port)
        begin = time.monotonic()
        done = desk.scan("web1", "--timeout", "1")
        assert time.monotonic() - begin < 8, "a second was allowed; the rest is for a busy machine"
    assert (done.returncode, done.stderr) == (2, "")
    assert "failed: " in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
    assert "owned" not in done.stdout
    assert "hello" not in done.stdout


def test_weak_server(desk: Desk, tmp_path: Path) -> None:
    """A host with only keys of kinds that are not accepted is said to be that, not to be down."""
    with Sshd.start(tmp_path / "sshd", config=["HostKeyAlgorithms ssh-rsa", f"HostKey {tmp_path / 'rsa'}"]) as server:
        desk.one(server.port)
        make_key(tmp_path / "rsa", kind="rsa")
        server.down()
        server.up()
        done = desk.scan("web1")
    assert done.returncode == 2
    assert "offers no SSH algorithm that this service accepts" in done.stdout


# What cannot be done


@pytest.mark.parametrize("damage", ["line", "pipe", "folder"])
def test_bad_record(desk: Desk, sshd: Sshd, damage: str) -> None:
    """A known_hosts file that is half understood, or no file, is no record, and nothing waits for it."""
    desk.one(sshd.port)
    match damage:
        case "line":
            desk.known_hosts.write_text("@nonsense * ssh-ed25519 AAAA\n")
        case "pipe":
            os.mkfifo(desk.known_hosts)
        case _:
            desk.known_hosts.mkdir()
    done = desk.scan("web1")
    assert done.returncode == 2
    assert "cannot be read" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["local"], "'local' is this machine"),
        (["web2"], "there is no host 'web2'"),
        (["web1", "--timeout", "0"], "--timeout must be more than 0"),
        (["web1", "--timeout", "nan"], "--timeout must be more than 0"),
    ],
)
def test_bad_arguments(desk: Desk, arguments: list[str], said: str) -> None:
    """What cannot be scanned is refused with a reason."""
    desk.one(1)
    done = desk.scan(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
