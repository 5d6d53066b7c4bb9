"""`cmdhttp hosts setup`: what it prints is applied to a real sshd and sudo, and lets in what it should and nothing else."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cmdhttp.execution.ssh.login.dial import Dialer, close
from cmdhttp.plan.model import Certificate, KeyFile, SshTarget
from tests.support.cli import cmdhttp
from tests.support.sshd import Sshd, make_key, sshd_path

ACCOUNT = "cmdhttp-test"
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take other accounts")
POLICY = """\
version: 1
ssh_authorities:
  main: {key: file:user_ca}
  held: {agent: /run/agent.sock, public_key: held.pub}
ssh_profiles:
  web: {user: %(account)s, auth: %(auth)s, host_keys: %(trust)s, become: %(become)s}
  inner: {inherit: web, jump: web1}
hosts:
  web1: {address: 127.0.0.1, port: %(port)s, ssh: web}
%(hosts)s
commands:
  app.uptime: {on: [web1], run: [/usr/bin/uptime], effect: read, timeout: 5s}
%(commands)s
principals: {p: {}}
roles: {r: [{commands: app.uptime, hosts: web1}]}
grants: [{to: p, roles: r}]
"""


@dataclass(kw_only=True)
class Printed:
    """What was printed for one host, in both forms."""

    script: str
    document: dict[str, object]

    @property
    def files(self) -> dict[str, str]:
        """The files that the script writes, by path."""
        return dict(re.findall(r"^cat > (\S+)\.new <<'CMDHTTP'\n(.*?)^CMDHTTP$", self.script, re.MULTILINE | re.DOTALL))

    @property
    def warnings(self) -> str:
        return "\n".join(re.findall(r"^# WARNING: (.*)$", self.script, re.MULTILINE))


@dataclass(kw_only=True)
class Desk:
    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "secrets" / "ops"

    def print(
        self,
        *,
        auth: str = "{key: file:ops}",
        trust: str = "{known_hosts: kh}",
        become: str = "none",
        hosts: str = "",
        commands: str = "",
        account: str = ACCOUNT,
        port: int = 22,
    ) -> Printed:
        policies = self.folder / "policies"
        policies.mkdir(mode=0o700, exist_ok=True)
        (policies / "p.yaml").write_text(
            POLICY
            % {
                "account": account,
                "auth": auth,
                "trust": trust,
                "become": become,
                "hosts": hosts,
                "commands": commands,
                "port": port,
            }
        )
        flags = ("--policies", str(policies))
        environ = {"CMDHTTP_SECRETS": str(self.folder / "secrets")}
        script = cmdhttp("hosts", "setup", "web1", *flags, **environ)
        document = cmdhttp("hosts", "setup", "web1", "--json", *flags, **environ)
        assert (script.returncode, document.returncode) == (0, 0), (script, document)
        assert script.stderr == document.stderr == ""
        subprocess.run(["sh", "-n"], input=script.stdout, text=True, check=True)
        (host,) = json.loads(document.stdout)["hosts"]
        printed = Printed(script=script.stdout, document=host)
        assert printed.files == {file["path"]: file["text"] for file in host["files"]}
        for text in (script.stdout, document.stdout):
            assert "PRIVATE KEY" not in text
        return printed


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "secrets").mkdir(mode=0o700)
    make_key(tmp_path / "secrets" / "ops")
    return Desk(folder=tmp_path)


@contextmanager
def applied(files: Mapping[str, str], folder: Path) -> Iterator[Sshd]:
    """A server with these files, which lie in a folder of their own instead of /etc/ssh."""
    etc = Path(tempfile.mkdtemp(prefix="cmdhttp-etc-"))
    etc.chmod(0o755)
    try:
        for path, text in files.items():
            place = Path(path.replace("/etc/ssh", str(etc)))
            place.parent.mkdir(mode=0o755, exist_ok=True)
            place.write_text(text.replace("/etc/ssh", str(etc)))
            place.chmod(0o644)
        with Sshd.start(folder / "sshd", config=[f"Include {etc}/sshd_config.d/*.conf"]) as server:
            yield server
    finally:
        shutil.rmtree(etc)


def ssh(server: Sshd, *arguments: str, key: Path, account: str = ACCOUNT) -> subprocess.CompletedProcess[str]:
    options = {
        "BatchMode": "yes",
        "UserKnownHostsFile": str(server.known_hosts),
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "ExitOnForwardFailure": "yes",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    command = ["ssh", "-F", "none", *flags, "-i", str(key), "-p", str(server.port), "-l", account, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=15, check=False, stdin=subprocess.DEVNULL)


def certificate(authority: Path, key: Path, *principals: str) -> None:
    """Let the authority sign a key for these principals, with all that a certificate may permit."""
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "job", "-n", ",".join(principals), "-V", "-1m:+10m"]
    subprocess.run([*command, str(key.with_suffix(".pub"))], check=True)


# Logins


@NEEDS_ROOT
def test_login_by_key(desk: Desk, tmp_path: Path) -> None:
    """With what was printed the key logs in at its account, and gets no terminal, no forwarding and no other account."""
    printed = desk.print()
    assert "restrict ssh-ed25519 " in printed.files[f"/etc/ssh/cmdhttp_keys/{ACCOUNT}"]
    with applied(printed.files, tmp_path) as server:
        assert ssh(server, "127.0.0.1", "echo in", key=desk.key).stdout == "in\n"
        assert ssh(server, "127.0.0.1", "echo in", key=server.key).returncode == 255, "its old key counts no more"
        assert ssh(server, "127.0.0.1", "echo in", key=desk.key, account="root").returncode == 255
        assert "PTY allocation request failed" in ssh(server, "-tt", "127.0.0.1", "tty", key=desk.key).stderr
        forward = ssh(server, "-W", f"127.0.0.1:{server.port}", "127.0.0.1", key=desk.key)
        assert forward.returncode == 255
        assert "SSH-2.0" not in forward.stdout
        sent = ssh(server, "-o", "SetEnv=LC_ALL=x none=y", "127.0.0.1", "echo -$LC_ALL-", key=desk.key)
        assert sent.stdout == "--\n"


@NEEDS_ROOT
def test_jump_host(desk: Desk, tmp_path: Path) -> None:
    """A jump host forwards to the hosts behind it, and nowhere else."""
    with socket.create_server(("127.0.0.1", 0)) as other, Sshd.start(tmp_path / "behind") as behind:
        printed = desk.print(hosts=f"  db1: {{address: 127.0.0.1, port: {behind.port}, ssh: inner}}")
        with applied(printed.files, tmp_path) as server:
            assert ssh(server, "-W", f"127.0.0.1:{behind.port}", "127.0.0.1", key=desk.key).stdout.startswith("SSH-2.0")
            elsewhere = ssh(server, "-W", f"127.0.0.1:{other.getsockname()[1]}", "127.0.0.1", key=desk.key)
            assert "administratively prohibited" in elsewhere.stderr
            assert ssh(server, "127.0.0.1", "echo in", key=desk.key).stdout == "in\n"


CERTIFICATE = "{certificate: {ca: main}}"


@NEEDS_ROOT
@pytest.mark.anyio
async def test_login_by_certificate(desk: Desk, tmp_path: Path) -> None:
    """With what was printed the service's own certificates log in, at their account and as what they permit."""
    make_key(desk.key.with_name("user_ca"))
    printed = desk.print(auth=CERTIFICATE)
    assert printed.files[f"/etc/ssh/cmdhttp_principals/{ACCOUNT}"] == f"cmdhttp-{ACCOUNT}\n"
    with applied(printed.files, tmp_path) as server:
        authority = KeyFile(path=str(desk.key.with_name("user_ca")))
        target = SshTarget(
            address=server.address,
            port=server.port,
            account=ACCOUNT,
            login=Certificate(authority=authority, principal=f"cmdhttp-{ACCOUNT}", ttl=60),
            known_hosts=str(server.known_hosts),
        )
        dialed = await Dialer().dial(target, only="echo in")
        try:
            assert (await dialed.connection.run("echo other")).stdout == "in\n"
        finally:
            await close(dialed.connection)


