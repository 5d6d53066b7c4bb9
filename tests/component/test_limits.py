"""Limits of local runs, with real processes: hogs, burners, bombs, and one that would rather have other limits."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from cmdhttp.execution.local.limits import Meter, apply, tasks_of
from cmdhttp.execution.model import Exited, News, Output, RunErrorCode
from cmdhttp.plan.model import LocalTarget, Step
from cmdhttp.policy.compiled import Limits
from tests.support.broker import Place, trusting_place

NOBODY = 65534
PYTHON = "/usr/bin/python3"
MIB = 1 << 20
needs_root = pytest.mark.usefixtures("root")


@pytest.fixture
def root() -> None:
    """Fails where it is not root: only root can become another account."""
    assert os.geteuid() == 0, "this test needs root; run `make test` as root"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with trusting_place(tmp_path_factory.mktemp("runs")) as shared:
        yield shared


async def ran(place: Place, limits: Limits, *argv: str, target: LocalTarget | None = None) -> tuple[Exited, str]:
    """How a run with limits ended, and all that it printed."""
    step = Step(
        run=0,
        host="local",
        target=target or LocalTarget(),
        argv=argv,
        env={},
        timeout=10,
        output_limit=MIB,
        limits=limits,
    )
    printed: list[bytes] = []

    async def emit(event: News) -> None:
        if isinstance(event, Output):
            printed.append(event.data)

    with anyio.fail_after(15):
        exited = await place.go(step, emit=emit)
    assert not place.folder.exists()
    return exited, b"".join(printed).decode()


def bounds(printed: str) -> dict[str, Any]:
    return {str(name): value for name, value in json.loads(printed).items()}


SHOW = (
    "import json, resource as r; print(json.dumps({n: r.getrlimit(getattr(r, 'RLIMIT_' + n)) for n in "
    "('CORE', 'CPU', 'NOFILE', 'FSIZE', 'DATA', 'NPROC', 'AS')}))"
)


# -- through the executor


@pytest.mark.anyio
async def test_a_process_finds_its_limits_set(place: Place) -> None:
    """Each limit is there before the program starts; what is not limited is as it was."""
    before = {name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))) for name in ("NPROC", "AS")}
    limits = Limits(memory=64 * MIB, cpu=1.5, processes=5, files=64, file_size=3 * MIB)
    exited, printed = await ran(place, limits, PYTHON, "-c", SHOW)
    assert exited == Exited(exit_code=0)
    assert bounds(printed) == {
        "CORE": [0, 0],
        "CPU": [2, 3],
        "NOFILE": [64, 64],
        "FSIZE": [3 * MIB, 3 * MIB],
        "DATA": [192 * MIB, 192 * MIB],
        **before,
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    "burner", ["while :; do :; done", "(while :; do :; done)", "sh -c 'while :; do :; done'; exit $?"]
)
async def test_a_burner_of_cpu(place: Place, burner: str) -> None:
    """It ends for its CPU limit, also when a shell tells of it."""
    exited, _ = await ran(place, Limits(cpu=1), "/bin/sh", "-c", burner)
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.CPU_LIMIT
    assert "limit of 1 s" in exited.error.detail


@pytest.mark.anyio
async def test_a_burner_that_ignores_the_warning(place: Place) -> None:
    """Who ignores SIGXCPU is killed a second later, and that has the same name."""
    exited, _ = await ran(place, Limits(cpu=0.2), "/bin/sh", "-c", "trap '' XCPU; while :; do :; done")
    assert (exited.signal, exited.error and exited.error.code) == ("KILL", RunErrorCode.CPU_LIMIT)


@pytest.mark.anyio
async def test_a_burst_within_the_limit(place: Place) -> None:
    """A run that keeps to its limits ends as it would without."""
    limits = Limits(memory=256 * MIB, cpu=5, processes=9, files=99, file_size=MIB)
    assert (await ran(place, limits, "/bin/sh", "-c", "echo x; kill -KILL $$"))[0] == Exited(signal="KILL")


@pytest.mark.anyio
@pytest.mark.parametrize("writer", ["exec head -c 5000000 /dev/zero >big", "head -c 5000000 /dev/zero >big"])
async def test_a_writer_of_a_large_file(place: Place, writer: str) -> None:
    """It ends for its limit of file sizes; what it may write is written."""
    text = f"head -c 1000000 /dev/zero >small && stat -c %s small; {writer}"
    exited, printed = await ran(place, Limits(file_size=MIB), "/bin/sh", "-c", text)
    assert printed.startswith("1000000\n")
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.FILE_SIZE_LIMIT


@pytest.mark.anyio
async def test_stdout_is_no_file(place: Place) -> None:
    """What a run prints counts against `output`, not against the size of files."""
    exited, printed = await ran(place, Limits(file_size=10), "/usr/bin/seq", "1000")
    assert (exited, len(printed)) == (Exited(exit_code=0), 3893)


@pytest.mark.anyio
async def test_a_program_sees_that_it_has_too_many_files(place: Place) -> None:
    """Open files are refused to the program; nobody else can see it."""
    text = "import errno, os\ntry:\n while True: os.open('/', 0)\nexcept OSError as e: print(errno.errorcode[e.errno])"
    assert await ran(place, Limits(files=32), PYTHON, "-c", text) == (Exited(exit_code=0), "EMFILE\n")


@pytest.mark.anyio
async def test_a_jump_over_the_memory_limit(place: Place) -> None:
    """What no look could be quick enough for, the kernel refuses: more than twice the limit at once."""
    text = "try: bytearray(600 << 20)\nexcept MemoryError: print('refused')"
    assert await ran(place, Limits(memory=64 * MIB), PYTHON, "-c", text) == (Exited(exit_code=0), "refused\n")


@pytest.mark.anyio
@needs_root
@pytest.mark.parametrize("name", ["CPU", "DATA", "NOFILE", "FSIZE", "CORE"])
async def test_a_child_that_raises_its_own_limits(place: Place, name: str) -> None:
    """The soft limit goes up to the hard one, which is no more than was allowed, and no further."""
    text = (
        f"import resource as r; kind = r.RLIMIT_{name}; soft, hard = r.getrlimit(kind); r.setrlimit(kind, (hard, hard))\n"
        "for way in ((hard + 1, hard + 1), (-1, -1), (hard, -1)):\n"
        " try: r.setrlimit(kind, way); print('raised')\n"
        " except (ValueError, OSError): pass\n"
        "print(hard)"
    )
    limits = Limits(memory=64 * MIB, cpu=1, files=64, file_size=MIB)
    become = ("/usr/bin/setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    exited, printed = await ran(place, limits, *become, PYTHON, "-c", text)
    allowed = {"CPU": 2, "DATA": 192 * MIB, "NOFILE": 64, "FSIZE": MIB, "CORE": 0}
    assert (exited, printed) == (Exited(exit_code=0), f"{allowed[name]}\n")


@pytest.mark.anyio
@needs_root
async def test_a_burner_that_gives_itself_more_time(place: Place) -> None:
    """The soft CPU limit is raised by the process itself; the hard one ends it, with the same name."""
    text = "import resource as r; hard = r.getrlimit(r.RLIMIT_CPU)[1]; r.setrlimit(r.RLIMIT_CPU, (hard, hard))\nwhile 1: pass"
    become = ("/usr/bin/setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    exited, _ = await ran(place, Limits(cpu=1), *become, PYTHON, "-c", text)
    assert exited.error is not None
    assert exited.error.code is RunErrorCode.CPU_LIMIT


HOGS = {
    "one process": (
        Limits(memory=64 * MIB),
        """
