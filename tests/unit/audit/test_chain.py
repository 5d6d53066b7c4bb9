"""The chain shows every change; the log keeps it whole."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from cmdhttp.audit.chain import GENESIS, Head, first_break, head_after, link
from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.errors import ConfigError


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def chain(count: int) -> list[bytes]:
    head, lines = Head(), []
    for number in range(count):
        line, head = link(head, time="t", code="c", fields={"n": number, "text": "a\nb"})
        lines.append(line.removesuffix(b"\n"))
    return lines


def edited(lines: list[bytes], place: int) -> list[bytes]:
    return [*lines[:place], lines[place].replace(b'"n":', b'"n":1'), *lines[place + 1 :]]


def test_a_whole_chain() -> None:
    """Untouched lines follow from each other, and so does every tail of them from its head."""
    lines = chain(5)
    assert first_break(lines) is None
    assert first_break([]) is None
    assert first_break(lines[3:], start=head_after(lines[2])) is None


def test_a_line_is_one_line() -> None:
    """A record is one line of ASCII, whatever its fields hold, and its own keys cannot be given from outside."""
    fields = {"x": "a\nb\r\u2028é\ud800", "seq": 99, "prev": "mine", "code": "mine"}
    line, head = link(Head(), time="t", code="c", fields=fields)
    assert line.isascii()
    assert line.count(b"\n") == 1
    record = json.loads(line)
    assert (record["seq"], record["prev"], record["code"]) == (1, GENESIS, "c")
    assert head_after(line.removesuffix(b"\n")) == head


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (edited, lambda place: place + 1),
        (lambda lines, place: lines[:place] + lines[place + 1 :], lambda place: place),
        (lambda lines, place: [*lines[: place + 1], *lines[place:]], lambda place: place + 1),
        (lambda lines, place: [*lines[:place], b"x", *lines[place + 1 :]], lambda place: place),
        (lambda lines, place: [*lines[:place], b"[]", *lines[place + 1 :]], lambda place: place),
        (lambda lines, place: [*lines[:place], b"", *lines[place:]], lambda place: place),
    ],
    ids=["edit", "delete", "duplicate", "replace", "other json", "blank"],
)
def test_every_change_breaks_it(
    place: int, change: Callable[[list[bytes], int], list[bytes]], found: Callable[[int], int]
) -> None:
    """An edited, deleted, doubled or foreign line is found, there or at the line after it; at the end its head tells."""
    lines = chain(6)
    if place == 5:
        return
    assert first_break(change(lines, place)) == found(place)


def test_a_swap_breaks_it() -> None:
    """Two lines in each other's place are found."""
    one, two, three = chain(3)
    assert first_break([one, three, two]) == 1
    assert first_break([two, one, three]) == 0


def test_an_edit_of_the_last_line_changes_the_head() -> None:
    """The last line has no line after it; its hash, kept elsewhere as a receipt, tells."""
    lines = chain(3)
    assert head_after(edited(lines, 2)[2]) != head_after(lines[2])


async def write(log: AuditLog, *codes: Code) -> list[Head]:
    return [await log.write(code, {"k": "v"}) for code in codes]


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def closing(path: Path) -> AuditLog:
    return AuditLog(path, now=lambda: 0.0)


@pytest.mark.anyio
async def test_the_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """A log that is opened again continues its chain, and each receipt names a line."""
    path = tmp_path / "a" / "audit.log"
    heads = []
    for _ in range(2):
        log = closing(path)
        heads += await write(log, Code.SERVICE_STARTED, Code.SERVICE_STOPPED)
        log.close()
    assert first_break(lines_of(path)) is None
    assert [head_after(line) for line in lines_of(path)] == heads
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.anyio
async def test_records_of_many_tasks(tmp_path: Path) -> None:
    """Records written at once are all in the chain, each once."""
    log = closing(tmp_path / "audit.log")
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(write, log, Code.CALL_DENIED)
    log.close()
    lines = lines_of(tmp_path / "audit.log")
    assert (len(lines), first_break(lines)) == (50, None)


@pytest.mark.anyio
@pytest.mark.parametrize("torn", [b'{"code', b"x", b'{"seq":2}'])
async def test_a_torn_last_line(tmp_path: Path, torn: bytes) -> None:
    """A line that the last life did not finish is dropped, and the next record is one that says so."""
    path = tmp_path / "audit.log"
    log = closing(path)
    await write(log, Code.SERVICE_STARTED)
    log.close()
    path.write_bytes(path.read_bytes() + torn)
    log = closing(path)
    await write(log, Code.SERVICE_STARTED, Code.SERVICE_STOPPED)
    log.close()
    records = [json.loads(line) for line in lines_of(path)]
    assert [record["code"] for record in records] == [
        "service.started",
        "log.repaired",
        "service.started",
        "service.stopped",
    ]
    assert records[1]["dropped_bytes"] == len(torn)
    assert first_break(lines_of(path)) is None


@pytest.mark.anyio
async def test_a_torn_first_line(tmp_path: Path) -> None:
    """A log whose only line was torn begins a new chain."""
    path = tmp_path / "audit.log"
    path.write_bytes(b'{"seq":1')
    log = closing(path)
    await write(log, Code.SERVICE_STARTED)
    log.close()
    assert first_break(lines_of(path)) is None
    assert len(lines_of(path)) == 2


