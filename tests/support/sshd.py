"""A real OpenSSH server on a loopback port, for the length of a `with` block.

Nothing of it outlives the block: the listener and all that descends from it is killed by process id and waited for. Run
as root it serves a made-up unprivileged account, which exists in the server's own mount namespace only, because sshd
passes no signals on in sessions of root; run as anybody else it serves the caller's account. A machine without sshd
fails the run: tests of SSH that are silently skipped prove nothing.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support.ports import free_port

_ADDRESS = "127.0.0.1"
_MADE_UP = "cmdhttp-test"
_MADE_UP_UID = 61234
_WAIT = 60.0
EVERY_LOOPBACK = "0.0.0.0 rdomain lo"
"""To listen on: the whole of 127.0.0.0/8 by the loopback interface, and nothing that is not on this machine."""
_UNLESS_GIVEN = ("MaxStartups 1000", "LogLevel DEBUG1")
"""Of two such lines sshd takes the first."""
PASSWORD = "correct horse battery"
_PASSWORD_HASH = "$6$cmdhttptest$2AZ9uPiY1XSd1H/mYJHjTM2bpU21OMUnWuJ5XrD8hYK9.CPEsMr444Essgg.0UNbsPbIl5SzweHC6.vlbkjHE0"
_WITH_ACCOUNTS = 'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && shift 2 && exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is special about the machine that a server seems to be; all of it counts only when run as root.

    `setup` is a piece of shell that runs in the server's own mount namespace before it starts, with the folders of the
    server's public files and of its configuration as `$1` and `$2`; `prefix` is a program with its arguments that starts
    the server, like nsenter; `address` is where it listens.
    """

    uid: int = _MADE_UP_UID
    setup: str = ":"
    prefix: tuple[str, ...] = ()
    address: str = _ADDRESS


_PLAIN = Machine()


