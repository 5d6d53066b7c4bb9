"""A list of jobs, page after page. A page is asked for again after a failure, so none is left out or there twice."""

import argparse
import json
from collections.abc import Iterator, Mapping

from cmdhttp.cli.calls.asking import Lines, show
from cmdhttp.cli.calls.screen import Screen
from cmdhttp.cli.calls.telling import ended
from cmdhttp.cli.calls.way import caller_of, patience_of
from cmdhttp.client.documents import objects
from cmdhttp.client.exchange import Caller, Request
from cmdhttp.client.failures import Document
from cmdhttp.client.patience import insist


def list_jobs(options: argparse.Namespace, environ: Mapping[str, str], query: Mapping[str, str], lines: Lines) -> int:
    """Print one page of jobs, or all of them; returns the exit code. Raises ConfigError."""
    caller, screen = caller_of(options, environ), Screen(quiet=options.json)

    def work() -> int:
        for page in _pages(caller, options, query):
            if options.json and options.all:
                for job in objects(page, "jobs"):
                    screen.plain(json.dumps(job).encode())
            else:
                show(screen, page, lines, as_json=options.json)
            if not options.all:
                if page.get("next_cursor"):
                    screen.notice("there are more: --all, or --until the time of the last one")
                break
        return 0

    return ended(screen, work, as_json=options.json)


def _pages(caller: Caller, options: argparse.Namespace, query: Mapping[str, str]) -> Iterator[Document]:
    patience, cursor = patience_of(options), ""
    while True:
        request = Request(path="/v1/jobs", query={**query, "cursor": cursor} if cursor else query)
        page = insist(lambda request=request: caller.ask(request), patience)  # type: ignore[misc]  # bound by its default
        yield page
        if not isinstance(following := page.get("next_cursor"), str) or following == cursor:
            return
        cursor = following
