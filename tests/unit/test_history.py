"""The checker of histories can fail: a true history has no contradiction, and each way to break one is found."""

import copy
import hashlib
import json

import pytest

from tests.support.history import Asked, Document, History, contradictions

JOB = "job_1"
OUT, ERR = b"t.1 0\nt.1 1\n", b"done t.1\n"


def sums(out: bytes, err: bytes) -> Document:
    return {"stdout": hashlib.sha256(out).hexdigest(), "stderr": hashlib.sha256(err).hexdigest()}


def job(
    job_id: str, token: str, *, state: str = "succeeded", out: bytes = OUT, err: bytes = ERR, **more: object
) -> Document:
    ended: Document = {
        "id": job_id, "state": state, "ok": state == "succeeded", "host": "local", "exit_code": 0, "signal": None,
        "params": {"token": token}, "stdout_bytes": len(out), "stderr_bytes": len(err), "error": None, "finished_at": "x",
    }  # fmt: skip
    return ended | more


def lost(
    job_id: str, token: str, *, out: bytes = b"", code: str = "service_restarted", state: str = "lost"
) -> Document:
    return job(job_id, token, state=state, out=out, err=b"", exit_code=None, error={"code": code})


def events_of(ended: Document, out: bytes, err: bytes) -> list[Document]:
    host = ended["host"]
    told: list[Document] = [{"type": "accepted", "job_id": ended["id"]}]
    if out or err:
        told.append({"type": "started", "host": host})
    for stream, data in (("stdout", out), ("stderr", err)):
        if data:
            told.append({"type": "output", "host": host, "stream": stream, "offset": 0, "text": data.decode()})
    told += [{"type": "exited", "host": host}, {"type": "finished", "job": ended | {"sha256": sums(out, err)}}]
    return [event | {"seq": number} for number, event in enumerate(told, 1)]


def chained(*records: Document) -> list[bytes]:
    lines: list[bytes] = []
    before = "0" * 64
    for number, record in enumerate(records, 1):
        lines.append(json.dumps(record | {"seq": number, "prev": before}).encode())
        before = hashlib.sha256(lines[-1]).hexdigest()
    return lines


def records(history: History) -> list[Document]:
    return [
        record
        for job_id, ended in history.jobs.items()
        for record in (
            {"code": "job.started", "job": job_id},
            {"code": "job.ended", "job": job_id, "state": ended["state"]},
        )
    ]


def add(history: History, ended: Document, asked: Asked, out: bytes, err: bytes, *, ran: bool) -> None:
    job_id = ended["id"]
    history.asked[asked.token] = asked
    history.acknowledged.append((asked.token, job_id))
    history.answers.append(copy.deepcopy(ended))
    history.jobs[job_id] = ended
    history.events[job_id] = events_of(ended, out, err)
    history.readings.append((job_id, copy.deepcopy(history.events[job_id])))
    history.outputs[job_id, "local", "stdout"], history.outputs[job_id, "local", "stderr"] = out, err
    history.marks += [f"{asked.token} local"] * ran


def true_history() -> History:
    """A job that succeeded, one that was lost after its first line, and one of which nothing has run."""
    history = History()
    add(history, job(JOB, "t.1"), Asked(token="t.1", hosts=("local",), lines=2, code=0, key="k"), OUT, ERR, ran=True)
    cut = b"t.2 0\n"
    asked = Asked(token="t.2", hosts=("local",), lines=9, code=3)
    add(history, lost("job_2", "t.2", out=cut), asked, cut, b"", ran=True)
    never = lost("job_3", "t.3", state="failed")
    add(history, never, Asked(token="t.3", hosts=("local",), lines=1, code=0), b"", b"", ran=False)
    history.audit = chained(*records(history))
    return history


def test_a_true_history_has_no_contradiction() -> None:
    """So what is found below is found for its own reason."""
    assert contradictions(true_history()) == []


def _forget(history: History) -> None:
    del history.jobs[JOB]


def _no_end(history: History) -> None:
    history.jobs["job_2"]["state"] = "running"


