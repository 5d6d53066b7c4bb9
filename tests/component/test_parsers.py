"""Parsers as the service runs them: in threads and in processes, on good output, and on output and parsers made to hurt.

`hostile` is a made-up library: its parsers do what a defect in jc, or output that exploits one, could make them do.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import pytest

from cmdhttp.errors import ConfigError
from cmdhttp.results import child
from cmdhttp.results.library import KnownParsers, find_library, library_parsers
from cmdhttp.results.model import MAX_OUTPUT, DataErrorCode, Parsed
from cmdhttp.results.parsers import Parsers
from tests.support.sshd import descendants

pytestmark = pytest.mark.anyio
DF = b"Filesystem     1K-blocks     Used Use%\n/dev/sda1            100       41  41%\n"
DISKS = [{"filesystem": "/dev/sda1", "1k_blocks": 100, "used": 41, "use_percent": 41}]
HOSTILE: Mapping[str, str] = {
    "echo": "return text",
    "env": "import os; return dict(os.environ) | {'cwd': os.getcwd(), 'path': sys.path}",
    "sleep": "import time; time.sleep(60)",
    "regex": "import re; return bool(re.match('(a+)+$', 'a' * 40 + 'b'))",
    "spin": "while True: pass",
    "print_": "print('x' * 100); print('y', file=sys.stderr); return 1",
    "garble": "import os; os.write(1, b'\\xff' * 100); return 1",
    "lie": "import os; os.write(1, bytes([0, 0, 0, 4]) + b'null'); time.sleep(60)",
    "invent": 'import os; os.write(1, bytes([0, 0, 0, 35]) + b\'{"error":{"code":"x","detail":"y"}}\'); time.sleep(60)',
    "exit": "sys.exit(0)",
    "memory": "return len(bytearray(1 << 30))",
    "write": "import pathlib; return pathlib.Path(text).write_text('x')",
    "deep": "return functools.reduce(lambda inner, _: [inner], range(200), 0)",
    "large": "return 'x' * (3 << 20)",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test may leave a process or a descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    gc.collect()
    assert descendants(os.getpid()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.fixture
def library() -> Path:
    found = find_library()
    assert found is not None, "jc is not installed: make setup-dev"
    return found


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "library" / "jc" / "parsers"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    for name, body in HOSTILE.items():
        (folder / f"{name}.py").write_text(
            f"import functools, sys, time\ndef parse(text, quiet):\n    assert quiet\n    {body}\n"
        )
    (folder / "broken.py").write_text("raise RuntimeError('no')\n")
    return folder.parent.parent


async def parse(parsers: Parsers, name: str, *outputs: bytes, most: int = 1 << 20) -> list[Parsed]:
    async with parsers.open(name, most=most) as parse_one:
        return [await parse_one(output) for output in outputs]


async def code(parsers: Parsers, name: str, output: bytes = b"", **more: int) -> DataErrorCode | object:
    """The code of the error, or the data if there is none."""
    (parsed,) = await parse(parsers, name, output, **more)
    return parsed.error.code if parsed.error else parsed.data


async def test_one_process_reads_one_output_after_the_other(library: Path) -> None:
    """A parser of jc makes data of each output of a job, whatever the one before was."""
    found = await parse(Parsers(library), "df", DF, b"\xff", b"", DF)
    assert [parsed.data for parsed in found] == [DISKS, None, [], DISKS]
    assert [parsed.error.code if parsed.error else None for parsed in found] == [None, "not_utf8", None, None]


async def test_ours_need_no_library() -> None:
    """A parser of ours works where jc is not installed, and a name of jc's is then an error that says so."""
    parsers = Parsers(None)
    assert await code(parsers, "json", b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    (parsed,) = await parse(parsers, "df", DF)
    assert parsed.error
    assert (parsed.error.code, parsed.error.detail) == (
        "unavailable",
        "the library jc, which has this parser, is not installed",
    )


async def test_bounds_of_size(library: Path) -> None:
    """Too much output, and too much data, is an error of its own for every parser."""
    parsers = Parsers(library)
    for name in ("lines", "yaml"):
        assert await code(parsers, name, b"x" * (MAX_OUTPUT + 1)) is DataErrorCode.TOO_LARGE
        assert await code(parsers, name, b"- x\n" * 100, most=99) is DataErrorCode.TOO_LARGE
    assert await code(parsers, "lines", b"x" * MAX_OUTPUT, most=MAX_OUTPUT + 9) == ["x" * MAX_OUTPUT]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sleep", "timed_out"),
        ("regex", "timed_out"),
        ("spin", "timed_out"),
        ("lie", "failed"),
        ("invent", "failed"),
        ("garble", "failed"),
        ("exit", "failed"),
        ("memory", "failed"),
        ("deep", "malformed"),
        ("large", "too_large"),
        ("broken", "unavailable"),
        ("nonesuch", "unavailable"),
    ],
)
async def test_what_goes_wrong_in_the_process(hostile: Path, name: str, expected: str) -> None:
    """Whatever a parser does becomes a code, soon, and nothing of it stays."""
    since = time.monotonic()
    assert await code(Parsers(hostile, seconds=0.3), name) == expected
    assert time.monotonic() - since < 5


