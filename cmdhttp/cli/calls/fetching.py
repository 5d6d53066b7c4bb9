"""`cmdhttp jobs output` and `cmdhttp jobs fetch`: kept bytes, to the screen or into files."""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cmdhttp.cli.calls import requests
from cmdhttp.cli.calls.landing import Landing, NotPut
from cmdhttp.cli.calls.screen import STDOUT, Screen
from cmdhttp.cli.calls.telling import ended
from cmdhttp.cli.calls.watching import Watcher
from cmdhttp.cli.calls.way import caller_of, patience_of
from cmdhttp.client.documents import has_ended, is_several, objects, runs_of, text
from cmdhttp.client.downloading import kept_bytes
from cmdhttp.client.exchange import Caller
from cmdhttp.client.failures import Document
from cmdhttp.client.following import Following
from cmdhttp.client.patience import insist
from cmdhttp.errors import ConfigError

_NOT_ALL = 1


def print_output(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print one output stream of one run; returns the exit code. Raises ConfigError."""
    identity = requests.job_id(options.id)
    caller, screen = caller_of(options, environ), Screen(raw=options.raw)
    path = f"/v1/jobs/{identity}/output/{options.stream}"
    query = {"host": options.host} if options.host else {}

    def work() -> int:
        patience = patience_of(options)
        if options.follow:
            # By events: they have heartbeats, and say for certain when the job has ended.
            watcher = Watcher(screen, shows=True, only=(options.host, options.stream))
            watcher.watch(Following(caller, patience=patience, clock=time.monotonic).follow(identity))
            return 0
        for piece in kept_bytes(caller, path=path, query=query, patience=patience):
            screen.output(STDOUT, piece)
        return 0

    return ended(screen, work, as_json=False)


def fetch_files(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Download the files of a job into a folder; returns the exit code. Raises ConfigError."""
    identity = requests.job_id(options.id)
    caller, screen = caller_of(options, environ), Screen(quiet=options.json)
    folder = Path(options.folder or identity)

    def work() -> int:
        job = insist(lambda: caller.ask(requests.one_job(identity)), patience_of(options))
        files = list(_files(job, identity, only=options.host))
        told = []
        with Landing.at(folder) as landing:
            for file in files:
                told.append(_fetched(file, landing, caller, options))
                if not options.json:
                    _tell(screen, told[-1])
        if options.json:
            screen.plain(json.dumps({"folder": str(folder), "files": told}).encode())
        elif not files:
            screen.say("cmdhttp: the job has left no files" + ("" if has_ended(job) else " yet"))
        return _NOT_ALL if any(entry["error"] for entry in told) else 0

    return ended(screen, work, as_json=options.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """`parts` are the folders and the name that it should get."""

    host: str
    name: str
    parts: tuple[str, ...]
    size: object
    sha256: str
    path: str
    query: Mapping[str, str]


def _files(job: Document, identity: str, *, only: str | None) -> Iterator[_File]:
    """Yield the files that a job names. Raises ConfigError for a host that it did not run on."""
    several = is_several(job)
    runs = [run for run in runs_of(job) if only in (None, run.get("host"))]
    if only is not None and not runs:
        raise ConfigError(f"the job did not run on '{only}'")
    for run in runs:
        for number, entry in enumerate(objects(run, "artefacts")):
            host, name = text(run, "host"), text(entry, "name")
            yield _File(
                host=host,
                name=name,
                parts=(*((host,) if several else ()), *name.split("/")),
                size=entry.get("bytes"),
                sha256=text(entry, "sha256"),
                path=f"/v1/jobs/{identity}/artefacts/{number}",
                query={"host": host},
            )


def _fetched(file: _File, landing: Landing, caller: Caller, options: argparse.Namespace) -> Document:
    told: Document = {"host": file.host, "name": file.name, "bytes": file.size, "sha256": file.sha256}
    try:
        pieces = kept_bytes(caller, path=file.path, query=file.query, patience=patience_of(options))
        path = landing.put(file.parts, pieces, sha256=file.sha256)
    except NotPut as problem:
        return told | {"path": None, "error": str(problem)}
    return told | {"path": path, "error": None}


def _tell(screen: Screen, told: Document) -> None:
    if told["error"]:
        screen.say(f"cmdhttp: {told['name']}: {told['error']}")
    else:
        screen.text(str(told["path"]))
