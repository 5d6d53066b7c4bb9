"""One key, one job: at one instant, across a kill, in any spelling of the body; and no sum of a secret on disk."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cmdhttp.auth.principal import Principal
from cmdhttp.call import Call, idempotency_key
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.schema import STEPS
from cmdhttp.jobs.seal import read_seal
from cmdhttp.plan.build import Wish
from tests.support.service import Service

pytestmark = pytest.mark.timeout(240)
KEY = {"Idempotency-Key": "k", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.running(tmp_path_factory.mktemp("keys") / "service") as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def send(service: Service, body: str, *, key: str, command: str = "tick", principal: str = "ann") -> httpx.Response:
    with service.client(principal) as client:
        return client.post(f"/v1/run/{command}", content=body, headers={**KEY, "Idempotency-Key": key})


def test_many_at_one_instant_and_across_kills(service: Service) -> None:
    """Whoever sends the same at the same time, or again after a kill, gets the one job."""
    body = '{"params": {"count": 2, "pause": 0.2}, "wait": 0}'
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: send(service, body, key="rush"), range(12)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    (job,) = {answer.json()["id"] for answer in answers}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    service.kill()
    service.start()
    service.end_orphans()
    again = send(service, body, key="rush")
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (job, "true")
    events = service.events(job)
    assert sum(event.type == "started" for event in events) <= 1


@pytest.mark.parametrize(
    "spelling",
    [
        '{"wait":0,"params":{"pause":1e-1,"count":1}}',
        '{"params": {"count": 1.0, "pause": 0.1}}',
        '{"params": {"count": 1e0, "pause": 0.10}}',
        '{"params": {"\\u0063ount": 1, "pause": 0.1}, "hosts": null}',
        '{"params": {"count": 1, "pause": 0.1}, "output": {"max_bytes": 5}}',
    ],
)
def test_another_spelling_is_the_same_body(service: Service, spelling: str) -> None:
    """Order, space, escapes, how a number is written, and how the answer is wanted make no other request."""
    first = send(service, '{"params": {"count": 1, "pause": 0.1}}', key="spelling")
    again = send(service, spelling, key="spelling")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("tick", '{"params": {"count": 2, "pause": 0.1}}'),
        ("tick", '{"params": {"count": true, "pause": 0.1}}'),
        ("tick", '{"params": {"count": 1, "pause": "0.1"}}'),
        ("tick", '{"params": {"count": 1, "pause": 0.1}, "hosts": "local"}'),
        ("tick", '{"params": {"count": 1, "pause": 0.1}, "timeout": 5}'),
        ("tick", '{"params": {"count": 1, "pause": 0.1}, "labels": ["x"]}'),
        ("tick", '{"params": {"count": 1, "pause": 0.1}, "reason": "x"}'),
        ("count", '{"params": {"to": 1}}'),
    ],
)
def test_another_body_is_refused(service: Service, command: str, body: str) -> None:
    """A key that was used for another request runs nothing; a body that has no valid meaning is told so first."""
    send(service, '{"params": {"count": 1, "pause": 0.1}}', key="other")
    before = len(service.list_jobs(limit=200))
    assert send(service, body, key="other", command=command).status_code in (409, 422)
    assert len(service.list_jobs(limit=200)) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": ""},
        {"X-Idempotency-Key": ""},
        {"Idempotency-Key": "", "X-Idempotency-Key": "one"},
        {"Idempotency-Key": "one", "X-Idempotency-Key": "two"},
        {"Idempotency-Key": "two words"},
        {"Idempotency-Key": "k" * 256},
    ],
)
def test_a_key_that_cannot_be_used_is_refused(service: Service, headers: dict[str, str]) -> None:
    """Whoever sends one counts on it, so a call never runs without it: an unset variable gives an empty one."""
    before = service.list_jobs(limit=1)
    answer = service.run("exit", {"params": {"code": 0}}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert service.list_jobs(limit=1) == before


def test_both_headers_may_say_the_same(service: Service) -> None:
    both = {"Idempotency-Key": "both", "X-Idempotency-Key": "both"}
    first, second = (
        service.run("exit", {"params": {"code": 0}}, headers=headers) for headers in (both, {"Idempotency-Key": "both"})
    )
    assert first.json()["id"] == second.json()["id"]


def test_a_key_belongs_to_its_principal(service: Service) -> None:
    """The same key and body of another caller is another job."""
    body = '{"params": {"code": 0}}'
    first, second = (send(service, body, key="shared", command="exit", principal=name) for name in ("ann", "bob"))
    assert first.json()["id"] != second.json()["id"]
    assert "idempotency-replayed" not in second.headers


def test_a_sum_of_a_secret_cannot_be_guessed_from_the_disk(service: Service) -> None:
    """The plain sum of the request is nowhere in the data folder, and the key of the seal is for the account alone."""
    send(service, '{"params": {"seconds": 0}, "stdin": "1234"}', key="pin", command="digest")
    call = Call(command="digest", params={"seconds": 0}, wish=Wish(stdin=b"1234"), key="pin")
    key = idempotency_key(Principal(name="ann", method="token", credential="c", source="s"), call)
    assert key is not None
    seal = service.data / "idempotency.key"
    assert (seal.stat().st_mode & 0o777, seal.stat().st_size) == (0o600, 32)
    with closing(sqlite3.connect(f"file:{service.data}/jobs.sqlite3?mode=ro", uri=True)) as db:
        (digest,) = db.execute("SELECT digest FROM idempotency WHERE key = 'pin'").fetchone()
    assert digest == read_seal(service.data).of(key.digest)
    for path in service.data.rglob("*"):
        assert not path.is_file() or key.digest.encode() not in path.read_bytes()


@pytest.mark.anyio
async def test_keys_of_an_older_database_lead_to_their_jobs(tmp_path: Path) -> None:
    """What an older version kept as plain sums is sealed, once, and the same request still finds its job."""
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as db:
        for step in STEPS[:3]:
            step(db)
        db.execute("PRAGMA user_version=3")
        plain = hashlib.sha256(json.dumps("x").encode()).hexdigest()
        db.execute("INSERT INTO idempotency VALUES ('p', 'k', ?, 'job_1')", (plain,))
    key = idempotency_key(Principal(name="p", method="token", credential="c", source="s"), Call(command="c", key="k"))
    assert key is not None
    for _ in range(2):
        journal = Journal(tmp_path)
        found = await journal.replay(replace(key, digest=plain))
        other = await journal.replay(key)
        journal.close()
        assert found is not None
        assert other is not None
        assert (found.job_id, found.same, other.same) == ("job_1", True, False)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        assert db.execute("SELECT digest FROM idempotency").fetchall() == [(read_seal(tmp_path).of(plain),)]