class Sshd:
    """One server. `key` logs in at `account`; `known_hosts` holds the server's key, however often that is rotated."""

    def __init__(
        self,
        folder: Path,
        *,
        config: Sequence[str] = (),
        shell: str = "/bin/sh",
        home: str = "/",
        password: bool = False,
        listen: str | None = None,
        machine: Machine = _PLAIN,
    ) -> None:
        if machine != _PLAIN and os.getuid() != 0:
            raise RuntimeError("A server on a machine of its own needs root. Hint: run the tests as root.")
        self.address = machine.address
        self._listen = listen or machine.address
        self.port = free_port()
        self._machine = machine
        self.folder = folder
        self.key = folder / "user_key"
        self.known_hosts = folder / "known_hosts"
        self._open_folder = Path(tempfile.mkdtemp(prefix="cmdhttp-sshd-"))
        self._config = tuple(config)
        self._shell = shell
        self._home = home
        self._password = password
        self._log = folder / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def start(
        cls,
        folder: Path,
        *,
        config: Sequence[str] = (),
        shell: str = "/bin/sh",
        home: str = "/",
        password: bool = False,
        listen: str | None = None,
        machine: Machine = _PLAIN,
    ) -> Iterator["Sshd"]:
        """Start a server with `config` as further lines of its sshd_config, or in place of ours.

        `shell` and `home` count only when run as root, and only root can give the account the password `PASSWORD`.
        `{open}` in a line stands for the server's folder that every account may read, see `put`.
        With `listen=EVERY_LOOPBACK` every address of 127.0.0.0/8 leads to it, and with 0.0.0.0 those of the machine do, too.
        """
        folder.mkdir(parents=True, exist_ok=True)
        server = cls(folder, config=config, shell=shell, home=home, password=password, listen=listen, machine=machine)
        try:
            server._prepare()
            server.up()
            yield server
        finally:
            server.down()
            shutil.rmtree(server._open_folder)

    @property
    def pid(self) -> int:
        """The listener's process id. Raises RuntimeError if it is down."""
        if self._process is None:
            raise RuntimeError("sshd is not running")
        return self._process.pid

    @property
    def account(self) -> str:
        return _MADE_UP if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def put(self, name: str, text: str) -> Path:
        """Write a file that every account may read, as sshd wants it of what it reads on behalf of one."""
        path = self._open_folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    @property
    def host_key(self) -> Path:
        return self.folder / "host_key"

    def recorded(self, public_key: Path | None = None, *, marker: str = "") -> str:
        """Return a known_hosts line for this server, with its own key or another one."""
        kind, body, *_ = (public_key or self.host_key.with_suffix(".pub")).read_text().split()
        return f"{marker} [{self.address}]:{self.port} {kind} {body}\n".lstrip()

    def rotate_host_key(self, kind: str = "ed25519") -> None:
        """Give the server a new host key; `known_hosts` keeps the old one."""
        self.down()
        make_key(self.host_key, kind=kind)
        self.up()

    def record_host_key(self) -> None:
        self.known_hosts.write_text(self.recorded())

    def up(self) -> None:
        """Start the server and wait until it greets."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + _WAIT
        while not _greets(self.address, self.port):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"sshd did not start:\n{self.log}")
            time.sleep(0.02)

    def down(self) -> None:
        """Kill the server and everything that descends from it, and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        family = descendants(process.pid)
        process.kill()
        process.wait()
        end(family)

    def drop_connections(self) -> None:
        """Kill the server's half of every connection; commands that it started stay."""
        if self._process is None:
            raise RuntimeError("sshd is not running")
        end([pid for pid in descendants(self._process.pid) if _is_sshd(pid)])

    def family(self) -> list[int]:
        """Return the ids of all processes that descend from the server right now."""
        return [] if self._process is None else descendants(self._process.pid)

    def crash(self) -> None:
        """Kill the listener and its half of every connection at one moment; commands that they started stay."""
        process, self._process = self._process, None
        if process is None:
            return
        family = [process.pid, *(pid for pid in descendants(process.pid) if _is_sshd(pid))]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        end(family)

    def _prepare(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._open_folder.chmod(0o755)
        make_key(self.host_key)
        make_key(self.key)
        self.record_host_key()
        allowed = self._open_folder / "authorized_keys"
        allowed.write_text(self.key.with_suffix(".pub").read_text())
        allowed.chmod(0o644)
        given = {line.partition(" ")[0] for line in self._config}
        lines = (
            f"Port {self.port}",
            f"ListenAddress {self._listen}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {allowed}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            f"PasswordAuthentication {'yes' if self._password else 'no'}",
            "KbdInteractiveAuthentication no",
            "UseDNS no",
            "PrintMotd no",
            *(line for line in _UNLESS_GIVEN if line.partition(" ")[0] not in given),
            *(line.replace("{open}", str(self._open_folder)) for line in self._config),
        )
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        command = [sshd_path(), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if os.getuid() != 0:
            if self._password:
                raise RuntimeError("only root can give an account a password. Hint: run the tests as root.")
            return command
        uid = self._machine.uid
        made_up = f"{_MADE_UP}:x:{uid}:{uid}::{self._home}:{self._shell}\n"
        accounts = self.put("passwd", Path("/etc/passwd").read_text() + made_up)
        shadow = self.folder / "shadow"
        shadow.touch(mode=0o600)
        shadow.write_text(f"{_MADE_UP}:{_PASSWORD_HASH if self._password else '*'}:20000:0:99999:7:::\n")
        namespace = [*self._machine.prefix, "unshare", "--mount", "--propagation", "private"]
        setup = f"set -e\n{self._machine.setup}\nshift 2\n{_WITH_ACCOUNTS}"
        folders = [str(self._open_folder), str(self.folder)]
        return [*namespace, "sh", "-c", setup, "sh", *folders, str(accounts), str(shadow), *command]


def sshd_path() -> str:
    """Return where sshd is. Raises RuntimeError if it is not installed."""
    path = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise RuntimeError("OpenSSH's sshd is not installed, and these tests need it. Hint: run `make test`.")
    return path


def make_key(path: Path, *, kind: str = "ed25519", passphrase: str = "") -> None:
    """Make a key pair at `path` and `path`.pub, in place of one that is there."""
    path.unlink(missing_ok=True)
    path.with_suffix(".pub").unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is more than a zombie."""
    return _stat(pid).state not in "ZX"


def descendants(pid: int) -> list[int]:
    """Return the ids of the processes that `pid` started, directly or not, as far as they still hang together."""
    children: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                children.setdefault(_stat(entry.name).parent, []).append(int(entry.name))
    found: list[int] = []
    unseen = [pid]
    while unseen:
        below = children.get(unseen.pop(), [])
        found += below
        unseen += below
    return found


class _Stat(NamedTuple):
    name: str
    state: str
    parent: int


def _stat(pid: int | str) -> _Stat:
    """What the kernel says of a process in one line, which is read thousands of times and much shorter than `status`."""
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return _Stat("", "Z", 0)
    state, parent, _ = after.split(maxsplit=2)
    return _Stat(before.partition("(")[2], state, int(parent))


def _is_sshd(pid: int) -> bool:
    return _stat(pid).name.startswith("sshd")


def end(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    give_up = time.monotonic() + _WAIT
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > give_up:
            raise RuntimeError(f"processes of sshd are still there: {[pid for pid in pids if is_alive(pid)]}")
        time.sleep(0.01)


def _greets(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False