def _other_token(history: History) -> None:
    history.acknowledged[0] = ("t.2", JOB)


def _changed_end(history: History) -> None:
    history.answers[1]["state"] = "succeeded"


def _second_job_of_a_key(history: History) -> None:
    history.acknowledged.append(("t.1", "job_2"))


def _second_job_without_a_key(history: History) -> None:
    history.acknowledged.append(("t.2", JOB))


def _ran_twice(history: History) -> None:
    history.marks.append("t.1 local")


def _ran_after_all(history: History) -> None:
    history.marks.append("t.3 local")


def _ran_unknown(history: History) -> None:
    history.marks.append("t.9 local")


def _ran_elsewhere(history: History) -> None:
    history.marks.append("t.1 far")


def _not_run(history: History) -> None:
    history.marks.remove("t.1 local")


def _output_of_nothing(history: History) -> None:
    history.marks.remove("t.2 local")


def _short_output(history: History) -> None:
    history.outputs[JOB, "local", "stdout"] = OUT[:-1]


def _foreign_output(history: History) -> None:
    history.outputs["job_2", "local", "stdout"] = b"t.2 1\n"


def _wrong_exit(history: History) -> None:
    history.jobs[JOB]["exit_code"] = 1


def _no_reason(history: History) -> None:
    history.jobs["job_2"]["error"] = None


def _success_out_of_nothing(history: History) -> None:
    history.jobs["job_2"]["state"] = "succeeded"


def _other_host(history: History) -> None:
    history.jobs[JOB]["host"] = "far"


def _gap(history: History) -> None:
    del history.events[JOB][2]


def _no_finish(history: History) -> None:
    del history.events[JOB][-1]


def _started_twice(history: History) -> None:
    history.events[JOB].insert(2, history.events[JOB][1])


def _other_finish(history: History) -> None:
    history.events[JOB][-1]["job"]["state"] = "failed"


def _wrong_offset(history: History) -> None:
    history.events[JOB][2]["offset"] = 1


def _wrong_text(history: History) -> None:
    history.events[JOB][2]["text"] = "t.1 0\nt.1 2\n"


def _wrong_sum(history: History) -> None:
    history.events[JOB][-1]["job"]["sha256"] = sums(OUT, b"")


def _follower_missed(history: History) -> None:
    del history.readings[0][1][1]


def _follower_saw_twice(history: History) -> None:
    history.readings[0][1].insert(1, history.readings[0][1][1])


def _follower_stopped_early(history: History) -> None:
    del history.readings[0][1][-1]


def _follower_saw_another(history: History) -> None:
    history.readings[0][1][2]["text"] = "else"


def _audit_line_changed(history: History) -> None:
    history.audit[1] = history.audit[1].replace(b"succeeded", b"failed")


def _audit_line_gone(history: History) -> None:
    del history.audit[0]


def _audit_without_end(history: History) -> None:
    history.audit = chained(*records(history)[:-1])


def _audit_ended_twice(history: History) -> None:
    history.audit = chained(*records(history), records(history)[-1])


def _audit_end_first(history: History) -> None:
    history.audit = chained(*reversed(records(history)))


def _audit_of_no_job(history: History) -> None:
    history.audit = chained(*records(history), {"code": "job.ended", "job": "job_9", "state": "failed"})


def _audit_other_state(history: History) -> None:
    found = records(history)
    found[1]["state"] = "failed"
    history.audit = chained(*found)


def _audit_resumed_late(history: History) -> None:
    history.audit = chained(*records(history), {"code": "job.resumed", "job": JOB})


def _left(history: History) -> None:
    history.left.append("the folder x")


BREAKS = {
    name: value for name, value in globals().items() if name.startswith("_") and callable(value) and name[1] != "_"
}


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_found(name: str) -> None:
    """Each is one change to the true history."""
    history = true_history()
    BREAKS[name](history)
    assert contradictions(history) != []


def test_there_are_many_ways_to_break_one() -> None:
    """The list above is what is tested, whatever it is collected by."""
    assert len(BREAKS) == 38