@NEEDS_ROOT
def test_scan_through_what_was_printed(desk: Desk, tmp_path: Path) -> None:
    """A jump host that was set up as printed for certificates lets `hosts scan` through to the hosts behind it."""
    make_key(desk.key.with_name("user_ca"))
    with Sshd.start(tmp_path / "behind") as behind:
        hosts = f"  db1: {{address: 127.0.0.1, port: {behind.port}, ssh: inner}}"
        with applied(desk.print(auth=CERTIFICATE, hosts=hosts).files, tmp_path) as server:
            desk.print(auth=CERTIFICATE, hosts=hosts, port=server.port)
            policies = desk.folder / "policies"
            (policies / "kh").write_text(server.recorded() + behind.recorded())
            flags = ("--policies", str(policies))
            done = cmdhttp("hosts", "scan", "web1", "db1", *flags, CMDHTTP_SECRETS=str(desk.key.parent))
            assert (done.returncode, done.stderr) == (0, ""), done
            assert done.stdout.count("All of it is recorded, and matches.") == 2
            assert "Accepted certificate" in server.log or "Accepted publickey" in server.log
            assert "userauth-request" not in behind.log


@NEEDS_ROOT
def test_certificates_of_others(desk: Desk, tmp_path: Path) -> None:
    """The authority's certificates open no account but the one that they name, and plain keys open none."""
    authority = desk.key.with_name("user_ca")
    make_key(authority)
    make_key(tmp_path / "other_ca")
    printed = desk.print(auth=CERTIFICATE)
    with applied(printed.files, tmp_path) as server:
        assert ssh(server, "127.0.0.1", "echo in", key=server.key).returncode == 255
        certificate(authority, desk.key, f"cmdhttp-{ACCOUNT}")
        assert ssh(server, "127.0.0.1", "echo in", key=desk.key).stdout == "in\n"
        assert "PTY allocation request failed" in ssh(server, "-tt", "127.0.0.1", "tty", key=desk.key).stderr
        assert ssh(server, "-W", f"127.0.0.1:{server.port}", "127.0.0.1", key=desk.key).returncode == 255
        certificate(authority, desk.key, f"cmdhttp-{ACCOUNT}", "root", "cmdhttp-root")
        assert ssh(server, "127.0.0.1", "echo in", key=desk.key, account="root").returncode == 255
        for signer, principal in (
            (authority, ACCOUNT),
            (authority, "cmdhttp-root"),
            (tmp_path / "other_ca", f"cmdhttp-{ACCOUNT}"),
        ):
            certificate(signer, desk.key, principal)
            refused = ssh(server, "127.0.0.1", "echo in", key=desk.key)
            assert (refused.returncode, refused.stdout) == (255, ""), principal


