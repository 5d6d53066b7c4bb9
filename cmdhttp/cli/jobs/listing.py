"""`cmdhttp jobs list`."""

import argparse
import os
from collections.abc import Iterator, Mapping

from cmdhttp.cli.calls.ends import counted, verdict
from cmdhttp.cli.calls.way import add_way
from cmdhttp.cli.text import columns
from cmdhttp.client.documents import is_several, objects, runs_of
from cmdhttp.client.failures import Document

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns

_SECONDS = 19
_PAGE = 200


def add_list(below: "Verbs[argparse.ArgumentParser]") -> None:
    parser = below.add_parser(
        "list",
        help="list the token's own jobs, newest first",
        description="List the jobs of the token's principal, newest first, or those of others that it may read.",
        epilog="Exit code 0: they have been listed. 2: the command line is wrong. 240 and above: as with 'run'.",
    )
    parser.add_argument("--state", action="append", metavar="STATE", help="only jobs in this state; may be repeated")
    parser.add_argument("--command", metavar="COMMAND", help="only jobs of this command", dest="only_command")
    parser.add_argument("--host", metavar="HOST", help="only jobs on this host")
    parser.add_argument("--principal", metavar="NAME", help="the jobs of this principal; '*' for everybody's")
    parser.add_argument("--since", metavar="TIME", help="only jobs from then on, like 2026-11-02T09:30:00Z")
    parser.add_argument("--until", metavar="TIME", help="only jobs before then")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many [50]")
    parser.add_argument("--all", action="store_true", help="all there are, page after page")
    parser.add_argument(
        "--json", action="store_true", help="print {jobs, next_cursor}; with --all one line of JSON a job"
    )
    add_way(parser)
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls.pages import list_jobs  # noqa: PLC0415 - other verbs need no HTTP client

    return list_jobs(options, os.environ, query_of(options), lines_of_page)


def query_of(options: argparse.Namespace) -> Mapping[str, str]:
    """Return the filters of a command line as the API takes them."""
    given = {
        "state": ",".join(options.state or []),
        "command": options.only_command,
        "host": options.host,
        "principal": options.principal,
        "since": options.since,
        "until": options.until,
        "limit": str(options.limit) if options.limit is not None else str(_PAGE) if options.all else None,
    }
    return {name: value for name, value in given.items() if value}


def lines_of_page(page: Document) -> Iterator[str]:
    """Yield one line a job. Pure."""
    jobs = objects(page, "jobs")
    rows = [
        [str(job.get("id")), str(job.get("created_at"))[:_SECONDS], str(job.get("command")), _where(job), _end(job)]
        for job in jobs
    ]
    yield from columns(rows) if rows else []


def _where(job: Document) -> str:
    return f"{len(runs_of(job))} hosts" if is_several(job) else str(job.get("host"))


def _end(job: Document) -> str:
    return f"{verdict(job)}: {counted(job)}" if is_several(job) else verdict(job)
