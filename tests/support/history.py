"""What clients saw of a service that was killed again and again, held against what is there in the end.

The checker knows the HTTP contract, the audit format and what its commands print, and nothing of the service's own code. It
returns every contradiction that it finds, as a sentence; a true history gives none.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

ENDS = frozenset({"succeeded", "failed", "timed_out", "canceled", "lost"})
NOTHING_RAN = frozenset(
    {"service_restarted", "queue_deadline", "policy_changed", "broker_refused", "connect_failed", "login_failed"}
)
"""Codes of a failed run of which nothing has run."""
_UNNUMBERED = ("heartbeat", "interrupted")
_SAME = ("state", "ok", "exit_code", "signal", "finished_at", "stdout_bytes", "stderr_bytes", "error", "runs", "counts")
_NO_LINE = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call of the command that leaves a mark: it prints `lines` lines, then a word on stderr, and exits with `code`."""

    token: str
    hosts: tuple[str, ...]
    lines: int
    code: int
    key: str | None = None

    @property
    def stdout(self) -> bytes:
        return b"".join(b"%s %d\n" % (self.token.encode(), number) for number in range(self.lines))

    @property
    def stderr(self) -> bytes:
        return b"done %s\n" % self.token.encode()


@dataclass(slots=True, kw_only=True)
class History:
    """`readings` are followers: a job's id and all numbered events that one of them saw, over all of its connections.

    The second half is what was found after the end. `marks` are the lines `TOKEN HOST` that runs have appended to a file,
    `left` says what should not be there any more.
    """

    asked: dict[str, Asked] = field(default_factory=dict)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    answers: list[Document] = field(default_factory=list)
    readings: list[tuple[str, list[Document]]] = field(default_factory=list)
    jobs: dict[str, Document] = field(default_factory=dict)
    events: dict[str, list[Document]] = field(default_factory=dict)
    outputs: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    audit: list[bytes] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def contradictions(history: History) -> list[str]:
    """Return all that cannot be true at once."""
    return [
        *_acknowledged(history),
        *_answers(history),
        *_keys(history),
        *_runs(history),
        *_events(history),
        *_readings(history),
        *_audit(history),
        *(f"left over: {what}" for what in history.left),
    ]


def runs_of(job: Document) -> list[Document]:
    """The runs of a job's document, which stands for its only run itself."""
    runs: list[Document] = job.get("runs", [job])
    return runs


def _acknowledged(history: History) -> Iterator[str]:
    for token, job_id in history.acknowledged:
        job = history.jobs.get(job_id)
        if job is None:
            yield f"{job_id} was acknowledged and is gone"
        elif job["params"].get("token") != token:
            yield f"{job_id} was acknowledged for {token} and is of {job['params'].get('token')}"
    for job_id, job in history.jobs.items():
        if job["state"] not in ENDS:
            yield f"{job_id} has no end: {job['state']}"


def _answers(history: History) -> Iterator[str]:
    for answer in history.answers:
        job = history.jobs.get(answer["id"])
        if job is None:
            yield f"{answer['id']} was shown and is gone"
        elif answer["state"] in ENDS and (other := [name for name in _SAME if answer.get(name) != job.get(name)]):
            yield f"{answer['id']} was shown ended, and changed after that: {', '.join(other)}"


def _keys(history: History) -> Iterator[str]:
    ids: dict[str, set[str]] = defaultdict(set)
    for token, job_id in history.acknowledged:
        ids[token].add(job_id)
    for job_id, job in history.jobs.items():
        ids[job["params"]["token"]].add(job_id)
    for token, found in ids.items():
        asked = history.asked.get(token)
        if asked is None:
            yield f"{min(found)} was never asked for"
        elif asked.key is not None and len(found) > 1:
            yield f"the key {asked.key} led to {len(found)} jobs"
        elif asked.key is None and len(found) > 1:
            yield f"{token} was sent once and became {len(found)} jobs"


def _runs(history: History) -> Iterator[str]:
    marks = Counter(history.marks)
    for mark, count in marks.items():
        if count > 1:
            yield f"{mark} ran {count} times"
    told = set()
    for job_id, job in history.jobs.items():
        asked = history.asked.get(job["params"]["token"])
        if asked is None:
            continue
        if [run["host"] for run in runs_of(job)] != list(asked.hosts):
            yield f"{job_id} is on other hosts than were asked for"
        for run in runs_of(job):
            told.add(f"{asked.token} {run['host']}")
            ran = marks[f"{asked.token} {run['host']}"]
            for wrong in _run(history, job_id, run, asked, ran=ran):
                yield f"{job_id} on {run['host']} ({run['state']}): {wrong}"
    yield from (f"{mark} ran, and no job tells of it" for mark in marks.keys() - told)


def _run(history: History, job_id: str, run: Document, asked: Asked, *, ran: int) -> Iterator[str]:
    out, err = (history.outputs.get((job_id, run["host"], stream), b"") for stream in ("stdout", "stderr"))
    if (run["stdout_bytes"], run["stderr_bytes"]) != (len(out), len(err)):
        yield "the byte counts are not those of the output"
    if run["state"] not in ENDS:
        yield "it has no end"
    elif run["exit_code"] is not None and run["error"] is None:
        yield from _exited(run, asked, out=out, err=err, ran=ran)
    else:
        yield from _not_seen_to_exit(run, asked, out=out, err=err, ran=ran)


