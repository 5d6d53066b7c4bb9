"""What callers see of commands and of their own limits, as plain JSON documents. Pure."""

import math
from collections.abc import Sequence

from cmdhttp.jobs.door import Used
from cmdhttp.jobs.rates import RateLeft
from cmdhttp.policy.compiled import Collect, Command, Concurrency, Oversight, Quota


def command_document(command: Command, hosts: Sequence[str], rate: RateLeft | None) -> dict[str, object]:
    """Return a command as a caller sees it; `rate` is what is left for all of its callers together."""
    required = [name for name, spec in command.params.items() if spec.required]
    return {
        "name": command.name,
        "summary": command.summary,
        "description": command.description,
        "effect": command.effect,
        "tags": list(command.tags),
        "params": {
            "type": "object",
            "properties": {name: spec.json_schema() for name, spec in command.params.items()},
            "required": required,
            "additionalProperties": False,
        },
        "hosts": list(hosts),
        "limits": {
            "timeout": command.timeout,
            "output_bytes": command.output.max_bytes,
            "max_parallel": command.max_parallel,
            "batch": str(command.batch) if command.batch else None,
            "max_failures": str(command.max_failures) if command.max_failures else None,
            "rate": rate_document(rate),
            "concurrency": _concurrency_document(command.concurrency),
        },
        "stdin": {"max_bytes": command.stdin.max_bytes} if command.stdin else None,
        "result": {"parse": command.parser} if command.parser else None,
        "files": _files_document(command.collect) if command.collect else None,
        "reason_required": command.reason_required,
        "needs_approval": command.approval is not None,
    }


def _files_document(collect: Collect) -> dict[str, object]:
    return {"collect": list(collect.patterns), "max_bytes": collect.max_bytes}


def quota_document(quota: Quota, used: Used) -> dict[str, object]:
    """Return what a principal may ask for, and what of it is left; a `limit` of null is none of its own."""
    return {
        "rate": rate_document(used.rate),
        "concurrency": {"limit": quota.concurrency, "running": used.running},
        "queue": {"limit": quota.queue, "waiting": used.queued},
    }


def oversight_document(line: Oversight, commands: Sequence[str]) -> dict[str, object]:
    """Return one right over jobs of others; `of` is null for everybody's, `params` names those whose values are narrowed."""
    return {
        "right": "cancel" if line.cancel else "read",
        "commands": list(commands),
        "hosts": sorted(line.hosts),
        "of": None if line.principals is None else sorted(line.principals),
        "params": sorted(line.narrowings),
        "role": line.role,
    }


def rate_document(rate: RateLeft | None) -> dict[str, object] | None:
    """`left` calls may come now; all of `limit` may again in `resets_in` seconds."""
    if rate is None:
        return None
    return {"limit": rate.limit, "per": rate.seconds, "left": rate.left, "resets_in": math.ceil(rate.resets_in)}


def _concurrency_document(concurrency: Concurrency | None) -> dict[str, object] | None:
    if concurrency is None:
        return None
    return {
        "per_host": concurrency.per_host,
        "total": concurrency.total,
        "when_busy": concurrency.when_busy,
    }