async def test_a_process_writes_no_file(hostile: Path, tmp_path: Path) -> None:
    """Not a byte of any file is written, and no parser that wants to write has data."""
    path = tmp_path / "file"
    path.write_text("before")
    assert await code(Parsers(hostile), "write", str(path).encode()) is DataErrorCode.MALFORMED
    assert "x" not in path.read_text()


async def test_after_a_loss_the_next_output_is_read(hostile: Path) -> None:
    """A process that was lost over one output is replaced for the next one."""
    parsers = Parsers(hostile, seconds=0.3)
    async with parsers.open("exit") as parse_one:
        first, second = await parse_one(b""), await parse_one(b"")
    assert first == second
    assert first.error


async def test_a_process_holds_nothing(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment, folder and search path come from no one but us, and what it prints disturbs nothing."""
    monkeypatch.setenv("PARENT_SECRET", "canary")
    monkeypatch.setenv("PYTHONPATH", "/canary")
    parsers = Parsers(hostile)
    (parsed,) = await parse(parsers, "env", b"")
    assert isinstance(parsed.data, dict)
    assert set(parsed.data) == {"LC_ALL", "TZ", "HOME", "XDG_DATA_HOME", "cwd", "path"}
    assert (parsed.data["cwd"], parsed.data["path"][-1]) == ("/", str(hostile))
    assert str(Path(child.__file__).parent) not in parsed.data["path"]
    assert "canary" not in repr(parsed.data)
    assert await code(parsers, "print_") == 1


async def test_no_user_code_is_loaded(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder can hold parsers for jc; they are neither listed nor run here."""
    plugins = tmp_path / "jc" / "jcparsers"
    plugins.mkdir(parents=True)
    (plugins / "df.py").write_text("class info: pass\ndef parse(data, raw=False, quiet=False): return ['mine']\n")
    (plugins / "mine.py").write_text("class info: pass\ndef parse(data, raw=False, quiet=False): return ['mine']\n")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    library_parsers.cache_clear()
    assert "mine" not in library_parsers(library)
    assert await code(Parsers(library), "df", DF) == DISKS
    assert await code(Parsers(library), "mine", DF) is DataErrorCode.UNAVAILABLE


async def test_output_made_to_hold_up_an_expression(library: Path) -> None:
    """A few kilobytes over which a parser of jc would take seconds: it is cut off, and the event loop never waits for it."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            since = time.monotonic()
            await asyncio.sleep(0.02)
            longest = max(longest, time.monotonic() - since)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        assert await code(Parsers(library, seconds=0.5), "srt", b" " * 100_000 + b"x") is DataErrorCode.TIMED_OUT
        group.cancel_scope.cancel()
    assert longest < 2


async def test_a_caller_that_gives_up(hostile: Path) -> None:
    """When the one who asks is cancelled, while the process starts or works, the process goes with it."""
    for seconds in (0.0, 0.005, 0.3):
        with anyio.move_on_after(seconds) as scope:
            await code(Parsers(hostile, seconds=30), "sleep")
        assert scope.cancelled_caught


async def test_at_most_two_processes(hostile: Path) -> None:
    """However many ask, two processes work at a time, and all get their turn."""
    parsers = Parsers(hostile, seconds=0.2)
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, len(descendants(os.getpid())))
            await asyncio.sleep(0.02)

    codes: list[object] = []

    async def ask() -> None:
        codes.append(await code(parsers, "sleep"))

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        async with anyio.create_task_group() as asking:
            for _ in range(5):
                asking.start_soon(ask)
        group.cancel_scope.cancel()
    assert codes == ["timed_out"] * 5
    assert most == 2


async def test_a_process_that_cannot_be_started(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its interpreter there is no data, and the answer says that the parser failed."""
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert await code(Parsers(library), "df", DF) is DataErrorCode.FAILED


def test_which_names_are_known(library: Path) -> None:
    """Ours and jc's are known, those that read streams or touch files are not; without jc ours alone."""
    every, ours = KnownParsers(library), KnownParsers(None)
    assert {"json", "df", "airport-s", "proc-meminfo"} <= set(every)
    assert "ls-s" not in every
    assert "plist" not in every
    assert (len(every), every.more) == (len(list(every)), "")
    assert list(ours) == ["csv", "json", "keyvalue", "lines", "ndjson", "tsv"]
    assert ("df" in ours, len(ours), ours.more) == (
        False,
        6,
        "the parsers of jc come with: pip install '.[parsers]' in a checkout of cmdhttp",
    )


def test_a_library_that_does_not_work(hostile: Path) -> None:
    """A jc that cannot name its parsers is said, not passed over: a policy may need them."""
    assert "json" in KnownParsers(hostile)
    with pytest.raises(ConfigError, match="jc is installed and cannot name its parsers"):
        len(KnownParsers(hostile))


def test_where_the_library_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: Path) -> None:
    """The folder is that from which jc would be imported; a folder named jc without code in it is not the library."""
    assert (library / "jc" / "parsers" / "df.py").is_file()
    monkeypatch.delitem(sys.modules, "jc", raising=False)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert find_library() is None
    (tmp_path / "jc").mkdir()
    assert find_library() is None
