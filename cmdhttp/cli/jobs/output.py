"""`cmdhttp jobs output`."""

import argparse
import os

from cmdhttp.cli.calls.way import add_way

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns


def add_output(below: "Verbs[argparse.ArgumentParser]") -> None:
    parser = below.add_parser(
        "output",
        help="print the output of a job as it was kept",
        description="Print one output stream of one run, byte for byte; on a terminal what could steer it is escaped.",
        epilog="Exit code 0: it is printed in full. 2: the command line is wrong. 240 and above: as with 'run'.",
    )
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument("--stream", choices=("stdout", "stderr"), default="stdout", help="which one [stdout]")
    parser.add_argument("--host", metavar="HOST", help="which run of a job on several hosts")
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument("--raw", action="store_true", help="send a terminal what the command printed, escapes and all")
    add_way(parser)
    parser.set_defaults(run=_output)


def _output(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls.fetching import print_output  # noqa: PLC0415 - other verbs need no HTTP client

    return print_output(options, os.environ)