def _exited(run: Document, asked: Asked, *, out: bytes, err: bytes, ran: int) -> Iterator[str]:
    if (run["exit_code"], run["state"]) != (asked.code, "failed" if asked.code else "succeeded"):
        yield f"it says exit {run['exit_code']}, and the command exits with {asked.code}"
    if (out, err) != (asked.stdout, asked.stderr):
        yield "it was seen to end, and its output is not what the command prints"
    if not ran:
        yield "it was seen to end, and has not run"


def _not_seen_to_exit(run: Document, asked: Asked, *, out: bytes, err: bytes, ran: int) -> Iterator[str]:
    code = (run["error"] or {}).get("code")
    if run["state"] == "succeeded":
        yield "it succeeded without an exit code"
    if code is None:
        yield "nothing says why"
    if run["exit_code"] not in (None, asked.code):
        yield f"it says exit {run['exit_code']}, and the command exits with {asked.code}"
    if not asked.stdout.startswith(out) or not asked.stderr.startswith(err):
        yield "its output is no beginning of what the command prints"
    if run["state"] == "failed" and _nothing_ran(run, code) and (ran or out or err):
        yield f"{code} says that nothing has run, and it has"
    if out and not ran:
        yield "there is output of a run that has not run"


def _nothing_ran(run: Document, code: str | None) -> bool:
    return code in NOTHING_RAN or (code == "broker_lost" and not run.get("stopped"))


def _events(history: History) -> Iterator[str]:
    for job_id, job in history.jobs.items():
        for wrong in _job_events(history, job_id, job, history.events.get(job_id, [])):
            yield f"the events of {job_id}: {wrong}"


def _job_events(history: History, job_id: str, job: Document, events: Sequence[Document]) -> Iterator[str]:
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        yield "the numbers have a gap"
    kinds = Counter(event["type"] for event in events)
    if not events or (events[0]["type"], events[-1]["type"]) != ("accepted", "finished"):
        yield "they do not begin with accepted and end with finished"
        return
    if (kinds["accepted"], kinds["finished"], kinds["exited"]) != (1, 1, len(runs_of(job))):
        yield "not one accepted, one finished and one exited a run"
    if events[-1]["job"]["state"] != job["state"]:
        yield "finished has another state than the job"
    started = Counter(event["host"] for event in events if event["type"] == "started")
    yield from (f"{host} was started {count} times" for host, count in started.items() if count > 1)
    sums = {run["host"]: run.get("sha256") or {} for run in runs_of(events[-1]["job"])}
    for run in runs_of(job):
        for stream in ("stdout", "stderr"):
            data = history.outputs.get((job_id, run["host"], stream), b"")
            if _told(events, run["host"], stream) != data:
                yield f"{stream} of {run['host']} was told otherwise than it is kept"
            if sums.get(run["host"], {}).get(stream) != hashlib.sha256(data).hexdigest():
                yield f"the sha256 of {stream} of {run['host']} is not that of what is kept"


def _told(events: Sequence[Document], host: str, stream: str) -> bytes | None:
    """The bytes of a stream as its events told them; None if their offsets have a gap."""
    told = b""
    for event in events:
        if (event["type"], event.get("host"), event.get("stream")) == ("output", host, stream):
            if event["offset"] != len(told):
                return None
            told += str(event["text"]).encode()
    return told


def _readings(history: History) -> Iterator[str]:
    for job_id, seen in history.readings:
        numbered = [event for event in seen if event["type"] not in _UNNUMBERED]
        kept = history.events.get(job_id, [])
        if [event["seq"] for event in numbered] != list(range(1, len(kept) + 1)):
            yield f"a follower of {job_id} missed events, or saw some twice"
        elif numbered != kept:
            yield f"a follower of {job_id} saw events that are told otherwise now"


def _audit(history: History) -> Iterator[str]:
    before = _NO_LINE
    records: list[Document] = []
    for number, line in enumerate(history.audit, 1):
        record = json.loads(line)
        if (record["seq"], record["prev"]) != (number, before):
            yield f"the audit chain breaks at line {number}"
        before = hashlib.sha256(line).hexdigest()
        records.append(record)
    where: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, record in enumerate(records):
        if str(record["code"]).startswith("job.") and "job" in record:
            where[record["job"]][record["code"]].append(number)
    for job_id, job in history.jobs.items():
        yield from (f"the audit of {job_id}: {wrong}" for wrong in _job_audit(where[job_id], records, job))
    for job_id in where.keys() - history.jobs.keys():
        if where[job_id]["job.ended"]:
            yield f"the audit of {job_id} has an end, and there is no such job"


def _job_audit(where: Mapping[str, list[int]], records: Sequence[Document], job: Document) -> Iterator[str]:
    starts, ends, resumed = (where.get(code, []) for code in ("job.started", "job.ended", "job.resumed"))
    if (len(starts), len(ends)) != (1, 1):
        yield f"{len(starts)} starts and {len(ends)} ends"
        return
    if not starts[0] < min([*resumed, ends[0]]) or any(number > ends[0] for number in resumed):
        yield "the start is not before all, or the end not after all"
    if records[ends[0]]["state"] != job["state"]:
        yield f"the end says {records[ends[0]]['state']}, the job {job['state']}"
