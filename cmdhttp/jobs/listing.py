"""Lists of jobs, newest first, as one query that reads as many index entries as it returns jobs, however many there are.

Each state is a part of its own: a walk down one index, whose keys are all that is asked for with equality, then the id.
So whatever the filters are, and however rare what passes them, nothing is read to be thrown away. Times are bounds of
ids, which begin with their millisecond; what lies at the bound itself is looked at exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cmdhttp.ids import job_id
from cmdhttp.jobs.state import Job, State

OPEN = ""
"""What `job_hosts` has for the state of a job that has not ended: these are few, and their row knows."""

_LOWEST, _PAST_ALL = "job_", "job`"
_LAST_MS = (1 << 48) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs to list, newest first. `before` is the id that the last page ended with; times are Unix seconds.

    Without `principal` they are everybody's, and `limit` says how many are looked at: what else is asked for is left to
    `passes`, because no index leads there.
    """

    principal: str | None
    limit: int
    before: str | None = None
    states: Sequence[State] = ()
    command: str | None = None
    host: str | None = None
    since: float | None = None
    until: float | None = None


def passes(job: Job, wanted: Filter) -> bool:
    """Whether a job is in one of the states, of the command, and on the host that are asked for."""
    return (
        (not wanted.states or job.state in wanted.states)
        and wanted.command in (None, job.command)
        and (wanted.host is None or any(run.host == wanted.host for run in job.runs))
    )


def list_query(wanted: Filter) -> tuple[str, list[object]]:
    """Return the query for a page of jobs, as (id, principal, state, body), and its values."""
    if wanted.principal is None:
        where, values = _conditions(wanted, (), key="id")
        text = f"SELECT id, principal, state, body FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - our text
        return text, [*values, wanted.limit]
    states = dict.fromkeys(wanted.states or State)
    parts = [_of_host(wanted, state) if wanted.host is not None else _of_all(wanted, state) for state in states]
    union = " UNION ALL ".join(f"SELECT id FROM ({text})" for text, _ in parts)  # noqa: S608 - all text is ours
    values = [value for _, part in parts for value in part]
    page = f"SELECT id FROM ({union}) ORDER BY id DESC LIMIT ?"  # noqa: S608 - our text
    query = f"SELECT id, principal, state, body FROM ({page}) AS page JOIN jobs USING (id) ORDER BY id DESC"  # noqa: S608 - our text
    return query, [*values, wanted.limit]


def _of_all(wanted: Filter, state: State) -> tuple[str, list[object]]:
    index = "jobs_state" if wanted.command is None else "jobs_command"
    equal: list[tuple[str, object]] = [("principal", wanted.principal), ("state", state)]
    if wanted.command is not None:
        equal.append(("command", wanted.command))
    where, values = _conditions(wanted, equal, key="id")
    text = f"SELECT id FROM jobs INDEXED BY {index} WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - our text
    return text, [*values, wanted.limit]


def _of_host(wanted: Filter, state: State) -> tuple[str, list[object]]:
    ended = state.terminal
    table = "job_hosts" if wanted.command is not None else "job_hosts INDEXED BY job_hosts_state"
    equal: list[tuple[str, object]] = [
        ("job_hosts.principal", wanted.principal),
        ("job_hosts.host", wanted.host),
        ("job_hosts.state", state if ended else OPEN),
    ]
    if wanted.command is not None:
        equal.append(("job_hosts.command", wanted.command))
    if not ended:
        equal.append(("jobs.state", state))
    where, values = _conditions(wanted, equal, key="job_hosts.job")
    needs_row = not ended or wanted.since is not None or wanted.until is not None
    joined = f"{table} CROSS JOIN jobs ON jobs.id = job_hosts.job" if needs_row else table
    text = f"SELECT job AS id FROM {joined} WHERE {where} ORDER BY job DESC LIMIT ?"  # noqa: S608 - our text
    return text, [*values, wanted.limit]


def _conditions(wanted: Filter, equal: Sequence[tuple[str, object]], *, key: str) -> tuple[str, list[object]]:
    low = _LOWEST if wanted.since is None else _first_id(wanted.since, -1)
    high = _PAST_ALL if wanted.until is None else _first_id(wanted.until, 2)
    found = [(f"{name} = ?", value) for name, value in equal]
    found += [(f"{key} >= ?", low), (f"{key} < ?", min(high, wanted.before or high))]
    found += [("created_at >= ?", wanted.since)] if wanted.since is not None else []
    found += [("created_at < ?", wanted.until)] if wanted.until is not None else []
    return " AND ".join(text for text, _ in found), [value for _, value in found]


def _first_id(seconds: float, later_ms: int) -> str:
    """Return the least id of a time. The margin makes up for what a time loses on its way to whole milliseconds."""
    return job_id(unix_ms=min(max(int(seconds * 1000) + later_ms, 0), _LAST_MS), entropy=bytes(10))
