"""`cmdhttp jobs show`."""

import argparse
import json
import os
from collections.abc import Iterator

from cmdhttp.cli.calls.ends import counted, verdict
from cmdhttp.cli.calls.way import add_way
from cmdhttp.client.documents import an_object, is_several, objects, runs_of
from cmdhttp.client.failures import Document

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns

_PLAIN = ("command", "principal", "policy", "reason", "created_at", "started_at", "finished_at", "duration_ms")


def add_show(below: "Verbs[argparse.ArgumentParser]") -> None:
    parser = below.add_parser(
        "show",
        help="show one job, without its output",
        description="Show what is known of one job. Its output is for 'jobs output', the whole document for --json.",
        epilog="Exit code 0: it has been shown. 2: the command line is wrong. 240 and above: as with 'run'.",
    )
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument("--json", action="store_true", help="print the job as JSON, with the beginning of its output")
    add_way(parser)
    parser.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls import requests  # noqa: PLC0415 - other verbs need no HTTP client
    from cmdhttp.cli.calls.asking import shown  # noqa: PLC0415

    return shown(options, os.environ, requests.one_job(requests.job_id(options.id)), lines_of_job)


def lines_of_job(job: Document) -> Iterator[str]:
    """Yield what a person wants to know of a job. Pure."""
    yield f"{job.get('id')}: {verdict(job)}"
    for name in _PLAIN:
        if job.get(name) is not None:
            yield f"  {name.removesuffix('_at').removesuffix('_ms')}: {job[name]}{' ms' if name.endswith('_ms') else ''}"
    if job.get("params"):
        yield f"  params: {json.dumps(job['params'], ensure_ascii=False)}"
    if job.get("labels"):
        yield f"  labels: {json.dumps(job['labels'], ensure_ascii=False)}"
    if queue := an_object(job, "queue"):
        yield f"  queue: position {queue.get('position')}, {queue.get('reason')}"
    if is_several(job):
        yield f"  hosts: {len(runs_of(job))}: {counted(job)}"
    for run in runs_of(job):
        yield from _run(run)


def _run(run: Document) -> Iterator[str]:
    sizes = f"{run.get('stdout_bytes')} bytes of stdout, {run.get('stderr_bytes')} of stderr"
    yield f"  on {run.get('host')}: {verdict(run)}; {sizes}"
    if error := an_object(run, "error"):
        yield f"    {error.get('code')}: {error.get('detail')}"
        if error.get("hint"):
            yield f"    hint: {error['hint']}"
    for file in objects(run, "artefacts"):
        yield f"    file {file.get('name')}: {file.get('bytes')} bytes, sha256 {file.get('sha256')}"
    for file in objects(run, "artefacts_left_out"):
        yield f"    left out {file.get('name')}: {file.get('why')}"
