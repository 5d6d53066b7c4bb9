"""`cmdhttp jobs fetch`."""

import argparse
import os

from cmdhttp.cli.calls.way import add_way

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns


def add_fetch(below: "Verbs[argparse.ArgumentParser]") -> None:
    parser = below.add_parser(
        "fetch",
        help="download the files that a job left",
        description="Download the files of a job, each checked against its sum, into a folder. Nothing is ever overwritten, or\n"
        "written outside the folder. A file that is there already with the same sum counts as fetched. The files of a job\n"
        "on several hosts go into one folder for each.",
        epilog="Exit code 0: all are there. 1: a file could not be put there. 2: the command line is wrong.\n"
        "240 and above: as with 'run'.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument("folder", nargs="?", metavar="DIR", help="where to; made if it is not there [the id]")
    parser.add_argument("--host", metavar="HOST", help="only the files of this run")
    parser.add_argument(
        "--json", action="store_true", help="print {folder, files: [{host, name, path, bytes, sha256, error}]}"
    )
    add_way(parser)
    parser.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls.fetching import fetch_files  # noqa: PLC0415 - other verbs need no HTTP client

    return fetch_files(options, os.environ)