def test_authority_in_an_agent(desk: Desk, tmp_path: Path) -> None:
    """The public half of an authority that an agent holds comes from its file; without it nothing stands in its place."""
    make_key(tmp_path / "held")
    auth = "{certificate: {ca: held, principal: ops@<account>}}"
    assert "held.pub: No such file" in desk.print(auth=auth).warnings
    shutil.copy(tmp_path / "held.pub", desk.folder / "policies")
    printed = desk.print(auth=auth)
    kind, body, *_ = (tmp_path / "held.pub").read_text().split()
    assert printed.files["/etc/ssh/cmdhttp_user_ca.pub"] == f"{kind} {body} cmdhttp\n"
    assert printed.files[f"/etc/ssh/cmdhttp_principals/{ACCOUNT}"] == f"ops@{ACCOUNT}\n"


@NEEDS_ROOT
def test_the_script_itself(desk: Desk, tmp_path: Path) -> None:
    """The whole script runs through, twice, on a machine of its own, and leaves exactly the files that it shows."""
    printed = desk.print(become="sudo", commands=SUDO_COMMANDS)
    script = tmp_path / "setup.sh"
    script.write_text(printed.script)
    inner = (
        f"for d in /etc /home /var; do o={tmp_path}$d; mkdir $o; mount -t tmpfs t $o && mkdir $o/u $o/w && "
        "mount -t overlay -o lowerdir=$d,upperdir=$o/u,workdir=$o/w o $d || exit 77; done\n"
        f"mkdir -p /run/sshd && sh {script} && sh {script} && getent passwd {ACCOUNT} && getent shadow {ACCOUNT} && "
        f"for f in {' '.join(printed.files)}; do stat -c '%a %U %n' $f; cat $f; done; ls /etc/sudoers.d | grep -c new"
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inner]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15)
    assert f"{ACCOUNT}:*:" in done.stdout, done
    for path, text in printed.files.items():
        mode = "440" if "sudoers" in path else "644"
        assert f"{mode} root {path}\n{text}" in done.stdout
    assert done.stdout.splitlines()[-1] == "0"