held = []
while len(held) < 400:
    held.append(bytearray(b"x") * MIB)
    time.sleep(0.005)
""",
        RunErrorCode.MEMORY_LIMIT,
    ),
    "many that hold little each": (
        Limits(memory=96 * MIB),
        """
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(b"x") * (20 * MIB)
        time.sleep(9)
        os._exit(0)
time.sleep(9)
""",
        RunErrorCode.MEMORY_LIMIT,
    ),
    "in a session of its own": (
        Limits(memory=64 * MIB),
        """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    held = bytearray(b"x") * (100 * MIB)
time.sleep(9)
""",
        RunErrorCode.MEMORY_LIMIT,
    ),
    "CPU of several": (
        Limits(cpu=1.2),
        """
for _ in range(2):
    os.fork()
while True:
    pass
""",
        RunErrorCode.CPU_LIMIT,
    ),
    "CPU of one after the other": (
        Limits(cpu=0.8),
        """
while True:
    pid = os.fork()
    if pid == 0:
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        os._exit(0)
    os.waitpid(pid, 0)
""",
        RunErrorCode.CPU_LIMIT,
    ),
    "a bomb": (
        Limits(processes=32),
        """
for _ in range(200):
    if os.fork() == 0:
        time.sleep(9)
        os._exit(0)