@pytest.mark.parametrize("data", [b"no record\n", b"[]\n", b'{"seq":"1"}\n', b"\xff\n", b"\n"])
def test_a_log_that_is_none_is_left_alone(tmp_path: Path, data: bytes) -> None:
    """A file whose last line is no record is not continued, and not touched."""
    path = tmp_path / "audit.log"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="cannot be continued"):
        closing(path)
    assert path.read_bytes() == data


@pytest.mark.anyio
async def test_a_failed_write_raises_and_leaves_the_chain_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full every write raises; afterwards the chain goes on without a trace of the torn line."""
    path = tmp_path / "audit.log"
    log = closing(path)
    await write(log, Code.SERVICE_STARTED)
    real = os.write
    calls: list[int] = []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) % 2:
            return real(descriptor, data[:7])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr("cmdhttp.audit.log.os.write", full)
            with pytest.raises(OSError, match="No space left"):
                await log.write(Code.JOB_STARTED, {})
        assert log.trouble == "not writable: No space left on device"
        assert len(lines_of(path)) == 1
    await write(log, Code.JOB_ENDED)
    log.close()
    assert log.trouble == ""
    assert [json.loads(line)["code"] for line in lines_of(path)] == ["service.started", "job.ended"]
    assert first_break(lines_of(path)) is None


@pytest.mark.anyio
async def test_a_log_mends_itself_without_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is not ready gets no calls, so no call can be what tells it that there is room again."""
    path = tmp_path / "audit.log"
    log = closing(path)
    await write(log, Code.SERVICE_STARTED)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.audit.log.os.write", full)
        with pytest.raises(OSError, match="No space left"):
            await log.write(Code.JOB_STARTED, {})
        await log.mend()
        assert log.trouble == "not writable: No space left on device"
    for _ in range(2):
        await log.mend()
        assert log.trouble == ""
    log.close()
    assert [json.loads(line)["code"] for line in lines_of(path)] == ["service.started", "log.recovered"]
    assert first_break(lines_of(path)) is None


@pytest.mark.anyio
async def test_a_failed_sync_is_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was written but not synced was not acknowledged and does not stay."""
    log = closing(tmp_path / "audit.log")

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("cmdhttp.audit.log.os.fdatasync", broken)
    with pytest.raises(OSError, match="Input/output"):
        await log.write(Code.JOB_STARTED, {})
    log.close()
    assert (tmp_path / "audit.log").read_bytes() == b""


@pytest.mark.anyio
async def test_a_log_that_can_be_neither_written_nor_cut(tmp_path: Path) -> None:
    """Every write fails at once, the second like the first: none waits for a writer that is gone."""
    log = closing(tmp_path / "audit.log")
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, log._descriptor)
    os.close(full)
    for _ in range(2):
        with anyio.fail_after(5), pytest.raises(OSError, match=r"No space left|Invalid argument"):
            await log.write(Code.SERVICE_STARTED, {})
        assert log.trouble.startswith("not writable")
    log.close()


@pytest.mark.anyio
async def test_a_record_that_nobody_waits_for_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the file before it is synced, is synced with the next record or soon, and is acknowledged only then."""
    log = closing(tmp_path / "audit.log")
    syncs: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        syncs.append(len(lines_of(tmp_path / "audit.log")))
        real(descriptor)

    monkeypatch.setattr("cmdhttp.audit.log.os.fdatasync", counted)
    monkeypatch.setattr("cmdhttp.audit.log._QUIET_SECONDS", 5.0)
    acknowledged = anyio.Event()

    async def end() -> None:
        await log.write(Code.JOB_ENDED, {}, urgent=False)
        acknowledged.set()

    async with anyio.create_task_group() as group:
        group.start_soon(end)
        with anyio.fail_after(3):
            while not lines_of(tmp_path / "audit.log"):
                await anyio.sleep(0.01)
        assert (syncs, acknowledged.is_set()) == ([], False)
        await log.write(Code.JOB_STARTED, {})
        assert acknowledged.is_set()
    assert syncs == [2]
    monkeypatch.setattr("cmdhttp.audit.log._QUIET_SECONDS", 0.01)
    with anyio.fail_after(3):
        await log.write(Code.JOB_ENDED, {}, urgent=False)
    assert syncs == [2, 3]
    log.close()
    assert first_break(lines_of(tmp_path / "audit.log")) is None


@pytest.mark.anyio
async def test_a_failed_sync_takes_what_was_written_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No record is acknowledged that a failed sync may have lost, and the chain goes on from the last that is on disk."""
    path = tmp_path / "audit.log"
    log = closing(path)
    await write(log, Code.SERVICE_STARTED)
    errors: list[OSError] = []

    async def end() -> None:
        try:
            await log.write(Code.JOB_ENDED, {}, urgent=False)
        except OSError as error:
            errors.append(error)

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("cmdhttp.audit.log.os.fdatasync", broken)
        async with anyio.create_task_group() as group:
            group.start_soon(end)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(OSError, match="Input/output"):
                await log.write(Code.JOB_STARTED, {})
    assert [error.errno for error in errors] == [errno.EIO]
    await write(log, Code.SERVICE_STOPPED)
    log.close()
    assert [json.loads(line)["code"] for line in lines_of(path)] == ["service.started", "service.stopped"]
    assert first_break(lines_of(path)) is None