def test_account_of_as(desk: Desk) -> None:
    """Each account that a command names has its own key file and block; the profile's alone if nothing runs there."""
    printed = desk.print(
        commands="  d: {on: [web1], as: deploy, run: [/usr/bin/true], effect: change, timeout: 5s}\n"
        "  x: {on: local, as: nobody, run: [/usr/bin/true], effect: change, timeout: 5s}"
    )
    assert printed.document["commands"] == {"app.uptime": ACCOUNT, "d": "deploy"}
    assert printed.document["make_accounts"] == [ACCOUNT, "deploy"]
    config = printed.files["/etc/ssh/sshd_config.d/40-cmdhttp.conf"]
    assert re.findall(r"^Match .*$", config, re.MULTILINE) == [
        f"Match User {ACCOUNT}",
        "Match User deploy",
        "Match all",
    ]
    assert set(printed.files) >= {"/etc/ssh/cmdhttp_keys/deploy", f"/etc/ssh/cmdhttp_keys/{ACCOUNT}"}
    assert "useradd --create-home --shell /bin/sh deploy" in printed.script


def test_the_block_holds_for_its_account_alone(desk: Desk, tmp_path: Path) -> None:
    """Sshd itself says what holds for the account, and that nothing changes for others, wherever the text is pasted."""
    printed = desk.print()
    make_key(tmp_path / "host_key")
    config = tmp_path / "sshd_config"
    text = printed.files["/etc/ssh/sshd_config.d/40-cmdhttp.conf"]
    config.write_text(f"HostKey {tmp_path / 'host_key'}\nAcceptEnv LANG LC_*\n{text}\n")

    def asked(user: str) -> set[str]:
        command = [sshd_path(), "-T", "-f", str(config), "-C", f"user={user},host=h,addr=192.0.2.1"]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())

    restricted = {"disableforwarding yes", "permittty no", "passwordauthentication no", "permituserrc no"}
    restricted |= {"authenticationmethods publickey", "authorizedkeysfile /etc/ssh/cmdhttp_keys/%u", "acceptenv none"}
    assert restricted <= asked("nobody" if ACCOUNT == "nobody" else ACCOUNT)
    assert restricted & asked("nobody") == set()
    assert "acceptenv LANG" in asked("nobody")


def test_password_is_warned_of(desk: Desk) -> None:
    """A login by password is possible and warned of, and its account keeps its password."""
    printed = desk.print(auth="{password: file:pw}")
    assert "by a password" in printed.warnings
    assert "AuthenticationMethods password" in printed.files["/etc/ssh/sshd_config.d/40-cmdhttp.conf"]
    assert "usermod" not in printed.script