time.sleep(9)
""",
        RunErrorCode.PROCESS_LIMIT,
    ),
    "a bomb whose leader has gone": (
        Limits(processes=32),
        """
for _ in range(200):
    if os.fork() == 0:
        os.setsid()
        time.sleep(9)
        os._exit(0)
""",
        RunErrorCode.PROCESS_LIMIT,
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOGS)
async def test_what_a_run_takes_together(place: Place, name: str) -> None:
    """The whole run is ended for the limit that its processes have passed together, and nothing of it is left."""
    limits, program, code = HOGS[name]
    exited, _ = await ran(place, limits, PYTHON, "-c", f"import os, time\nMIB = {MIB}{program}")
    assert (exited.error and exited.error.code, exited.lost) == (code, False)


# -- apply


def applied(program: str, limits: dict[str, float | None], *, tasks: int | None = None, user: int | None = None) -> str:
    """What a program prints that is started with limits, perhaps as another account."""
    made = subprocess.run(
        [PYTHON, "-c", program],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
        timeout=15,
        preexec_fn=lambda: apply(limits, tasks=tasks),
    )
    return made.stdout


def test_a_lower_limit_stays() -> None:
    """What is lower already is not raised, and values beyond what the kernel counts do no harm."""
    inner = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    inner += (
        "import resource as r\nfrom cmdhttp.execution.local.limits import apply\nr.setrlimit(r.RLIMIT_FSIZE, (500, 600))\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (40, 50))\nimport os\nos.setuid(65534) if os.getuid() == 0 else None\n"
        "apply({'file_size': 2 ** 70, 'files': 2 ** 70, 'memory': 2 ** 90, 'cpu': 10.0 ** 20})\n"
        "print(r.getrlimit(r.RLIMIT_FSIZE), r.getrlimit(r.RLIMIT_NOFILE))\n"
    )
    ran = subprocess.run([sys.executable, "-c", inner], check=True, capture_output=True, text=True, timeout=15)
    assert ran.stdout == "(600, 600) (50, 50)\n"


def test_signals_of_limits_are_not_ignored() -> None:
    """Python ignores SIGXFSZ, and the program that comes after must not."""
    made = subprocess.run(
        ["/usr/bin/grep", "SigIgn", "/proc/self/status"],
        check=True,
        capture_output=True,
        text=True,
        restore_signals=False,
        preexec_fn=lambda: apply({"file_size": 5}),
    )
    assert int(made.stdout.split()[1], 16) & (1 << (signal.SIGXFSZ - 1)) == 0


@needs_root
def test_a_bomb_of_another_account_ends_in_the_kernel() -> None:
    """RLIMIT_NPROC holds a bomb of forks between two looks; it counts from what the account runs already."""
    bomb = (
        "import os, signal, time\npids = []\ntry:\n while len(pids) < 200:\n"
        "  pid = os.fork()\n  if pid == 0: time.sleep(20); os._exit(0)\n  pids.append(pid)\nexcept OSError as e: print(e.errno)\n"
        "print(len(pids))\nfor pid in pids: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)"
    )
    other = subprocess.Popen(["/usr/bin/sleep", "30"], user=NOBODY)
    try:
        tasks = tasks_of(NOBODY)
        assert tasks >= 1
        code, count = applied(bomb, {"processes": 3}, tasks=tasks, user=NOBODY).split()
    finally:
        other.kill()
        other.wait()
    assert (int(code), int(count)) == (11, 3 * 8 - 1)


def test_without_another_account_the_kernel_counts_nothing() -> None:
    """RLIMIT_NPROC would count every run of the service's own account."""
    assert applied("import resource as r; print(r.getrlimit(r.RLIMIT_NPROC))", {"processes": 3}) == (
        f"{resource.getrlimit(resource.RLIMIT_NPROC)}\n"
    )


