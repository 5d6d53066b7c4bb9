"""What the audit keeps of a call and of its job.

The argv and the parameters stand in the record of a start: a secret as `***`, a long value only as its sum. Of stdin and of
output there is never more than a count and a sum.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from heapq import nsmallest

from cmdhttp.audit.codes import Code
from cmdhttp.audit.log import AuditLog
from cmdhttp.auth.principal import Principal
from cmdhttp.call import Call
from cmdhttp.clock import rfc3339
from cmdhttp.errors import Limit, Unavailable
from cmdhttp.execution.model import CertificateIssued
from cmdhttp.jobs.pruning import Removed
from cmdhttp.jobs.state import Job, Receipt
from cmdhttp.plan.model import Plan
from cmdhttp.policy.compiled import Command, Policy
from cmdhttp.policy.decide import Arguments, Decision, Question, Verdict, bind, decide, known_hosts
from cmdhttp.policy.select import default_host, select_hosts

_log = logging.getLogger("cmdhttp.audit")
_RETRY_AFTER = 5
_MOST_HOSTS = 20
_LONGEST_VALUE = 8 * 1024
"""Bytes of JSON: a record must stay one line that can be read back, whatever a caller sends."""


async def put_on_record(
    audit: AuditLog, code: Code, fields: Mapping[str, object], *, undone: str = "nothing has run"
) -> Receipt:
    """Write a record that has to be there before the caller is told anything. Raises Unavailable, which says what is `undone`."""
    try:
        head = await audit.write(code, fields)
    except OSError as error:
        _log.error("the audit log cannot be written: %s", error.strerror)
        raise Unavailable(f"The audit log cannot be written; {undone}.", retry_after=_RETRY_AFTER) from error
    return Receipt(seq=head.seq, head=head.hash)


def denial_record(policy: Policy, principal: Principal, call: Call, *, at: datetime) -> dict[str, object]:
    """What the audit knows of a denial, and the caller does not: why, for each of the first hosts that are not allowed."""
    command = policy.commands.get(call.command)
    known = known_hosts(policy, principal=principal.name, command=command) if command else frozenset()
    arguments = bind(command, call.params) if command and known else Arguments(values={})
    ask = Question(principal=principal.name, command=call.command, host="", arguments=arguments, at=at)
    asked = {host: decide(policy, replace(ask, host=host)) for host in _asked(policy, command, call, known)}
    refused = [host for host, decision in asked.items() if decision.verdict is not Verdict.ALLOW]
    decisions = {host: _reason(asked[host]) for host in (refused or list(asked))[:_MOST_HOSTS]}
    return {**_who(principal, call), "command": call.command, "policy": policy.digest, "decisions": decisions}


def _asked(policy: Policy, command: Command | None, call: Call, known: frozenset[str]) -> Iterable[str]:
    """The hosts that the call means. Whoever may not know of the command gets an answer as fast as if there were none."""
    if command is None or not known:
        return call.hosts[:_MOST_HOSTS] or (nsmallest(_MOST_HOSTS, command.hosts) if command else [""])
    if call.hosts:
        texts = dict.fromkeys(call.hosts)
        return dict.fromkeys(host for text in texts for host in select_hosts(policy, command, text))
    return [default_host(known) or ""]


def _reason(decision: Decision) -> dict[str, object]:
    return {"reason": decision.reason, "rule": str(decision.at or ""), "why": decision.why}


def limit_record(principal: Principal, call: Call, limit: Limit) -> dict[str, object]:
    """The audit's fields for a call that a limit refused."""
    return {**_who(principal, call), "command": call.command, "limit": limit}


def start_record(principal: Principal, call: Call, plan: Plan, job: Job) -> dict[str, object]:
    """The audit's fields for a job that is about to start."""
    steps = [
        {
            "host": step.host,
            "account": getattr(step.target, "account", None),
            "argv": step.shown_argv,
            "script": step.script.sha256 if step.script else None,
            "stdin_bytes": len(step.stdin) if step.stdin is not None else 0,
        }
        for step in plan.steps
    ]
    return {
        **_who(principal, call),
        "job": job.id,
        "command": plan.command,
        "policy": plan.policy,
        "steps": steps,
        "labels": call.labels,
        **_params(plan.shown_params),
    }


def end_record(job: Job) -> dict[str, object]:
    """The audit's fields for a job that has ended."""
    runs = [
        {
            "host": run.host,
            "state": run.state,
            "exit_code": run.exit_code,
            "signal": run.signal,
            "stopped": run.stopped,
            "error": run.error.code if run.error else None,
            "stdout": [run.stdout.size, run.stdout.sha256],
            "stderr": [run.stderr.size, run.stderr.sha256],
            **({"host_key": run.host_key} if run.host_key else {}),
            **({"certificate": run.certificate} if run.certificate else {}),
            **({"artefacts": [[file.name, file.size, file.sha256] for file in run.kept.artefacts]} if run.kept else {}),
        }
        for run in job.runs
    ]
    return {"job": job.id, "command": job.command, "principal": job.principal, "state": job.state, "runs": runs}


def pruned_record(removed: Removed) -> dict[str, object]:
    """The audit's fields for finished jobs that were removed."""
    return {
        "jobs": removed.total,
        "limits": {why.value: count for why, count in sorted(removed.jobs.items())},
        "emptied": removed.emptied,
        "bytes": removed.bytes,
        "oldest": None if removed.oldest is None else rfc3339(removed.oldest),
        "newest": None if removed.newest is None else rfc3339(removed.newest),
        "orphans": removed.orphans,
    }


def certificate_record(issued: CertificateIssued) -> dict[str, object]:
    """The audit's fields for a certificate that a login is about to use."""
    fields = asdict(issued)
    return {**fields, "valid_after": rfc3339(issued.valid_after), "valid_before": rfc3339(issued.valid_before)}


def cancel_record(principal: Principal, job: Job) -> dict[str, object]:
    """The audit's fields for a caller that stops a job."""
    return {
        "job": job.id,
        "owner": job.principal,
        "principal": principal.name,
        "credential": principal.credential,
        "source": principal.source,
    }


def _params(shown: Mapping[str, object]) -> dict[str, object]:
    """The values by name; of those that are too long the size and sha256 of their JSON, apart from the others."""
    texts = {name: json.dumps(value, sort_keys=True, separators=(",", ":")).encode() for name, value in shown.items()}
    long = {name: text for name, text in texts.items() if len(text) > _LONGEST_VALUE}
    return {
        "params": {name: value for name, value in shown.items() if name not in long},
        "long_params": {name: [len(text), hashlib.sha256(text).hexdigest()] for name, text in long.items()},
    }


def _who(principal: Principal, call: Call) -> dict[str, object]:
    return {
        "request": call.request_id,
        "principal": principal.name,
        "credential": principal.credential,
        "source": principal.source,
        "reason_given": call.reason,
    }
