"""`cmdhttp jobs cancel`: the stop, and the truth about it."""

import argparse
import time
from collections.abc import Iterator, Mapping

from cmdhttp.cli.calls import requests
from cmdhttp.cli.calls.asking import show
from cmdhttp.cli.calls.ends import Exit, verdict
from cmdhttp.cli.calls.screen import Screen
from cmdhttp.cli.calls.telling import ended
from cmdhttp.cli.calls.way import caller_of, patience_of
from cmdhttp.client.documents import has_ended, runs_of
from cmdhttp.client.exchange import Caller
from cmdhttp.client.failures import Document
from cmdhttp.client.patience import Patience, insist

_HAD_ENDED = 1


def cancel_job(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Cancel one job and wait for its end; returns the exit code. Raises ConfigError."""
    identity = requests.job_id(options.id)
    caller, screen = caller_of(options, environ), Screen(quiet=options.json)

    def work() -> int:
        patience = patience_of(options)
        before = insist(lambda: caller.ask(requests.one_job(identity)), patience)
        if has_ended(before):
            show(screen, before, _had_ended, as_json=options.json)
            return _HAD_ENDED
        job = insist(lambda: caller.ask(requests.cancel(identity)), patience)
        job = _at_end(job, caller, patience, within=options.wait)
        show(screen, job, _outcome, as_json=options.json)
        return exit_of_cancel(job)

    return ended(screen, work, as_json=options.json)


def exit_of_cancel(job: Document) -> int:
    """Return the exit code for a job that was told to stop. Pure."""
    if not has_ended(job):
        return Exit.STILL_RUNNING
    if any(run.get("stopped") == "unconfirmed" or run.get("state") == "lost" for run in runs_of(job)):
        return Exit.LOST
    return 0


def _at_end(job: Document, caller: Caller, patience: Patience, *, within: float) -> Document:
    """Return the job once it has ended, or as it is when the time is over."""
    identity, until = str(job.get("id")), time.monotonic() + within
    while not has_ended(job) and (left := until - time.monotonic()) > 0:
        request = requests.one_job(identity, wait=left)
        job = insist(lambda request=request: caller.ask(request), patience)  # type: ignore[misc]  # bound by its default
    return job


def _had_ended(job: Document) -> Iterator[str]:
    yield f"{job.get('id')} had ended before: {verdict(job)}"


def _outcome(job: Document) -> Iterator[str]:
    over = has_ended(job)
    yield f"{job.get('id')}: {verdict(job)}" + ("" if over else "; it has been told to stop and has not ended yet")
    for run in runs_of(job):
        if run.get("stopped") == "unconfirmed":
            yield f"  {run.get('host')}: the stop is unconfirmed; something of it may still run there"
        elif run is not job:
            yield f"  {run.get('host')}: {verdict(run)}"
