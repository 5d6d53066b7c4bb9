"""Thousands of hostile arguments through a real sshd into each login shell, and what a program there was given.

`CMDHTTP_VECTORS` is how many random arguments each shell gets. A shell that is not installed fails the run.
"""

import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import asyncssh
import pytest

from cmdhttp.plan.model import Shell
from cmdhttp.plan.remote import PROBES, command_line, probe_argv, probe_echo
from cmdhttp.plan.remote.posix import _AS_THEY_ARE
from tests.support.sshd import Sshd

pytestmark = pytest.mark.anyio

SHELLS = ("sh", "bash", "dash", "ksh", "zsh", "fish", "csh", "tcsh")
VECTORS = int(os.environ.get("CMDHTTP_VECTORS", "2000"))
DUMP = ("/bin/sh", "-c", 'printf \'%s\\0\' "$#" "$@"', "sh")
SIZES = (0, 1, 1, 2, 3, 5, 8, 21, 55, 200)
AT_ONCE = 4
HANG = 10

SPECIAL = "'\"`\\$!%^&*()[]{}<>|;#~?=+-@,:./_ \t\n0137abcZzQ"
HAND_MADE = (
    *PROBES,
    *(chr(code) for code in range(1, 256)),
    *(f"a{chr(code)}7" for code in range(1, 128)),
    *("$(touch /tmp/x)", "`id`", "';id;'", '";id;"', "\nid\n", "\r\nid\r\n", "||id", "&&id", "|&id", "id&", "\\\nid"),
    *("${x:=y}", "${IFS}", "$IFS$9id", "$((1+1))", "$[1+1]", "<(id)", ">(id)", "=(id)", "<<x", "<<<x", "2>&1", ">&2"),
    *(
        "!!",
        "!$",
        "!-1",
        "!id",
        "^a^b^",
        "{1..9}",
        "{a,b}{c,d}",
        "~root",
        "~+",
        "~-",
        "[!a]*",
        "**/*",
        "?(x)",
        "@(x)",
        "!(x)",
    ),
    *(
        "$status",
        "$argv",
        "$argv[1]",
        "(id)",
        "$fish_pid",
        "%self",
        "$%x",
        "$?x",
        "$<",
        "$#argv",
        "alias x y",
        "set -x",
        "if (1)",
    ),
    *(
        "-c",
        "-e",
        "--",
        "-",
        "---",
        "-n x",
        "%s%n%x",
        "%b",
        "\\c",
        "\\0",
        "\\00",
        "\\0101",
        "\\x41",
        "\\u0041",
        "a\\",
        "\\\\",
    ),
    *("x" * 5000, "'" * 700, "\\" * 700, "\n" * 700, " " * 700, "é" * 700, "\U0001f600" * 200),
    *(
        "\u202e",
        "\u2028",
        "\u2019",
        "\ufeff",
        "\u00a0",
        "\u3000",
        "\x7f",
        "\x1b[31m",
        "\x01\x02",
        "\x81\x88",
        "e\u0301",
    ),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    path = shutil.which(str(request.param))
    if os.getuid() != 0:
        pytest.fail("only root can give the server an account with another login shell")
    if path is None:
        pytest.fail(f"{request.param} is not installed. Hint: run `make test`, or scripts/ensure-shells.sh.")
    return path


@pytest.fixture(scope="module")
def sshd(shell: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd.start(tmp_path_factory.mktemp("sshd"), shell=shell) as server:
        yield server


@asynccontextmanager
async def logged_in(server: Sshd) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(
        server.address,
        server.port,
        username=server.account,
        client_keys=[str(server.key)],
        known_hosts=str(server.known_hosts),
        agent_path=None,
        config=None,
    ) as connection:
        yield connection


async def printed(connection: asyncssh.SSHClientConnection, line: str) -> tuple[int | None, bytes]:
    with anyio.fail_after(HANG):
        done = await connection.run(line, encoding=None, stdin=asyncssh.DEVNULL)
    assert isinstance(done.stdout, bytes)
    return done.exit_status, done.stdout


def dump_of(values: Sequence[str]) -> bytes:
    return b"".join(item.encode() + b"\0" for item in (str(len(values)), *values))


def vectors(chance: random.Random) -> Iterator[str]:
    """Yield what a caller or a policy could send at worst, without end."""
    while True:
        kind, length = chance.random(), int(chance.expovariate(1 / 12))
        if kind < 0.6:
            yield "".join(chance.choices(SPECIAL, k=length))
        elif kind < 0.8:
            yield "".join(chr(chance.randrange(1, 0x100)) for _ in range(length))
        elif kind < 0.9:
            codes = (
                chance.choice((chance.randrange(1, 0xD800), chance.randrange(0xE000, 0x110000))) for _ in range(length)
            )
            yield "".join(map(chr, codes))
        else:
            yield "".join(chance.choices("abcXYZ0189_./:,=@+-", k=length))


def argvs(values: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Part the values into argvs of all sizes; beside them, the ones of no argument and of one empty argument."""
    yield from ((), ("",), ("", ""))
    start, turn = 0, 0
    while start < len(values):
        size = SIZES[turn % len(SIZES)]
        yield tuple(values[start : start + size])
        start, turn = start + size, turn + 1


async def mismatches(
    connection: asyncssh.SSHClientConnection, each: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Return the argvs that did not arrive byte for byte."""
    wrong: list[tuple[str, ...]] = []
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def send(values: tuple[str, ...]) -> None:
        async with limit:
            if await printed(connection, command_line((*DUMP, *values), Shell.POSIX)) != (0, dump_of(values)):
                wrong.append(values)

    async with anyio.create_task_group() as tasks:
        for values in each:
            tasks.start_soon(send, values)
    return wrong


@pytest.mark.timeout(max(120, VECTORS // 100))
async def test_random_and_hand_made_arguments_arrive(sshd: Sshd, shell: str) -> None:
    """Whatever the login shell is, a program gets exactly the arguments that were meant, and nothing hangs."""
    chance = random.Random(f"{shell} {VECTORS}")
    random_ones = vectors(chance)
    each = list(argvs([next(random_ones) for _ in range(VECTORS)]))
    each += [tuple(HAND_MADE[start : start + 60]) for start in range(0, len(HAND_MADE), 60)]
    lines = [command_line((*DUMP, *values), Shell.POSIX) for values in each]
    assert {"n=$#" in line for line in lines} == {True, False}  # decoded at once, and one by one
    assert sum(map(len, each)) >= VECTORS + len(HAND_MADE)
    async with logged_in(sshd) as connection:
        assert await mismatches(connection, each) == []


async def test_plain_arguments_arrive(sshd: Sshd) -> None:
    """What needs no decoding gets none."""
    plain = ("/usr/bin/printf", "x.y,", "abc", "a=b", "@", "+x", "-n", "/a/b:c")
    line = command_line(plain, Shell.POSIX)
    assert _AS_THEY_ARE in line
    assert "printf %b" not in line
    async with logged_in(sshd) as connection:
        assert await printed(connection, line) == (0, b"x.y,")


async def test_the_probe_is_echoed(sshd: Sshd) -> None:
    """The canary, by which a host with another kind of shell is found out, passes where the shell is of the kind."""
    async with logged_in(sshd) as connection:
        assert await printed(connection, command_line(probe_argv(), Shell.POSIX)) == (0, probe_echo())


async def test_ends_are_those_of_the_program(sshd: Sshd) -> None:
    """The exit status is the program's, and 127 and 126 stand for one that is not there or may not run, in any shell."""
    async with logged_in(sshd) as connection:
        for arguments in ((), ("a b",), ("\x01",)):
            sent = {
                code: await printed(connection, command_line((*program, *arguments), Shell.POSIX))
                for code, program in {
                    7: ("/bin/sh", "-c", "exit 7"),
                    127: ("/nowhere/x",),
                    126: ("/etc/passwd",),
                }.items()
            }
            assert {code: ended for code, (ended, _) in sent.items()} == {code: code for code in sent}


RC_FILES = {
    "bash": (".bashrc", "echo noise; echo noise >&2; alias exec=echo; set -f; IFS=x"),
    "zsh": (".zshenv", "echo noise; echo noise >&2; setopt noglob; alias -g sh=echo"),
    "csh": (".cshrc", "echo noise; set noglob"),
    "tcsh": (".tcshrc", "echo noise; set echo"),
    "fish": (".config/fish/config.fish", "echo noise; echo noise >&2"),
}


@pytest.mark.parametrize("name", RC_FILES)
async def test_noise_at_login_does_not_matter(name: str, tmp_path: Path) -> None:
    """Files of the account that print when any shell starts change neither the arguments nor the exit status."""
    path = shutil.which(name)
    assert path is not None
    home = Path(tempfile.mkdtemp(prefix="cmdhttp-home-"))
    rc, text = RC_FILES[name]
    try:
        home.chmod(0o755)
        (home / rc).parent.mkdir(parents=True, exist_ok=True)
        (home / rc).write_text(text + "\n")
        with Sshd.start(tmp_path / "sshd", shell=path, home=str(home)) as server:
            async with logged_in(server) as connection:
                ended, out = await printed(connection, command_line((*DUMP, *PROBES), Shell.POSIX))
    finally:
        shutil.rmtree(home)
    assert b"noise" in out
    assert (ended, out[-len(dump_of(PROBES)) :]) == (0, dump_of(PROBES))