def test_threads_are_counted() -> None:
    """An account's tasks are its threads."""
    mine = tasks_of(os.geteuid())
    assert mine >= len(list(Path("/proc/self/task").iterdir()))
    assert tasks_of((1 << 31) - 5) == 0


# -- Meter


@contextmanager
def tree(program: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], list[int]]]]:
    """A program that has printed its first line, and its processes, parents before children; all are ended."""
    process = subprocess.Popen([PYTHON, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process, lambda: below(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def below(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            found += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def until(meter: Meter, pids: Callable[[], list[int]], *, seconds: float = 8.0) -> str | None:
    """What a meter says first that is polled as a run is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (name := meter.exceeded(pids())) is not None:
            return name
        time.sleep(0.05)
    return None


def test_memory_of_one_process() -> None:
    """What a process really holds counts; what it has only asked for, and files that it looks at, do not."""
    program = (
        "import mmap, time; a = mmap.mmap(-1, 512 << 20, mmap.MAP_PRIVATE); b = bytearray(b'x') * (80 << 20)\n"
        "print(1, flush=True); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        assert Meter({"memory": 128 * MIB}).exceeded(pids()) is None
        assert Meter({"memory": 70 * MIB}).exceeded(pids()) == "memory"


def test_memory_that_is_shared_counts_once(tmp_path: Path) -> None:
    """Eight forks of a large process hold its memory together, until each writes to it."""
    (tmp_path / "go").touch()
    program = (
        "import os, time\nheld = bytearray(b'x') * (40 << 20)\nfor _ in range(7):\n if os.fork() == 0:\n"
        f"  while os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)\n"
        "  held[::4096] = b'y' * len(held[::4096]); time.sleep(20); os._exit(0)\nprint(1, flush=True); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        assert len(pids()) == 8
        meter = Meter({"memory": 120 * MIB})
        assert meter.exceeded(pids()) is None
        (tmp_path / "go").unlink()
        assert until(meter, pids) == "memory"


def test_an_exact_count_is_not_made_at_every_look() -> None:
    """Twenty forks of a large process are measured cheaply on average, though their pages are many times the limit."""
    program = (
        "import os, time\nheld = bytearray(b'x') * (40 << 20)\nfor _ in range(19):\n"
        " if os.fork() == 0: time.sleep(20); os._exit(0)\nprint(1, flush=True); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        found, meter = pids(), Meter({"memory": 200 * MIB})
        took = []
        for _ in range(20):
            began = time.perf_counter()
            assert meter.exceeded(found) is None
            took.append(time.perf_counter() - began)
        assert sorted(took)[12] < sorted(took)[17] / 3
        assert Meter({"memory": 30 * MIB}).exceeded(found) == "memory"


def test_memory_that_comes_between_two_exact_counts(tmp_path: Path) -> None:
    """More pages than there was room for are counted at the next look."""
    program = (
        "import os, time\nheld = bytearray(b'x') * (40 << 20)\nfor _ in range(19):\n"
        " if os.fork() == 0: time.sleep(20); os._exit(0)\nprint(1, flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)\n"
        f"more = bytearray(b'x') * (120 << 20); open({str(tmp_path / 'done')!r}, 'w'); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        found, meter = pids(), Meter({"memory": 120 * MIB})
        assert meter.exceeded(found) is None
        (tmp_path / "go").touch()
        while not (tmp_path / "done").exists():
            time.sleep(0.02)
        assert meter.exceeded(found) == "memory"


def test_memory_in_segments_that_are_shared() -> None:
    """Shared memory is memory: it is not forgotten because no process holds it alone."""
    program = "import mmap, time; m = mmap.mmap(-1, 80 << 20); m.write(b'x' * (80 << 20)); print(1, flush=True); time.sleep(20)"
    with tree(program) as (_, pids):
        assert Meter({"memory": 70 * MIB}).exceeded(pids()) == "memory"


def test_pages_of_files_are_not_counted(tmp_path: Path) -> None:
    """The kernel takes them back when it needs them."""
    (tmp_path / "big").write_bytes(b"x" * (80 << 20))
    program = (
        f"import mmap, time; f = open({str(tmp_path / 'big')!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(m[i] for i in range(0, len(m), 4096)); print(1, flush=True); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        assert Meter({"memory": 40 * MIB}).exceeded(pids()) is None


@pytest.mark.parametrize(
    "program",
    [
        "print(1, flush=True)\nwhile 1: pass",
        "import os, time; print(1, flush=True)\nfor _ in range(2):\n if os.fork() == 0:\n  while 1: pass\ntime.sleep(20)",
        # children that are waited for
        (
            "import os, time; print(1, flush=True)\nwhile 1:\n pid = os.fork()\n if pid == 0:\n"
            "  end = time.monotonic() + 0.02\n  while time.monotonic() < end: pass\n  os._exit(0)\n os.waitpid(pid, 0)"
        ),
        # children that nobody hears of
        (
            "import os, signal, time; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(1, flush=True)\nwhile 1:\n"
            " if os.fork() == 0:\n  end = time.monotonic() + 0.3\n  while time.monotonic() < end: pass\n  os._exit(0)\n"
            " time.sleep(0.3)"
        ),
    ],
    ids=["alone", "children", "waited-for", "unheard"],
)
def test_cpu_of_a_tree(program: str) -> None:
    """Seconds of all processes count together, also of those that have ended."""
    with tree(program) as (_, pids):
        began = time.monotonic()
        assert until(Meter({"cpu": 0.6}), pids) == "cpu"
        assert time.monotonic() - began < 6


def test_cpu_of_what_was_reaped() -> None:
    """What the caller has waited for is added."""
    with tree("import time; print(1, flush=True); time.sleep(20)") as (_, pids):
        assert Meter({"cpu": 5}).exceeded(pids(), reaped=4.0) is None
        assert Meter({"cpu": 5}).exceeded(pids(), reaped=5.1) == "cpu"


def test_a_bomb_of_forks() -> None:
    """The number of processes is seen at the next look, whatever they are called."""
    program = (
        "import ctypes, os, time; ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0)\nfor _ in range(199):\n"
        " if os.fork() == 0: time.sleep(20); os._exit(0)\nprint(1, flush=True); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        assert len(pids()) == 200
        assert Meter({"processes": 200, "memory": 1 << 40, "cpu": 3600}).exceeded(pids()) is None
        assert Meter({"processes": 199}).exceeded(pids()) == "processes"


def test_a_look_costs_little() -> None:
    """Twenty processes are measured in well under a millisecond."""
    program = (
        "import os, time\nfor _ in range(19):\n if os.fork() == 0: time.sleep(20); os._exit(0)\n"
        "print(1, flush=True); time.sleep(20)"
    )
    with tree(program) as (_, pids):
        found, meter = pids(), Meter({"memory": 1 << 40, "cpu": 3600, "processes": 100})
        took = []
        for _ in range(200):
            began = time.perf_counter()
            assert meter.exceeded(found) is None
            took.append(time.perf_counter() - began)
    assert sorted(took)[20] < 0.001