def test_root_is_warned_of(desk: Desk) -> None:
    """A login as root is warned of, and no account is made."""
    printed = desk.print(account="root")
    assert "we log in as root" in printed.warnings
    assert "useradd" not in printed.script
    assert "PermitRootLogin prohibit-password" in printed.script


@pytest.mark.parametrize("damage", ["missing", "passphrase", "garbage", "agent"])
def test_key_that_is_not_known(desk: Desk, damage: str) -> None:
    """Where the public half cannot be told, nothing stands in its place, and the script says how to come by it."""
    auth = "{key: file:ops}"
    match damage:
        case "missing":
            desk.key.unlink()
        case "passphrase":
            make_key(desk.key, passphrase="secret words")
        case "garbage":
            desk.key.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-771\n")
        case _:
            auth = "{agent: /run/agent.sock}"
    printed = desk.print(auth=auth)
    assert "no public key is in here" in printed.warnings
    assert "get it with: " in printed.warnings
    assert "canary-771" not in printed.script
    assert printed.document["public_key"] is None
    assert list(printed.files) == ["/etc/ssh/sshd_config.d/40-cmdhttp.conf"]


def test_host_certificate(desk: Desk) -> None:
    """A profile that trusts an authority for host keys needs the host's key signed."""
    printed = desk.print(trust="{cert_authority: ca.pub}")
    assert "HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub" in printed.script
    assert "ssh-keygen -s AUTHORITY -h -I web1 -n 127.0.0.1" in printed.script
    assert "HostCertificate" not in desk.print().script


def test_other_shells_are_warned_of(desk: Desk) -> None:
    """What is printed is for Unix hosts."""
    assert "for Unix hosts" in desk.print(become="none, shell: raw").warnings


def test_this_machine_needs_nothing(desk: Desk) -> None:
    """Names that are no SSH hosts are refused with a reason."""
    desk.print()
    for name, said in (("local", "'local' is this machine"), ("web2", "there is no host 'web2'")):
        done = cmdhttp("hosts", "setup", name, "--policies", str(desk.folder / "policies"))
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


# sudo

SUDO_COMMANDS = """\
  restart: {on: [web1], as: root, run: [/usr/bin/printf, "<%s>", --, <unit>.service, "a b:c=d,e*"], effect: change, timeout: 5s,
    params: {unit: {type: enum, values: [nginx, app]}}}
  odd: {on: [web1], as: root, run: [/usr/bin/printf, '%s', '!"#$%&()*+,-./:;=>?@[\\]^_`{|}~'], effect: read, timeout: 5s}
  id: {on: [web1], as: nobody, run: [/usr/bin/id], effect: read, timeout: 5s, env: {MODE: fast}}
  find: {on: [web1], as: root, run: [/usr/bin/printf, x, <text>], effect: read, timeout: 5s,
    params: {text: {type: string, pattern: "[a-z]+"}}}
  script: {on: [web1], as: root, script: "id", interpreter: sh, effect: read, timeout: 5s}
"""
ODD = '!"#$%&()*+,-./:;=>?@[\\]^_`{|}~'
ODD_ESCAPED = r'\!"\#$%&()\*+\,-./\:;\=>\?@\[\\\]\^_`{|}~'


