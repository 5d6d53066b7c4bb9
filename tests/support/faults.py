"""A service under load that is killed with `kill -9` at random moments, and clients that write down what they see.

The clients retry as callers do: with their idempotency key after a connection that broke, and followers with the last number
that they saw, by turns as NDJSON with `?after=` and as SSE with `Last-Event-ID`, by GET and by POST.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.history import ENDS, Asked, Document, History
from tests.support.service import NDJSON, SSE, Service, read_events, wait_until
from tests.support.sshd import descendants, is_alive

_SCRIPT = """
where=local; [ -z "$SSH_CONNECTION" ] || where=far
echo "$P_TOKEN $where" >> MARKS
i=0
while [ "$i" -lt "$P_LINES" ]; do echo "$P_TOKEN $i"; i=$((i + 1)); sleep "$P_PAUSE"; done
echo "done $P_TOKEN" >&2
exit "$P_CODE"
"""
_PLACES: tuple[tuple[str, ...], ...] = (("local",),) * 8 + (("far",), ("local", "far"), ("far", "local"))
_SETTLED = 40.0


class Killed(Service):
    """The service with one command, which leaves a mark where nothing of the service's own can lose it."""

    marks: Path

    @classmethod
    @contextlib.contextmanager
    def under_fire(cls, folder: Path) -> Iterator["Killed"]:
        """Run it with few places, so that jobs wait, and with no connection kept open."""
        place = Path(tempfile.mkdtemp(prefix="cmdhttp-marks-"))
        place.chmod(0o711)
        cls.marks = place / "marks"
        cls.marks.touch()
        cls.marks.chmod(0o666)  # a run over SSH has another account
        flags = {"max-running": "6", "max-queued": "60", "ssh-idle": "0", "drain": "5"}
        try:
            with cls.running(folder, remotes=None, **flags) as service:
                yield service
        finally:
            shutil.rmtree(place)

    def _policy(self, principals: Document) -> Document:
        policy = super()._policy(principals)
        policy["commands"]["mark"] = {
            "effect": "read",
            "script": _SCRIPT.replace("MARKS", str(self.marks)),
            "interpreter": "sh",
            "params": {
                "token": {"type": "string", "pattern": "[a-z0-9.]+"},
                "lines": {"type": "int", "min": 0, "max": 1000},
                "pause": {"type": "number", "min": 0, "max": 1},
                "code": {"type": "int", "min": 0, "max": 9},
            },
            "timeout": "30s",
            "on": ["local", "far"],
        }
        policy["roles"]["all"][0]["commands"].append("mark")
        return policy

    def shoot(self, *, front: bool, broker: bool) -> None:
        """Kill one or both at once; a front that was killed is started again."""
        targets = [self.pid] if front else []
        if broker:
            targets += [pid for pid in descendants(self.pid) if _is_broker(pid)]
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if front:
            self.kill()
            self.start()

    def descriptors(self) -> int:
        """How many descriptors the front has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


def _is_broker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"cmdhttp.broker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class Load:
    """Clients on threads of their own, from `start` to `finish`; all of them write to one history."""

    def __init__(self, service: Killed, *, seed: int, name: str) -> None:
        self.history = History()
        self.trouble: list[str] = []
        self._service = service
        self._name = name
        self._over = threading.Event()
        self._calls = 0
        self._lock = threading.Lock()
        work: list[Callable[[random.Random], None]] = []
        work += [self._call_again_and_again] * 4
        work += [self._follow_again_and_again] * 3
        self._threads = [
            threading.Thread(target=self._guarded, args=(each, random.Random(f"{seed}.{number}")))
            for number, each in enumerate(work)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Make no more calls, and wait for all followers to have read to the end."""
        self._over.set()
        for thread in self._threads:
            thread.join(_SETTLED)
        if any(thread.is_alive() for thread in self._threads):
            self.trouble.append("a client is still waiting")

    def _guarded(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            work(chance)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.trouble.append(f"a client failed: {error!r}")

    # -- callers

    def _call_again_and_again(self, chance: random.Random) -> None:
        with self._service.client() as client:
            while not self._over.is_set():
                kind = chance.random()
                if kind < 0.75:
                    self._call(client, chance)
                elif self.history.acknowledged:
                    token, job_id = chance.choice(self.history.acknowledged)
                    if kind < 0.80:
                        self._send(client, chance, self.history.asked[token], retry=False)
                    else:
                        self._look(client, job_id, cancel=kind > 0.95)
                time.sleep(chance.uniform(0, 0.08))

    def _call(self, client: httpx.Client, chance: random.Random) -> None:
        with self._lock:
            self._calls += 1
            token = f"{self._name}.{self._calls}"
        asked = Asked(
            token=token,
            hosts=chance.choice(_PLACES),
            lines=chance.choice((0, 1, 3, 20)),
            code=chance.choice((0, 0, 0, 3)),
            key=token if chance.random() < 0.7 else None,
        )
        self.history.asked[token] = asked
        self._send(client, chance, asked, retry=True)

    def _send(self, client: httpx.Client, chance: random.Random, asked: Asked, *, retry: bool) -> None:
        """Send a call, and again if the connection broke and it has a key. Without one it is sent once."""
        if asked.key is None and not retry:
            return
        params = {"token": asked.token, "lines": asked.lines, "code": asked.code, "pause": "0.01"}
        body: Document = {"params": params, "hosts": list(asked.hosts), "wait": chance.choice((0, 0, 0.3))}
        headers = {"Idempotency-Key": asked.key} if asked.key else {}
        stream = chance.random() < 0.3
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                if stream:
                    self._streamed(client, chance, asked, body, headers)
                    return
                answer = client.post("/v1/run/mark", json=body, headers=headers)
                if answer.status_code in (200, 202):
                    self._answered(asked.token, answer.json())
                elif answer.status_code != 503:
                    self.trouble.append(f"{asked.token}: {answer.status_code} {answer.text}")
                return
            if asked.key is None:
                return
            time.sleep(0.05)

    def _streamed(
        self, client: httpx.Client, chance: random.Random, asked: Asked, body: Document, headers: dict[str, str]
    ) -> None:
        """Run and follow in one; after a break the following goes on by the job's id."""
        seen: list[Document] = []
        with contextlib.suppress(httpx.TransportError):
            wanted = {**headers, "Accept": NDJSON}
            with client.stream("POST", "/v1/run/mark", json=body, headers=wanted) as answer:
                if answer.status_code == 503:
                    return
                for event in _whole_events(answer, NDJSON):
                    seen.append(event)
                    if event["type"] == "accepted":
                        self.history.acknowledged.append((asked.token, event["job_id"]))
        if not seen:
            raise httpx.ReadError("nothing came")
        self._read_to_the_end(client, chance, seen[0]["job_id"], seen)

    def _answered(self, token: str, job: Document) -> None:
        self.history.acknowledged.append((token, job["id"]))
        self.history.answers.append(job)

    def _look(self, client: httpx.Client, job_id: str, *, cancel: bool) -> None:
        with contextlib.suppress(httpx.TransportError):
            answer = client.post(f"/v1/jobs/{job_id}/cancel", json={}) if cancel else client.get(f"/v1/jobs/{job_id}")
            if answer.status_code == 200:
                self.history.answers.append(answer.json())
            elif answer.status_code != 503:
                self.trouble.append(f"{job_id}: {answer.status_code} {answer.text}")

    # -- followers

    def _follow_again_and_again(self, chance: random.Random) -> None:
        with self._service.client() as client:
            while not self._over.is_set():
                if self.history.acknowledged:
                    recent = self.history.acknowledged[-20:]
                    self._read_to_the_end(client, chance, chance.choice(recent)[1], [])
                time.sleep(0.02)

    def _read_to_the_end(self, client: httpx.Client, chance: random.Random, job_id: str, seen: list[Document]) -> None:
        give_up = time.monotonic() + _SETTLED
        while not seen or seen[-1]["type"] != "finished":
            if time.monotonic() > give_up:
                self.trouble.append(f"a follower of {job_id} waits for its end")
                break
            with contextlib.suppress(httpx.TransportError):
                self._read_on(client, chance, job_id, seen)
            time.sleep(0.02)
        self.history.readings.append((job_id, seen))

    def _read_on(self, client: httpx.Client, chance: random.Random, job_id: str, seen: list[Document]) -> None:
        last = max((event["seq"] for event in seen if "seq" in event), default=0)
        media = chance.choice((NDJSON, SSE))
        by_header = media == SSE and chance.random() < 0.5
        headers = {"Accept": media, **({"Last-Event-ID": str(last)} if by_header else {})}
        method, body = chance.choice((("GET", None), ("POST", {})))
        params = {} if by_header else {"after": last}
        at_most = chance.choice((2, 5, 1000, 1000))
        with client.stream(method, f"/v1/jobs/{job_id}/events", params=params, headers=headers, json=body) as answer:
            if answer.status_code == 503:
                return
            for _, event in zip(range(at_most), _whole_events(answer, media), strict=False):
                seen.append(event)


def _whole_events(answer: httpx.Response, media: Any) -> Iterator[Document]:
    """Yield events; one that a kill has cut in the middle was never seen."""
    for event in read_events(answer, media):
        if event.numbered:
            yield event.document


# -- what is there in the end


def collect(service: Killed, history: History, *, descriptors: int) -> None:
    """Wait for the end of all jobs, and add to the history what there is then. The service is stopped.

    It had `descriptors` open before the first call, and should have no more again.
    """
    wait_until(
        lambda: not (service.list_jobs(state="queued") or service.list_jobs(state="running")),
        "all ended",
        seconds=_SETTLED,
    )
    with service.client() as client:
        for listed in _all_jobs(client):
            job_id = listed["id"]
            job = history.jobs[job_id] = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
            history.events[job_id] = [event.document for event in _events(client, job_id)]
            for host in history.asked[job["params"]["token"]].hosts:
                for stream in ("stdout", "stderr"):
                    answer = client.get(f"/v1/jobs/{job_id}/output/{stream}", params={"host": host})
                    history.outputs[job_id, host, stream] = answer.raise_for_status().content
    runs = service.data / "runs"
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not any(runs.iterdir()), "no folders of runs")
        wait_until(lambda: service.descriptors() <= descriptors, "no descriptors of runs or clients")
    history.left += [f"the folder {path}" for path in runs.iterdir()]
    if (more := service.descriptors() - descriptors) > 0:
        history.left.append(f"{more} descriptors")
    service.stop()
    history.marks = service.marks.read_text().splitlines()
    history.audit = (service.data / "audit" / "audit.jsonl").read_bytes().splitlines()
    history.left += [*_rows(service.data / "jobs.sqlite3", history), *_files(service.data / "output", history)]


