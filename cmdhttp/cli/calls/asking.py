"""Verbs that ask once and print what comes back."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping

from cmdhttp.cli.calls.screen import Screen
from cmdhttp.cli.calls.telling import ended
from cmdhttp.cli.calls.way import caller_of, patience_of
from cmdhttp.client.exchange import Request
from cmdhttp.client.failures import Document
from cmdhttp.client.patience import insist

Lines = Callable[[Document], Iterable[str]]


def shown(options: argparse.Namespace, environ: Mapping[str, str], request: Request, lines: Lines) -> int:
    """Print the document that answers a request, as JSON or as lines; returns the exit code. Raises ConfigError."""
    caller, screen = caller_of(options, environ), Screen(quiet=options.json)

    def work() -> int:
        document = insist(lambda: caller.ask(request), patience_of(options))
        show(screen, document, lines, as_json=options.json)
        return 0

    return ended(screen, work, as_json=options.json)


def show(screen: Screen, document: Document, lines: Lines, *, as_json: bool) -> None:
    """Print one document."""
    if as_json:
        screen.plain(json.dumps(document).encode())
        return
    for line in lines(document):
        screen.text(line)
