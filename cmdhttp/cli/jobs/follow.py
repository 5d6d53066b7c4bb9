"""`cmdhttp jobs follow`."""

import argparse
import os

from cmdhttp.cli.calls.ends import EPILOG
from cmdhttp.cli.calls.way import add_way

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns


def add_follow(below: "Verbs[argparse.ArgumentParser]") -> None:
    parser = below.add_parser(
        "follow",
        help="show a job's output from its beginning to its end",
        description="Show what a job prints, from its beginning and as it comes, and end as the job ends. Ctrl-C leaves, and\n"
        "the job goes on.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument(
        "--after", type=_number, default=0, metavar="SEQ", help="only what follows the event of this number"
    )
    parser.add_argument("--raw", action="store_true", help="send a terminal what the command prints, escapes and all")
    parser.add_argument("--json", action="store_true", help="one line of JSON an event, as it comes")
    add_way(parser)
    parser.set_defaults(run=_follow, follow=True)


def _follow(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls.running import follow_job  # noqa: PLC0415 - other verbs need no HTTP client

    return follow_job(options, os.environ)


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number
