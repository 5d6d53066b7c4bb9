"""Data folders that are damaged, held by another, or cannot be written: a clear refusal, and a way out on the admin's word."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.service import Service, run_program

pytestmark = pytest.mark.timeout(240)  # each test starts the program several times


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("damage") / "service") as running:
        yield running


def elsewhere(service: Service, **more: str) -> list[str]:
    return service.serve_arguments(
        listen=f"127.0.0.1:{free_port()}", **{"ops-listen": f"127.0.0.1:{free_port()}", **more}
    )


def flip(path: Path, *, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        data = file.read(size)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in data))


def test_the_second_service_names_the_first(service: Service) -> None:
    """Whoever is refused learns which process holds the folder."""
    refused = run_program(*elsewhere(service))
    assert refused.returncode == 2
    assert f"another cmdhttp uses the data folder {service.data} (process {service.pid})" in refused.stderr
    assert service.ready()


def test_a_lock_file_that_says_nothing(service: Service) -> None:
    """What stands in the file is a help and not the lock."""
    (service.data / "lock").write_bytes(b"\xff\x00 -1")
    refused = run_program(*elsewhere(service))
    assert refused.returncode == 2
    assert re.search(rf"another cmdhttp uses the data folder {re.escape(str(service.data))}\n", refused.stderr)


@pytest.mark.parametrize(("offset", "size"), [(0, 100), (100, 60)], ids=["header", "first page"])
def test_a_damaged_database_is_refused_and_put_aside_on_demand(service: Service, offset: int, size: int) -> None:
    """Without the flag nothing starts and nothing is changed; with it the file is kept, and an empty one takes its place."""
    job = service.result("exit", {"params": {"code": 0}})["id"]
    service.stop()
    path = service.data / "jobs.sqlite3"
    flip(path, offset=offset, size=size)
    damaged = path.read_bytes()
    refused = run_program(*elsewhere(service))
    assert refused.returncode == 2
    assert "the job database" in refused.stderr
    assert "--damaged-database set_aside" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert path.read_bytes() == damaged
    before = set(service.data.iterdir())
    service.flags["damaged-database"] = "set_aside"
    service.start()
    (aside,) = [path for path in set(service.data.iterdir()) - before if ".damaged-" in path.name]
    assert aside.read_bytes() == damaged
    assert aside.stat().st_mode & 0o077 == 0
    with service.client() as client:
        assert client.get(f"/v1/jobs/{job}").status_code == 404
    again = service.result("exit", {"params": {"code": 0}})
    records = [json.loads(line) for line in (service.data / "audit" / "audit.jsonl").read_text().splitlines()]
    (told,) = [record for record in records if record["code"] == "jobs.set_aside" and record["file"] == aside.name]
    assert told
    service.restart()
    del service.flags["damaged-database"]
    assert service.job(again["id"])["state"] == "succeeded", "a database that is whole stays where it is"


def test_damage_in_a_page_that_is_read_later(service: Service) -> None:
    """Damage that the start does not meet is told by readiness once it is met, and the next start can put it aside."""
    for _ in range(8):
        service.result("count", {"params": {"to": 3}})
    service.stop()
    path = service.data / "jobs.sqlite3"
    for page in range(1, path.stat().st_size // 8192):
        flip(path, offset=8192 * page, size=200)
    refused = run_program(*elsewhere(service))
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "--damaged-database set_aside" in refused.stderr
    service.flags["damaged-database"] = "set_aside"
    service.start()
    del service.flags["damaged-database"]
    assert service.result("exit", {"params": {"code": 0}})["ok"]


def test_a_key_that_is_damaged(service: Service) -> None:
    """A key of another length seals nothing; the message says what to do, and doing it works."""
    service.stop()
    key = service.data / "idempotency.key"
    assert key.stat().st_mode & 0o777 == 0o600
    whole = key.read_bytes()
    key.write_bytes(whole[:5])
    refused = run_program(*elsewhere(service))
    assert refused.returncode == 2
    assert f"the key {key} is damaged" in refused.stderr
    key.write_bytes(whole)
    service.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_data_folder_that_cannot_be_written(service: Service, tmp_path: Path, how: str) -> None:
    """Nothing starts on a disk that takes nothing, and the message names the folder."""
    place = tmp_path / "disk"
    place.mkdir()
    arguments = " ".join(elsewhere(service, data=str(place / "data"), runs=str(tmp_path / "runs")))
    fill = "head -c 2M /dev/zero >/$0/fill" if how == "full" else "mount -o remount,ro $0"
    script = f"mount -t tmpfs -o size=1M none $0 && {{ {fill}; exec $1 -m cmdhttp.cli.main {arguments}; }}"
    command = ["unshare", "--mount", "sh", "-c", script, str(place), sys.executable]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
    assert str(place / "data") in refused.stderr
