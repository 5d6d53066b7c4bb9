"""What the audit keeps of a call and of its job: names, places and sums, never a value of an argument or of stdin."""

from datetime import datetime

from cmdhttp.auth.principal import Principal
from cmdhttp.call import Call
from cmdhttp.jobs.state import Job
from cmdhttp.plan.model import Plan
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.decide import Arguments, Question, bind, decide

_MOST_HOSTS = 20


def denial_record(policy: Policy, principal: Principal, call: Call, *, known: bool, at: datetime) -> dict[str, object]:
    """What the audit knows of a denial, and the caller does not. `known`: whether the caller may know of the command."""
    command = policy.commands.get(call.command)
    arguments = bind(command, call.params) if command and known else Arguments(values={})
    decisions = {}
    for host in call.hosts[:_MOST_HOSTS] or (sorted(command.hosts)[:_MOST_HOSTS] if command else [""]):
        question = Question(principal=principal.name, command=call.command, host=host, arguments=arguments, at=at)
        decision = decide(policy, question)
        decisions[host] = {"reason": decision.reason, "rule": str(decision.at or ""), "why": decision.why}
    return {**_who(principal, call), "command": call.command, "policy": policy.digest, "decisions": decisions}


def start_record(principal: Principal, call: Call, plan: Plan, job: Job) -> dict[str, object]:
    """The audit's fields for a job that is about to start."""
    steps = [
        {
            "host": step.host,
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
        }
        for run in job.runs
    ]
    return {"job": job.id, "command": job.command, "principal": job.principal, "state": job.state, "runs": runs}


def _who(principal: Principal, call: Call) -> dict[str, object]:
    return {
        "request": call.request_id,
        "principal": principal.name,
        "credential": principal.credential,
        "source": principal.source,
        "reason_given": call.reason,
    }
