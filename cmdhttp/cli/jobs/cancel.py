"""`cmdhttp jobs cancel`."""

import argparse
import os

from cmdhttp.cli.calls.way import add_way, seconds

Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns

_WAIT = 60.0


def add_cancel(below: "Verbs[argparse.ArgumentParser]") -> None:
    parser = below.add_parser(
        "cancel",
        help="stop a job, and say whether it has stopped",
        description="Stop a job, wait for its end, and say of each host whether the stop is confirmed.",
        epilog="Exit code 0: it has ended, and no stop is unconfirmed. 1: it had ended before. 2: the command line is wrong.\n"
        "245: it has ended and a stop is unconfirmed. 248: it has not ended in time. 240 and above else: as with 'run'.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument(
        "--wait", type=seconds, default=_WAIT, metavar="S", help=f"seconds to wait for the end [{_WAIT:g}]"
    )
    parser.add_argument("--json", action="store_true", help="print the job as JSON")
    add_way(parser)
    parser.set_defaults(run=_cancel)


def _cancel(options: argparse.Namespace) -> int:
    from cmdhttp.cli.calls.canceling import cancel_job  # noqa: PLC0415 - other verbs need no HTTP client

    return cancel_job(options, os.environ)
