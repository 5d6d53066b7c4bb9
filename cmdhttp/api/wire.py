"""What callers see of jobs and events, as plain JSON documents. Pure.

One host: flat fields, so that an automation can write `body.exit_code`. Several hosts: `runs` and `counts` instead.
"""

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from cmdhttp.clock import rfc3339
from cmdhttp.execution.model import RunError
from cmdhttp.jobs.state import (
    Accepted,
    Finished,
    Job,
    Kept,
    Numbered,
    Output,
    Progress,
    Run,
    RunEnded,
    Started,
    State,
)
from cmdhttp.jobs.ticket import Place
from cmdhttp.results.model import Parsed

JsonObject = dict[str, object]
_DOWNLOAD_CHARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """The output of one run that a JSON answer carries: the first bytes of each stream, and how to spell them."""

    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    encoding: str = "auto"


def job_document(
    job: Job,
    *,
    inline: Sequence[Inline] | None,
    data: Sequence[Parsed] = (),
    place: Place | None = None,
    hashes: bool = False,
) -> JsonObject:
    """Return a job as the API shows it.

    `inline` has one entry a run, or is None to leave the output out; `data` has one, or none at all to leave it out.
    """
    document: JsonObject = {
        "id": job.id,
        "command": job.command,
        "state": job.state,
        "ok": job.ok,
    }
    runs = [
        _run_fields(
            run,
            inline[index] if inline is not None else None,
            data[index] if data else None,
            hashes=hashes,
        )
        | (_artefacts(run.kept or Kept(), job_id=job.id, host=run.host) if job.collects else {})
        for index, run in enumerate(job.runs)
    ]
    if len(runs) == 1:
        document |= {key: value for key, value in runs[0].items() if key not in ("state", "ok")}
    else:
        counts = Counter(run.state for run in job.runs)
        document |= {"runs": runs, "counts": {state.value: counts[state] for state in State if counts[state]}}
        document["error"] = _several_error(job)
    document |= {
        "created_at": rfc3339(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "duration_ms": _millis(job.duration),
        "principal": job.principal,
        "policy": job.policy,
        "params": dict(job.params),
        "labels": list(job.labels),
        "reason": job.reason or None,
        "audit": {"seq": job.receipt.seq, "head": job.receipt.head} if job.receipt else None,
        "links": _links(job.id),
    }
    if not job.output_kept:
        document["output_kept"] = False
    if job.state is State.QUEUED and place is not None:
        document["queue"] = {"position": place.position, "reason": place.reason}
    return document


def event_document(event: Numbered, *, job: Job | None, job_id: str, data: bytes = b"") -> JsonObject:
    """Return one event. `job` is the job for `accepted` and `finished`; `data` the bytes of an `output`."""
    head: JsonObject = {"type": _TYPES[type(event)], "job_id": job_id, "seq": event.seq, "ts": rfc3339(event.ts)}
    match event:
        case Accepted():
            return head | {"job": job_document(event.job, inline=None)}
        case Started():
            where: JsonObject = {"run": event.run, "host": event.host, "argv": list(event.argv)}
            return head | where | {"pid": event.pid, "remote_id": event.remote_id}
        case Output():
            where = {"run": event.run, "host": event.host, "stream": event.stream, "offset": event.offset}
            return head | where | _spelled(data)
        case RunEnded():
            kept = _artefacts(event.kept, job_id=job_id, host=event.host) if event.kept else {}
            return head | {"run": event.run, "host": event.host} | _verdict(event) | kept
        case Progress():
            hosts: JsonObject = {"hosts_done": event.done, "hosts_total": event.total, "hosts_failed": event.failed}
            waits: JsonObject = {"queue": {"position": event.position, "reason": event.waits}} if event.waits else {}
            return head | hosts | {"batch": event.batch, "batches": event.batches} | waits
        case Finished():
            return head | {"job": job_document(job, inline=None, hashes=True) if job else None}


def heartbeat_document(job_id: str, *, now: float) -> JsonObject:
    return {"type": "heartbeat", "job_id": job_id, "ts": rfc3339(now)}


def interrupted_document(job_id: str, *, now: float, last_seq: int) -> JsonObject:
    return {"type": "interrupted", "job_id": job_id, "ts": rfc3339(now), "last_seq": last_seq}


_TYPES = {
    Accepted: "accepted",
    Started: "started",
    Output: "output",
    RunEnded: "exited",
    Progress: "progress",
    Finished: "finished",
}


def _run_fields(run: Run, inline: Inline | None, parsed: Parsed | None, *, hashes: bool) -> JsonObject:
    fields: JsonObject = {
        "host": run.host,
        "state": run.state,
        "ok": run.ok,
        "exit_code": run.exit_code,
        "signal": run.signal,
    }
    truncated = run.truncated
    if inline is not None:
        stdout, stderr, encoding = _inline(inline)
        fields |= {"stdout": stdout, "stderr": stderr, "encoding": encoding}
        truncated = truncated or len(inline.stdout) < run.stdout.size or len(inline.stderr) < run.stderr.size
    if parsed is not None:
        fields |= _data_fields(parsed)
    fields |= {
        "truncated": truncated,
        "stdout_bytes": run.stdout.size,
        "stderr_bytes": run.stderr.size,
        **_written_fields(run),
        "error": error_document(run.error),
    }
    if run.stopped is not None:
        fields["stopped"] = run.stopped
    if hashes:
        fields["sha256"] = {"stdout": run.stdout.sha256, "stderr": run.stderr.sha256}
    return fields


def _written_fields(ended: Run | RunEnded) -> JsonObject:
    """What the run wrote, where less is kept in the middle: nothing of it is in the log."""
    if ended.stdout.written is None or ended.stderr.written is None:
        return {}
    return {"stdout_written_bytes": ended.stdout.written, "stderr_written_bytes": ended.stderr.written}


def _data_fields(parsed: Parsed) -> JsonObject:
    error = parsed.error
    failed: JsonObject = {"data_error": {"code": error.code, "detail": error.detail}} if error else {}
    return {"data": parsed.data} | failed


def error_document(error: RunError | None) -> JsonObject | None:
    return {"code": error.code, "detail": error.detail, "hint": error.hint} if error else None


def _several_error(job: Job) -> JsonObject | None:
    failed = [run for run in job.runs if run.state.terminal and not run.ok]
    if not job.state.terminal or not failed:
        return None
    detail = f"{len(failed)} of {len(job.runs)} runs did not succeed."
    return {"code": "runs_failed", "detail": detail, "hint": "Look at 'runs' for each host's own result."}


def _verdict(event: RunEnded) -> JsonObject:
    fields: JsonObject = {
        "state": event.state,
        "ok": event.state is State.SUCCEEDED,
        "exit_code": event.exit_code,
        "signal": event.signal,
        "truncated": event.truncated,
        "stdout_bytes": event.stdout.size,
        "stderr_bytes": event.stderr.size,
        **_written_fields(event),
        "duration_ms": _millis(event.duration),
        "error": error_document(event.error),
    }
    return fields | ({"stopped": event.stopped} if event.stopped is not None else {})


def _artefacts(kept: Kept, *, job_id: str, host: str) -> JsonObject:
    files = [
        {
            "name": file.name,
            "bytes": file.size,
            "sha256": file.sha256,
            "link": f"/v1/jobs/{job_id}/artefacts/{number}?host={quote(host, safe='')}",
        }
        for number, file in enumerate(kept.artefacts)
    ]
    left = [{"name": file.name, "why": file.why} for file in kept.omitted]
    return {"artefacts": files, "artefacts_left_out": left, "artefacts_left_out_count": kept.omitted_count}


def download_name(name: str) -> str:
    """Return what a caller's program may call an artefact: the last part of its name, in plain characters only."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name.rpartition("/")[2])
    return plain[-_DOWNLOAD_CHARS:].lstrip("._-") or "artefact"


def _inline(inline: Inline) -> tuple[str, str, str]:
    stdout, stderr = inline.stdout, inline.stderr
    if inline.encoding == "utf-8":
        return stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"), "utf-8"
    if inline.encoding == "auto":
        try:
            return stdout.decode("utf-8"), stderr.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            pass
    return base64.b64encode(stdout).decode(), base64.b64encode(stderr).decode(), "base64"


def _spelled(data: bytes) -> JsonObject:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _links(job_id: str) -> Mapping[str, str]:
    base = f"/v1/jobs/{job_id}"
    return {
        "self": base,
        "events": f"{base}/events",
        "stdout": f"{base}/output/stdout",
        "stderr": f"{base}/output/stderr",
        "cancel": f"{base}/cancel",
    }


def _time(seconds: float | None) -> str | None:
    return rfc3339(seconds) if seconds is not None else None


def _millis(seconds: float | None) -> float | None:
    return round(seconds * 1000, 3) if seconds is not None else None