def test_sudoers_are_exact(desk: Desk) -> None:
    """Sudo gets the exact argv where the policy lists it; what is free is said, and a script gets no line."""
    printed = desk.print(become="sudo", commands=SUDO_COMMANDS)
    text = printed.files["/etc/sudoers.d/cmdhttp"]
    assert [line for line in text.splitlines() if "NOPASSWD" in line] == [
        f"{ACCOUNT} ALL=(root) NOPASSWD: /usr/bin/printf x *",
        f'{ACCOUNT} ALL=(nobody) NOPASSWD: /usr/bin/id ""',
        f"{ACCOUNT} ALL=(root) NOPASSWD: /usr/bin/printf %s {ODD_ESCAPED}",
        f"{ACCOUNT} ALL=(root) NOPASSWD: /usr/bin/printf <%s> -- nginx.service a\\ b\\:c\\=d\\,e\\*",
        f"{ACCOUNT} ALL=(root) NOPASSWD: /usr/bin/printf <%s> -- app.service a\\ b\\:c\\=d\\,e\\*",
    ]
    assert "sudo does not check text of find" in printed.warnings
    assert "script as root gets no sudoers line" in printed.warnings
    assert printed.document["make_accounts"] == [ACCOUNT]
    assert "usermod --password '*' nobody" not in printed.script
    assert "id -u nobody" in printed.script
    assert [account["name"] for account in printed.document["accounts"]] == [ACCOUNT]  # type: ignore[attr-defined]
    assert re.findall(r"^Match User .*$", printed.script, re.MULTILINE) == [f"Match User {ACCOUNT}"]


def test_sudo_within_a_command(desk: Desk) -> None:
    """A command that starts sudo itself gets its line without the profile's sudo, for the account that it logs in as."""
    printed = desk.print(
        commands="  r: {on: [web1], as: deploy, run: [/usr/bin/sudo, -n, /usr/bin/true], effect: change, timeout: 5s}"
    )
    text = printed.files["/etc/sudoers.d/cmdhttp"]
    assert 'deploy ALL=(root) NOPASSWD: /usr/bin/true ""\n' in text
    assert "env_keep" not in text


@NEEDS_ROOT
def test_sudo_allows_what_was_printed(desk: Desk, tmp_path: Path) -> None:
    """Under the printed sudoers the commands run as they are called, and nothing else does."""
    text = desk.print(become="sudo", commands=SUDO_COMMANDS, account="daemon").files["/etc/sudoers.d/cmdhttp"]
    sudoers = tmp_path / "sudoers"
    sudoers.write_text(f"Defaults env_reset\n{text}")
    sudoers.chmod(0o440)
    subprocess.run(["visudo", "-cf", str(sudoers)], check=True, capture_output=True)

    def sudo(account: str, *argv: str, env: tuple[str, ...] = ("CMDHTTP_JOB_ID=j",)) -> tuple[int, str]:
        order = ["sudo", "-n", "-u", account, *env, "--", *argv]
        inner = (
            'mount --bind "$1" /etc/sudoers && shift && exec setpriv --reuid daemon --regid daemon --clear-groups "$@"'
        )
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inner, "sh", str(sudoers), *order]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15)
        return done.returncode, done.stdout

    assert sudo("root", "/usr/bin/printf", "<%s>", "--", "nginx.service", "a b:c=d,e*") == (
        0,
        "<--><nginx.service><a b:c=d,e*>",
    )
    assert sudo("root", "/usr/bin/printf", "<%s>", "--", "sshd.service", "a b:c=d,e*")[0] == 1
    assert sudo("root", "/usr/bin/printf", "<%s>", "--", "nginx.service", "a b:c=d,exx")[0] == 1
    assert sudo("root", "/usr/bin/printf", "%s", ODD) == (0, ODD)
    for index in map(ODD.index, "*?[\\^"):
        assert sudo("root", "/usr/bin/printf", "%s", f"{ODD[:index]}x{ODD[index + 1 :]}")[0] == 1
    assert sudo("nobody", "/usr/bin/id", "-un", env=())[0] == 1
    assert "nobody" in sudo("nobody", "/usr/bin/id", env=("CMDHTTP_JOB_ID=j", "MODE=fast"))[1]
    assert sudo("nobody", "/usr/bin/id", env=("LD_PRELOAD=/x",))[0] == 1
    assert sudo("root", "/usr/bin/id")[0] == 1