def _events(client: httpx.Client, job_id: str) -> Iterator[Any]:
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Accept": NDJSON}) as answer:
        yield from (event for event in read_events(answer, NDJSON) if event.numbered)


def _all_jobs(client: httpx.Client) -> Iterator[Document]:
    params: dict[str, Any] = {"limit": 200}
    while True:
        page = client.get("/v1/jobs", params=params).raise_for_status().json()
        yield from page["jobs"]
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


def _rows(path: Path, history: History) -> Iterator[str]:
    """What the database holds that belongs to no job, or to one that has ended and should not have it."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        if (found := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            yield f"damage in the database: {found}"
        for table in ("waiting", "dispatched", "pruned"):
            if rows := db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:  # noqa: S608 - our own names
                yield f"{rows} rows in {table}"
        for table in ("events", "job_hosts", "idempotency"):
            for (job,) in db.execute(f"SELECT DISTINCT job FROM {table} WHERE job != ''"):  # noqa: S608 - our own names
                if job not in history.jobs:
                    yield f"rows of {job}, which is no job, in {table}"
        for job, state in db.execute("SELECT id, state FROM jobs"):
            if state not in ENDS or history.jobs.get(job, {}).get("state") != state:
                yield f"the row of {job} says {state}"
    finally:
        db.close()


def _files(output: Path, history: History) -> Iterator[str]:
    for path in output.rglob("*"):
        if path.is_file() and path.name.partition(".")[0] not in history.jobs:
            yield f"the file {path}"


def processes_of(token: str) -> list[int]:
    """Processes that were given a token which begins like this."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and f"P_TOKEN={token}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if is_alive(pid)]
